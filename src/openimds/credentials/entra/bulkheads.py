"""Bulkheads between tenants: the fetches that wait, and the threads that fetches hold.

A tenant whose directory hangs holds threads for as long as its fetches take, and must not hold
those of the others. So a tenant gets as many threads as one alone can use while most are free, and
a small share when others want them too. A tenant whose last fetch failed gets a single one until a
fetch succeeds, and all such tenants together get half of the threads.

The fetches of a tenant wait in a fair queue by VM, and the tenants take turns. When too many wait,
the tenant that holds most of the queue is refused the newest fetch of its largest VM.
"""

from collections import Counter, OrderedDict
from typing import Generic, TypeVar

from openimds.credentials.fair_queue import FairQueue

T = TypeVar("T")

THREADS = 32
"""The most fetches at the same time."""
MOST_PER_TENANT = 8
"""The most threads of one tenant, while more than half of all are free."""
SHARE_PER_TENANT = 2
"""The most threads of one tenant otherwise: eight tenants that hang leave some to others."""
MOST_PER_VM = 32
"""The most waiting fetches of one VM; Azure's limits allow 5."""
MOST_WAITING = 512
"""The most waiting fetches of all: as many as one tenant can have done before they time out."""
MOST_FAILING = 1024
"""The most tenants whose last fetch is remembered as failed."""


class Bulkheads(Generic[T]):
    """Waiting fetches by tenant and VM. Called on the event loop."""

    def __init__(self, most_waiting: int = MOST_WAITING, most_per_vm: int = MOST_PER_VM) -> None:
        """Begin without fetches."""
        self._most_waiting, self._most_per_vm = most_waiting, most_per_vm
        self._waiting = 0
        # In the order of the turns; a tenant without waiting fetches has no queue.
        self._queues: OrderedDict[str, FairQueue[T]] = OrderedDict()
        self._threads: Counter[str] = Counter()
        self._failing: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of waiting fetches."""
        return self._waiting

    def put(self, tenant: str, vm: str, fetch: T) -> T | None:
        """Add a fetch; return the one that is refused instead, or None.

        A VM at its own bound is refused the new fetch. When too many wait, the tenant that holds
        most is refused, and of its VMs the one that holds most: it loses its newest fetch.
        """
        queue = self._queues.get(tenant) or FairQueue(self._most_waiting, self._most_per_vm)
        if self._waiting < self._most_waiting:
            refused = queue.put(vm, fetch)
            self._waiting += refused is None
        else:
            largest = max(self._queues, key=lambda name: len(self._queues[name]))
            # The new fetch counts; in a tie its own tenant is refused, as others have waited.
            if len(self._queues[largest]) <= len(queue) + 1:
                return queue.exchange(vm, fetch) if queue else fetch
            refused = queue.put(vm, fetch)
            if refused is None:
                refused = self._queues[largest].drop()
        if queue:
            self._queues[tenant] = queue
        return refused

    def take(self) -> T | None:
        """Remove and return the next fetch that may have a thread, or None.

        The thread counts as its tenant's until `end`.
        """
        busy = self._threads.total()
        if busy >= THREADS:
            return None
        most = MOST_PER_TENANT if busy < THREADS // 2 else SHARE_PER_TENANT
        held_by_failing = sum(
            self._threads[tenant] for tenant in self._threads.keys() & self._failing
        )
        most_of_failing = int(held_by_failing < THREADS // 2)
        for tenant, queue in self._queues.items():
            bound = most_of_failing if tenant in self._failing else most
            if self._threads[tenant] < bound:
                fetch = queue.take()
                assert fetch is not None  # An empty queue is removed at once.
                self._threads[tenant] += 1
                self._waiting -= 1
                self._queues.move_to_end(tenant)
                self._shrink(tenant)
                return fetch
        return None

    def end(self, tenant: str) -> None:
        """Count the thread of a fetch as free."""
        self._threads[tenant] -= 1
        if not self._threads[tenant]:
            del self._threads[tenant]

    def judge(self, tenant: str, *, has_failed: bool) -> None:
        """Remember whether the last fetch of a tenant failed."""
        self._failing.pop(tenant, None)
        if has_failed:
            self._failing[tenant] = None
            if len(self._failing) > MOST_FAILING:
                self._failing.popitem(last=False)

    def remove(self, tenant: str, vm: str, fetch: T) -> bool:
        """Remove a fetch, and tell whether it was waiting."""
        queue = self._queues.get(tenant)
        if queue is None or not queue.remove(vm, fetch):
            return False
        self._waiting -= 1
        self._shrink(tenant)
        return True

    def clear(self, tenant: str) -> list[T]:
        """Remove and return the waiting fetches of a tenant."""
        queue = self._queues.pop(tenant, None)
        fetches = queue.clear() if queue else []
        self._waiting -= len(fetches)
        return fetches

    def _shrink(self, tenant: str) -> None:
        if not self._queues[tenant]:
            del self._queues[tenant]
