"""Events move through their states, one transition at a time."""

from typing import Any

import msgspec.json
import pytest

from openimds.facts.events import EventStatus, Trigger
from openimds.protocol.events.event import Event, prepare
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.state_machine import (
    EventStateMachine,
    Outcome,
    RefusalReason,
    Snapshot,
    Transition,
)

NEW, SCHEDULED, STARTED, GONE = (
    EventStatus.NEW,
    EventStatus.SCHEDULED,
    EventStatus.STARTED,
    EventStatus.COMPLETED,
)
SCOPE = "set:as-1"
A, B, C = (letter * 8 + "-0000-4000-8000-000000000000" for letter in "ABC")


def event(event_id: str = A, now_s: float = 1000.0, scope: str = SCOPE, **fields: Any) -> Event:
    request = EventRequest(**{"event_type": "Freeze", "vms": ("web-1", "web-2"), **fields})
    return prepare(request, event_id, scope, [(name, name) for name in request.vms], now_s)


def machine_with(*events: Event) -> EventStateMachine:
    machine = EventStateMachine()
    for move in events:
        assert machine.declare(move).refusal is None
    return machine


def moves(
    outcome: Outcome | list[Transition],
) -> list[tuple[str, Trigger, EventStatus, float, str, int]]:
    transitions = outcome.transitions if isinstance(outcome, Outcome) else outcome
    return [
        (move.event_id, move.trigger, move.after, move.at_s, move.who, move.incarnation)
        for move in transitions
    ]


def refused(outcome: Outcome) -> tuple[RefusalReason, str]:
    assert outcome.refusal
    return outcome.refusal.reason, outcome.refusal.text


def status(of: EventStateMachine, event_id: str = A) -> EventStatus | None:
    event = of.get(event_id)
    return event.status if event else None


def test_empty_machine_has_no_due_time() -> None:
    empty = EventStateMachine()
    assert empty.events() == empty.events_of(SCOPE) == ()
    assert (empty.incarnation(SCOPE), empty.due_s(), empty.tick(1e9)) == (0, None, [])


def test_declared_event_is_seen_by_its_scope_alone() -> None:
    move = event()
    events = EventStateMachine()
    assert events.declare(move, "ops") == Outcome(
        (Transition(A, SCOPE, Trigger.DECLARED, NEW, SCHEDULED, 1000.0, "ops", 1),)
    )
    assert events.events() == events.events_of(SCOPE) == (move,)
    assert events.events_of("vm:web-1") == ()
    assert (events.incarnation(SCOPE), events.incarnation("vm:web-1")) == (1, 0)
    assert events.get(A.lower()) == move


def test_time_starts_an_event_and_ends_it_ten_minutes_later() -> None:
    events = machine_with(event())
    assert events.due_s() == 1900
    assert events.tick(1899.9) == []
    assert moves(events.tick(1900.0)) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert events.due_s() == 2500
    assert moves(events.tick(2500.0)) == [(A, Trigger.OVER, GONE, 2500, "", 3)]
    assert (events.events(), events.events_of(SCOPE), events.due_s()) == ((), (), None)


def test_jump_makes_all_due_transitions_in_order() -> None:
    events = machine_with(event(A), event(B, scope="vm:b", notice_s=1000), event(C, notice_s=300))
    assert moves(events.tick(1e9)) == [
        (C, Trigger.NOT_BEFORE, STARTED, 1300, "", 3),
        (A, Trigger.NOT_BEFORE, STARTED, 1900, "", 4),
        (C, Trigger.OVER, GONE, 1900, "", 5),
        (B, Trigger.NOT_BEFORE, STARTED, 2000, "", 2),
        (A, Trigger.OVER, GONE, 2500, "", 6),
        (B, Trigger.OVER, GONE, 2600, "", 3),
    ]


def test_clock_that_goes_back_changes_nothing() -> None:
    events = machine_with(event())
    events.tick(1900.0)
    assert events.tick(0.0) == []
    assert status(events) is STARTED


def test_failure_is_started_at_once() -> None:
    events = EventStateMachine()
    outcome = events.declare(event(event_type="Reboot", is_failure=True))
    assert moves(outcome) == [(A, Trigger.FAILED, STARTED, 1000, "", 1)]
    assert events.due_s() == 1600


