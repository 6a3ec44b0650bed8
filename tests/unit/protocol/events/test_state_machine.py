"""The lives of events, one by one."""

from typing import Any

import msgspec.json
import pytest

from openimds.facts.events import EventStatus, Trigger
from openimds.protocol.events.event import Declaration, Event, prepare
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


def event(event_id: str = A, now_s: float = 1000.0, **more: Any) -> Event:
    said = {"event_type": "Freeze", "scope": SCOPE, "concerned": ("web-1", "web-2"), **more}
    return prepare(Declaration(event_id=event_id, **said), now_s)


def calendar(*events: Event) -> EventStateMachine:
    answer = EventStateMachine()
    for one in events:
        assert answer.declare(one).refusal is None
    return answer


def told(
    outcome: Outcome | list[Transition],
) -> list[tuple[str, Trigger, EventStatus, float, str, int]]:
    transitions = outcome.transitions if isinstance(outcome, Outcome) else outcome
    return [
        (one.event_id, one.trigger, one.after, one.at_s, one.who, one.incarnation)
        for one in transitions
    ]


def refused(outcome: Outcome) -> tuple[RefusalReason, str]:
    assert outcome.refusal
    return outcome.refusal.reason, outcome.refusal.text


def status(of: EventStateMachine, event_id: str = A) -> EventStatus | None:
    found = of.get(event_id)
    return found.status if found else None


def test_an_empty_calendar_has_nothing_to_do() -> None:
    empty = EventStateMachine()
    assert empty.events() == empty.events_of(SCOPE) == ()
    assert (empty.incarnation(SCOPE), empty.due_s(), empty.tick(1e9)) == (0, None, [])


def test_a_declared_event_is_seen_by_its_scope_alone() -> None:
    one = event()
    events = EventStateMachine()
    assert events.declare(one, "ops") == Outcome(
        (Transition(A, SCOPE, Trigger.DECLARED, NEW, SCHEDULED, 1000.0, "ops", 1),)
    )
    assert events.events() == events.events_of(SCOPE) == (one,)
    assert events.events_of("vm:web-1") == ()
    assert (events.incarnation(SCOPE), events.incarnation("vm:web-1")) == (1, 0)
    assert events.get(A.lower()) == one


def test_time_starts_an_event_at_its_start_and_ends_it_ten_minutes_later() -> None:
    events = calendar(event())
    assert events.due_s() == 1900
    assert events.tick(1899.9) == []
    assert told(events.tick(1900.0)) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert events.due_s() == 2500
    assert told(events.tick(2500.0)) == [(A, Trigger.OVER, GONE, 2500, "", 3)]
    assert (events.events(), events.events_of(SCOPE), events.due_s()) == ((), (), None)


def test_a_clock_that_jumps_goes_through_everything_in_the_order_of_time() -> None:
    events = calendar(event(A), event(B, scope="vm:b", notice_s=1000), event(C, notice_s=300))
    assert told(events.tick(1e9)) == [
        (C, Trigger.NOT_BEFORE, STARTED, 1300, "", 3),
        (A, Trigger.NOT_BEFORE, STARTED, 1900, "", 4),
        (C, Trigger.OVER, GONE, 1900, "", 5),
        (B, Trigger.NOT_BEFORE, STARTED, 2000, "", 2),
        (A, Trigger.OVER, GONE, 2500, "", 6),
        (B, Trigger.OVER, GONE, 2600, "", 3),
    ]


def test_a_clock_that_goes_back_changes_nothing() -> None:
    events = calendar(event())
    events.tick(1900.0)
    assert events.tick(0.0) == []
    assert status(events) is STARTED


def test_a_failure_is_seen_started_at_once() -> None:
    events = EventStateMachine()
    outcome = events.declare(event(event_type="Reboot", is_failure=True))
    assert told(outcome) == [(A, Trigger.FAILED, STARTED, 1000, "", 1)]
    assert events.due_s() == 1600


