"""The events service: declare, approve, start and end scheduled events of a fleet."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache
from uuid import uuid4

import msgspec.json
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.events.clock import Clock, ClockState
from openimds.events.scenario import ScenarioTable, begin, digest_of, end, next_of
from openimds.events.stored import UnreadableRowError, decode
from openimds.events.writer import EventWriter, PublishedScope, WriteResult
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.index import IndexUpdate
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.fleet.vm_entry import unpack
from openimds.log.events import EVENT_TROUBLE
from openimds.parameters import nearest
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.events.event import Event, place_of, prepare
from openimds.protocol.events.request import EventRequest, check_request
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
_MOST_NOTICES = 64
"""The number of notices that are remembered, so that each is given once."""
_CLOCK = "clock"
"""The key of a virtual clock in the store."""
_HitsByScope = dict[str, list[tuple[str, str]]]
"""By scope: the VMs that are hit, each with its name among the resources."""


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
        """Keep events in the store of a fleet; `activity` hides them from inactive scopes."""
        self.clock = clock
        self.event_writer = EventWriter(fleet_service, clock, notify, self._follow, on_log_entry)
        self.close = self.event_writer.close
        self.on_clock = on_clock
        self._fleet_service, self._notify, self._activity = fleet_service, notify, activity
        fleet_service.before_change = self.before_change
        self._notify_once = lru_cache(_MOST_NOTICES)(notify)
        self._untouched = PublishedScope()

    async def load(self) -> None:
        """Load the stored events, after the stored clock if the clock is virtual.

        Raises:
            StoreError: the store cannot be read or written.
        """
        body = await self._fleet_service.call_store(self._fleet_service.store.value, _CLOCK)
        if body and self.clock.is_virtual:
            try:
                self.clock.take(decode(body, ClockState))
            except UnreadableRowError as error:
                self._notify(
                    EVENT_TROUBLE.message(
                        f"the stored clock is left out, and the real time counts: {error}"
                    )
                )
        await self.event_writer.load()

    # Requests of guests.

    def cached(self, need: PendingEventsDocument, now_s: float) -> EventsDocument:
        """Return the document of a scope; a new object whenever it has changed."""
        scope = self.event_writer.scopes.get(need.scope, self._untouched)
        if self._activity and not self._activity.asks(need.scope, now_s):
            scope = self._untouched
        return scope.document(need.version)

    async def approve(self, need: PendingApproval) -> Approved | Failed:
        """Approve events for a VM; the approval is stored when this returns."""
        if self._activity and not self._activity.asks(need.scope, self.clock()):
            return Failed("malformed_events")

        def job(machine: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(machine.approve(need.scope, need.vm, need.event_ids, now_s))

        try:
            outcome = await self.event_writer.do(job)
        except StoreError as error:
            self._notify(
                EVENT_TROUBLE.message(f"{need.vm} could not approve an event: {error}", vm=need.vm)
            )
            return Failed("unavailable")
        return Failed("malformed_events") if outcome.refusal else Approved()

    # Changes of the fleet.

    async def before_change(self, update: IndexUpdate) -> None:
        """Raise the incarnations of the scopes to which an update moves VMs, or adds them.

        A scope that was forgotten may have had a number: that of a new VM begins above it.

        Raises:
            StoreError: it cannot be stored.
        """
        # At a start, the fleet file moves VMs before the events are loaded.
        await self.event_writer.load_incarnations()
        if not self.event_writer.has_scopes:
            return  # No VM has seen an event.
        index = self._fleet_service.fleet_index
        first = self.event_writer.forgotten + 1
        moves: set[tuple[str, str]] = set()
        added: set[str] = set()
        for number, (name, vm) in enumerate(update.puts.items()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)  # Guests are answered between the slices.
            if entry := index.by_name.get(name):
                (old, _), (new, _) = place_of(entry.vm), place_of(unpack(vm.packed))
                if old != new:
                    moves.add((old, new))
            elif self.event_writer.forgotten:
                added.add(place_of(unpack(vm.packed))[0])

        def job(machine: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            raised = {new for old, new in sorted(moves) if machine.move(old, new)}
            raised |= {scope for scope in added if machine.begin(scope, first)}
            return WriteResult(Outcome(tuple(machine.tick(now_s))), raised=frozenset(raised))

        if moves or added:
            await self.event_writer.do(job)

    # Requests of operators.

    def events(self) -> list[Event]:
        """Return all events that are not completed, oldest declaration first."""
        return [*self.event_writer.events.values()]

    def get(self, event_id: str) -> Event | None:
        """Return an event that is not completed; the id in any letter case."""
        return self.event_writer.events.get(event_id.upper())

    async def declare(self, request: EventRequest, who: str) -> list[Event]:
        """Declare the events of a request: one for each scope that it hits.

        Raises:
            ConfigError: the request cannot become an event, or a VM does not exist.
            StoreError: the events cannot be stored; then there are none.
        """
        check_request(request, self.clock())
        self._check_vms(request.vms, "vms")
        hits = await self._hits(request.vms)
        events: list[Event] = []

        def job(machine: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            events[:] = _prepare_all(request, hits, now_s)
            return WriteResult(_declare(machine, events, who), declared=tuple(events))

        await self.event_writer.do(job)
        return [self.get(event.event_id) or event for event in events]

    async def order(self, trigger: Trigger, event_id: str, who: str) -> Event | TransitionRefusal:
        """Start, complete, cancel or approve an event for its operator; return its new state.

        Raises:
            StoreError: the transition cannot be stored; then there is none.
        """
        before = self.get(event_id)

        def job(machine: EventStateMachine, _: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(_order(machine, trigger, event_id, now_s, who))

        outcome = await self.event_writer.do(job)
        if outcome.refusal:
            return outcome.refusal
        assert before is not None  # Else the order would have been refused.
        return self.get(event_id) or replace(before, status=EventStatus.COMPLETED)

    def counts(self) -> Counter[str]:
        """Return the number of events by status."""
        counts = Counter(event.status.value for event in self.event_writer.events.values())
        return Counter(
            {key.value: counts[key.value] for key in (EventStatus.SCHEDULED, EventStatus.STARTED)}
        )

    # Scenarios.

    @property
    def scenarios(self) -> ScenarioTable:
        """The scenarios under way."""
        return self.event_writer.scenarios

    async def begin(
        self,
        name: str,
        lines: tuple[RecurringEvent, ...],
        *,
        is_once: bool = False,
        removed: AbstractSet[str] = frozenset(),
    ) -> None:
        """Begin a scenario now; with `is_once`, not if an equal one has begun before.

        The VMs in `removed` may be named, although they do not exist.

        Raises:
            ConfigError: a line names another VM that does not exist.
            StoreError: the scenario cannot be stored; then it has not begun.
        """
        for place, line in enumerate(lines):
            named = [vm for vm in line.vms if vm not in removed]
            self._check_vms(named, f"events[{place}].vms", may_be_absent=True)
        begun = self.scenarios.scenarios.get(name)
        if is_once and begun and begun.digest == digest_of(lines):
            return

        def job(_: EventStateMachine, table: ScenarioTable, now_s: float) -> WriteResult:
            return WriteResult(Outcome(()), begin(table, name, lines, now_s))

        await self.event_writer.do(job)
        await self.event_writer.do(self._follow)

    async def end(self, name: str) -> bool:
        """End a scenario, but not its events; tell whether there was one.

        Raises:
            StoreError: the end cannot be stored; then the scenario goes on.
        """
        if name not in self.scenarios.scenarios:
            return False
        await self.event_writer.do(
            lambda _, table, _now_s: WriteResult(Outcome(()), end(table, name))
        )
        return True

    # Time.

    async def set_clock(self, state: ClockState) -> None:
        """Run the clock from a state on, also after a restart.

        Raises:
            StoreError: the state cannot be stored; then the clock runs as before.
        """
        values: dict[str, bytes | None] = {_CLOCK: msgspec.json.encode(state)}
        await self._fleet_service.call_store(
            self._fleet_service.store.write_events, EventBatch(values=values)
        )
        self.clock.take(state)
        await self.on_clock()
        await self.event_writer.do(self._follow)

    async def follow_clock_step(self) -> None:
        """Do now all that is due: the timers were set by another time.

        Raises:
            StoreError: it cannot be stored; it is tried again.
        """
        await self.event_writer.do(self._follow)

    def _follow(
        self, machine: EventStateMachine, table: ScenarioTable, now_s: float
    ) -> WriteResult:
        """Do everything due of scenarios and events, in the order of the times."""
        transitions: list[Transition] = []
        declared: list[Event] = []
        # Times are counted, not events: a line whose VMs are all removed brings none.
        for _ in range(_MOST_AT_ONCE):
            due = next_of(table, now_s)
            if due is None:
                break
            at_s, line, table = due
            events = _prepare_all(line, self._present_hits(line), at_s)
            transitions += _declare(machine, events, "scenario").transitions
            declared += events
        # The remaining lines come in the next round, and before all that is later.
        until_s = now_s if table.due_s is None else min(now_s, table.due_s)
        transitions += machine.tick(until_s)
        return WriteResult(Outcome(tuple(transitions)), table, tuple(declared))

    def _present_hits(self, line: RecurringEvent) -> _HitsByScope:
        """Return the hits of a line, without its VMs that were removed since."""
        by_name = self._fleet_service.fleet_index.by_name
        present = [name for name in line.vms if name in by_name]
        if len(present) < len(line.vms):
            removed = ", ".join(sorted({*line.vms} - {*present}))
            self._notify_once(
                EVENT_TROUBLE.message(f"a scenario names VMs that are not served: {removed}")
            )
        hits: _HitsByScope = {}
        for name in present:
            self._add_hit(name, hits)
        return hits

    # VMs.

    def _check_vms(self, names: Iterable[str], where: str, *, may_be_absent: bool = False) -> None:
        """Check that VMs are served; with `may_be_absent` they may be quarantined.

        Raises:
            ConfigError: one is not.
        """
        index = self._fleet_service.fleet_index
        for name in names:
            reason = index.reason_of(name)
            if name in index.by_name or (reason and may_be_absent):
                continue
            seen, hint = f'unknown VM "{name}"', nearest(name, index.by_name)
            if reason:
                seen, hint = f'"{name}", which is not served ({reason})', "Replace it"
            raise ConfigError(where, seen, "names of VMs that are served", hint)

    async def _hits(self, names: Iterable[str]) -> _HitsByScope:
        hits: _HitsByScope = {}
        for number, name in enumerate(dict.fromkeys(names)):
            self._add_hit(name, hits)
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # Guests get responses between the slices.
        return hits

    def _add_hit(self, name: str, hits: _HitsByScope) -> None:
        scope, resource = place_of(self._fleet_service.fleet_index.by_name[name].vm)
        hits.setdefault(scope, []).append((name, resource))


def _prepare_all(request: EventRequest, hits: _HitsByScope, now_s: float) -> list[Event]:
    return [
        prepare(request, str(uuid4()), scope, in_scope, now_s) for scope, in_scope in hits.items()
    ]


def _declare(machine: EventStateMachine, events: Iterable[Event], who: str) -> Outcome:
    transitions: list[Transition] = []
    for event in events:
        outcome = machine.declare(event, who)
        assert outcome.refusal is None  # The ids were drawn just now.
        transitions += outcome.transitions
    return Outcome(tuple(transitions))


def _order(
    machine: EventStateMachine, trigger: Trigger, event_id: str, now_s: float, who: str
) -> Outcome:
    match trigger:
        case Trigger.START:
            return machine.start(event_id, now_s, who)
        case Trigger.COMPLETE:
            return machine.complete(event_id, now_s, who)
        case Trigger.CANCEL:
            return machine.cancel(event_id, now_s, who)
        case _:
            return _approve_for(machine, event_id, now_s, who)


def _approve_for(machine: EventStateMachine, event_id: str, now_s: float, who: str) -> Outcome:
    """Approve an event in the name of its VMs, as far as needed."""
    transitions = machine.tick(now_s)
    event = machine.get(event_id)
    if event is None:
        return Outcome(tuple(transitions), machine.start(event_id, now_s).refusal)
    if event.is_advisory:
        text = f"event {event.event_id} is a {event.event_type}, which only advises"
        return Outcome(tuple(transitions), TransitionRefusal(RefusalReason.STATUS, text))
    for vm in event.vms:
        current = machine.get(event_id)
        if current is None or current.status is not EventStatus.SCHEDULED:
            break
        outcome = machine.approve(event.scope, vm, (event.event_id,), now_s)
        transitions += [replace(transition, who=who) for transition in outcome.transitions]
    return Outcome(tuple(transitions))