def test_one_approval_of_the_scope_starts_the_event() -> None:
    events = machine_with(event())
    assert moves(events.approve(SCOPE, "web-3", [A.lower()], 1001.0)) == [
        (A, Trigger.APPROVED, STARTED, 1001, "web-3", 2)
    ]
    assert events.due_s() == 1601


def test_not_before_has_no_effect_on_a_started_event() -> None:
    events = machine_with(event(life_s=5000))
    events.approve(SCOPE, "web-1", [A], 1001.0)
    assert events.tick(1900.0) == []
    assert events.due_s() == 6001


def test_where_all_are_needed_the_last_one_starts_the_event() -> None:
    events = machine_with(event(needs="all"))
    assert events.approve(SCOPE, "web-1", [A], 1001.0).transitions == (
        Transition(A, SCOPE, Trigger.APPROVED, SCHEDULED, SCHEDULED, 1001, "web-1", 1),
    )
    assert moves(events.approve(SCOPE, "web-3", [A], 1002.0)) == [
        (A, Trigger.APPROVED, SCHEDULED, 1002, "web-3", 1)
    ]
    assert moves(events.approve(SCOPE, "web-2", [A], 1003.0)) == [
        (A, Trigger.APPROVED, STARTED, 1003, "web-2", 2)
    ]


def test_time_starts_an_event_that_lacks_an_approval() -> None:
    events = machine_with(event(needs="all"))
    events.approve(SCOPE, "web-1", [A], 1001.0)
    assert moves(events.tick(1900.0)) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]


def test_approving_again_or_later_has_no_effect() -> None:
    events = machine_with(event(A), event(B, needs="all"))
    events.approve(SCOPE, "web-1", [A, B], 1001.0)
    assert events.approve(SCOPE, "web-1", [A, B, A, B], 1002.0) == Outcome(())
    assert events.approve(SCOPE, "web-2", [A], 1002.0) == Outcome(())


def test_unknown_id_is_refused_and_no_event_approved() -> None:
    events = machine_with(event())
    outcome = events.approve(SCOPE, "web-1", [A, B], 1001.0)
    assert outcome.transitions == ()
    assert refused(outcome) == (
        RefusalReason.UNKNOWN,
        f'there is no event "{B}"; it may be completed. Type: openimds event list',
    )
    assert status(events) is SCHEDULED


def test_event_of_another_scope_is_unknown() -> None:
    events = machine_with(event())
    assert refused(events.approve("vm:evil", "evil", [A], 1001.0))[0] is RefusalReason.UNKNOWN
    assert status(events) is SCHEDULED


def test_completed_event_is_unknown() -> None:
    events = machine_with(event())
    outcome = events.approve(SCOPE, "web-1", [A], 1e6)
    assert [move.trigger for move in outcome.transitions] == [Trigger.NOT_BEFORE, Trigger.OVER]
    assert refused(outcome)[0] is RefusalReason.UNKNOWN


def test_advisory_event_is_approved_without_effect_and_lapses() -> None:
    events = machine_with(event(event_type="SpotRebalanceRecommendation"))
    assert events.approve(SCOPE, "web-1", [A], 1001.0) == Outcome(())
    assert refused(events.start(A, 1002.0)) == (
        RefusalReason.STATUS,
        f"event {A} is a SpotRebalanceRecommendation, which only advises. It can be cancelled",
    )
    assert moves(events.tick(1900.0)) == [(A, Trigger.LAPSED, GONE, 1900, "", 2)]


def test_operator_starts_and_completes_an_event() -> None:
    events = machine_with(event())
    assert moves(events.start(A.lower(), 1001.0, "ops")) == [
        (A, Trigger.START, STARTED, 1001, "ops", 2)
    ]
    assert moves(events.complete(A, 1002.0, "ops")) == [(A, Trigger.COMPLETE, GONE, 1002, "ops", 3)]


def test_operator_cancels_a_scheduled_event() -> None:
    events = machine_with(event())
    assert moves(events.cancel(A, 1001.0, "ops")) == [(A, Trigger.CANCEL, GONE, 1001, "ops", 2)]
    assert events.due_s() is None


