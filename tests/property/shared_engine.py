"""An engine in memory that two controls share; it fences all but the last leader."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from openimds.fleet.placement import hosts_of
from openimds.fleet.store.port import FencedError, Store, StoredVm, StoreError
from openimds.fleet.store.sqlite import MemoryStore
from openimds.fleet.stored_bodies import decode_vm
from openimds.vm.types import Vm

WRITES = frozenset({"write", "write_events", "prune"})
READS = frozenset(name for name in vars(Store) if name[0] != "_") - WRITES


class StoredFleet(Struct):
    """The VMs of a fleet from a revision on, up to the next one."""

    revision: int
    vms: dict[str, Vm]

    def names_on(self, host: str) -> set[str]:
        """Return the names of the VMs that are placed on a host."""
        return {name for name, vm in self.vms.items() if host in hosts_of(vm)}


class SharedEngine:
    """A database with the epoch of its leader, and with faults on demand."""

    def __init__(self) -> None:
        """Begin empty, without a leader."""
        self.memory = MemoryStore()
        self.epoch = 0
        self.is_away = self.refuses_writes = False
        self.is_unknown: bool | None = None
        """The end of the next commit, which is not acknowledged: made, or not."""
        self.fleets = [StoredFleet(0, {})]
        """The fleet after each commit."""

    def heal(self) -> None:
        """End all faults."""
        self.is_away = self.refuses_writes = False
        self.is_unknown = None

    def open(self) -> Any:
        """Open the store as the leader of a new epoch; all earlier openings are fenced."""
        self.epoch += 1
        return EngineStore(self, self.epoch)

    def fleets_since(self, revision: int) -> list[StoredFleet]:
        """Return the fleet at a revision, and all later ones."""
        at = bisect_right([fleet.revision for fleet in self.fleets], revision) - 1
        return self.fleets[max(0, at) :]

    def make(self, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Make a change."""
        result = method(*arguments)
        if self.memory.revision() != self.fleets[-1].revision:
            vms = {row.name: vm_of(row.name, row.body) for row in self.memory.page("", 99)}
            self.fleets.append(StoredFleet(self.memory.revision(), vms))
        return result


class EngineStore:
    """One opening, which behaves as that of `fleet.store.postgres`."""

    def __init__(self, engine: SharedEngine, epoch: int) -> None:
        """Lead in an epoch."""
        self.engine, self.epoch = engine, epoch
        self.is_tainted = False
        """Whether a change that was reported as failed was made after all."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the engine, which fails while the engine does."""
        if name not in READS | WRITES:
            raise AttributeError(name)
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        engine, method = self.engine, getattr(self.engine.memory, name)
        if engine.is_away:
            raise StoreError("the engine is away; nothing was changed")
        if name in READS:
            return method(*arguments)
        if self.is_tainted or self.epoch != engine.epoch:
            raise FencedError(f"epoch {self.epoch} has ended; nothing was changed")
        if engine.refuses_writes:
            raise StoreError("the engine is read-only; nothing was changed")
        is_made, engine.is_unknown = engine.is_unknown, None
        if is_made is None:
            return engine.make(method, arguments)
        if is_made:
            engine.make(method, arguments)
            self.is_tainted = True
        raise StoreError("the connection was lost at the commit")

    def problem(self) -> str:
        """Return nothing: a failed change tells its reason."""
        return ""

    def close(self) -> None:
        """Leave the engine to the other control."""


def vm_of(name: str, body: bytes) -> Vm:
    """Return the VM of a stored body."""
    return decode_vm(StoredVm(name, body, 1, "api"))
