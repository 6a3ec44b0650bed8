"""The rows of scheduled events: references, and the way from new to completed."""

import pytest

from openimds.facts.events import (
    ACTIVATION,
    CAUSES,
    EVENT_SOURCES,
    MEMBERS,
    OLD_PREFIX,
    TRANSITIONS,
    TYPES,
    EventCause,
    EventStatus,
    EventType,
    Trigger,
)
from openimds.facts.versions import SCHEDULED_EVENTS

VERSIONS = [row.name for row in SCHEDULED_EVENTS]


@pytest.mark.parametrize(
    "names",
    [
        [row.name for row in TYPES],
        [row.name for row in CAUSES],
        [row.name for row in MEMBERS],
        [(row.before, row.trigger) for row in TRANSITIONS],
    ],
    ids=["types", "causes", "members", "transitions"],
)
def test_rows_are_unique(names: list[object]) -> None:
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "since", sorted({row.since for row in TYPES} | {row.since for row in MEMBERS})
)
def test_types_and_members_begin_with_a_listed_version(since: str) -> None:
    assert since in VERSIONS


def test_underscore_ended_with_the_second_version() -> None:
    assert (OLD_PREFIX.before, OLD_PREFIX.text) == (VERSIONS[1], "_")


def test_members_are_in_recorded_order() -> None:
    assert [row.name for row in MEMBERS] == [
        "EventId",
        "EventStatus",
        "EventType",
        "ResourceType",
        "Resources",
        "NotBefore",
        "Description",
        "EventSource",
        "DurationInSeconds",
    ]


@pytest.mark.parametrize(
    "name, notice_s",
    [("Freeze", 900), ("Reboot", 900), ("Redeploy", 600), ("Preempt", 30), ("Terminate", 300)],
)
def test_notice_is_the_documented_one(name: str, notice_s: int) -> None:
    assert [row.notice_s for row in TYPES if row.name == name] == [notice_s]


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
def test_type_has_a_cause(row: EventType) -> None:
    assert row.name in {cause.event_type for cause in CAUSES}


@pytest.mark.parametrize("row", CAUSES, ids=lambda row: row.name)
def test_cause_names_a_type_and_a_source(row: EventCause) -> None:
    assert row.event_type in {event_type.name for event_type in TYPES}
    assert row.source in EVENT_SOURCES
    assert row.duration_s >= -1
    assert row.started_life_s > 0


def test_every_trigger_has_a_transition() -> None:
    assert {row.trigger for row in TRANSITIONS} == set(Trigger)


def test_completed_is_final_and_new_is_initial() -> None:
    assert EventStatus.COMPLETED not in {row.before for row in TRANSITIONS}
    assert EventStatus.NEW not in {row.after for row in TRANSITIONS}


def test_started_event_moves_by_time_or_operator_only() -> None:
    triggers = {row.trigger for row in TRANSITIONS if row.before is EventStatus.STARTED}
    assert triggers == {Trigger.OVER, Trigger.COMPLETE}


def test_scope_activates_in_five_minutes_for_a_day() -> None:
    assert (ACTIVATION.delay_s, ACTIVATION.idle_s) == (5 * 60, 24 * 3600)