def test_event_may_wait_for_the_operator_to_complete_it() -> None:
    events = machine_with(event(life_s=-1))
    events.tick(1900.0)
    assert (events.due_s(), events.tick(1e9)) == (None, [])
    assert moves(events.complete(A, 1e9)) == [(A, Trigger.COMPLETE, GONE, 1e9, "", 3)]


def test_order_that_the_status_forbids_is_refused_with_a_hint() -> None:
    events = machine_with(event())
    assert refused(events.complete(A, 1001.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Scheduled: cannot complete it. Start it first, or cancel it",
    )
    events.start(A, 1002.0)
    assert refused(events.cancel(A, 1003.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Started: cannot cancel it. A started event can be completed",
    )
    assert refused(events.start(A, 1003.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Started: cannot start it. It has started already",
    )
    assert events.incarnation(SCOPE) == 2


@pytest.mark.parametrize("order", ["start", "complete", "cancel"])
def test_order_about_an_unknown_event_is_refused(order: str) -> None:
    assert refused(getattr(EventStateMachine(), order)(A, 1000.0))[0] is RefusalReason.UNKNOWN


def test_order_comes_after_the_transitions_due_before_it() -> None:
    events = machine_with(event())
    outcome = events.cancel(A, 1900.0)
    assert moves(outcome) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert refused(outcome)[0] is RefusalReason.STATUS


def test_id_stands_for_one_event() -> None:
    events = machine_with(event())
    outcome = events.declare(event(A, now_s=2000.0, scope="vm:other"))
    assert moves(outcome) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert refused(outcome) == (RefusalReason.TWICE, f"there is an event {A} already")
    assert events.events_of("vm:other") == ()


def test_change_keeps_the_place_of_an_event() -> None:
    events = machine_with(event(A), event(B), event(C))
    events.start(A, 1001.0)
    events.cancel(B, 1002.0)
    assert [move.event_id for move in events.events_of(SCOPE)] == [A, C]


def test_snapshot_goes_through_json_and_resumes() -> None:
    events = machine_with(event(A), event(B, scope="vm:b"), event(C, notice_s=900))
    events.cancel(B, 1001.0)
    events.approve(SCOPE, "web-1", [A], 1002.5)
    snapshot = msgspec.json.decode(msgspec.json.encode(events.snapshot()), type=Snapshot)
    assert snapshot == events.snapshot()
    again = EventStateMachine(snapshot)
    assert again.events_of(SCOPE) == events.events_of(SCOPE)
    assert [again.incarnation(scope) for scope in (SCOPE, "vm:b", "vm:c")] == [3, 2, 0]
    assert again.tick(1e9) == events.tick(1e9)


def test_snapshot_does_not_change_with_its_machine() -> None:
    events = machine_with(event())
    snapshot = events.snapshot()
    again = EventStateMachine(snapshot)
    again.cancel(A, 1001.0)
    assert snapshot == events.snapshot()
    events.cancel(A, 1001.0)
    assert snapshot.incarnations == {SCOPE: 1}


def test_cancelled_events_do_not_pile_up_in_the_queue() -> None:
    events = machine_with(event(A), event(B, life_s=-1, notice_s=0))
    events.tick(1000.0)
    for number in range(1000):
        other = f"{number:08}-0000-4000-8000-000000000000"
        events.declare(event(other, notice_s=10_000))
        events.cancel(other, 1000.0)
    assert len(events._queue) < 100
    assert events.due_s() == 1900


@pytest.mark.parametrize(
    "incarnations, expected",
    [
        ({}, None),
        ({"old": 3}, 4),
        ({"old": 3, "new": 2}, 4),
        ({"old": 3, "new": 3}, 4),
        ({"old": 3, "new": 4}, None),
        ({"new": 5}, None),
    ],
)
def test_scope_of_a_newcomer_has_a_number_it_has_not_seen(
    incarnations: dict[str, int], expected: int | None
) -> None:
    machine = EventStateMachine(Snapshot((), incarnations))
    before = machine.incarnation("new")
    assert machine.move("old", "new") is (expected is not None)
    assert machine.incarnation("new") == (expected or before)
    assert machine.incarnation("old") == incarnations.get("old", machine.incarnation("untouched"))


def test_scope_begins_with_a_number_once() -> None:
    machine = EventStateMachine()
    assert machine.begin("a", 5)
    assert not machine.begin("a", 9)
    assert machine.incarnation("a") == 5
