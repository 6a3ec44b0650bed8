"""The faults that are set, and how many requests of each VM they have met."""

from collections import Counter
from math import inf

from openimds.facts.faults import REFUSED
from openimds.fleet.index import unpack
from openimds.protocol.faults.fault import Fault, FaultSpec
from openimds.protocol.faults.matching import fits, is_hit, is_time
from openimds.protocol.request import Query


class ActiveFault:
    """One plan that is set, since when, by whom, and what it has met so far.

    `before` has the VMs as they were then, packed, where the effect wants that.
    """

    def __init__(
        self, key: str, plan: FaultSpec, origin: str, begun_s: float, before: dict[str, bytes]
    ) -> None:
        """Begin to count."""
        self.key, self.plan, self.origin, self.begun_s = key, plan, origin, begun_s
        self.played = 0
        self._names, self._before = frozenset(plan.vms), before
        self._seen: dict[str, int] = {}

    @property
    def seen(self) -> int:
        """How many requests fitted, of all VMs together."""
        return sum(self._seen.values())

    def is_on(self, vm: str, utc_s: float) -> bool:
        """Tell whether a VM is concerned now."""
        return (not self._names or vm in self._names) and is_time(self.plan, utc_s - self.begun_s)

    def meet(self, vm: str) -> Fault | None:
        """Count a request of a VM that fits, and return the fault if it goes wrong."""
        number = self._seen[vm] = self._seen.get(vm, 0) + 1
        if not is_hit(self.plan, vm, number):
            return None
        before = self._before.get(vm)
        return Fault(self.plan, vm, number, unpack(before) if before else None)


class FaultInjector:
    """All faults of a server, in the order in which they are tried.

    Each of them counts every request that fits it, whether another one is played or not, so that
    what one does does not depend on the others. Of those that would be played the first one is.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.running: tuple[ActiveFault, ...] = ()
        self.played: Counter[str] = Counter()
        """How often each effect was played since the start."""

    def fault(self, vm: str, asked: Query, utc_s: float) -> Fault | None:
        """Count a request, and return the fault that is played on it, if any is."""
        found: Fault | None = None
        for one in self.running:
            if not one.is_on(vm, utc_s) or not fits(one.plan, asked):
                continue
            met = one.meet(vm)
            if met is not None and found is None:
                found = met
                self._count(one)
        return found

    def refuses(self, vm: str, utc_s: float) -> bool:
        """Tell whether a new connection of a VM meets nobody, and count it then."""
        for one in self.running:
            if one.plan.effect == REFUSED and one.is_on(vm, utc_s):
                self._count(one)
                return True
        return False

    def is_shut(self, utc_s: float) -> bool:
        """Tell whether connections of every VM are refused."""
        return any(is_time(one.plan, utc_s - one.begun_s) for one in self._shutting())

    def next_s(self, utc_s: float) -> float:
        """Return when `is_shut` may be another thing, in seconds since 1970; inf for never."""
        edges = [
            one.begun_s + edge_s
            for one in self._shutting()
            for edge_s in (one.plan.from_s, one.plan.until_s)
            if edge_s is not None
        ]
        return min((edge_s for edge_s in edges if edge_s > utc_s), default=inf)

    def _shutting(self) -> list[ActiveFault]:
        return [one for one in self.running if one.plan.effect == REFUSED and not one.plan.vms]

    def _count(self, one: ActiveFault) -> None:
        one.played += 1
        self.played[one.plan.effect] += 1
