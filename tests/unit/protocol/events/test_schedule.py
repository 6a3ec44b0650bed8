"""Recurring events come at the same times, however time is cut."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openimds.facts.events import TYPES
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.schedule import RecurringEvent, occurrences, read_lines
from tests.unit.vm.refused import Refused, refused

FOREVER_S = float("inf")
HOURLY = RecurringEvent("Freeze", ("a", "b"), first_s=1000.0, every_s=3600)
RANDOM = RecurringEvent("Preempt", ("a",), first_s=1000.0, mean_s=60, seed="green")
LINE = {"type": "Reboot", "vms": ["a"]}


def test_recurring_event_begins_at_its_first_time() -> None:
    assert list(occurrences(HOURLY, 0.0, 8201.0)) == [1000.0, 4600.0, 8200.0]


def test_span_includes_its_start_and_not_its_end() -> None:
    assert list(occurrences(HOURLY, 4600.0, 8200.0)) == [4600.0]


def test_no_event_comes_before_the_first_time() -> None:
    assert list(occurrences(HOURLY, 0.0, 1000.0)) == []
    assert list(occurrences(RANDOM, 0.0, 1000.0)) == []


def test_recurring_event_with_a_count_ends() -> None:
    twice = replace(HOURLY, count=2)
    assert list(occurrences(twice, 0.0, FOREVER_S)) == [1000.0, 4600.0]
    assert list(occurrences(twice, 4600.0, FOREVER_S)) == [4600.0]
    assert list(occurrences(twice, 4600.5, FOREVER_S)) == []


def test_random_event_with_a_count_keeps_its_times() -> None:
    endless = list(islice(occurrences(RANDOM, 0.0, FOREVER_S), 5))
    assert list(occurrences(replace(RANDOM, count=5), 0.0, FOREVER_S)) == endless


def test_endless_event_is_entered_without_counting_up() -> None:
    late_s = 1000.0 + 3600 * 10**9
    assert next(occurrences(HOURLY, late_s - 1, FOREVER_S)) == late_s


def test_equal_seeds_alone_give_equal_times() -> None:
    first = list(occurrences(RANDOM, 0.0, 10_000.0))
    assert list(occurrences(replace(RANDOM), 0.0, 10_000.0)) == first
    for seed in ("blue", "", "\udc80"):
        assert list(occurrences(replace(RANDOM, seed=seed), 0.0, 10_000.0)) != first


def test_gaps_of_a_seed_do_not_depend_on_the_beginning() -> None:
    first = list(occurrences(RANDOM, 0.0, 10_000.0))
    later = list(occurrences(replace(RANDOM, first_s=501_000), 0.0, 510_000.0))
    assert [at_s - 500_000 for at_s in later] == pytest.approx(first)


def test_random_events_come_as_often_as_their_mean() -> None:
    # 10,000 expected, with a deviation of 100: five of them either way.
    times = list(occurrences(RANDOM, 0.0, 1000.0 + 60 * 10_000))
    assert 9_500 < len(times) < 10_500
    # Of exponential gaps, e^-1 = 36.8 % are longer than the mean; of regular ones, none.
    longer = sum(after - before > 60 for before, after in pairwise(times))
    assert 0.34 < longer / len(times) < 0.40


recurring_events = st.one_of(
    st.builds(lambda every_s: replace(HOURLY, every_s=every_s), st.floats(1, 500)),
    st.builds(lambda mean_s: replace(RANDOM, mean_s=mean_s), st.floats(20, 500)),
)


@given(recurring_events, st.integers(0, 6), st.lists(st.floats(0, 5000), min_size=2, max_size=8))
def test_times_do_not_depend_on_the_cuts_of_a_span(
    recurring: RecurringEvent, count: int, cuts: list[float]
) -> None:
    recurring = replace(recurring, count=count)
    cuts.sort()
    parts = [list(occurrences(recurring, start, end)) for start, end in pairwise(cuts)]
    whole = list(occurrences(recurring, cuts[0], cuts[-1]))
    assert [at_s for part in parts for at_s in part] == whole
    assert whole == sorted(whole)


def test_line_without_an_interval_comes_once() -> None:
    assert read_lines([{**LINE, "at_s": 60, "notice_s": 30.5}]) == (
        RecurringEvent("Reboot", ("a",), first_s=60, every_s=1, count=1, notice_s=30.5),
    )


def test_line_with_every_member_is_read() -> None:
    line = {
        "type": "Freeze",
        "vms": ["a", "b"],
        "at_s": 5,
        "every_s": 60,
        "count": 3,
        "duration_s": 9,
        "life_s": 20,
        "description": "d",
        "source": "User",
        "needs": "all",
        "notice_s": 1,
    }
    (recurring,) = read_lines([line])
    assert recurring == RecurringEvent(
        event_type="Freeze",
        vms=("a", "b"),
        first_s=5,
        every_s=60,
        count=3,
        notice_s=1,
        duration_s=9,
        life_s=20,
        description="d",
        source="User",
        needs="all",
    )
    assert isinstance(recurring, EventRequest)


def test_random_line_has_a_mean_and_a_seed() -> None:
    (recurring,) = read_lines([{**LINE, "mean_s": 600, "seed": "x"}])
    assert (recurring.mean_s, recurring.seed) == (600, "x")
    assert (recurring.first_s, recurring.every_s, recurring.count) == (0, 0, 0)


def test_no_lines_are_no_events() -> None:
    assert read_lines(None) == ()
    assert read_lines([]) == ()


INTERVAL = "a number from 1 to 316224000"
AT = "a number from 0 to 316224000"
VMS = "a list of 1 to 100000 strings"
TYPE_NAMES = "one of " + ", ".join(row.name for row in TYPES)


@pytest.mark.parametrize(
    "value, expected",
    [
        ({}, Refused("events", "a mapping with no members", "a list of at most 1000 events")),
        ([LINE] * 1001, Refused("events", "a list of 1001", "a list of at most 1000 events")),
        (["x"], Refused("events[0]", 'the string "x"', "a mapping of names to values")),
        ([LINE, {"type": "Reboot"}], Refused("events[1]", "no vms", f"vms: {VMS}")),
        ([{"vms": ["a"]}], Refused("events[0]", "no type", f"type: {TYPE_NAMES}")),
        (
            [{**LINE, "type": "Boot"}],
            Refused("events[0].type", 'the string "Boot"', TYPE_NAMES, 'Did you mean "Reboot"?'),
        ),
        ([{**LINE, "type": 1}], Refused("events[0].type", "the number 1", TYPE_NAMES)),
        ([{**LINE, "vms": []}], Refused("events[0].vms", "a list of 0", VMS)),
        ([{**LINE, "vms": [1]}], Refused("events[0].vms[0]", "the number 1", "a string")),
        ([{**LINE, "at_s": -1}], Refused("events[0].at_s", "the number -1", AT)),
        ([{**LINE, "at_s": 1e12}], Refused("events[0].at_s", "the number 1000000000000.0", AT)),
        ([{**LINE, "at_s": True}], Refused("events[0].at_s", "the boolean true", AT)),
        ([{**LINE, "at_s": float("nan")}], Refused("events[0].at_s", "the number nan", AT)),
        ([{**LINE, "at_s": 2**53}], Refused("events[0].at_s", f"the number {2**53}", AT)),
        (
            [{**LINE, "count": 1.5}],
            Refused("events[0].count", "the number 1.5", "a whole number of at least 0"),
        ),
        (
            [{**LINE, "seed": {}}],
            Refused("events[0].seed", "a mapping with no members", "a string"),
        ),
        (
            [{**LINE, "every_s": 5, "mean_s": 5}],
            Refused("events[0]", "both every_s and mean_s", "one of the two"),
        ),
        ([{**LINE, "every_s": 0}], Refused("events[0].every_s", "the number 0", INTERVAL)),
        ([{**LINE, "every_s": 0.5}], Refused("events[0].every_s", "the number 0.5", INTERVAL)),
        (
            [{**LINE, "mean_s": 1e12}],
            Refused("events[0].mean_s", "the number 1000000000000.0", INTERVAL),
        ),
        (
            [{**LINE, "every_s": 5, "count": -1}],
            Refused("events[0].count", "the number -1", "a whole number of at least 0"),
        ),
        ([{**LINE, "notice_s": -1}], Refused("events[0].notice_s", "the number -1", AT)),
    ],
)
def test_mistake_in_a_line_is_refused_with_its_path(value: object, expected: Refused) -> None:
    assert refused(read_lines, value) == expected


def test_unknown_member_of_a_line_is_refused() -> None:
    error = refused(read_lines, [{**LINE, "vm": 1}])
    assert (error.where, error.seen) == ("events[0]", 'unknown key "vm"')
    assert error.hint == 'Did you mean "vms"?'
