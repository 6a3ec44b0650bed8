"""Fairness of the worker between VMs: turns, bounds, and callers that leave."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Self

import pytest

from openimds.credentials.worker import MOST_PER_VM, MOST_WAITING, BusyError, Worker
from openimds.facts.limits import LIMITS
from tests.unit.credentials.test_worker import TOO_LONG_S, Gate, turns

PENDING = LIMITS["identity"].concurrent
"""The requests that a guest may have pending."""


class Held:
    """A worker whose only thread is held until `release`, and the order of its jobs."""

    def __init__(self, **bounds: int) -> None:
        self.worker = Worker(threads=1, **bounds)
        self.order: list[str] = []
        self._gate = Gate()
        self._first = asyncio.ensure_future(self.worker.run("holder", "first", self._gate))

    async def __aenter__(self) -> Self:
        await turns()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gate.opened.set()
        self.worker.close()

    def ask(self, vm: str, number: int = 0) -> "asyncio.Task[None]":
        """Let a VM ask for a job of its own."""
        return asyncio.ensure_future(
            self.worker.run(vm, (vm, number), lambda: self.order.append(vm))
        )

    async def release(self, *tasks: "asyncio.Task[None]") -> list[BaseException | None]:
        """Let the jobs run, and return the errors of the tasks."""
        await turns()
        self._gate.opened.set()
        await self._first
        return await asyncio.gather(*tasks, return_exceptions=True)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(TOO_LONG_S):
            await scenario()

    asyncio.run(whole())


def test_quiet_vm_waits_for_one_job_of_each_other_vm() -> None:
    async def scenario() -> None:
        async with Held() as held:
            guests = [f"guest-{number}" for number in range(60)]
            crowd = [held.ask(vm, number) for number, vm in product(range(PENDING), guests)]
            await turns()
            assert held.worker.waiting == 60 * PENDING
            quiet = held.ask("quiet")
            errors = await held.release(*crowd, quiet)
            assert errors == [None] * len(errors)
            assert held.worker.refused == 0
            # One lap of the ring: the 60 others have had one turn each.
            assert held.order.index("quiet") == 60
            assert len(held.order) == 60 * PENDING + 1

    run(scenario)


def test_bounds_admit_150_guests_within_their_limits() -> None:
    assert PENDING <= MOST_PER_VM
    assert 150 * PENDING + 1 <= MOST_WAITING


def test_sixteen_vms_at_their_bounds_leave_room_for_another() -> None:
    async def scenario() -> None:
        async with Held() as held:
            vms = [f"loud-{number}" for number in range(MOST_WAITING // MOST_PER_VM)]
            loud = [held.ask(vm, number) for vm in vms for number in range(MOST_PER_VM)]
            beyond = held.ask(vms[0], MOST_PER_VM)
            await turns()
            assert (held.worker.waiting, held.worker.refused) == (MOST_WAITING, 1)
            quiet = held.ask("quiet")
            errors = await held.release(*loud, beyond, quiet)
            assert [type(error) for error in errors if error] == [BusyError] * 2
            assert errors[-1] is None
            assert held.order.index("quiet") <= len(vms)

    run(scenario)


def test_vm_at_its_bound_is_refused_and_no_other() -> None:
    async def scenario() -> None:
        async with Held(most_per_vm=2) as held:
            loud = [held.ask("loud", number) for number in range(5)]
            quiet = held.ask("quiet")
            await turns()
            assert held.worker.waiting == 3
            errors = await held.release(*loud, quiet)
            assert [type(error) for error in errors] == [type(None)] * 2 + [BusyError] * 3 + [
                type(None)
            ]
            assert held.order == ["loud", "quiet", "loud"]

    run(scenario)


def test_full_queue_refuses_the_newest_job_of_the_largest_vm() -> None:
    async def scenario() -> None:
        async with Held(most_waiting=4) as held:
            loud = [held.ask("loud", number) for number in range(3)]
            other = held.ask("other")
            # A second caller of the newest job shares its fate.
            twin = held.ask("loud", 2)
            await turns()
            quiet = held.ask("quiet")
            await turns()
            # Refused at once, not when a thread is free.
            assert [task.done() for task in (*loud, twin, other, quiet)] == [
                False,
                False,
                True,
                True,
                False,
                False,
            ]
            with pytest.raises(BusyError, match="4 jobs are waiting"):
                await twin
            assert (held.worker.waiting, held.worker.refused) == (4, 2)
            await held.release(*loud, other, quiet)
            assert held.order == ["loud", "other", "quiet", "loud"]
            # The key of the refused job is free.
            assert held.worker.shared == 1

    run(scenario)


def test_refused_job_can_be_asked_for_again() -> None:
    async def scenario() -> None:
        async with Held(most_waiting=2) as held:
            first, second = held.ask("loud", 1), held.ask("loud", 2)
            await turns()
            quiet = held.ask("quiet")
            await turns()
            assert isinstance(second.exception(), BusyError)
            quiet.cancel()
            await turns()
            again = held.ask("loud", 2)
            assert await held.release(first, again) == [None, None]
            assert held.order == ["loud", "loud"]

    run(scenario)


def test_cancelled_callers_job_leaves_the_queue() -> None:
    async def scenario() -> None:
        async with Held(most_waiting=2) as held:
            leaver, stayer = held.ask("a"), held.ask("b")
            await turns()
            leaver.cancel()
            await turns()
            assert held.worker.waiting == 1
            third = held.ask("c")
            assert await held.release(stayer, third) == [None, None]
            assert held.order == ["b", "c"]
            assert held.worker.done == 3

    run(scenario)


def test_job_stays_while_one_of_its_callers_does() -> None:
    async def scenario() -> None:
        async with Held() as held:
            first, second = held.ask("a"), held.ask("a")
            await turns()
            first.cancel()
            await turns()
            assert held.worker.waiting == 1
            assert await held.release(second) == [None]
            assert held.order == ["a"]

    run(scenario)


def test_job_asked_for_again_after_it_left_runs_once() -> None:
    async def scenario() -> None:
        async with Held() as held:
            first = held.ask("a")
            await turns()
            first.cancel()
            await turns()
            second = held.ask("a")
            assert await held.release(second) == [None]
            assert (held.order, held.worker.shared) == (["a"], 0)

    run(scenario)


def test_refused_job_without_callers_is_not_reported_as_lost() -> None:
    lost: list[dict[str, object]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: lost.append(context)
        )
        async with Held(most_waiting=2) as held:
            first, second = held.ask("loud", 1), held.ask("loud", 2)
            await turns()
            quiet = held.ask("quiet")
            second.cancel()
            await held.release(first, quiet)
            assert sorted(held.order) == ["loud", "quiet"]

    run(scenario)
    assert lost == []
