"""The event writer: one task that moves, stores and publishes scheduled events.

Every change of an event is a job, and one writer takes the jobs in turn: it moves the state
machine, stores the changes, and only then publishes them to guests, feed and webhook, and returns
the outcomes to the callers. Jobs that wait at the same time share one write. If a write fails, the
state machine is restored.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

import msgspec.json
from msgspec import Struct, field

from openimds.events.clock import Clock
from openimds.events.log_format import log_entry
from openimds.events.scenario import ScenarioTable
from openimds.events.stored import UnreadableRowError, decode
from openimds.facts.events import FIRST_INCARNATION
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, LogEntry, StoreError
from openimds.log.events import EVENT_TROUBLE
from openimds.protocol.events.document import document
from openimds.protocol.events.event import Event, place_of
from openimds.protocol.events.state_machine import EventStateMachine, Outcome, Snapshot, Transition
from openimds.protocol.pending import EventsDocument

SCENARIOS = "scenarios"
"""The key of the scenarios under way in the store."""
_MOST_WAIT_S = 30.0
"""The longest wait: the wall clock may be set meanwhile."""
_RETRY_S = 2.0
_MOST_AT_ONCE = 200
FORGOTTEN = "incarnation"
"""The key of the highest incarnation that a forgotten scope had in the store."""
MOST_UNUSED = 100_000
"""Scopes without events and VMs are kept up to this number, which take 10 MB in the store."""
_FORGET_AT_ONCE = 1000
_SLICE = 200
"""So many VMs are looked at between two requests."""


class PublishedScope(Struct, frozen=True):
    """The published events of a scope, and the documents written of them."""

    events: tuple[Event, ...] = ()
    incarnation: int = FIRST_INCARNATION
    documents: dict[str, EventsDocument] = field(default_factory=dict)

    def document(self, version: str) -> EventsDocument:
        """Return the document at an api-version; the same object each time."""
        cached = self.documents.get(version)
        if cached is None:
            body = document(self.events, self.incarnation, version)
            cached = self.documents[version] = EventsDocument(body, str(self.incarnation))
        return cached


class WriteResult(Struct, frozen=True):
    """The result of a job: its outcome, and the events that it declared.

    `scenarios` is the table after it, or None if the job did not change it. `raised` are scopes
    whose incarnation rises without a transition, `forgotten` scopes without events and VMs, with
    their incarnations.
    """

    outcome: Outcome
    scenarios: ScenarioTable | None = None
    declared: tuple[Event, ...] = ()
    raised: frozenset[str] = frozenset()
    forgotten: dict[str, int] = {}


Job: TypeAlias = Callable[[EventStateMachine, ScenarioTable, float], WriteResult]
_Waiting: TypeAlias = "tuple[Job, asyncio.Future[Outcome]]"


class EventWriter:
    """All scheduled events of a fleet as they are stored."""

    def __init__(
        self,
        fleet_service: FleetService,
        clock: Clock,
        notify: Callable[[str], None],
        follow: Job,
        on_log_entry: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep events in the store of a fleet; `follow` is the job of due times."""
        self.scenarios = ScenarioTable()
        self.events: dict[str, Event] = {}
        self.scopes: dict[str, PublishedScope] = {}
        self.transition_counts: Counter[str] = Counter()
        self.on_log_entry = on_log_entry
        self.on_scopes: Callable[[dict[str, PublishedScope]], Awaitable[None]] | None = None
        """Called with the scopes that a write has published, before its callers get outcomes."""
        self._fleet_service, self._clock, self._notify, self._follow = (
            fleet_service,
            clock,
            notify,
            follow,
        )
        self._machine = EventStateMachine()
        self._incarnations: dict[str, int] = {}
        self.forgotten = 0
        """The highest incarnation of a forgotten scope; scopes of new VMs begin above it."""
        self._jobs: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = self._has_failed = self._has_incarnations = False

    @property
    def has_scopes(self) -> bool:
        """Whether any scope ever had an event."""
        return bool(self._incarnations or self.forgotten)

    async def load_incarnations(self) -> None:
        """Load the incarnations of all scopes, unless that was done.

        Raises:
            StoreError: the store cannot be read.
        """
        if not self._has_incarnations:
            service = self._fleet_service
            self._incarnations = await service.call_store(service.store.incarnations)
            text = await service.call_store(service.store.value, FORGOTTEN) or b""
            self.forgotten = int(text) if text.isdigit() else 0
            self._has_incarnations = True
            self._restore()

    async def load(self) -> None:
        """Load the stored events, and make the transitions that came due meanwhile.

        Rows that cannot be read stay in the store, and are reported.

        Raises:
            StoreError: the store cannot be read or written.
        """
        call, store = self._fleet_service.call_store, self._fleet_service.store
        self.events = self._readable(await call(store.events))
        await self.load_incarnations()
        body = await call(store.value, SCENARIOS)
        try:
            self.scenarios = decode(body, ScenarioTable) if body else ScenarioTable()
        except UnreadableRowError as error:
            self._notify(
                EVENT_TROUBLE.message(f"the stored scenarios are left out, and begin anew: {error}")
            )
        self._fleet_service.last_log_entry = await call(store.last_log_entry)
        self._restore()
        self.scopes.clear()  # Those that a move of VMs has published have no events yet.
        for scope in self._incarnations:
            self._publish_scope(scope)
        await self.do(self._follow)
        with suppress(StoreError):  # The next try is the pruner's.
            await self.forget_unused()

    async def forget_unused(self) -> None:
        """Forget the scopes without events and VMs, if they are too many.

        Changes of the fleet wait meanwhile; in 100,000 VMs that is for some seconds, and seldom. A
        VM in quarantine has a scope that is not known: then none is forgotten.

        Raises:
            StoreError: the store cannot be written; some may be forgotten.
        """
        index = self._fleet_service.fleet_index
        in_use = len(index.by_name) + len(self.events)  # At most: several VMs may share a scope.
        if len(self._incarnations) - in_use > MOST_UNUSED and not index.quarantine:
            await self._fleet_service.between_changes(self._forget_unused)

    async def _forget_unused(self) -> None:
        index, used = self._fleet_service.fleet_index, set[str]()
        if index.quarantine:
            return  # A change that was under way has put a VM there.
        for number, entry in enumerate([*index.by_name.values()]):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            used.add(place_of(entry.vm)[0])
        unused = [scope for scope in self._incarnations if scope not in used]

        def job(names: list[str], machine: EventStateMachine) -> WriteResult:
            idle = [name for name in names if not machine.events_of(name)]
            return WriteResult(Outcome(()), forgotten={name: machine.forget(name) for name in idle})

        for start in range(0, len(unused), _FORGET_AT_ONCE):
            names = unused[start : start + _FORGET_AT_ONCE]
            await self.do(lambda machine, *_, names=names: job(names, machine))

    def _readable(self, bodies: Iterable[bytes]) -> dict[str, Event]:
        """Return the events of stored bodies by their ids; report those that cannot be read."""
        events: dict[str, Event] = {}
        failed = 0
        reason = ""
        for body in bodies:
            try:
                event = decode(body, Event)
            except UnreadableRowError as error:
                failed, reason = failed + 1, reason or str(error)
            else:
                events[event.event_id] = event
        if failed:
            self._notify(
                EVENT_TROUBLE.message(
                    f"{failed} stored events are left out and stay in the store: {reason}"
                )
            )
        return events

    async def do(self, job: Job) -> Outcome:
        """Do a job; return its outcome once that is stored.

        Raises:
            StoreError: the changes cannot be stored; then there are none.
        """
        # A caller that is cancelled does not undo a job that has begun.
        return await asyncio.shield(self._enqueue(job))

    def _enqueue(self, job: Job) -> "asyncio.Future[Outcome]":
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return future

    async def _write_all(self) -> None:
        while self._jobs:
            jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MOST_AT_ONCE))]
            await self._write(jobs)
        self._rearm()

    async def _write(self, jobs: list[_Waiting]) -> None:
        """Do jobs together: the changes of all are stored, or none is made."""
        done: list[WriteResult] = []
        scenarios, now_s = self.scenarios, self._clock()
        try:
            for job, _ in jobs:
                result = job(self._machine, scenarios, now_s)
                scenarios = result.scenarios or scenarios
                done.append(result)
            await self._store(done, scenarios)
        except Exception as error:  # noqa: BLE001 - the callers get it
            self._restore()
            if len(jobs) > 1 and not isinstance(error, StoreError):
                for alone in jobs:  # The mistake of one job does not fail the others.
                    await self._write([alone])
                return
            self._has_failed = True
            for _, future in jobs:
                if not future.done():
                    future.set_exception(error)
            return
        self._has_failed = False
        for (_, future), result in zip(jobs, done, strict=True):
            if not future.done():
                future.set_result(result.outcome)

    async def _store(self, done: list[WriteResult], scenarios: ScenarioTable) -> None:
        transitions = [move for result in done for move in result.outcome.transitions]
        after = {move.event_id: self._machine.get(move.event_id) for move in transitions}
        declared = {event.event_id: event for result in done for event in result.declared}
        entries = [
            log_entry(
                move,
                after[move.event_id] or declared.get(move.event_id) or self.events[move.event_id],
            )
            for move in transitions
        ]
        scopes = {move.scope for move in transitions}.union(*(result.raised for result in done))
        forgotten = dict(item for result in done for item in result.forgotten.items())
        scopes -= forgotten.keys()
        incarnations: dict[str, int | None] = dict.fromkeys(forgotten)
        incarnations |= {scope: self._machine.incarnation(scope) for scope in scopes}
        highest = max((self.forgotten, *forgotten.values()))
        values: dict[str, bytes | None] = {}
        if highest != self.forgotten:
            values[FORGOTTEN] = b"%d" % highest
        if scenarios != self.scenarios:
            values[SCENARIOS] = msgspec.json.encode(scenarios)
        batch = EventBatch(
            {key: msgspec.json.encode(event) if event else None for key, event in after.items()},
            incarnations,
            values,
            tuple(entries),
        )
        if batch != EventBatch():
            numbered = await self._fleet_service.call_store(
                self._fleet_service.store.write_events, batch
            )
            self.scenarios, self.forgotten = scenarios, highest
            self._publish(transitions, scopes, after, numbered)
            for scope in forgotten:
                self._incarnations.pop(scope, None)
                self.scopes.pop(scope, None)
            if self.on_scopes and (scopes or forgotten):
                shown = {scope: self.scopes[scope] for scope in scopes}
                await self.on_scopes({**shown, **dict.fromkeys(forgotten, PublishedScope())})

    def _publish(
        self,
        transitions: list[Transition],
        scopes: set[str],
        after: dict[str, Event | None],
        entries: list[LogEntry],
    ) -> None:
        """Publish the committed changes."""
        for key, event in after.items():
            if event:
                self.events[key] = event
            else:
                self.events.pop(key, None)
        for scope in scopes:
            self._incarnations[scope] = self._machine.incarnation(scope)
            self._publish_scope(scope)
        self.transition_counts.update(move.trigger.value for move in transitions)
        for entry in entries:
            self._fleet_service.publish(entry)
        if entries:
            self.on_log_entry()

    def _publish_scope(self, scope: str) -> None:
        published = PublishedScope(self._machine.events_of(scope), self._machine.incarnation(scope))
        before = self.scopes.get(scope)
        # An approval that is not yet enough does not show in the document.
        if before is None or before.incarnation != published.incarnation:
            self.scopes[scope] = published

    def _restore(self) -> None:
        """Make the state machine anew from the stored events."""
        self._machine = EventStateMachine(Snapshot(tuple(self.events.values()), self._incarnations))

    def _rearm(self) -> None:
        """Set the timer to the next due time."""
        times = [at_s for at_s in (self._machine.due_s(), self.scenarios.due_s) if at_s is not None]
        # Changes that could not be stored are due at once, and would be tried without a pause.
        least_s = _RETRY_S if self._has_failed else 0.0
        wait_s = min(self._clock.wait_s(min(times)), _MOST_WAIT_S) if times else None
        self._set_timer(None if wait_s is None else max(least_s, wait_s))

    def _set_timer(self, wait_s: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if wait_s is not None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._enqueue(self._follow).add_done_callback(self._report)

    def _report(self, done: "asyncio.Future[Outcome]") -> None:
        if not done.cancelled() and (error := done.exception()):
            self._notify(EVENT_TROUBLE.message(f"an event is late: {error}"))

    async def close(self) -> None:
        """Finish the jobs that have begun; make no further transition."""
        self._is_closed = True
        self._set_timer(None)
        if self._writer:
            await asyncio.gather(self._writer, return_exceptions=True)
