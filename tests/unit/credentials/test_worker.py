import asyncio
import os
import threading
from collections.abc import Callable

import pytest

from openimds.credentials.worker import NICENESS, BusyError, Worker
from openimds.errors import Error

TOO_LONG_S = 30


class Gate:
    """A job that has begun when `begun` is set, and ends once `opened` is."""

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
    """Let every task go as far as it can without help from another thread."""
    for _ in range(5):
        await asyncio.sleep(0)


def waiters(shop: Worker, *jobs: Callable[[], str], key: str = "") -> list[asyncio.Task[str]]:
    return [asyncio.ensure_future(shop.do(key or id(job), job)) for job in jobs]


def test_a_job_is_done_in_another_thread_while_the_loop_goes_on() -> None:
    async def scene() -> None:
        shop = Worker()
        gate = Gate()
        task = asyncio.ensure_future(shop.do("a", gate))
        await turns()
        # Only the loop opens the gate: on the loop's own thread the job would never end.
        gate.opened.set()
        assert await task == "made"
        assert await shop.do("b", threading.get_ident) != threading.get_ident()
        assert (shop.done, shop.shared, shop.refused, shop.waiting) == (2, 0, 0, 0)
        shop.close()

    asyncio.run(scene())


def test_callers_of_one_key_share_one_job() -> None:
    async def scene() -> None:
        shop = Worker()
        gate = Gate()
        tasks = waiters(shop, gate, gate, gate, key="same")
        await turns()
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["made"] * 3
        assert (gate.runs, shop.done, shop.shared) == (1, 1, 2)
        # It is over: the same key is a new job.
        assert await shop.do("same", gate) == "made"
        assert (gate.runs, shop.done, shop.shared) == (2, 2, 2)
        shop.close()

    asyncio.run(scene())


def test_what_a_job_raises_goes_to_everyone_who_waits_and_no_further() -> None:
    async def scene() -> None:
        shop = Worker()
        gate = Gate()
        gate.fault = OSError("disk full")
        tasks = waiters(shop, gate, gate, key="same")
        await turns()
        gate.opened.set()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(one) for one in said] == ["disk full"] * 2
        gate.fault = None
        assert await shop.do("same", gate) == "made"
        assert shop.done == 2
        shop.close()

    asyncio.run(scene())


def test_a_caller_who_leaves_takes_the_job_from_nobody() -> None:
    async def scene() -> None:
        shop = Worker()
        gate = Gate()
        first, second = waiters(shop, gate, gate, key="same")
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.opened.set()
        assert await second == "made"
        assert (gate.runs, shop.done) == (1, 1)
        shop.close()

    asyncio.run(scene())


def test_what_a_job_raises_after_all_have_left_is_nobodys_error() -> None:
    lost: list[dict[str, object]] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: lost.append(what))
        shop = Worker()
        gate = Gate()
        gate.fault = OSError("disk full")
        (only,) = waiters(shop, gate)
        await turns()
        only.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await only
        # The next job ends after it, on the same thread.
        assert await shop.do("next", lambda: "made") == "made"
        assert shop.done == 2
        shop.close()

    asyncio.run(scene())
    assert lost == []


def test_one_job_too_many_is_refused_at_once_and_never_done() -> None:
    async def scene() -> None:
        shop = Worker(threads=1, most_waiting=2)
        gates = [Gate(str(number)) for number in range(4)]
        tasks = waiters(shop, *gates[:3])
        await turns()
        assert shop.waiting == 2
        with pytest.raises(BusyError, match="2 jobs are waiting"):
            await shop.do(id(gates[3]), gates[3])
        # Whoever waits for what is under way is no burden.
        (other,) = waiters(shop, gates[0])
        await turns()
        assert (shop.refused, shop.shared, shop.waiting) == (1, 1, 2)
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*tasks, other) == ["0", "1", "2", "0"]
        assert [gate.runs for gate in gates] == [1, 1, 1, 0]
        # There is room again.
        assert await shop.do(id(gates[3]), gates[3]) == "3"
        assert (shop.done, shop.waiting) == (4, 0)
        shop.close()

    asyncio.run(scene())
    assert issubclass(BusyError, Error)


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    async def scene() -> None:
        shop = Worker(threads=2, most_waiting=0)
        gates = [Gate("0"), Gate("1"), Gate("2")]
        tasks = waiters(shop, *gates[:2])
        await turns()
        assert all(gate.begun.wait(TOO_LONG_S) for gate in gates[:2])
        assert shop.waiting == 0
        with pytest.raises(BusyError, match="0 jobs are waiting"):
            await shop.do("third", gates[2])
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*tasks) == ["0", "1"]
        shop.close()

    asyncio.run(scene())


def test_closing_finishes_what_has_begun_and_refuses_the_rest() -> None:
    async def scene() -> None:
        shop = Worker()
        gates = [Gate("0"), Gate("1")]
        begun, queued = waiters(shop, *gates)
        await turns()
        assert gates[0].begun.wait(TOO_LONG_S)
        gates[0].opened.set()
        shop.close()
        shop.close()
        assert await begun == "0"
        with pytest.raises(BusyError, match="closed before the job began"):
            await queued
        with pytest.raises(BusyError, match="the workshop is closed"):
            await shop.do("late", gates[1])
        assert (gates[1].runs, shop.done, shop.refused) == (0, 1, 2)

    asyncio.run(scene())


def test_no_thread_is_made_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    async def scene() -> None:
        shop = Worker()
        assert started == []
        await shop.do("a", lambda: None)
        assert started == ["openimds-workshop_0"]
        shop.close()

    monkeypatch.setattr(threading.Thread, "start", counted)
    asyncio.run(scene())


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_its_threads_stand_back_behind_the_loop_which_stays_where_it_was() -> None:
    async def scene() -> None:
        shop = Worker()
        before = niceness()
        assert await shop.do("a", niceness) >= NICENESS
        assert niceness() == before
        shop.close()

    asyncio.run(scene())


def test_a_priority_that_cannot_be_lowered_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def forbidden(_which: int, _who: int, niceness: int) -> None:
        asked.append(niceness)
        raise PermissionError

    async def scene() -> None:
        shop = Worker()
        assert await shop.do("a", lambda: "made") == "made"
        shop.close()

    monkeypatch.setattr(os, "setpriority", forbidden)
    asyncio.run(scene())
    assert asked == [NICENESS]