def test_one_approval_of_any_vm_of_the_scope_starts_the_event_for_all() -> None:
    events = calendar(event())
    assert told(events.approve(SCOPE, "web-3", [A.lower()], 1001.0)) == [
        (A, Trigger.APPROVED, STARTED, 1001, "web-3", 2)
    ]
    assert events.due_s() == 1601


def test_the_start_that_was_planned_means_nothing_to_an_event_that_has_started() -> None:
    events = calendar(event(life_s=5000))
    events.approve(SCOPE, "web-1", [A], 1001.0)
    assert events.tick(1900.0) == []
    assert events.due_s() == 6001


def test_where_all_are_needed_the_last_one_starts_the_event() -> None:
    events = calendar(event(needs="all"))
    assert events.approve(SCOPE, "web-1", [A], 1001.0).transitions == (
        Transition(A, SCOPE, Trigger.APPROVED, SCHEDULED, SCHEDULED, 1001, "web-1", 1),
    )
    assert told(events.approve(SCOPE, "web-3", [A], 1002.0)) == [
        (A, Trigger.APPROVED, SCHEDULED, 1002, "web-3", 1)
    ]
    assert told(events.approve(SCOPE, "web-2", [A], 1003.0)) == [
        (A, Trigger.APPROVED, STARTED, 1003, "web-2", 2)
    ]


def test_where_all_are_needed_and_one_is_silent_time_starts_the_event() -> None:
    events = calendar(event(needs="all"))
    events.approve(SCOPE, "web-1", [A], 1001.0)
    assert told(events.tick(1900.0)) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]


def test_approving_again_or_later_is_fine_and_does_nothing() -> None:
    events = calendar(event(A), event(B, needs="all"))
    events.approve(SCOPE, "web-1", [A, B], 1001.0)
    assert events.approve(SCOPE, "web-1", [A, B, A, B], 1002.0) == Outcome(())
    assert events.approve(SCOPE, "web-2", [A], 1002.0) == Outcome(())


def test_one_unknown_id_is_refused_and_then_none_is_approved() -> None:
    events = calendar(event())
    outcome = events.approve(SCOPE, "web-1", [A, B], 1001.0)
    assert outcome.transitions == ()
    assert refused(outcome) == (
        RefusalReason.UNKNOWN,
        f'there is no event "{B}"; it may be over. Type: openimds event list',
    )
    assert status(events) is SCHEDULED


def test_an_event_of_another_scope_is_unknown() -> None:
    events = calendar(event())
    assert refused(events.approve("vm:evil", "evil", [A], 1001.0))[0] is RefusalReason.UNKNOWN
    assert status(events) is SCHEDULED


def test_an_event_that_is_gone_is_unknown() -> None:
    events = calendar(event())
    outcome = events.approve(SCOPE, "web-1", [A], 1e6)
    assert [one.trigger for one in outcome.transitions] == [Trigger.NOT_BEFORE, Trigger.OVER]
    assert refused(outcome)[0] is RefusalReason.UNKNOWN


def test_advice_is_approved_without_effect_and_lapses() -> None:
    events = calendar(event(event_type="SpotRebalanceRecommendation"))
    assert events.approve(SCOPE, "web-1", [A], 1001.0) == Outcome(())
    assert refused(events.start(A, 1002.0)) == (
        RefusalReason.STATUS,
        f"event {A} is a SpotRebalanceRecommendation, which only advises. It can be cancelled",
    )
    assert told(events.tick(1900.0)) == [(A, Trigger.LAPSED, GONE, 1900, "", 2)]


def test_the_operator_starts_and_completes() -> None:
    events = calendar(event())
    assert told(events.start(A.lower(), 1001.0, "ops")) == [
        (A, Trigger.START, STARTED, 1001, "ops", 2)
    ]
    assert told(events.complete(A, 1002.0, "ops")) == [(A, Trigger.COMPLETE, GONE, 1002, "ops", 3)]


