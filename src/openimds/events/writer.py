"""Where scheduled events are kept: in a calendar, in the store, and in what everybody sees.

Everything that moves an event is a job, and one writer takes the jobs in turn: it moves the
calendar, writes what that changed, and only then shows it to guests, tells the feed and the hook,
and answers those who wait. Jobs that wait at the same time share one write. When a write fails, the
calendar is what it was before.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeAlias

import msgspec.json
from msgspec import Struct, field

from openimds.events.clock import Clock
from openimds.events.log_format import log_entry
from openimds.events.scenario import ScenarioTable
from openimds.facts.events import FIRST_INCARNATION
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, LogEntry, StoreError
from openimds.protocol.events.document import document
from openimds.protocol.events.event import Event
from openimds.protocol.events.state_machine import EventStateMachine, Outcome, Snapshot, Transition
from openimds.protocol.pending import EventsDocument

BOOK = "scenarios"
"""The store's note of the scenarios under way."""
_MOST_WAIT_S = 30.0
"""A clock of the wall may be set: look again after so long."""
_RETRY_S = 2.0
_MOST_AT_ONCE = 200


class PublishedScope(Struct, frozen=True):
    """What the members of a scope see, and the documents that were written of it."""

    events: tuple[Event, ...] = ()
    incarnation: int = FIRST_INCARNATION
    bulletins: dict[str, EventsDocument] = field(default_factory=dict)

    def bulletin(self, version: str) -> EventsDocument:
        """Return the document at an api-version; the same object each time."""
        made = self.bulletins.get(version)
        if made is None:
            text = document(self.events, self.incarnation, version)
            made = self.bulletins[version] = EventsDocument(text)
        return made


class WriteResult(Struct, frozen=True):
    """What a job did to the calendar.

    `born` are the events that it declared; `book` are the scenarios if they are others now.
    """

    outcome: Outcome
    book: ScenarioTable | None = None
    born: tuple[Event, ...] = ()


Job: TypeAlias = Callable[[EventStateMachine, ScenarioTable, float], WriteResult]
_Waiting: TypeAlias = "tuple[Job, asyncio.Future[Outcome]]"


class EventWriter:
    """All scheduled events of a fleet as they are written down."""

    def __init__(
        self,
        fleet_service: FleetService,
        clock: Clock,
        notify: Callable[[str], None],
        follow: Job,
        on_log_entry: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep events in the store of a desk; `follow` is the job for when something comes due."""
        self.book = ScenarioTable()
        self.events: dict[str, Event] = {}
        self.scopes: dict[str, PublishedScope] = {}
        self.moves: Counter[str] = Counter()
        self.on_log_entry = on_log_entry
        self._fleet_service, self._clock, self._notify, self._follow = (
            fleet_service,
            clock,
            notify,
            follow,
        )
        self._calendar = EventStateMachine()
        self._incarnations: dict[str, int] = {}
        self._jobs: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = self._has_failed = False

    async def load(self) -> None:
        """Take up what the store holds, and do what came due meanwhile.

        Raises:
            StoreError: it cannot be read or written.
        """
        ask, store = self._fleet_service.call_store, self._fleet_service.store
        events = [msgspec.json.decode(body, type=Event) for body in await ask(store.events)]
        self.events = {event.event_id: event for event in events}
        self._incarnations = await ask(store.incarnations)
        book = await ask(store.value, BOOK)
        self.book = msgspec.json.decode(book, type=ScenarioTable) if book else ScenarioTable()
        self._fleet_service.last_log_entry = await ask(store.last_log_entry)
        self._restore()
        for scope in self._incarnations:
            self._show(scope)
        await self.do(self._follow)

    async def do(self, job: Job) -> Outcome:
        """Return how a job went, once that is written down.

        Raises:
            StoreError: it could not be written; then nothing happened.
        """
        # A caller who goes away does not undo what has begun.
        return await asyncio.shield(self._put(job))

    def _put(self, job: Job) -> "asyncio.Future[Outcome]":
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
        """Do jobs together: all of them are written, or none happened."""
        done: list[WriteResult] = []
        book, now_s = self.book, self._clock()
        try:
            for job, _ in jobs:
                one = job(self._calendar, book, now_s)
                book = one.book or book
                done.append(one)
            await self._keep(done, book)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._restore()
            if len(jobs) > 1 and not isinstance(error, StoreError):
                for alone in jobs:  # The mistake of one is not that of the others.
                    await self._write([alone])
                return
            self._has_failed = True
            for _, future in jobs:
                if not future.done():
                    future.set_exception(error)
            return
        self._has_failed = False
        for (_, future), one in zip(jobs, done, strict=True):
            if not future.done():
                future.set_result(one.outcome)

    async def _keep(self, done: list[WriteResult], book: ScenarioTable) -> None:
        transitions = [one for each in done for one in each.outcome.transitions]
        after = {one.event_id: self._calendar.get(one.event_id) for one in transitions}
        born = {event.event_id: event for each in done for event in each.born}
        lines = [
            log_entry(one, after[one.event_id] or born.get(one.event_id) or self._event(one))
            for one in transitions
        ]
        moves = EventBatch(
            {key: msgspec.json.encode(event) if event else None for key, event in after.items()},
            {one.scope: self._calendar.incarnation(one.scope) for one in transitions},
            {} if book == self.book else {BOOK: msgspec.json.encode(book)},
            tuple(lines),
        )
        if moves != EventBatch():
            made = await self._fleet_service.call_store(
                self._fleet_service.store.write_events, moves
            )
            self.book = book
            self._show_all(transitions, after, made)

    def _event(self, transition: Transition) -> Event:
        return self.events[transition.event_id]

    def _show_all(
        self,
        transitions: list[Transition],
        after: dict[str, Event | None],
        made: list[LogEntry],
    ) -> None:
        """Make what was written what everybody sees."""
        for key, event in after.items():
            if event:
                self.events[key] = event
            else:
                self.events.pop(key, None)
        for scope in {one.scope for one in transitions}:
            self._incarnations[scope] = self._calendar.incarnation(scope)
            self._show(scope)
        self.moves.update(one.trigger.value for one in transitions)
        for one in made:
            self._fleet_service.publish(one)
        if made:
            self.on_log_entry()

    def _show(self, scope: str) -> None:
        shown = PublishedScope(self._calendar.events_of(scope), self._calendar.incarnation(scope))
        before = self.scopes.get(scope)
        # An approval that is not yet enough shows nowhere in the document.
        if before is None or before.incarnation != shown.incarnation:
            self.scopes[scope] = shown

    def _restore(self) -> None:
        """Have a calendar of what is written down."""
        self._calendar = EventStateMachine(
            Snapshot(tuple(self.events.values()), self._incarnations)
        )

    def _rearm(self) -> None:
        """Set the timer for what comes next."""
        times = [at_s for at_s in (self._calendar.due_s(), self.book.due_s) if at_s is not None]
        # What could not be written is due at once, and would be tried again and again.
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
        self._put(self._follow).add_done_callback(self._look)

    def _look(self, done: "asyncio.Future[Outcome]") -> None:
        if not done.cancelled() and (error := done.exception()):
            self._notify(f"an event is late: {error}")

    async def close(self) -> None:
        """Let the writer end what it has begun, and move nothing any more."""
        self._is_closed = True
        self._set_timer(None)
        if self._writer:
            await asyncio.gather(self._writer, return_exceptions=True)
