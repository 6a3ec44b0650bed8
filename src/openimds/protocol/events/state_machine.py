"""All scheduled events of a fleet, and their lives along the rows of `spec.events.STEPS`.

Every method that is given a time first does what has come due until then, each thing at its own
time, so that a clock that jumps far goes through the same lives as one that ticks. What happened
comes back as transitions, oldest first: the lines of an audit log, and the keys of what a store has
to write. A mistake is a refusal, not an exception, because transitions may have come before it.

A scope's incarnation rises by one with every transition that changes a status: exactly then its
newest document changes. An older api-version may hide the type of the event that changed; there the
number rises over an unchanged list, and an equal number still means equal bytes.
"""

from collections.abc import Iterable
from enum import Enum
from heapq import heapify, heappop, heappush

from msgspec import Struct, field
from msgspec.structs import replace

from openimds.facts.events import FIRST_INCARNATION, TRANSITIONS, EventStatus, Trigger
from openimds.protocol.events.event import Event


class Transition(Struct, frozen=True):
    """One thing that happened to an event; `who` is empty where it was time.

    An approval that is not yet enough changes no status. `incarnation` is the scope's afterwards.
    """

    event_id: str
    scope: str
    trigger: Trigger
    before: EventStatus
    after: EventStatus
    at_s: float
    who: str
    incarnation: int


class RefusalReason(Enum):
    """Why something was refused."""

    UNKNOWN = "there is no such event"
    TWICE = "there is such an event already"
    STATUS = "the event is not in a status for this"


class TransitionRefusal(Struct, frozen=True):
    """What was refused, with a text for a person."""

    reason: RefusalReason
    text: str


class Outcome(Struct, frozen=True):
    """What happened, and what was refused after that."""

    transitions: tuple[Transition, ...]
    refusal: TransitionRefusal | None = None


class Snapshot(Struct, frozen=True):
    """A whole calendar as a value: events in the order in which they were declared."""

    events: tuple[Event, ...] = ()
    incarnations: dict[str, int] = field(default_factory=dict)


_AFTER = {(row.before, row.trigger): row.after for row in TRANSITIONS}
_HINTS = {
    Trigger.CANCEL: "What has started can be completed",
    Trigger.COMPLETE: "Start it first, or cancel it",
    Trigger.START: "It has started already",
}
_SLACK = 64
"""Stale entries of the queue that are not worth a clean-up."""


