"""The busiest VMs: counters of a few VMs, and one of all others.

Prometheus keeps each series for weeks, so a fleet of 100,000 VMs must not have as many. Memory is
bounded, however many VMs come and go.
"""

from heapq import nlargest
from math import inf
from operator import itemgetter

from msgspec import Struct

MOST_COUNTED = 64
"""The VMs with counters of their own."""
MOST_CANDIDATES = 4096
"""The other VMs that are compared in a window: the first that send requests in it."""
WINDOW_S = 60.0
"""The time between two comparisons."""


class VmCount(Struct):
    """The counters of one of the busiest VMs; in `recent` old windows weigh less."""

    requests: int = 0
    refused: int = 0
    recent: int = 0


class BusiestVms:
    """Counts the requests of the busiest VMs each, and those of all others together.

    A request counts once, for the VM or for the others: so no counter ever falls. A VM that becomes
    one of the busiest starts at 0, and the counter of one that is replaced ends.
    """

    def __init__(self) -> None:
        """Start without a VM."""
        self.counted: dict[str, VmCount] = {}
        self.others = VmCount()
        self._candidates: dict[str, int] = {}
        self._ends_s = inf

    def add(self, name: str, requests: int, refused: int) -> None:
        """Count requests of a VM."""
        count = self.counted.get(name)
        if count is None:
            if len(self.counted) >= MOST_COUNTED:
                self._add_other(name, requests, refused)
                return
            count = self.counted[name] = VmCount()
        count.requests += requests
        count.refused += refused
        count.recent += requests

    def _add_other(self, name: str, requests: int, refused: int) -> None:
        others, candidates = self.others, self._candidates
        others.requests += requests
        if refused:
            others.refused += refused
        before = candidates.get(name)
        if before is not None:
            candidates[name] = before + requests
        elif len(candidates) < MOST_CANDIDATES:
            candidates[name] = requests

    def compare(self, now_s: float) -> None:
        """Give busier VMs the place of quieter ones, once in a window."""
        if self._ends_s == inf:
            self._ends_s = now_s + WINDOW_S
        if now_s < self._ends_s:
            return
        self._ends_s = now_s + WINDOW_S
        newcomers = nlargest(MOST_COUNTED, self._candidates.items(), key=itemgetter(1))
        quietest = sorted(self.counted, key=lambda name: self.counted[name].recent)
        for (name, recent), quiet in zip(newcomers, quietest, strict=False):
            if recent <= self.counted[quiet].recent:
                break
            del self.counted[quiet]
            self.counted[name] = VmCount(recent=recent)
        self._candidates.clear()
        for count in self.counted.values():
            count.recent //= 2
