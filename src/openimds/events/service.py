"""What is to happen to the VMs: scheduled events, declared, approved and followed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from math import ceil
from uuid import uuid4

import msgspec.json
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.events.clock import Clock, ClockState
from openimds.events.scenario import ScenarioTable, begin, digest_of, end, next_of
from openimds.events.writer import EventWriter, PublishedScope, WriteResult
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.parameters import nearest
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.events.event import MOST_S, Declaration, Event, place_of, prepare
from openimds.protocol.events.input import EventRequest, event_request
from openimds.protocol.events.schedule import RecurringEvent
from openimds.protocol.events.state_machine import (
    EventStateMachine,
    Outcome,
    RefusalReason,
    Transition,
    TransitionRefusal,
)
from openimds.protocol.pending import (
    Approved,
    EventsDocument,
    Failed,
    PendingApproval,
    PendingEventsDocument,
)

_MOST_AT_ONCE = 200
_SLICE = 100
_TEXTS = 64
"""How many texts are remembered as told."""
_CLOCK = "clock"
"""The store's note of a virtual clock."""
_Places = dict[str, list[tuple[str, str]]]
"""By scope: the VMs that are hit, by our name and by that in the document."""


async def _nothing() -> None:
    """Do nothing when the clock is set."""


class EventsService:
    """All scheduled events of a fleet, on the event loop."""

    def __init__(  # noqa: PLR0913 - its collaborators and its two callbacks
        self,
        fleet_service: FleetService,
        clock: Clock,
        notify: Callable[[str], None],
        activity: ScopeActivity | None = None,
        *,
        on_clock: Callable[[], Awaitable[None]] = _nothing,
        on_log_entry: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep events in the store of a desk; with an `activity` a scope has to ask first."""
        self.clock = clock
        self.event_writer = EventWriter(fleet_service, clock, notify, self._follow, on_log_entry)
        self.close = self.event_writer.close
        self.on_clock = on_clock
        self._fleet_service, self._notify, self._activity = fleet_service, notify, activity
        self._notify_once = lru_cache(_TEXTS)(notify)
        self._untouched = PublishedScope()

    async def load(self) -> None:
        """Take up what the store holds, the clock first if it is a virtual one.

        Raises:
            StoreError: it cannot be read or written.
        """
        noted = await self._fleet_service.call_store(self._fleet_service.store.value, _CLOCK)
        if noted and self.clock.is_virtual:
            self.clock.take(msgspec.json.decode(noted, type=ClockState))
        await self.event_writer.load()

    # What guests ask.

    def cached(self, need: PendingEventsDocument, now_s: float) -> EventsDocument:
        """Return the document of a scope; a new object whenever it is another one."""
        shown = self.event_writer.scopes.get(need.scope, self._untouched)
        if self._activity and not self._activity.asks(need.scope, now_s):
            shown = self._untouched
        return shown.bulletin(need.version)

    async def approve(self, need: PendingApproval) -> Approved | Failed:
        """Note that a VM approves; it is written down when this returns."""
        if self._activity and not self._activity.asks(need.scope, self.clock()):
            return Failed("malformed_events")

        def job(calendar: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(calendar.approve(need.scope, need.vm, need.event_ids, now_s))

        try:
            outcome = await self.event_writer.do(job)
        except StoreError as error:
            self._notify(f"{need.vm} could not approve an event: {error}")
            return Failed("unavailable")
        return Failed("malformed_events") if outcome.refusal else Approved()

    # What operators ask.

    def events(self) -> list[Event]:
        """Return all events that are not gone, oldest declaration first."""
        return [*self.event_writer.events.values()]

    def get(self, event_id: str) -> Event | None:
        """Return an event that is not gone; the id in any letter case."""
        return self.event_writer.events.get(event_id.upper())

    async def declare(self, wish: EventRequest, who: str) -> list[Event]:
        """Declare what is wished for: one event for each scope that it touches.

        Raises:
            ConfigError: a VM that is not there, or something that cannot be an event.
            StoreError: it could not be written; then there is no event.
        """
        self._check_vms(wish.vms, "vms")
        declared = _declarations(wish, await self._places(wish.vms))
        _check(declared[0], wish, self.clock())
        made: list[Event] = []

        def job(calendar: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            made[:] = [_event(one, wish, now_s) for one in declared]
            return WriteResult(_declare(calendar, made, who), born=tuple(made))

        await self.event_writer.do(job)
        return [self.get(one.event_id) or one for one in made]

    async def order(self, trigger: Trigger, event_id: str, who: str) -> Event | TransitionRefusal:
        """Start, complete, cancel or approve an event for its operator; return it afterwards.

        Raises:
            StoreError: it could not be written; then nothing happened.
        """
        before = self.get(event_id)

        def job(calendar: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(_order(calendar, trigger, event_id, now_s, who))

        outcome = await self.event_writer.do(job)
        if outcome.refusal:
            return outcome.refusal
        assert before is not None  # Else it would have been refused.
        return self.get(event_id) or replace(before, status=EventStatus.COMPLETED)

    def counts(self) -> Counter[str]:
        """Return how many events there are by status."""
        found = Counter(event.status.value for event in self.event_writer.events.values())
        return Counter(
            {key.value: found[key.value] for key in (EventStatus.SCHEDULED, EventStatus.STARTED)}
        )

    # Scenarios.

    @property
    def book(self) -> ScenarioTable:
        """The scenarios that were begun."""
        return self.event_writer.book

    async def begin(
        self, name: str, plans: tuple[RecurringEvent, ...], *, is_once: bool = False
    ) -> None:
        """Begin a scenario now; with `is_once` not the one that was begun already.

        Raises:
            ConfigError: a plan names a VM that is not there.
            StoreError: it could not be written; then it did not begin.
        """
        for number, plan in enumerate(plans):
            self._check_vms(plan.vms, f"events[{number}].vms")
        begun = self.book.scenarios.get(name)
        if is_once and begun and begun.digest == digest_of(plans):
            return

        def job(_: EventStateMachine, book: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(Outcome(()), begin(book, name, plans, now_s))

        await self.event_writer.do(job)
        await self.event_writer.do(self._follow)

    async def end(self, name: str) -> bool:
        """End a scenario; its events stay. Tell whether there was one.

        Raises:
            StoreError: it could not be written; then it goes on.
        """
        if name not in self.book.scenarios:
            return False
        await self.event_writer.do(
            lambda _, book, _now_s: WriteResult(Outcome(()), end(book, name))
        )
        return True

    # Time.

    async def set_clock(self, state: ClockState) -> None:
        """Run the clock from a state on; it goes on after a restart.

        Raises:
            StoreError: it could not be written; the clock runs as before.
        """
        note: dict[str, bytes | None] = {_CLOCK: msgspec.json.encode(state)}
        await self._fleet_service.call_store(
            self._fleet_service.store.write_events, EventBatch(values=note)
        )
        self.clock.take(state)
        await self.on_clock()
        await self.event_writer.do(self._follow)

    def _follow(
        self, calendar: EventStateMachine, book: ScenarioTable, now_s: float
    ) -> WriteResult:
        """Do what has come due of plans and events, in the order of the times."""
        transitions: list[Transition] = []
        born: list[Event] = []
        # Times are counted, not events: where all VMs of a plan are gone it brings none.
        for _ in range(_MOST_AT_ONCE):
            found = next_of(book, now_s)
            if found is None:
                break
            at_s, plan, book = found
            made = [prepare(one, at_s) for one in self._occurrence(plan)]
            transitions += _declare(calendar, made, "scenario").transitions
            born += made
        # What is left of the plans comes in the next round, and before what is later than it.
        transitions += calendar.tick(now_s if book.due_s is None else min(now_s, book.due_s))
        return WriteResult(Outcome(tuple(transitions)), book, tuple(born))

    def _occurrence(self, plan: RecurringEvent) -> list[Declaration]:
        """Return what a plan declares, for those of its VMs that are still there."""
        known = [name for name in plan.vms if name in self._fleet_service.fleet_index.by_name]
        if len(known) < len(plan.vms):
            gone = ", ".join(sorted({*plan.vms} - {*known}))
            self._notify_once(f"a scenario names VMs that are gone: {gone}")
        places: _Places = {}
        for name in known:
            self._place(name, places)
        return _declarations(event_request(plan), places)

    # Declarations.

    def _check_vms(self, names: Iterable[str], where: str) -> None:
        known = self._fleet_service.fleet_index.by_name
        for name in names:
            if name not in known:
                seen, hint = f'"{name}", which is no VM', nearest(name, known)
                raise ConfigError(where, seen, "names of VMs that are served", hint)

    async def _places(self, names: Iterable[str]) -> _Places:
        found: _Places = {}
        for number, name in enumerate(dict.fromkeys(names)):
            self._place(name, found)
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # Guests are answered between the slices.
        return found

    def _place(self, name: str, found: _Places) -> None:
        scope, resource = place_of(self._fleet_service.fleet_index.by_name[name].vm)
        found.setdefault(scope, []).append((name, resource))


def _declarations(wish: EventRequest, places: _Places) -> list[Declaration]:
    return [
        Declaration(
            event_id=str(uuid4()).upper(),
            event_type=wish.event_type,
            scope=scope,
            concerned=tuple(name for name, _ in hit),
            resources=tuple(resource for _, resource in hit),
            notice_s=wish.notice_s,
            duration_s=wish.duration_s,
            life_s=wish.life_s,
            description=wish.description,
            source=wish.source,
            needs=wish.needs,
            is_failure=wish.is_failure,
        )
        for scope, hit in places.items()
    ]


_WISHED = {"notice_s": "in_s"}


def _check(said: Declaration, wish: EventRequest, now_s: float) -> None:
    try:
        prepare(said, now_s)
    except ConfigError as error:
        where = _WISHED.get(error.where, error.where)
        raise ConfigError(where, error.seen, error.expected, error.hint) from None
    if wish.not_before_s is None:
        return
    if wish.notice_s is not None:
        raise ConfigError("not_before", "both not_before and in_s", "one of the two")
    left_s = wish.not_before_s - now_s
    if not 0 <= left_s <= MOST_S:
        seen = f"a time {-left_s:.0f} s ago" if left_s < 0 else f"a time {left_s:.0f} s ahead"
        raise ConfigError("not_before", seen, f"a time to come, at most {MOST_S} s ahead")


def _event(said: Declaration, wish: EventRequest, now_s: float) -> Event:
    event = prepare(said, now_s)
    at_s = wish.not_before_s
    return event if at_s is None else replace(event, not_before_s=ceil(at_s))


def _declare(calendar: EventStateMachine, events: Iterable[Event], who: str) -> Outcome:
    transitions: list[Transition] = []
    for event in events:
        outcome = calendar.declare(event, who)
        assert outcome.refusal is None  # The ids were drawn just now.
        transitions += outcome.transitions
    return Outcome(tuple(transitions))


def _order(
    calendar: EventStateMachine, trigger: Trigger, event_id: str, now_s: float, who: str
) -> Outcome:
    match trigger:
        case Trigger.START:
            return calendar.start(event_id, now_s, who)
        case Trigger.COMPLETE:
            return calendar.complete(event_id, now_s, who)
        case Trigger.CANCEL:
            return calendar.cancel(event_id, now_s, who)
        case _:
            return _approve_for(calendar, event_id, now_s, who)


def _approve_for(calendar: EventStateMachine, event_id: str, now_s: float, who: str) -> Outcome:
    """Approve an event in the name of the VMs that it hits, as far as that is needed."""
    transitions = calendar.tick(now_s)
    event = calendar.get(event_id)
    if event is None:
        return Outcome(tuple(transitions), calendar.start(event_id, now_s).refusal)
    if event.is_advisory:
        text = f"event {event.event_id} is a {event.event_type}, which only advises"
        return Outcome(tuple(transitions), TransitionRefusal(RefusalReason.STATUS, text))
    for vm in event.concerned:
        now = calendar.get(event_id)
        if now is None or now.status is not EventStatus.SCHEDULED:
            break
        outcome = calendar.approve(event.scope, vm, (event.event_id,), now_s)
        transitions += [replace(one, who=who) for one in outcome.transitions]
    return Outcome(tuple(transitions))
