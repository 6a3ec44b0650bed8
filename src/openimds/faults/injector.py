"""The active faults of a server, and their counts of matching requests."""

from collections import Counter
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from openimds.facts.faults import BLACKHOLE, REFUSED
from openimds.fleet.vm_entry import unpack
from openimds.protocol.faults.fault import Fault, FaultSpec
from openimds.protocol.faults.matching import is_active, is_hit, matches, matches_public
from openimds.protocol.faults.public_request import PublicRequest
from openimds.protocol.request import Query

_NO_VM = ""
"""The name under which the requests of all verifiers are counted together."""


class FaultCounts(Struct, frozen=True):
    """The counts of an active fault: matching requests, and those on which it was played."""

    seen: int
    played: int


class ActiveFault:
    """A fault that is set: since when, by which origin, and its counts.

    `before` holds the VMs, packed, as they were when the fault was set, if the effect serves them.
    """

    key: str
    """The key by which it is cleared."""
    spec: FaultSpec
    """Its members, as in a fleet file."""
    origin: str
    """`api`, or `file` for a fault of the fleet file."""
    begun_s: float
    """The time when it was set, in seconds since 1970."""
    played: int
    """The number of times that it was played."""
    is_public: bool
    """Whether it is for the public listener, not for guests."""

    def __init__(
        self, key: str, spec: FaultSpec, origin: str, begun_s: float, before: dict[str, bytes]
    ) -> None:
        """Begin to count."""
        self.key, self.origin, self.begun_s = key, origin, begun_s
        self.played = 0
        self.is_public = spec.is_public
        self._seen: dict[str, int] = {}
        self.follow(spec, before)

    def follow(self, spec: FaultSpec, before: dict[str, bytes]) -> None:
        """Go on counting for other VMs; the other members of `spec` are the same."""
        self.spec = spec
        self._names, self._before = frozenset(spec.vms), before

    def for_vms(self, names: tuple[str, ...]) -> "ActiveFault":
        """Return the same fault for these of its VMs, with its counts."""
        before = {name: self._before[name] for name in names if name in self._before}
        fault = ActiveFault(
            self.key, replace(self.spec, vms=names), self.origin, self.begun_s, before
        )
        fault.played, fault._seen = self.played, self._seen
        return fault

    @property
    def seen(self) -> int:
        """The number of matching requests of all VMs together."""
        return sum(self._seen.values())

    @property
    def counts(self) -> FaultCounts:
        """The counts of all VMs together."""
        return FaultCounts(self.seen, self.played)

    @counts.setter
    def counts(self, counts: FaultCounts) -> None:
        """Show the counts of the same fault in another process."""
        self._seen, self.played = {"": counts.seen}, counts.played

    @property
    def before(self) -> dict[str, bytes]:
        """The VMs as they were when the fault was set, packed."""
        return self._before

    def is_on(self, vm: str, utc_s: float) -> bool:
        """Tell whether the fault is active for a VM at a time."""
        is_named = not self._names or vm in self._names
        return is_named and is_active(self.spec, utc_s - self.begun_s)

    def count(self, vm: str) -> Fault | None:
        """Count a matching request, and return the fault if it hits the request."""
        number = self._seen[vm] = self._seen.get(vm, 0) + 1
        if not is_hit(self.spec, vm, number):
            return None
        before = self._before.get(vm)
        return Fault(self.spec, vm, number, unpack(before) if before else None)


class FaultInjector:
    """All active faults of a server, in the order in which they are tried.

    Each of them counts every request that matches it, whether another one is played or not, so that
    its hits do not depend on the others. If several hit a request, the first one is played.
    """

    def __init__(self) -> None:
        """Begin with no fault."""
        self.running: tuple[ActiveFault, ...] = ()
        self.played: Counter[str] = Counter()
        """How often each effect was played since the start."""

    @property
    def concerns_guests(self) -> bool:
        """Whether any fault is for guests; others leave the data plane its caches."""
        return any(not active.is_public for active in self.running)

    def fault(self, vm: str, query: Query, utc_s: float) -> Fault | None:
        """Count a request, and return the fault to play on it, if any."""
        played: Fault | None = None
        for active in self.running:
            if active.is_public or not active.is_on(vm, utc_s):
                continue
            if not matches(active.spec, query):
                continue
            hit = active.count(vm)
            if hit is not None and played is None:
                played = hit
                self._count(active)
        return played

    def public_fault(self, request: PublicRequest, utc_s: float) -> Fault | None:
        """Count a request at the public listener, and return its fault, if any."""
        played: Fault | None = None
        for active in self.running:
            if not active.is_public or not active.is_on(_NO_VM, utc_s):
                continue
            if not matches_public(active.spec, request):
                continue
            hit = active.count(_NO_VM)
            if hit is not None and played is None:
                played = hit
                self._count(active)
        return played

    def refuses(self, vm: str, utc_s: float) -> bool:
        """Tell whether a new connection of a VM is refused, and count it if so."""
        for active in self.running:
            if active.spec.effect == REFUSED and active.is_on(vm, utc_s):
                self._count(active)
                return True
        return False

    def unanswered(self, utc_s: float) -> frozenset[str] | None:
        """Return the names of the VMs whose connections are never answered; None for all."""
        active = [
            active
            for active in self._swallowing()
            if is_active(active.spec, utc_s - active.begun_s)
        ]
        if any(not one.spec.vms for one in active):
            return None
        return frozenset(name for one in active for name in one.spec.vms)

    def is_shut(self, utc_s: float) -> bool:
        """Tell whether connections of every VM are refused."""
        return any(
            is_active(active.spec, utc_s - active.begun_s) for active in self._refusing_all()
        )

    def next_s(self, utc_s: float) -> float:
        """Return when `is_shut` or `unanswered` may change next; inf for never."""
        edges = [
            active.begun_s + edge_s
            for active in (*self._refusing_all(), *self._swallowing())
            for edge_s in (active.spec.from_s, active.spec.until_s)
            if edge_s is not None
        ]
        return min((edge_s for edge_s in edges if edge_s > utc_s), default=inf)

    def _refusing_all(self) -> list[ActiveFault]:
        return [
            active
            for active in self.running
            if active.spec.effect == REFUSED and not active.spec.vms
        ]

    def _swallowing(self) -> list[ActiveFault]:
        return [active for active in self.running if active.spec.effect == BLACKHOLE]

    def _count(self, active: ActiveFault) -> None:
        active.played += 1
        self.played[active.spec.effect] += 1
