"""Work that takes a thread: once for all who wait for it, and no more than can be done soon.

A signature takes a third of a millisecond, a new key a hundred times that; cryptography lets go of
the interpreter meanwhile, so neither delays the event loop if it happens in a thread. The threads
run at a lower priority than the loop's: on a host with one core an answer goes before a signature.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from openimds.errors import Error

T = TypeVar("T")

NICENESS = 10
"""Half of what the kernel has: much less than the loop, still more than nothing."""


class BusyError(Error):
    """Too many jobs are waiting, or the workshop is closed; this one was not done."""


class Worker:
    """Threads that do jobs for the callers of one event loop.

    `done` counts the jobs that came to an end, `shared` the callers who waited for a job that was
    under way, `refused` those who were sent away.
    """

    def __init__(self, threads: int = 1, most_waiting: int = 256) -> None:
        """Begin without a thread; at most `most_waiting` jobs wait until one of them is free."""
        self.done = 0
        self.shared = 0
        self.refused = 0
        self._threads = threads
        self._most_waiting = most_waiting
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}
        self._is_closed = False
        self._pool = ThreadPoolExecutor(threads, "openimds-workshop", _step_back)

    @property
    def waiting(self) -> int:
        """How many jobs no thread has had time for."""
        return max(0, len(self._under_way) - self._threads)

    async def do(self, key: Hashable, job: Callable[[], T]) -> T:
        """Return what the job returns, or what the one of the same key that is under way does.

        What a job raises goes to everyone who waits for it. A caller who is cancelled stops
        waiting; the job goes on.

        Raises:
            BusyError: too many other jobs are waiting, or the workshop was closed.
        """
        future: asyncio.Future[T] | None = self._under_way.get(key)
        if future is None:
            future = self._begin(key, job)
        else:
            self.shared += 1
        # Not shield(): what a job raises after the last caller has left is nobody's error.
        await asyncio.wait((future,))
        if future.cancelled():
            raise self._refusal("the workshop was closed before the job began")
        return future.result()

    def close(self) -> None:
        """Finish what the threads have begun, at most a new key, and refuse the rest.

        Called on the event loop, before it ends.
        """
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, key: Hashable, job: Callable[[], T]) -> asyncio.Future[T]:
        if self._is_closed:
            raise self._refusal("the workshop is closed")
        # All threads have work and the queue is full.
        if len(self._under_way) >= self._threads + self._most_waiting:
            raise self._refusal(f"{self.waiting} jobs are waiting, no more can be done soon")
        future = asyncio.get_running_loop().run_in_executor(self._pool, job)
        self._under_way[key] = future
        # The first callback of all: before any caller goes on, the key is free again.
        future.add_done_callback(partial(self._end, key))
        return future

    def _end(self, key: Hashable, future: asyncio.Future[Any]) -> None:
        del self._under_way[key]
        if not future.cancelled():
            self.done += 1
            future.exception()  # Looked at, so that asyncio does not report it as lost.

    def _refusal(self, text: str) -> BusyError:
        self.refused += 1
        return BusyError(text)


def _step_back() -> None:
    """Lower the priority of this thread alone, which Linux can do: it has a number of its own."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
