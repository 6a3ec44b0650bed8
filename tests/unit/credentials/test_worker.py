import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial

import pytest

from openimds.credentials.worker import NICENESS, BusyError, Worker
from openimds.errors import Error

TOO_LONG_S = 30
VM = "web-1"


class Gate:
    """A job that sets `begun` when it starts, and ends once `opened` is set."""

    def __init__(self, result: str = "made") -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()
        self.result = result
        self.runs = 0
        self.fault: Exception | None = None

    def __call__(self) -> str:
        self.runs += 1
        self.begun.set()
        assert self.opened.wait(TOO_LONG_S)
        if self.fault:
            raise self.fault
        return self.result


async def turns() -> None:
    """Let every task run as far as it can without another thread."""
    for _ in range(5):
        await asyncio.sleep(0)


def await_all(worker: Worker, *jobs: Callable[[], str], key: str = "") -> list[asyncio.Task[str]]:
    return [asyncio.ensure_future(worker.run(VM, key or id(job), job)) for job in jobs]


def test_job_runs_in_another_thread_than_the_loop() -> None:
    async def scenario() -> None:
        worker = Worker()
        gate = Gate()
        task = asyncio.ensure_future(worker.run(VM, "a", gate))
        await turns()
        # Only the loop opens the gate: on the loop's own thread the job would never end.
        gate.opened.set()
        assert await task == "made"
        assert await worker.run(VM, "b", threading.get_ident) != threading.get_ident()
        assert (worker.done, worker.shared, worker.refused, worker.waiting) == (2, 0, 0, 0)
        worker.close()

    asyncio.run(scenario())


def test_job_without_a_thread_is_refused_and_later_ones_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        worker = Worker()
        lost: list[int] = []
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_thread)
            for number in range(3):
                with pytest.raises(BusyError, match="no thread"):
                    await worker.run(VM, "a", partial(lost.append, number))
        assert await worker.run(VM, "a", lambda: "made") == "made"
        assert await worker.run(VM, "b", lambda: "too") == "too"
        assert (worker.done, worker.refused, worker.waiting, lost) == (2, 3, 0, [])
        worker.close()

    asyncio.run(scenario())


def test_callers_of_one_key_share_one_job() -> None:
    async def scenario() -> None:
        worker = Worker()
        gate = Gate()
        tasks = await_all(worker, gate, gate, gate, key="same")
        await turns()
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["made"] * 3
        assert (gate.runs, worker.done, worker.shared) == (1, 1, 2)
        # The job is over: the same key starts a new one.
        assert await worker.run(VM, "same", gate) == "made"
        assert (gate.runs, worker.done, worker.shared) == (2, 2, 2)
        worker.close()

    asyncio.run(scenario())


def test_job_error_goes_to_every_waiting_caller_only() -> None:
    async def scenario() -> None:
        worker = Worker()
        gate = Gate()
        gate.fault = OSError("disk full")
        tasks = await_all(worker, gate, gate, key="same")
        await turns()
        gate.opened.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["disk full"] * 2
        gate.fault = None
        assert await worker.run(VM, "same", gate) == "made"
        assert worker.done == 2
        worker.close()

    asyncio.run(scenario())


def test_cancelled_caller_leaves_the_job_to_the_others() -> None:
    async def scenario() -> None:
        worker = Worker()
        gate = Gate()
        first, second = await_all(worker, gate, gate, key="same")
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.opened.set()
        assert await second == "made"
        assert (gate.runs, worker.done) == (1, 1)
        worker.close()

    asyncio.run(scenario())


def test_job_error_without_callers_is_not_reported_as_lost() -> None:
    lost: list[dict[str, object]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: lost.append(context)
        )
        worker = Worker()
        gate = Gate()
        gate.fault = OSError("disk full")
        (only,) = await_all(worker, gate)
        await turns()
        only.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await only
        # The next job ends after it, on the same thread.
        assert await worker.run(VM, "next", lambda: "made") == "made"
        assert worker.done == 2
        worker.close()

    asyncio.run(scenario())
    assert lost == []


def test_job_beyond_the_queue_is_refused_and_never_run() -> None:
    async def scenario() -> None:
        worker = Worker(threads=1, most_waiting=2)
        gates = [Gate(str(number)) for number in range(4)]
        tasks = await_all(worker, *gates[:3])
        await turns()
        assert worker.waiting == 2
        with pytest.raises(BusyError, match="2 jobs are waiting"):
            await worker.run(VM, id(gates[3]), gates[3])
        # Awaiting a job in flight takes no place in the queue.
        (other,) = await_all(worker, gates[0])
        await turns()
        assert (worker.refused, worker.shared, worker.waiting) == (1, 1, 2)
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*tasks, other) == ["0", "1", "2", "0"]
        assert [gate.runs for gate in gates] == [1, 1, 1, 0]
        # There is room again.
        assert await worker.run(VM, id(gates[3]), gates[3]) == "3"
        assert (worker.done, worker.waiting) == (4, 0)
        worker.close()

    asyncio.run(scenario())
    assert issubclass(BusyError, Error)


def test_thread_is_free_again_when_its_caller_resumes() -> None:
    async def scenario() -> None:
        worker = Worker(threads=1, most_waiting=0)
        for number in range(300):
            assert await worker.run(VM, number, lambda: "made") == "made"
        assert worker.refused == 0
        worker.close()

    asyncio.run(scenario())


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    async def scenario() -> None:
        worker = Worker(threads=2, most_waiting=0)
        gates = [Gate("0"), Gate("1"), Gate("2")]
        tasks = await_all(worker, *gates[:2])
        await turns()
        assert all(gate.begun.wait(TOO_LONG_S) for gate in gates[:2])
        assert worker.waiting == 0
        with pytest.raises(BusyError, match="0 jobs are waiting"):
            await worker.run(VM, "third", gates[2])
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*tasks) == ["0", "1"]
        worker.close()

    asyncio.run(scenario())


def test_close_finishes_running_jobs_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        worker = Worker()
        gates = [Gate("0"), Gate("1")]
        begun, queued = await_all(worker, *gates)
        await turns()
        assert gates[0].begun.wait(TOO_LONG_S)
        gates[0].opened.set()
        worker.close()
        worker.close()
        assert await begun == "0"
        with pytest.raises(BusyError, match="closed before the job began"):
            await queued
        with pytest.raises(BusyError, match="the worker is closed"):
            await worker.run(VM, "late", gates[1])
        assert (gates[1].runs, worker.done, worker.refused) == (0, 1, 2)

    asyncio.run(scenario())


def test_no_thread_starts_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    async def scenario() -> None:
        worker = Worker()
        assert started == []
        await worker.run(VM, "a", lambda: None)
        assert started == ["openimds-worker_0"]
        worker.close()

    monkeypatch.setattr(threading.Thread, "start", counted)
    asyncio.run(scenario())


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_worker_threads_have_a_lower_priority_than_the_loop() -> None:
    async def scenario() -> None:
        worker = Worker()
        before = niceness()
        assert await worker.run(VM, "a", niceness) >= NICENESS
        assert niceness() == before
        worker.close()

    asyncio.run(scenario())


def test_refused_priority_change_does_not_stop_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[int] = []

    def forbidden(_which: int, _who: int, niceness: int) -> None:
        requested.append(niceness)
        raise PermissionError

    async def scenario() -> None:
        worker = Worker()
        assert await worker.run(VM, "a", lambda: "made") == "made"
        worker.close()

    monkeypatch.setattr(os, "setpriority", forbidden)
    asyncio.run(scenario())
    assert requested == [NICENESS]
