"""The operator's request for an event: read from a body, and checked."""

from typing import Any

import pytest

from openimds.facts.events import TYPES
from openimds.protocol.events.request import REQUEST, EventRequest, check_request, read_request
from openimds.protocol.events.schedule import SCENARIO
from tests.unit.vm.refused import Refused, refused

NOW_S = 1_700_000_000.0
TYPE_NAMES = "one of " + ", ".join(row.name for row in TYPES)
SPAN = "a number from -1 to 316224000"


def test_request_with_every_member_is_read() -> None:
    body = {
        "type": "Freeze",
        "vms": ["a", "b"],
        "in_s": 30.5,
        "not_before": "2026-11-22T19:54:46Z",
        "duration_s": 9,
        "life_s": 20,
        "description": "d",
        "source": "User",
        "needs": "all",
        "failure": True,
    }
    assert read_request(body) == EventRequest(
        event_type="Freeze",
        vms=("a", "b"),
        notice_s=30.5,
        not_before_s=1_795_377_286.0,
        duration_s=9,
        life_s=20,
        description="d",
        source="User",
        needs="all",
        is_failure=True,
    )


def test_null_member_counts_as_absent() -> None:
    body = {"type": "Freeze", "vms": ["a"], "in_s": None, "failure": True}
    assert read_request(body) == EventRequest("Freeze", ("a",), is_failure=True)


@pytest.mark.parametrize(
    "body, expected",
    [
        (None, Refused("body", "nothing (null)", "a mapping of names to values")),
        ({}, Refused("body", "no type", f"type: {TYPE_NAMES}")),
        ({"type": "Freeze"}, Refused("body", "no vms", "vms: a list of 1 to 100000 strings")),
        (
            {"type": "Freeze", "vms": ["a"], "not_before": "soon"},
            Refused(
                "not_before",
                'the string "soon"',
                "a time with its zone, such as 2026-11-22T19:54:46Z",
            ),
        ),
    ],
)
def test_mistake_in_a_body_is_refused(body: object, expected: Refused) -> None:
    assert refused(read_request, body) == expected


def test_unknown_member_brings_the_nearest() -> None:
    assert refused(read_request, {"typ": "x"}).hint == 'Did you mean "type"?'


@pytest.mark.parametrize(
    "changes, expected",
    [
        (
            {"event_type": "freeze"},
            Refused("type", 'the string "freeze"', TYPE_NAMES, 'Did you mean "Freeze"?'),
        ),
        (
            {"source": "platform"},
            Refused(
                "source",
                'the string "platform"',
                "one of Platform, User",
                'Did you mean "Platform"?',
            ),
        ),
        ({"needs": "most"}, Refused("needs", 'the string "most"', "one of any, all")),
        ({"vms": ()}, Refused("vms", "a list of 0", "a list of 1 to 100000 strings")),
        (
            {"event_type": "SpotRebalanceRecommendation", "is_failure": True},
            Refused(
                "type",
                'the string "SpotRebalanceRecommendation"',
                "a type that starts",
                "It only advises",
            ),
        ),
        (
            {"notice_s": -0.5},
            Refused("in_s", "the number -0.5", "a number from 0 to 316224000"),
        ),
        (
            {"notice_s": float("nan")},
            Refused("in_s", "the number nan", "a number from 0 to 316224000"),
        ),
        (
            {"notice_s": 316224001},
            Refused("in_s", "the number 316224001", "a number from 0 to 316224000"),
        ),
        (
            {"duration_s": -2},
            Refused("duration_s", "the number -2", "a whole number from -1 to 316224000"),
        ),
        ({"life_s": -2}, Refused("life_s", "the number -2", SPAN)),
        (
            {"description": "a\udc80"},
            Refused("description", "half of a surrogate pair", "text that UTF-8 can carry"),
        ),
        (
            {"notice_s": 1, "not_before_s": NOW_S + 9},
            Refused("not_before", "both not_before and in_s", "one of the two"),
        ),
        (
            {"not_before_s": NOW_S - 1},
            Refused("not_before", "a time 1 s ago", "a time to come, at most 316224000 s ahead"),
        ),
        (
            {"not_before_s": NOW_S + 316224001},
            Refused(
                "not_before",
                "a time 316224001 s ahead",
                "a time to come, at most 316224000 s ahead",
            ),
        ),
    ],
    ids=str,
)
def test_request_that_cannot_become_an_event_is_refused(
    changes: dict[str, Any], expected: Refused
) -> None:
    request = EventRequest(**{"event_type": "Freeze", "vms": ("web-1",), **changes})
    assert refused(check_request, request, NOW_S) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"notice_s": 0},
        {"notice_s": 316224000},
        {"duration_s": -1},
        {"life_s": -1},
        {"not_before_s": NOW_S},
        {"not_before_s": NOW_S + 316224000},
    ],
)
def test_ends_of_the_ranges_are_accepted(changes: dict[str, Any]) -> None:
    check_request(EventRequest("Freeze", ("web-1",), **changes), NOW_S)


def test_only_scenarios_repeat_and_only_requests_are_for_now() -> None:
    request, scenario = ({row.name for row in rows} for rows in (REQUEST, SCENARIO))
    assert scenario - request == {"at_s", "notice_s", "every_s", "mean_s", "seed", "count"}
    assert request - scenario == {"in_s", "not_before", "failure"}
