"""The door to the faults of a server: set them, play a playbook, clear them.

Everything here is called on the server's event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import msgspec.json
from msgspec import Struct, field, structs

from openimds.errors import ConfigError
from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch
from openimds.parameters import nearest
from openimds.protocol.faults.fault import FaultSpec, fault_to_value
from openimds.protocol.faults.input import MOST_PLANS, read

API, FILE = "api", "file"
"""Who manages a fault: whoever calls this, or the fleet file."""
NOTE = "faults"
"""The store's note of the faults that came by the API."""
_STALE = "stale-document"


class StoredFault(Struct, frozen=True):
    """A fault as it is written down."""

    key: str
    begun_s: float
    playbook: str
    fault: dict[str, object] = field(name="said")  # The name of 0.1.0, in the stores that it wrote.


async def _nothing() -> None:
    """Do nothing when faults have changed."""


class FaultService:
    """What goes wrong in a server, on request.

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
        trouble: Callable[[FaultInjector | None], None],
        on_change: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Keep faults in the store of a desk; `trouble` is told when there are any, or none."""
        self.engine = FaultInjector()
        self.on_change = on_change
        self._fleet_service, self._utc, self._trouble = fleet_service, utc, trouble
        self._turn = asyncio.Lock()
        self._last = 0

    @property
    def running(self) -> tuple[ActiveFault, ...]:
        """All faults that are set, in the order in which they are tried."""
        return self.engine.running

    @property
    def played(self) -> Counter[str]:
        """How often each effect was played."""
        return self.engine.played

    async def load(self, of_file: Iterable[FaultSpec]) -> None:
        """Take up what the store holds, and set what the fleet file says.

        Raises:
            ConfigError: a VM is not there, or what is kept was written by a release that knew more.
            StoreError: the store cannot be read.
        """
        of_file = tuple(of_file)
        self.check(of_file)
        note = await self._fleet_service.call_store(self._fleet_service.store.value, NOTE)
        kept = msgspec.json.decode(note, type=list[StoredFault]) if note else []
        self._last = max((int(one.key) for one in kept), default=0)
        held = [self._resumed(one) for one in kept]
        await self._show((*self._of_file(of_file), *held))

    async def set(self, value: object) -> list[ActiveFault]:
        """Set a fault, or all of a playbook, from now on; return what was set.

        `value` is a mapping as it stands in a fleet file.

        Raises:
            ConfigError: it is none, a VM is not there, or there are too many faults.
            StoreError: it could not be written; then nothing is set.
        """
        async with self._turn:
            plans = read(value)
            self._check(plans, (), "vms")
            if len(self.running) + len(plans) > MOST_PLANS:
                seen, hint = f"more than {MOST_PLANS} faults", "Clear some of them first"
                raise ConfigError("faults", seen, f"at most {MOST_PLANS}", hint)
            made = [self._begin(plan, API) for plan in plans]
            await self._keep((*self.running, *made))
            return made

    async def play(self, playbook: str, *vms: str, **parameters: object) -> list[ActiveFault]:
        """Play a playbook for some VMs (none named: for all) from now on; return what was set.

        Raises:
            ConfigError, StoreError: as `set`.
        """
        members: dict[str, object] = {"playbook": playbook, **parameters}
        return await self.set({**members, "vms": [*vms]} if vms else members)

    async def clear(self, key: str = "") -> int:
        """Clear the fault of that key, or all of them; return how many there were.

        What stands in the fleet file comes back when it is edited, or with the next start.

        Raises:
            StoreError: it could not be written; then they go on.
        """
        async with self._turn:
            left = tuple(one for one in self.running if key and one.key != key)
            cleared = len(self.running) - len(left)
            if cleared:
                await self._keep(left)
            return cleared

    async def follow(self, of_file: Iterable[FaultSpec]) -> None:
        """Have of the fleet file what it says now; a fault that it said before goes on counting."""
        async with self._turn:
            others = [one for one in self.running if one.origin != FILE]
            await self._show((*self._of_file(of_file), *others))

    def check(self, plans: Iterable[FaultSpec], more: Iterable[str] = ()) -> None:
        """Check that the VMs that a fleet file's faults name are served, or are among `more`.

        Raises:
            ConfigError: one of them is not.
        """
        self._check(plans, more, "faults.vms")

    def _check(self, plans: Iterable[FaultSpec], more: Iterable[str], where: str) -> None:
        known = {*self._fleet_service.fleet_index.by_name, *more}
        for plan in plans:
            for name in plan.vms:
                if name not in known:
                    seen, hint = f'"{name}", which is no VM', nearest(name, known)
                    raise ConfigError(where, seen, "names of VMs that are served", hint)

    def _of_file(self, plans: Iterable[FaultSpec]) -> list[ActiveFault]:
        before = [one for one in self.running if one.origin == FILE]
        found = []
        for plan in plans:
            same = next((one for one in before if one.plan == plan), None)
            if same:
                before.remove(same)
            found.append(same or self._begin(plan, FILE))
        return found

    def _begin(self, plan: FaultSpec, origin: str) -> ActiveFault:
        self._last += 1
        return ActiveFault(str(self._last), plan, origin, self._utc(), self._before(plan))

    def _resumed(self, kept: StoredFault) -> ActiveFault:
        (plan,) = read(kept.fault, f"{NOTE}[{kept.key}]")
        plan = structs.replace(plan, playbook=kept.playbook)
        return ActiveFault(kept.key, plan, API, kept.begun_s, self._before(plan))

    def _before(self, plan: FaultSpec) -> dict[str, bytes]:
        if plan.effect != _STALE:
            return {}
        entries = self._fleet_service.fleet_index.by_name
        return {name: entries[name].packed for name in plan.vms or entries if name in entries}

    async def _keep(self, running: tuple[ActiveFault, ...]) -> None:
        kept = [_kept(one) for one in running if one.origin == API]
        if kept != [_kept(one) for one in self.running if one.origin == API]:
            note = msgspec.json.encode(kept) if kept else None
            await self._fleet_service.call_store(
                self._fleet_service.store.write_events, EventBatch(values={NOTE: note})
            )
        await self._show(running)

    async def _show(self, running: tuple[ActiveFault, ...]) -> None:
        was_quiet = not self.running
        self.engine.running = running
        if was_quiet and running:
            self._trouble(self.engine)
        elif not running and not was_quiet:
            self._trouble(None)
        await self.on_change()


def _kept(one: ActiveFault) -> StoredFault:
    members = fault_to_value(one.plan)
    playbook = members.pop("playbook", "")
    return StoredFault(one.key, one.begun_s, playbook, members)
