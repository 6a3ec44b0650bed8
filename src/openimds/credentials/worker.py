"""A single-flight executor: identical jobs run once in a thread, and VMs take turns.

A signature takes a third of a millisecond, a new key a hundred times that; cryptography releases
the GIL meanwhile, so neither delays the event loop if it runs in a thread. The threads have a lower
priority than the loop: on a host with one core a response goes out before a signature is made.

Jobs wait in a queue of their VM, and the VMs are served round robin: however much others ask, a VM
waits for one job of each. What a VM may have waiting is bounded before the whole queue is.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from openimds.credentials.fair_queue import FairQueue
from openimds.errors import Error
from openimds.protocol.durations import Durations

T = TypeVar("T")

NICENESS = 10
"""Half of the kernel's range: far below the event loop, yet never starved."""
MOST_PER_VM = 256
"""The most waiting jobs of one VM. Azure's limits allow 5 tokens; without limits a VM that is alone
waits a tenth of a second for so many signatures."""
MOST_WAITING = 4096
"""The most waiting jobs of all VMs: some seconds of signatures, which clients still wait for."""
SHARED = ""
"""The owner of jobs that are for all VMs. No VM has this name."""


class BusyError(Error):
    """No place in the queue, no thread, or a closed worker; no job began."""


class _Job:
    """A job under way, its owner, and the number of callers that await its future."""

    __slots__ = ("callers", "future", "key", "owner", "work")

    def __init__(self, owner: str, key: Hashable, work: Callable[[], Any]) -> None:
        self.owner, self.key, self.work = owner, key, work
        self.callers = 0
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        self.future.set_exception(error)
        self.future.exception()  # Retrieved, so that asyncio does not report it as lost.


class Worker:
    """Runs jobs in threads for the callers of one event loop.

    `done` counts finished jobs, `shared` the callers who awaited a job already in flight,
    `refused` the callers who got a `BusyError`. `durations` are those of the jobs, without their
    wait.
    """

    def __init__(
        self,
        threads: int = 1,
        most_waiting: int = MOST_WAITING,
        most_per_vm: int = MOST_PER_VM,
    ) -> None:
        """Start no thread yet; bound the jobs that wait for a free one."""
        self.done = 0
        self.shared = 0
        self.refused = 0
        self.durations = Durations()
        self._threads = threads
        self._in_flight: dict[Hashable, _Job] = {}
        self._is_closed = False
        self._pool = ThreadPoolExecutor(threads, "openimds-worker", _lower_priority)
        # Threads fetch their next job themselves: otherwise they would be idle until the event
        # loop, busy as it is when many jobs wait, comes round to giving them one.
        self._lock = threading.Lock()
        self._queue: FairQueue[_Job] = FairQueue(most_waiting, most_per_vm)
        self._busy_threads = 0

    @property
    def waiting(self) -> int:
        """The number of queued jobs that no thread has started."""
        return len(self._queue)

    async def run(self, owner: str, key: Hashable, work: Callable[[], T]) -> T:
        """Run a job, or await the identical one already in flight (single-flight by key).

        `owner` is the VM that the job is for, or `SHARED`. Every waiting caller gets the result or
        the exception of the job. A cancelled caller stops waiting. A job that has lost its last
        caller leaves the queue; once begun, it goes on.

        Raises:
            BusyError: the queue is full, also if that happens while the job waits in it, the worker
                was closed, or the system has no thread left.
        """
        job = self._in_flight.get(key)
        if job is None:
            job = self._submit(owner, key, work)
        else:
            self.shared += 1
        job.callers += 1
        try:
            # Not shield(): it reports a job that fails after its last caller has left.
            await asyncio.wait((job.future,))
        finally:
            job.callers -= 1
            if not job.callers and not job.future.done():
                self._withdraw(job)
        result: T = job.future.result()
        return result

    def close(self) -> None:
        """Wait for the running jobs, and refuse the rest.

        Called on the event loop, before it ends. It takes at most as long as a new key.
        """
        self._is_closed = True
        with self._lock:
            jobs = self._queue.clear()
        for job in jobs:
            self._refuse(job, "the worker was closed before the job began")
        self._pool.shutdown(wait=True)

    def _submit(self, owner: str, key: Hashable, work: Callable[[], Any]) -> _Job:
        if self._is_closed:
            raise self._error("the worker is closed")
        job = _Job(owner, key, work)
        with self._lock:
            is_free = self._busy_threads < self._threads  # Then no job waits.
            self._busy_threads += is_free
            refused = None if is_free else self._queue.put(owner, job)
        if refused is job:
            raise self._error(self._full())
        if refused:
            self._refuse(refused, self._full())
        self._in_flight[key] = job
        if is_free:
            try:
                self._pool.submit(self._work, job)
            except RuntimeError as error:  # The system has no thread left.
                # The pool still has the job, for a thread of a later one; that skips it.
                job.future.cancel()
                del self._in_flight[key]
                with self._lock:
                    self._busy_threads -= 1
                raise self._error(f"no thread for the job ({error})") from None
        return job

    def _work(self, first: _Job) -> None:
        """Run a job and those that wait; runs in a thread."""
        job: _Job | None = None if first.future.cancelled() else first
        while job:
            end: Callable[[], None]
            began_s = time.monotonic()
            try:
                end = partial(self._succeed, job, job.work())
            except BaseException as error:  # noqa: BLE001 - every error is the callers'
                end = partial(self._fail, job, error)
            end = partial(self._note, time.monotonic() - began_s, end)
            loop = job.future.get_loop()
            # Before the callers resume: a job of theirs may need the place that is free now.
            with self._lock:
                job = self._queue.take()
                if job is None:
                    self._busy_threads -= 1
            with suppress(RuntimeError):  # The loop has ended, and so have the callers.
                loop.call_soon_threadsafe(end)

    # On the event loop. The key is free again before any caller resumes.

    def _note(self, duration_s: float, end: Callable[[], None]) -> None:
        self.durations.note(duration_s)
        end()

    def _succeed(self, job: _Job, result: object) -> None:
        self._end(job)
        job.future.set_result(result)

    def _fail(self, job: _Job, error: BaseException) -> None:
        self._end(job)
        job.fail(error)

    def _end(self, job: _Job) -> None:
        del self._in_flight[job.key]
        self.done += 1

    def _withdraw(self, job: _Job) -> None:
        with self._lock:
            is_waiting = self._queue.remove(job.owner, job)
        if is_waiting:
            del self._in_flight[job.key]

    def _refuse(self, job: _Job, text: str) -> None:
        del self._in_flight[job.key]
        self.refused += job.callers
        job.fail(BusyError(text))

    def _full(self) -> str:
        return f"{self.waiting} jobs are waiting, and the queue is full"

    def _error(self, text: str) -> BusyError:
        self.refused += 1
        return BusyError(text)


def _lower_priority() -> None:
    """Lower the priority of this thread alone; on Linux threads have ids."""
    if sys.platform == "linux" and hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
