"""The rows of scheduled events name each other rightly, and walk from new to gone."""

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
    ids=["types", "occasions", "members", "steps"],
)
def test_a_row_stands_once(names: list[object]) -> None:
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "since", sorted({row.since for row in TYPES} | {row.since for row in MEMBERS})
)
def test_what_is_new_comes_with_a_version_of_the_list(since: str) -> None:
    assert since in VERSIONS


def test_the_underscore_went_with_the_second_version() -> None:
    assert (OLD_PREFIX.before, OLD_PREFIX.text) == (VERSIONS[1], "_")


def test_the_members_stand_in_the_order_of_the_recordings() -> None:
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
def test_the_notice_is_the_documented_one(name: str, notice_s: int) -> None:
    assert [row.notice_s for row in TYPES if row.name == name] == [notice_s]


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
def test_every_type_has_an_occasion(row: EventType) -> None:
    assert row.name in {one.event_type for one in CAUSES}


@pytest.mark.parametrize("row", CAUSES, ids=lambda row: row.name)
def test_an_occasion_names_a_type_and_a_source(row: EventCause) -> None:
    assert row.event_type in {one.name for one in TYPES}
    assert row.source in EVENT_SOURCES
    assert row.duration_s >= -1
    assert row.started_life_s > 0


def test_every_trigger_moves_something() -> None:
    assert {row.trigger for row in TRANSITIONS} == set(Trigger)


def test_nothing_comes_back_from_gone_and_nothing_becomes_new() -> None:
    assert EventStatus.GONE not in {row.before for row in TRANSITIONS}
    assert EventStatus.NEW not in {row.after for row in TRANSITIONS}


def test_only_time_its_end_and_the_operator_move_what_has_started() -> None:
    triggers = {row.trigger for row in TRANSITIONS if row.before is EventStatus.STARTED}
    assert triggers == {Trigger.OVER, Trigger.COMPLETE}


def test_the_feature_is_forgotten_after_a_day_and_wakes_in_five_minutes() -> None:
    assert (ACTIVATION.delay_s, ACTIVATION.idle_s) == (5 * 60, 24 * 3600)