def test_the_operator_cancels_what_has_not_started() -> None:
    events = calendar(event())
    assert told(events.cancel(A, 1001.0, "ops")) == [(A, Trigger.CANCEL, GONE, 1001, "ops", 2)]
    assert events.due_s() is None


def test_an_event_may_wait_for_the_operator_to_complete_it() -> None:
    events = calendar(event(life_s=-1))
    events.tick(1900.0)
    assert (events.due_s(), events.tick(1e9)) == (None, [])
    assert told(events.complete(A, 1e9)) == [(A, Trigger.COMPLETE, GONE, 1e9, "", 3)]


def test_what_the_status_does_not_allow_is_refused_with_the_way_out() -> None:
    events = calendar(event())
    assert refused(events.complete(A, 1001.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Scheduled: cannot complete it. Start it first, or cancel it",
    )
    events.start(A, 1002.0)
    assert refused(events.cancel(A, 1003.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Started: cannot cancel it. What has started can be completed",
    )
    assert refused(events.start(A, 1003.0)) == (
        RefusalReason.STATUS,
        f"event {A} is Started: cannot start it. It has started already",
    )
    assert events.incarnation(SCOPE) == 2


@pytest.mark.parametrize("order", ["start", "complete", "cancel"])
def test_an_order_about_an_unknown_event_is_refused(order: str) -> None:
    assert refused(getattr(EventStateMachine(), order)(A, 1000.0))[0] is RefusalReason.UNKNOWN


def test_an_order_comes_after_what_was_due_before_it() -> None:
    events = calendar(event())
    outcome = events.cancel(A, 1900.0)
    assert told(outcome) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert refused(outcome)[0] is RefusalReason.STATUS


def test_an_id_stands_for_one_event() -> None:
    events = calendar(event())
    outcome = events.declare(event(A, now_s=2000.0, scope="vm:other"))
    assert told(outcome) == [(A, Trigger.NOT_BEFORE, STARTED, 1900, "", 2)]
    assert refused(outcome) == (RefusalReason.TWICE, f"there is an event {A} already")
    assert events.events_of("vm:other") == ()


def test_a_change_keeps_the_place_of_an_event_in_the_document() -> None:
    events = calendar(event(A), event(B), event(C))
    events.start(A, 1001.0)
    events.cancel(B, 1002.0)
    assert [one.event_id for one in events.events_of(SCOPE)] == [A, C]


def test_a_snapshot_goes_through_json_and_lives_on() -> None:
    events = calendar(event(A), event(B, scope="vm:b"), event(C, notice_s=900))
    events.cancel(B, 1001.0)
    events.approve(SCOPE, "web-1", [A], 1002.5)
    taken = msgspec.json.decode(msgspec.json.encode(events.snapshot()), type=Snapshot)
    assert taken == events.snapshot()
    again = EventStateMachine(taken)
    assert again.events_of(SCOPE) == events.events_of(SCOPE)
    assert [again.incarnation(scope) for scope in (SCOPE, "vm:b", "vm:c")] == [3, 2, 0]
    assert again.tick(1e9) == events.tick(1e9)


def test_a_snapshot_does_not_change_with_the_calendar() -> None:
    events = calendar(event())
    taken = events.snapshot()
    again = EventStateMachine(taken)
    again.cancel(A, 1001.0)
    assert taken == events.snapshot()
    events.cancel(A, 1001.0)
    assert taken.incarnations == {SCOPE: 1}


def test_what_was_cancelled_does_not_pile_up_in_the_queue() -> None:
    events = calendar(event(A), event(B, life_s=-1, notice_s=0))
    events.tick(1000.0)
    for number in range(1000):
        other = f"{number:08}-0000-4000-8000-000000000000"
        events.declare(event(other, notice_s=10_000))
        events.cancel(other, 1000.0)
    assert len(events._queue) < 100
    assert events.due_s() == 1900