class EventStateMachine:
    """The events of all scopes; a change costs the same however many there are."""

    __slots__ = ("_by_scope", "_events", "_incarnations", "_next_order", "_orders", "_queue")

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        """Begin empty, or with what was taken down before."""
        snapshot = snapshot or Snapshot()
        self._events: dict[str, Event] = {}
        self._by_scope: dict[str, dict[str, Event]] = {}
        self._orders: dict[str, int] = {}
        self._next_order = 0
        self._incarnations = dict(snapshot.incarnations)
        self._queue: list[tuple[float, int, str]] = []
        for event in snapshot.events:
            self._keep(event)

    def snapshot(self) -> Snapshot:
        """Return everything as a value that `EventStateMachine` begins with again."""
        return Snapshot(tuple(self._events.values()), dict(self._incarnations))

    def get(self, event_id: str) -> Event | None:
        """Return an event that is not gone; the id in any letter case."""
        return self._events.get(event_id.upper())

    def events(self) -> tuple[Event, ...]:
        """Return all events, oldest declaration first."""
        return tuple(self._events.values())

    def events_of(self, scope: str) -> tuple[Event, ...]:
        """Return the events that a member of a scope sees, oldest declaration first."""
        return tuple(self._by_scope.get(scope, {}).values())

    def incarnation(self, scope: str) -> int:
        """Return the number of a scope's document."""
        return self._incarnations.get(scope, FIRST_INCARNATION)

    def due_s(self) -> float | None:
        """Return when `tick` next has something to do, or None."""
        while self._queue:
            due_s, _, event_id = self._queue[0]
            event = self._events.get(event_id)
            if event and event.due_s == due_s:
                return due_s
            heappop(self._queue)
        return None

    def tick(self, now_s: float) -> list[Transition]:
        """Do what has come due until now, in the order of the times when it was due."""
        transitions = []
        while (due_s := self.due_s()) is not None and due_s <= now_s:
            event = self._events[heappop(self._queue)[2]]
            transitions.append(self._step(event, _trigger_of_time(event), due_s, ""))
        return transitions

    def declare(self, event: Event, who: str = "") -> Outcome:
        """Take up an event at the time when it was created."""
        transitions = self.tick(event.created_s)
        if event.event_id in self._events:
            return _refused(
                transitions, RefusalReason.TWICE, f"there is an event {event.event_id} already"
            )
        trigger = Trigger.DECLARED if event.status is EventStatus.SCHEDULED else Trigger.FAILED
        self._keep(event)
        transitions.append(self._notify(event, trigger, EventStatus.NEW, event.created_s, who))
        return Outcome(tuple(transitions))

    def approve(self, scope: str, vm: str, event_ids: Iterable[str], now_s: float) -> Outcome:
        """Note that a VM approves events of its scope: all of them, or none if one is unknown.

        What has started, what the VM has approved before and what only advises is approved without
        effect.
        """
        transitions = self.tick(now_s)
        wanted = dict.fromkeys(event_id.upper() for event_id in event_ids)
        known = self._by_scope.get(scope, {})
        for event_id in wanted:
            if event_id not in known:
                return _unknown(transitions, event_id)
        events = [known[event_id] for event_id in wanted]
        transitions += [
            self._approve(event, vm, now_s)
            for event in events
            if event.status is EventStatus.SCHEDULED
            and not event.is_advisory
            and vm not in event.approvals
        ]
        return Outcome(tuple(transitions))

    def start(self, event_id: str, now_s: float, who: str = "") -> Outcome:
        """Start an event without waiting for approval or NotBefore."""
        return self._order(event_id, Trigger.START, now_s, who)

    def complete(self, event_id: str, now_s: float, who: str = "") -> Outcome:
        """End an event that has started."""
        return self._order(event_id, Trigger.COMPLETE, now_s, who)

    def cancel(self, event_id: str, now_s: float, who: str = "") -> Outcome:
        """Take back an event that has not started."""
        return self._order(event_id, Trigger.CANCEL, now_s, who)

    def _order(self, event_id: str, trigger: Trigger, now_s: float, who: str) -> Outcome:
        transitions = self.tick(now_s)
        event = self.get(event_id)
        if event is None:
            return _unknown(transitions, event_id)
        if trigger is Trigger.START and event.is_advisory:
            text = f"event {event.event_id} is a {event.event_type}, which only advises"
            return _refused(transitions, RefusalReason.STATUS, f"{text}. It can be cancelled")
        if (event.status, trigger) not in _AFTER:
            text = f"event {event.event_id} is {event.status}: cannot {trigger} it"
            return _refused(transitions, RefusalReason.STATUS, f"{text}. {_HINTS[trigger]}")
        transitions.append(self._step(event, trigger, now_s, who))
        return Outcome(tuple(transitions))

    def _approve(self, event: Event, vm: str, now_s: float) -> Transition:
        event = replace(event, approvals=(*event.approvals, vm))
        if event.is_approved:
            return self._step(event, Trigger.APPROVED, now_s, vm)
        self._put(event)
        return self._notify(event, Trigger.APPROVED, event.status, now_s, vm)

    def _step(self, event: Event, trigger: Trigger, at_s: float, who: str) -> Transition:
        """Move an event along the row for this trigger."""
        before = event.status
        after = replace(event, status=_AFTER[before, trigger])
        if after.status is EventStatus.COMPLETED:
            self._forget(event)
        else:
            after = replace(after, started_s=at_s)
            self._put(after)
            self._expect(after)
        return self._notify(after, trigger, before, at_s, who)

    def _notify(
        self, event: Event, trigger: Trigger, before: EventStatus, at_s: float, who: str
    ) -> Transition:
        incarnation = self.incarnation(event.scope)
        if event.status is not before:
            incarnation += 1
            self._incarnations[event.scope] = incarnation
        return Transition(
            event.event_id, event.scope, trigger, before, event.status, at_s, who, incarnation
        )

    def _keep(self, event: Event) -> None:
        self._orders[event.event_id] = self._next_order
        self._next_order += 1
        self._put(event)
        self._expect(event)

    def _put(self, event: Event) -> None:
        self._events[event.event_id] = event
        self._by_scope.setdefault(event.scope, {})[event.event_id] = event

    def _forget(self, event: Event) -> None:
        del self._events[event.event_id], self._orders[event.event_id]
        in_scope = self._by_scope[event.scope]
        del in_scope[event.event_id]
        if not in_scope:
            del self._by_scope[event.scope]

    def _expect(self, event: Event) -> None:
        """Queue the time at which an event moves on by itself."""
        if len(self._queue) > 2 * len(self._events) + _SLACK:
            entries = [self._entry(one) for one in self._events.values()]
            self._queue = [entry for entry in entries if entry]
            heapify(self._queue)
        elif entry := self._entry(event):
            heappush(self._queue, entry)

    def _entry(self, event: Event) -> tuple[float, int, str] | None:
        due_s = event.due_s
        return None if due_s is None else (due_s, self._orders[event.event_id], event.event_id)


def _trigger_of_time(event: Event) -> Trigger:
    if event.status is EventStatus.STARTED:
        return Trigger.OVER
    return Trigger.LAPSED if event.is_advisory else Trigger.NOT_BEFORE


def _unknown(transitions: list[Transition], event_id: str) -> Outcome:
    text = f'there is no event "{event_id}"; it may be over. Type: openimds event list'
    return _refused(transitions, RefusalReason.UNKNOWN, text)


def _refused(transitions: list[Transition], reason: RefusalReason, text: str) -> Outcome:
    return Outcome(tuple(transitions), TransitionRefusal(reason, text))
