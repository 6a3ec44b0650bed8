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
from openimds.events.scenario import Book, begin, digest_of, end, next_of
from openimds.events.writer import Done, Ledger, Shown
from openimds.facts.events import Status, Trigger
from openimds.fleet.service import Desk
from openimds.fleet.store.port import Moves, StoreError
from openimds.protocol.events.document import Activity
from openimds.protocol.events.event import MOST_S, Declaration, Event, place_of, prepare
from openimds.protocol.events.input import Wish, wish_of
from openimds.protocol.events.schedule import Plan
from openimds.protocol.events.state_machine import Calendar, Outcome, Reason, Refusal, Transition
from openimds.protocol.pending import Approved, Bulletin, Failed, NeedsApproval, NeedsBulletin
from openimds.vm.validate import nearest

_MOST_AT_ONCE = 200
_SLICE = 100
_TEXTS = 64
"""How many texts are remembered as told."""
_CLOCK = "clock"
"""The store's note of a virtual clock."""
_Places = dict[str, list[tuple[str, str]]]
"""By scope: the VMs that are hit, by our name and by that in the document."""


class Agenda:
    """All scheduled events of a fleet, on the event loop."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        tell: Callable[[str], None],
        activity: Activity | None = None,
    ) -> None:
        """Keep events in the store of a desk; with an `activity` a scope has to ask first."""
        self.clock = clock
        self.ledger = Ledger(desk, clock, tell, self._follow)
        self.close = self.ledger.close
        self.on_clock: Callable[[], Awaitable[None]] = _nothing
        self._desk, self._tell, self._activity = desk, tell, activity
        self._tell_once = lru_cache(_TEXTS)(tell)
        self._untouched = Shown()

    async def load(self) -> None:
        """Take up what the store holds, the clock first if it is a virtual one.

        Raises:
            StoreError: it cannot be read or written.
        """
        noted = await self._desk.ask(self._desk.store.note, _CLOCK)
        if noted and self.clock.is_virtual:
            self.clock.take(msgspec.json.decode(noted, type=ClockState))
        await self.ledger.load()

    # What guests ask.

    def held(self, need: NeedsBulletin, now_s: float) -> Bulletin:
        """Return the document of a scope; a new object whenever it is another one."""
        shown = self.ledger.scopes.get(need.scope, self._untouched)
        if self._activity and not self._activity.asks(need.scope, now_s):
            shown = self._untouched
        return shown.bulletin(need.version)

    async def approve(self, need: NeedsApproval) -> Approved | Failed:
        """Note that a VM approves; it is written down when this returns."""
        if self._activity and not self._activity.asks(need.scope, self.clock()):
            return Failed("malformed_events")

        def job(calendar: Calendar, _: Book, now_s: float) -> Done:
            return Done(calendar.approve(need.scope, need.vm, need.event_ids, now_s))

        try:
            outcome = await self.ledger.do(job)
        except StoreError as error:
            self._tell(f"{need.vm} could not approve an event: {error}")
            return Failed("unavailable")
        return Failed("malformed_events") if outcome.refusal else Approved()

    # What operators ask.

    def events(self) -> list[Event]:
        """Return all events that are not gone, oldest declaration first."""
        return [*self.ledger.events.values()]

    def get(self, event_id: str) -> Event | None:
        """Return an event that is not gone; the id in any letter case."""
        return self.ledger.events.get(event_id.upper())

    async def declare(self, wish: Wish, who: str) -> list[Event]:
        """Declare what is wished for: one event for each scope that it touches.

        Raises:
            ConfigError: a VM that is not there, or something that cannot be an event.
            StoreError: it could not be written; then there is no event.
        """
        self._check_vms(wish.vms, "vms")
        declared = _declarations(wish, await self._places(wish.vms))
        _check(declared[0], wish, self.clock())
        made: list[Event] = []

        def job(calendar: Calendar, _: Book, now_s: float) -> Done:
            made[:] = [_event(one, wish, now_s) for one in declared]
            return Done(_declare(calendar, made, who), born=tuple(made))

        await self.ledger.do(job)
        return [self.get(one.event_id) or one for one in made]

    async def order(self, trigger: Trigger, event_id: str, who: str) -> Event | Refusal:
        """Start, complete, cancel or approve an event for its operator; return it afterwards.

        Raises:
            StoreError: it could not be written; then nothing happened.
        """
        before = self.get(event_id)

        def job(calendar: Calendar, _: Book, now_s: float) -> Done:
            return Done(_order(calendar, trigger, event_id, now_s, who))

        outcome = await self.ledger.do(job)
        if outcome.refusal:
            return outcome.refusal
        assert before is not None  # Else it would have been refused.
        return self.get(event_id) or replace(before, status=Status.GONE)

    def counts(self) -> Counter[str]:
        """Return how many events there are by status."""
        found = Counter(event.status.value for event in self.ledger.events.values())
        return Counter({key.value: found[key.value] for key in (Status.SCHEDULED, Status.STARTED)})

    # Scenarios.

    @property
    def book(self) -> Book:
        """The scenarios that were begun."""
        return self.ledger.book

    async def begin(self, name: str, plans: tuple[Plan, ...], *, is_once: bool = False) -> None:
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

        def job(_: Calendar, book: Book, now_s: float) -> Done:
            return Done(Outcome(()), begin(book, name, plans, now_s))

        await self.ledger.do(job)
        await self.ledger.do(self._follow)

    async def end(self, name: str) -> bool:
        """End a scenario; its events stay. Tell whether there was one.

        Raises:
            StoreError: it could not be written; then it goes on.
        """
        if name not in self.book.scenarios:
            return False
        await self.ledger.do(lambda _, book, _now_s: Done(Outcome(()), end(book, name)))
        return True

    # Time.

    async def set_clock(self, state: ClockState) -> None:
        """Run the clock from a state on; it goes on after a restart.

        Raises:
            StoreError: it could not be written; the clock runs as before.
        """
        note: dict[str, bytes | None] = {_CLOCK: msgspec.json.encode(state)}
        await self._desk.ask(self._desk.store.move, Moves(notes=note))
        self.clock.take(state)
        await self.on_clock()
        await self.ledger.do(self._follow)

    def _follow(self, calendar: Calendar, book: Book, now_s: float) -> Done:
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
        return Done(Outcome(tuple(transitions)), book, tuple(born))

    def _occurrence(self, plan: Plan) -> list[Declaration]:
        """Return what a plan declares, for those of its VMs that are still there."""
        known = [name for name in plan.vms if name in self._desk.picture.by_name]
        if len(known) < len(plan.vms):
            gone = ", ".join(sorted({*plan.vms} - {*known}))
            self._tell_once(f"a scenario names VMs that are gone: {gone}")
        places: _Places = {}
        for name in known:
            self._place(name, places)
        return _declarations(wish_of(plan), places)

    # Declarations.

    def _check_vms(self, names: Iterable[str], where: str) -> None:
        known = self._desk.picture.by_name
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
        scope, resource = place_of(self._desk.picture.by_name[name].vm)
        found.setdefault(scope, []).append((name, resource))


async def _nothing() -> None:
    """Do nothing when the clock is set."""


def _declarations(wish: Wish, places: _Places) -> list[Declaration]:
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


def _check(said: Declaration, wish: Wish, now_s: float) -> None:
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


def _event(said: Declaration, wish: Wish, now_s: float) -> Event:
    event = prepare(said, now_s)
    at_s = wish.not_before_s
    return event if at_s is None else replace(event, not_before_s=ceil(at_s))


def _declare(calendar: Calendar, events: Iterable[Event], who: str) -> Outcome:
    transitions: list[Transition] = []
    for event in events:
        outcome = calendar.declare(event, who)
        assert outcome.refusal is None  # The ids were drawn just now.
        transitions += outcome.transitions
    return Outcome(tuple(transitions))


def _order(calendar: Calendar, trigger: Trigger, event_id: str, now_s: float, who: str) -> Outcome:
    match trigger:
        case Trigger.START:
            return calendar.start(event_id, now_s, who)
        case Trigger.COMPLETE:
            return calendar.complete(event_id, now_s, who)
        case Trigger.CANCEL:
            return calendar.cancel(event_id, now_s, who)
        case _:
            return _approve_for(calendar, event_id, now_s, who)


def _approve_for(calendar: Calendar, event_id: str, now_s: float, who: str) -> Outcome:
    """Approve an event in the name of the VMs that it hits, as far as that is needed."""
    transitions = calendar.tick(now_s)
    event = calendar.get(event_id)
    if event is None:
        return Outcome(tuple(transitions), calendar.start(event_id, now_s).refusal)
    if event.is_advisory:
        text = f"event {event.event_id} is a {event.event_type}, which only advises"
        return Outcome(tuple(transitions), Refusal(Reason.STATUS, text))
    for vm in event.concerned:
        now = calendar.get(event_id)
        if now is None or now.status is not Status.SCHEDULED:
            break
        outcome = calendar.approve(event.scope, vm, (event.event_id,), now_s)
        transitions += [replace(one, who=who) for one in outcome.transitions]
    return Outcome(tuple(transitions))
