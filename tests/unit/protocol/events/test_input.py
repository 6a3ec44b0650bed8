"""What a person may wish for, and how a mistake in it is told."""

import pytest

from openimds.errors import ConfigError
from openimds.protocol.events.input import (
    PLAN,
    WISH,
    EventRequest,
    MemberKind,
    event_request,
    members,
    plans,
    required,
)
from openimds.protocol.events.schedule import RecurringEvent

LINE = {"type": "Reboot", "vms": ["a"]}


def mistake(value: object) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        plans(value)
    return caught.value.where, caught.value.seen


def test_a_line_without_a_period_comes_once() -> None:
    assert plans([{**LINE, "at_s": 60, "notice_s": 30.5}]) == (
        RecurringEvent("Reboot", ("a",), 60, every_s=1, count=1, notice_s=30.5),
    )


def test_a_line_says_everything_that_a_plan_can_have() -> None:
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
    (plan,) = plans([line])
    assert plan == RecurringEvent(
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
    assert event_request(plan) == EventRequest(
        "Freeze",
        ("a", "b"),
        notice_s=1,
        duration_s=9,
        life_s=20,
        description="d",
        source="User",
        needs="all",
    )


def test_a_random_line_has_a_mean_and_a_seed() -> None:
    (plan,) = plans([{**LINE, "mean_s": 600, "seed": "x"}])
    assert (plan.mean_s, plan.seed, plan.every_s, plan.count) == (600, "x", 0, 0)


def test_no_events_at_all_are_no_plans() -> None:
    assert plans(None) == ()
    assert plans([]) == ()


@pytest.mark.parametrize(
    "value, where, seen",
    [
        ({}, "events", "a mapping with no members"),
        ([LINE] * 1001, "events", "a list of 1001"),
        (["x"], "events[0]", 'the string "x"'),
        ([LINE, {"type": "Reboot"}], "events[1]", "no vms"),
        ([{"vms": ["a"]}], "events[0]", "no type"),
        ([{**LINE, "vm": 1}], "events[0]", 'unknown key "vm"'),
        ([{**LINE, "type": "Boot"}], "events[0].type", 'the string "Boot"'),
        ([{**LINE, "type": 1}], "events[0].type", "the number 1"),
        ([{**LINE, "vms": []}], "events[0].vms", "a list of 0"),
        ([{**LINE, "vms": [1]}], "events[0].vms", "a list of 1"),
        ([{**LINE, "at_s": -1}], "events[0].at_s", "the number -1"),
        ([{**LINE, "at_s": 1e12}], "events[0].at_s", "the number 1000000000000.0"),
        ([{**LINE, "at_s": True}], "events[0].at_s", "the boolean true"),
        ([{**LINE, "at_s": float("nan")}], "events[0].at_s", "the number nan"),
        ([{**LINE, "at_s": 2**53}], "events[0].at_s", "the number 9007199254740992"),
        ([{**LINE, "count": 1.5}], "events[0].count", "the number 1.5"),
        ([{**LINE, "seed": {}}], "events[0].seed", "a mapping with no members"),
        ([{**LINE, "every_s": 5, "mean_s": 5}], "events[0]", "both every_s and mean_s"),
        ([{**LINE, "every_s": 0.5}], "events[0].every_s", "the number 0.5"),
        ([{**LINE, "every_s": 5, "count": -1}], "events[0].count", "the number -1"),
        ([{**LINE, "notice_s": -1}], "events[0].notice_s", "the number -1"),
    ],
)
def test_a_mistake_is_told_with_its_path(value: object, where: str, seen: str) -> None:
    assert mistake(value) == (where, seen)


def test_a_request_is_an_object_and_null_is_as_if_it_were_not_there() -> None:
    assert members({"type": "x", "vms": ["a"], "in_s": None, "failure": True}, "", WISH) == {
        "type": "x",
        "vms": ("a",),
        "failure": True,
    }
    with pytest.raises(ConfigError, match="body: saw nothing"):
        members(None, "", WISH)
    with pytest.raises(ConfigError, match='Did you mean "type"'):
        members({"typ": "x"}, "", WISH)
    with pytest.raises(ConfigError, match="body: saw no type"):
        required({}, "")


def test_what_repeats_is_for_scenarios_and_what_is_asked_now_for_requests() -> None:
    assert PLAN.keys() - WISH.keys() == {"at_s", "notice_s", "every_s", "mean_s", "seed", "count"}
    assert WISH.keys() - PLAN.keys() == {"in_s", "not_before", "failure"}
    assert set(PLAN.values()) | set(WISH.values()) == set(MemberKind)
