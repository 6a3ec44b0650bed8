"""The fault service: set faults of a running server, play playbooks, clear both.

All methods are called on the server's event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec.json
from msgspec import Struct, field, structs

from openimds.errors import BAD_JSON, ConfigError
from openimds.faults.injector import ActiveFault, FaultCounts, FaultInjector
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch
from openimds.log.events import FAULT_CLEARED, FAULT_LOST, FAULT_SET
from openimds.parameters import nearest
from openimds.protocol.faults.fault import FaultSpec, fault_to_value
from openimds.protocol.faults.input import MOST_FAULTS, read_fault

API, FILE = "api", "file"
"""The origin of a fault: the API and Python, or the fleet file."""
MOST_LOGGED = 10
"""So many faults and effects are logged by name."""
NOTE = "faults"
"""The key of the API's faults in the store."""
_STALE = "stale-document"


class StoredFault(Struct, frozen=True):
    """A fault of the API in the store."""

    key: str
    begun_s: float
    playbook: str
    fault: dict[str, object] = field(name="said")  # words: the name in the stores of 0.1.0


async def _nothing() -> None:
    """Do nothing when faults have changed."""


class FaultService:
    """The faults of a server, set on request.

    From Python, inside the loop of a running `openimds.server.server.Server`::

        await server.faults.set({"effect": "status", "status": 410, "until_s": 70})
        await server.faults.play("throttled", "web-1", for_s=5)
        await server.faults.clear()

    The members are those of a fleet file's `faults`.
    """

    def __init__(
        self,
        fleet_service: FleetService,
        utc: Callable[[], float],
        on_change: Callable[[], Awaitable[None]] = _nothing,
        notify: Callable[[str], None] = lambda _: None,
        *,
        injector: FaultInjector | None = None,
    ) -> None:
        """Keep faults in the store of a fleet.

        `notify` receives a message for stored faults that cannot be read.
        """
        self._notify = notify
        self.injector = injector or FaultInjector()
        self.on_change = on_change
        self.check_system: Callable[[Iterable[FaultSpec]], None] = lambda _: None
        """Called with faults before they are set; raises ConfigError if they cannot be played."""
        self.counts: Callable[[], Awaitable[dict[str, FaultCounts]]] | None = None
        """Reads the counts by key, where another process plays the faults."""
        self._fleet_service, self._utc = fleet_service, utc
        self._turn = asyncio.Lock()
        self._last = 0

    @property
    def running(self) -> tuple[ActiveFault, ...]:
        """All active faults, in the order in which they are tried."""
        return self.injector.running

    @property
    def played(self) -> Counter[str]:
        """The number of times that each effect was played."""
        return self.injector.played

    async def counted(self) -> tuple[ActiveFault, ...]:
        """Return all active faults with their counts at this moment."""
        if self.counts:
            counts = await self.counts()
            for fault in self.running:
                if fault.key in counts and not fault.is_public:
                    fault.counts = counts[fault.key]
        return self.running

    async def load(self, of_file: Iterable[FaultSpec], removed: Iterable[str] = ()) -> None:
        """Resume the stored faults, and set those of the fleet file before them.

        A stored fault that cannot be read is left out and reported. The VMs in `removed` may be
        named, although they do not exist.

        Raises:
            ConfigError: another VM of the file does not exist.
            StoreError: the store cannot be read.
        """
        of_file = tuple(of_file)
        self.check(of_file, removed)
        note = await self._fleet_service.call_store(self._fleet_service.store.value, NOTE)
        self._last = max((int(fault.key) for fault in self.running), default=0)
        resumed = self._resume_all(note) if note else []
        await self._publish((*self._of_file(of_file), *resumed))

    def _resume_all(self, note: bytes) -> list[ActiveFault]:
        """Return the stored faults that can be read, and report the others."""
        resumed: list[ActiveFault] = []
        unreadable = "is left out: it is damaged, or another release wrote it"
        try:
            stored = msgspec.json.decode(note, type=list[StoredFault])
            self._last = max((self._last, *(int(fault.key) for fault in stored)))
        except BAD_JSON as error:
            self._notify(
                FAULT_LOST.message(
                    f"the row of stored faults {unreadable} ({error}). Set them again"
                )
            )
            return resumed
        for fault in stored:
            try:
                resumed.append(self._resumed(fault))
            except ConfigError as error:
                self._notify(
                    FAULT_LOST.message(
                        f"the stored fault {fault.key} {unreadable} ({error}). Set it again",
                        fault=fault.key,
                    )
                )
        return resumed

    async def set(self, value: object) -> list[ActiveFault]:
        """Set a fault, or all of a playbook, from now on; return the faults.

        `value` is an entry of a fleet file's `faults`.

        Raises:
            ConfigError: the value is no fault, a VM does not exist, or there are too many faults.
            StoreError: the faults cannot be stored; then none is set.
        """
        async with self._turn:
            specs = read_fault(value)
            self._check(specs, (), "vms")
            self.check_system((*(fault.spec for fault in self.running), *specs))
            if len(self.running) + len(specs) > MOST_FAULTS:
                seen, hint = f"more than {MOST_FAULTS} faults", "Clear some of them first"
                raise ConfigError("faults", seen, f"at most {MOST_FAULTS}", hint)
            new = [self._begin(spec, API) for spec in specs]
            await self._store((*self.running, *new))
            return new

    async def play(self, playbook: str, *vms: str, **parameters: object) -> list[ActiveFault]:
        """Play a playbook from now on, by default for all VMs; return the faults.

        Raises:
            ConfigError, StoreError: as `set`.
        """
        members: dict[str, object] = {"playbook": playbook, **parameters}
        return await self.set({**members, "vms": [*vms]} if vms else members)

    async def clear(self, key: str = "") -> int:
        """Clear the fault with that key, or all; return the number of cleared faults.

        Faults of the fleet file come back when it is edited, or with the next start.

        Raises:
            StoreError: the change cannot be stored; then the faults stay active.
        """
        async with self._turn:
            left = tuple(fault for fault in self.running if key and fault.key != key)
            cleared = len(self.running) - len(left)
            if cleared:
                await self._store(left)
            return cleared

    async def clear_for(
        self, names: AbstractSet[str]
    ) -> list[tuple[ActiveFault, tuple[str, ...], tuple[str, ...]]]:
        """Take VMs out of the faults that name them.

        A fault without a VM left is cleared. Return these faults, each with the VMs taken out and
        those that are left.

        Raises:
            StoreError: the change cannot be stored; then the faults stay active.
        """
        async with self._turn:
            changed: dict[str, tuple[ActiveFault, tuple[str, ...], tuple[str, ...]]] = {}
            running: list[ActiveFault] = []
            for fault in self.running:
                hit = tuple(name for name in fault.spec.vms if name in names)
                left = tuple(name for name in fault.spec.vms if name not in names)
                if hit:
                    changed[fault.key] = (fault, hit, left)
                if not hit:
                    running.append(fault)
                elif left:
                    running.append(fault.for_vms(left))
            if changed:
                await self._store(tuple(running))
            return [*changed.values()]

    async def follow(self, of_file: Iterable[FaultSpec]) -> None:
        """Replace the fleet file's faults; an unchanged fault keeps its counters."""
        async with self._turn:
            others = [fault for fault in self.running if fault.origin != FILE]
            await self._publish((*self._of_file(of_file), *others))

    def check(self, specs: Iterable[FaultSpec], more: Iterable[str] = ()) -> None:
        """Check that the VMs of a fleet file's faults are served, or are among `more`.

        Raises:
            ConfigError: a VM does not exist.
        """
        specs = tuple(specs)
        self._check(specs, more, "faults.vms")
        try:
            self.check_system(specs)
        except ConfigError as error:
            raise error.inside("faults") from None

    def _check(self, specs: Iterable[FaultSpec], more: Iterable[str], where: str) -> None:
        index = self._fleet_service.fleet_index
        wanted = {name for spec in specs for name in spec.vms}
        # A fleet file of 100,000 VMs without such a fault costs nothing here.
        more = frozenset(more) if wanted else frozenset()
        for spec in specs:
            for name in spec.vms:
                if not any(name in place for place in (index.by_name, index.quarantine, more)):
                    known = {*index.by_name, *index.quarantine, *more}
                    seen, hint = f'unknown VM "{name}"', nearest(name, known)
                    raise ConfigError(where, seen, "names of VMs that are served", hint)

    def _of_file(self, specs: Iterable[FaultSpec]) -> list[ActiveFault]:
        before = [fault for fault in self.running if fault.origin == FILE]
        faults = []
        for spec in specs:
            unchanged = next((fault for fault in before if fault.spec == spec), None)
            if unchanged:
                before.remove(unchanged)
            faults.append(unchanged or self._begin(spec, FILE))
        return faults

    def _begin(self, spec: FaultSpec, origin: str) -> ActiveFault:
        self._last += 1
        return ActiveFault(str(self._last), spec, origin, self._utc(), self._before(spec))

    def _resumed(self, stored: StoredFault) -> ActiveFault:
        (spec,) = read_fault(stored.fault, f"{NOTE}[{stored.key}]")
        self.check_system((spec,))
        spec = structs.replace(spec, playbook=stored.playbook)
        return ActiveFault(stored.key, spec, API, stored.begun_s, self._before(spec))

    def _before(self, spec: FaultSpec) -> dict[str, bytes]:
        return vms_before(spec, self._fleet_service.fleet_index)

    async def _store(self, running: tuple[ActiveFault, ...]) -> None:
        stored = [_stored(fault) for fault in running if fault.origin == API]
        if stored != [_stored(fault) for fault in self.running if fault.origin == API]:
            note = msgspec.json.encode(stored) if stored else None
            await self._fleet_service.call_store(
                self._fleet_service.store.write_events, EventBatch(values={NOTE: note})
            )
        await self._publish(running)

    async def _publish(self, running: tuple[ActiveFault, ...]) -> None:
        before, self.injector.running = self.running, running
        self._log(before, running)
        await self.on_change()

    def _log(self, before: Sequence[ActiveFault], running: Sequence[ActiveFault]) -> None:
        """Log the faults that are new, and those that have gone."""
        for event, some, others in (
            (FAULT_SET, running, before),
            (FAULT_CLEARED, before, running),
        ):
            keys = {fault.key for fault in others}
            if found := [fault for fault in some if fault.key not in keys]:
                effects = sorted({fault.spec.effect for fault in found})
                what = "set" if event is FAULT_SET else "cleared"
                nouns = "fault" if len(found) == 1 else "faults"
                some_effects = effects[:MOST_LOGGED]
                self._notify(
                    event.message(
                        f"{len(found)} {nouns} {what}: {', '.join(some_effects)}",
                        faults=tuple(fault.key for fault in found[:MOST_LOGGED]),
                        effects=tuple(some_effects),
                        count=len(found),
                    )
                )


def vms_before(spec: FaultSpec, index: FleetIndex[Any]) -> dict[str, bytes]:
    """Return the VMs that a fault serves, packed as they are now."""
    if spec.effect != _STALE:
        return {}
    entries = index.by_name
    return {name: entries[name].packed for name in spec.vms or entries if name in entries}


def _stored(fault: ActiveFault) -> StoredFault:
    members = fault_to_value(fault.spec)
    playbook = members.pop("playbook", "")
    return StoredFault(fault.key, fault.begun_s, playbook, members)
