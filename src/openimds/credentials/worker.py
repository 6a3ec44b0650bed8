"""A single-flight executor: identical jobs run once in a thread, and the queue is bounded.

A signature takes a third of a millisecond, a new key a hundred times that; cryptography releases
the GIL meanwhile, so neither delays the event loop if it runs in a thread. The threads have a lower
priority than the loop: on a host with one core a response goes out before a signature is made.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from openimds.errors import Error

T = TypeVar("T")

NICENESS = 10
"""Half of the kernel's range: far below the event loop, yet never starved."""


class BusyError(Error):
    """The queue is full or the worker is closed; the job was not started."""


class Worker:
    """Runs jobs in threads for the callers of one event loop.

    `done` counts finished jobs, `shared` the callers who awaited a job already in flight,
    `refused` the callers who got a `BusyError`.
    """

    def __init__(self, threads: int = 1, max_waiting: int = 256) -> None:
        """Start no thread yet; at most `max_waiting` jobs queue for a free one."""
        self.done = 0
        self.shared = 0
        self.refused = 0
        self._threads = threads
        self._max_waiting = max_waiting
        self._in_flight: dict[Hashable, asyncio.Future[Any]] = {}
        self._is_closed = False
        self._pool = ThreadPoolExecutor(threads, "openimds-worker", _lower_priority)

    @property
    def waiting(self) -> int:
        """The number of queued jobs that no thread has started."""
        return max(0, len(self._in_flight) - self._threads)

    async def run(self, key: Hashable, job: Callable[[], T]) -> T:
        """Run a job, or await the identical one already in flight (single-flight by key).

        Every waiting caller gets the result or the exception of the job. A cancelled caller stops
        waiting; the job goes on.

        Raises:
            BusyError: the queue is full, or the worker was closed.
        """
        future: asyncio.Future[T] | None = self._in_flight.get(key)
        if future is None:
            future = self._submit(key, job)
        else:
            self.shared += 1
        # Not shield(): it reports a job that fails after its last caller has left.
        await asyncio.wait((future,))
        if future.cancelled():
            raise self._refusal("the worker was closed before the job began")
        return future.result()

    def close(self) -> None:
        """Wait for the running jobs, and refuse the rest.

        Called on the event loop, before it ends. It takes at most as long as a new key.
        """
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, key: Hashable, job: Callable[[], T]) -> asyncio.Future[T]:
        if self._is_closed:
            raise self._refusal("the worker is closed")
        if len(self._in_flight) >= self._threads + self._max_waiting:
            raise self._refusal(f"{self.waiting} jobs are waiting, and the queue is full")
        future = asyncio.get_running_loop().run_in_executor(self._pool, job)
        self._in_flight[key] = future
        # The first callback: the key is free again before any caller resumes.
        future.add_done_callback(partial(self._end, key))
        return future

    def _end(self, key: Hashable, future: asyncio.Future[Any]) -> None:
        del self._in_flight[key]
        if not future.cancelled():
            self.done += 1
            future.exception()  # Retrieved, so that asyncio does not report it as lost.

    def _refusal(self, text: str) -> BusyError:
        self.refused += 1
        return BusyError(text)


def _lower_priority() -> None:
    """Lower the priority of this thread alone; on Linux threads have ids."""
    if sys.platform == "linux" and hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
