"""Other processes of the machine: wait for their rest, and measure their share."""

import os
import time
from collections.abc import Callable, Sequence

from bench.figures import progress
from bench.machine import busy_s, cores

QUIET = 0.05
"""The share of our cores up to which other processes do not disturb."""
_LEAST_ROUNDS = 3
_LOOK_S = 0.5


class Watch:
    """Measures the share of other processes, beside this one and one server."""

    def __init__(self, server_s: Callable[[], float]) -> None:
        """Begin; `server_s` returns the CPU seconds of the server so far."""
        self._server_s = server_s
        self._start = time.perf_counter()
        self._before = self._others_s()

    def share(self) -> float:
        """Return the share of other processes so far; ended children count as ours."""
        passed = (time.perf_counter() - self._start) * len(set(cores()))
        return max(0.0, self._others_s() - self._before) / passed

    def _others_s(self) -> float:
        times = os.times()
        own_s = times.user + times.system + times.children_user + times.children_system
        return busy_s() - own_s - self._server_s()


class Patience:
    """Limits the waits for other processes, and the repeated rounds, in seconds."""

    def __init__(self, seconds: float) -> None:
        """Begin with this many seconds."""
        self._left_s = seconds

    def spend(self, seconds: float) -> bool:
        """Take some seconds, and tell whether any are left."""
        self._left_s -= seconds
        return self._left_s > 0

    def wait(self) -> None:
        """Return when our cores are free, or no seconds are left."""
        is_announced = False
        while self._left_s > 0:
            watch = Watch(lambda: 0.0)
            time.sleep(_LOOK_S)
            if watch.share() <= QUIET:
                return
            if not is_announced:
                progress("waiting for other processes to rest")
                is_announced = True
            self.spend(_LOOK_S)


def quiet_rounds(*shares: Sequence[float]) -> list[int]:
    """Return the rounds that no other process disturbed; all rounds if those are too few.

    Both sides of a comparison use the same rounds.
    """
    largest = [max(round_) for round_ in zip(*shares, strict=True)]
    quiet = [number for number, share in enumerate(largest) if share <= QUIET]
    return quiet if len(quiet) >= min(_LEAST_ROUNDS, len(largest)) else list(range(len(largest)))
