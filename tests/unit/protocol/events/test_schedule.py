"""Plans bring the same events however the time is cut."""

import re
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.protocol.events.event import Declaration
from openimds.protocol.events.schedule import RecurringEvent, check_plan, declaration, occurrences

FOREVER_S = float("inf")
HOURLY = RecurringEvent("Freeze", ("a", "b"), 1000.0, every_s=3600)
RANDOM = RecurringEvent("Preempt", ("a",), 1000.0, mean_s=60, seed="green")


def test_a_recurring_plan_begins_at_its_first_time() -> None:
    assert list(occurrences(HOURLY, 0.0, 8201.0)) == [1000.0, 4600.0, 8200.0]


def test_the_start_of_an_interval_belongs_to_it_and_the_end_does_not() -> None:
    assert list(occurrences(HOURLY, 4600.0, 8200.0)) == [4600.0]


def test_nothing_comes_before_the_first_time() -> None:
    assert list(occurrences(HOURLY, 0.0, 1000.0)) == []
    assert list(occurrences(RANDOM, 0.0, 1000.0)) == []


def test_a_plan_with_a_count_ends() -> None:
    plan = replace(HOURLY, count=2)
    assert list(occurrences(plan, 0.0, FOREVER_S)) == [1000.0, 4600.0]
    assert list(occurrences(plan, 4600.0, FOREVER_S)) == [4600.0]
    assert list(occurrences(plan, 4600.5, FOREVER_S)) == []


def test_a_random_plan_with_a_count_ends_with_the_same_events() -> None:
    endless = list(islice(occurrences(RANDOM, 0.0, FOREVER_S), 5))
    assert list(occurrences(replace(RANDOM, count=5), 0.0, FOREVER_S)) == endless


def test_an_endless_plan_is_entered_far_away_without_counting_up() -> None:
    late_s = 1000.0 + 3600 * 10**9
    assert next(occurrences(HOURLY, late_s - 1, FOREVER_S)) == late_s


def test_another_seed_is_another_plan_and_the_same_is_the_same() -> None:
    first = list(occurrences(RANDOM, 0.0, 10_000.0))
    assert list(occurrences(replace(RANDOM), 0.0, 10_000.0)) == first
    for seed in ("blue", "", "\udc80"):
        assert list(occurrences(replace(RANDOM, seed=seed), 0.0, 10_000.0)) != first


def test_a_seed_means_the_same_gaps_whenever_the_plan_begins() -> None:
    first = list(occurrences(RANDOM, 0.0, 10_000.0))
    later = list(occurrences(replace(RANDOM, first_s=501_000), 0.0, 510_000.0))
    assert [at_s - 500_000 for at_s in later] == pytest.approx(first)


def test_random_events_come_as_often_as_their_mean_says() -> None:
    # 10,000 expected, with a deviation of 100: five of them either way.
    times = list(occurrences(RANDOM, 0.0, 1000.0 + 60 * 10_000))
    assert 9_500 < len(times) < 10_500
    # Of exponential gaps, e^-1 = 36.8 % are longer than the mean; of regular ones, none.
    longer = sum(after - before > 60 for before, after in pairwise(times))
    assert 0.34 < longer / len(times) < 0.40


plans = st.one_of(
    st.builds(lambda every_s: replace(HOURLY, every_s=every_s), st.floats(1, 500)),
    st.builds(lambda mean_s: replace(RANDOM, mean_s=mean_s), st.floats(20, 500)),
)


@given(plans, st.integers(0, 6), st.lists(st.floats(0, 5000), min_size=2, max_size=8))
def test_the_cuts_of_the_time_do_not_matter(
    plan: RecurringEvent, count: int, cuts: list[float]
) -> None:
    plan = replace(plan, count=count)
    cuts.sort()
    parts = [list(occurrences(plan, start, end)) for start, end in pairwise(cuts)]
    whole = list(occurrences(plan, cuts[0], cuts[-1]))
    assert [at_s for part in parts for at_s in part] == whole
    assert whole == sorted(whole)


def test_a_plan_declares_what_it_says() -> None:
    plan = RecurringEvent("Reboot", ("a", "b"), 0.0, 60, 0, "", 0, 5, 7, 9, "words", "User", "all")
    assert declaration(plan, "id", "set:x", ("b",), ("pool_1",)) == Declaration(
        "id", "Reboot", "set:x", ("b",), ("pool_1",), 5, 7, 9, "words", "User", "all"
    )


@pytest.mark.parametrize("plan", [HOURLY, RANDOM, replace(HOURLY, every_s=1, count=1)], ids=str)
def test_a_good_plan_passes(plan: RecurringEvent) -> None:
    check_plan(plan)
    assert plan.vms


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"every_s": 0}, "plan: saw neither every_s nor mean_s, expected one of the two"),
        ({"mean_s": 5}, "plan: saw both every_s and mean_s, expected one of the two"),
        (
            {"every_s": 0.5},
            "every_s: saw the number 0.5, expected seconds from 1 to 316224000",
        ),
        (
            {"every_s": 0, "mean_s": 1e12},
            "mean_s: saw the number 1000000000000.0, expected seconds from 1 to 316224000",
        ),
        ({"count": -1}, "count: saw the number -1, expected a number of events, or 0 for no end"),
        ({"vms": ()}, "vms: saw no VM, expected the names of one or more VMs"),
        (
            {"event_type": "Reebot"},
            (
                'type: saw the string "Reebot". Did you mean "Reboot"? Expected one of Freeze, '
                "Reboot, Redeploy, Preempt, Terminate, SpotRebalanceRecommendation"
            ),
        ),
    ],
    ids=str,
)
def test_a_bad_plan_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        check_plan(replace(HOURLY, **changes))
