"""Others on the machine: wait until they rest, and tell how much they took meanwhile."""

import os
import time
from collections.abc import Callable, Sequence

from bench.figures import progress
from bench.machine import busy_s, cores

QUIET = 0.05
"""Up to this share of our cores, what other processes do is no disturbance."""
_LEAST_ROUNDS = 3
_LOOK_S = 0.5


class Watch:
    """What others take of our cores from now on, beside this process and one server."""

    def __init__(self, server_s: Callable[[], float]) -> None:
        """Begin; `server_s` tells the CPU seconds that the server has used so far."""
        self._server_s = server_s
        self._start = time.perf_counter()
        self._before = self._others_s()

    def share(self) -> float:
        """Return the share that others took so far; children count when they have ended."""
        passed = (time.perf_counter() - self._start) * len(set(cores()))
        return max(0.0, self._others_s() - self._before) / passed

    def _others_s(self) -> float:
        times = os.times()
        own_s = times.user + times.system + times.children_user + times.children_system
        return busy_s() - own_s - self._server_s()


class Patience:
    """Waits for others to rest, and allows to measure again, for so many seconds in all."""

    def __init__(self, seconds: float) -> None:
        """Begin with all of it."""
        self._left_s = seconds

    def spend(self, seconds: float) -> bool:
        """Take from it, and tell whether some is left."""
        self._left_s -= seconds
        return self._left_s > 0

    def wait(self) -> None:
        """Return when our cores are free, or patience has run out."""
        told = False
        while self._left_s > 0:
            watch = Watch(lambda: 0.0)
            time.sleep(_LOOK_S)
            if watch.share() <= QUIET:
                return
            if not told:
                progress("waiting for other processes to rest")
                told = True
            self.spend(_LOOK_S)


def quiet_rounds(*shares: Sequence[float]) -> list[int]:
    """Return the rounds in which others left all of these alone; all rounds if those are too few.

    What is compared is compared over the same rounds.
    """
    everyone = [max(round_) for round_ in zip(*shares, strict=True)]
    quiet = [number for number, share in enumerate(everyone) if share <= QUIET]
    return quiet if len(quiet) >= min(_LEAST_ROUNDS, len(everyone)) else list(range(len(everyone)))
