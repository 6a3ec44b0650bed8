"""The histogram of durations: buckets, their order, and the sum."""

import pytest

from openimds.protocol.durations import BOUNDS_S, SUM, Durations, labelled


@pytest.mark.parametrize("place", range(len(BOUNDS_S)))
def test_duration_at_a_bound_is_in_its_bucket_and_all_above(place: int) -> None:
    durations = Durations()
    durations.note(BOUNDS_S[place])
    *counts, total = [value for key, value in durations.samples().items() if key != SUM]
    assert counts == [0.0] * place + [1.0] * (len(BOUNDS_S) - place)
    assert total == 1


def test_longest_durations_are_in_the_bucket_without_a_bound() -> None:
    durations = Durations()
    durations.note(11.0)
    durations.note(0.5)
    samples = labelled("identity", durations=durations)
    assert samples["identity", "10.0"] == 1
    assert samples["identity", "+Inf"] == 2
    assert samples["identity", SUM] == 11.5


def test_bounds_grow() -> None:
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
