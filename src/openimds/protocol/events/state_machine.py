"""The state machine of all scheduled events, along the rows of `facts.events.TRANSITIONS`.

Every method that takes a time first makes the transitions that are due until then, each at its own
time, so that a clock that jumps far gives the same transitions as one that ticks. Transitions are
returned oldest first: they are the lines of the audit log, and name the events to store. A mistake
is a refusal, not an exception, because transitions may have come before it.

The incarnation of a scope rises by one with every transition that changes a status: exactly then
its newest document changes. An older api-version may hide the type of the event that changed; there
the number rises over an unchanged list, and an equal number still means equal bytes.
"""

from collections.abc import Iterable
from enum import Enum
from heapq import heapify, heappop, heappush

from msgspec import Struct, field
from msgspec.structs import replace

from openimds.facts.events import FIRST_INCARNATION, TRANSITIONS, EventStatus, Trigger
from openimds.protocol.events.event import Event


class Transition(Struct, frozen=True):
    """One transition of an event; `who` is empty if time made it.

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
    """The reason of a refusal."""

    UNKNOWN = "there is no such event"
    TWICE = "there is such an event already"
    STATUS = "the event is not in a status for this"


class TransitionRefusal(Struct, frozen=True):
    """A refusal, with a text for the operator."""

    reason: RefusalReason
    text: str


class Outcome(Struct, frozen=True):
    """The transitions that were made, and the refusal after them, if any."""

    transitions: tuple[Transition, ...]
    refusal: TransitionRefusal | None = None


class Snapshot(Struct, frozen=True):
    """The whole state machine as a value: events in the order of their declaration."""

    events: tuple[Event, ...] = ()
    incarnations: dict[str, int] = field(default_factory=dict)


_AFTER = {(row.before, row.trigger): row.after for row in TRANSITIONS}
_HINTS = {
    Trigger.CANCEL: "A started event can be completed",
    Trigger.COMPLETE: "Start it first, or cancel it",
    Trigger.START: "It has started already",
}
_SLACK = 64
"""The number of stale entries of the queue that are not worth a clean-up."""


class EventStateMachine:
    """The events of all scopes; a change costs the same for any number of them."""

    __slots__ = ("_by_scope", "_events", "_incarnations", "_next_place", "_places", "_queue")

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        """Begin empty, or with a snapshot."""
        snapshot = snapshot or Snapshot()
        self._events: dict[str, Event] = {}
        self._by_scope: dict[str, dict[str, Event]] = {}
        self._places: dict[str, int] = {}
        self._next_place = 0
        self._incarnations = dict(snapshot.incarnations)
        self._queue: list[tuple[float, int, str]] = []
        for event in snapshot.events:
            self._add(event)

    def snapshot(self) -> Snapshot:
        """Return the state as a value for a new `EventStateMachine`."""
        return Snapshot(tuple(self._events.values()), dict(self._incarnations))

    def get(self, event_id: str) -> Event | None:
        """Return an event that is not completed; the id in any letter case."""
        return self._events.get(event_id.upper())

    def events(self) -> tuple[Event, ...]:
        """Return all events, oldest declaration first."""
        return tuple(self._events.values())

    def events_of(self, scope: str) -> tuple[Event, ...]:
        """Return the events of a scope, oldest declaration first."""
        return tuple(self._by_scope.get(scope, {}).values())

    def incarnation(self, scope: str) -> int:
        """Return the incarnation of a scope's document."""
        return self._incarnations.get(scope, FIRST_INCARNATION)

    def move(self, old: str, new: str) -> bool:
        """Prepare a scope for a VM that comes from another; tell whether its incarnation rises.

        The VM has to see a higher number than it has seen, because an equal one means that nothing
        has changed.
        """
        seen, known = self.incarnation(old), self._incarnations
        if self.incarnation(new) > seen or not (old in known or new in known):
            return False  # Two scopes without any event have equal documents.
        self._incarnations[new] = seen + 1
        return True

    def begin(self, scope: str, incarnation: int) -> bool:
        """Let a scope without a number begin with this one; tell whether it does."""
        is_new = scope not in self._incarnations
        if is_new:
            self._incarnations[scope] = incarnation
        return is_new

    def forget(self, scope: str) -> int:
        """Forget the number of a scope without events, and return it."""
        return self._incarnations.pop(scope, FIRST_INCARNATION)

    def due_s(self) -> float | None:
        """Return the time of the next transition by time, or None."""
        while self._queue:
            due_s, _, event_id = self._queue[0]
            event = self._events.get(event_id)
            if event and event.due_s == due_s:
                return due_s
            heappop(self._queue)
        return None

    def tick(self, now_s: float) -> list[Transition]:
        """Make the transitions that are due until now, in the order of their times."""
        transitions = []
        while (due_s := self.due_s()) is not None and due_s <= now_s:
            event = self._events[heappop(self._queue)[2]]
            transitions.append(self._step(event, _trigger_of_time(event), due_s, ""))
        return transitions

    def declare(self, event: Event, who: str = "") -> Outcome:
        """Add an event at the time when it was created."""
        transitions = self.tick(event.created_s)
        if event.event_id in self._events:
            return _refused(
                transitions, RefusalReason.TWICE, f"there is an event {event.event_id} already"
            )
        trigger = Trigger.DECLARED if event.status is EventStatus.SCHEDULED else Trigger.FAILED
        self._add(event)
        transitions.append(self._notify(event, trigger, EventStatus.NEW, event.created_s, who))
        return Outcome(tuple(transitions))

    def approve(self, scope: str, vm: str, event_ids: Iterable[str], now_s: float) -> Outcome:
        """Approve events of a VM's scope: all of them, or none if one is unknown.

        Approving has no effect on an event that has started, that the VM has approved before, or
        that only advises.
        """
        transitions = self.tick(now_s)
        ids = dict.fromkeys(event_id.upper() for event_id in event_ids)
        in_scope = self._by_scope.get(scope, {})
        for event_id in ids:
            if event_id not in in_scope:
                return _unknown(transitions, event_id)
        events = [in_scope[event_id] for event_id in ids]
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
        return self._trigger(event_id, Trigger.START, now_s, who)

    def complete(self, event_id: str, now_s: float, who: str = "") -> Outcome:
        """End an event that has started."""
        return self._trigger(event_id, Trigger.COMPLETE, now_s, who)

    def cancel(self, event_id: str, now_s: float, who: str = "") -> Outcome:
        """Cancel an event that has not started."""
        return self._trigger(event_id, Trigger.CANCEL, now_s, who)

    def _trigger(self, event_id: str, trigger: Trigger, now_s: float, who: str) -> Outcome:
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
        """Move an event along the row of this trigger."""
        before = event.status
        after = replace(event, status=_AFTER[before, trigger])
        if after.status is EventStatus.COMPLETED:
            self._remove(event)
        else:
            after = replace(after, started_s=at_s)
            self._put(after)
            self._enqueue(after)
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

    def _add(self, event: Event) -> None:
        self._places[event.event_id] = self._next_place
        self._next_place += 1
        self._put(event)
        self._enqueue(event)

    def _put(self, event: Event) -> None:
        self._events[event.event_id] = event
        self._by_scope.setdefault(event.scope, {})[event.event_id] = event

    def _remove(self, event: Event) -> None:
        del self._events[event.event_id], self._places[event.event_id]
        in_scope = self._by_scope[event.scope]
        del in_scope[event.event_id]
        if not in_scope:
            del self._by_scope[event.scope]

    def _enqueue(self, event: Event) -> None:
        """Queue the time at which time alone moves an event on."""
        if len(self._queue) > 2 * len(self._events) + _SLACK:
            entries = [self._entry(event) for event in self._events.values()]
            self._queue = [entry for entry in entries if entry]
            heapify(self._queue)
        elif entry := self._entry(event):
            heappush(self._queue, entry)

    def _entry(self, event: Event) -> tuple[float, int, str] | None:
        due_s = event.due_s
        return None if due_s is None else (due_s, self._places[event.event_id], event.event_id)


def _trigger_of_time(event: Event) -> Trigger:
    if event.status is EventStatus.STARTED:
        return Trigger.OVER
    return Trigger.LAPSED if event.is_advisory else Trigger.NOT_BEFORE


def _unknown(transitions: list[Transition], event_id: str) -> Outcome:
    text = f'there is no event "{event_id}"; it may be completed. Type: openimds event list'
    return _refused(transitions, RefusalReason.UNKNOWN, text)


def _refused(transitions: list[Transition], reason: RefusalReason, text: str) -> Outcome:
    return Outcome(tuple(transitions), TransitionRefusal(reason, text))
