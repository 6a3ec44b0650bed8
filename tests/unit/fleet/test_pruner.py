"""The pruner: small steps, and the wait of a store of an earlier release."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.pruner import EVERY_S, GRACE_S, PAUSE_S, Pruner
from openimds.fleet.service import FleetService
from openimds.fleet.store.history import PENDING, STEP_ROWS, HistoryBounds
from openimds.fleet.store.port import EventBatch, Log, LogEntry, StoreError, Write
from tests.unit.admin.setup import FailingStore

OLD, NOW_S = "2026-12-01T00:00:00.000+00:00", 1_800_000_000.0


class PrunerRun:
    """A pruner over a memory store, whose clock and sleeps are those of the test."""

    def __init__(self, changes: int = 0, events: int = 0) -> None:
        self.now_s = NOW_S
        self.store = FailingStore()
        self.store.write([Write("a", b"%d" % n, "api") for n in range(changes)], "tester", OLD)
        entries = tuple(LogEntry(0, OLD, "me", "id", b"{}") for _ in range(events))
        self.store.write_events(EventBatch(log_entries=entries))
        index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.fleet_service = FleetService(self.store, index, lambda: self.now_s, self._open)
        self.slept: list[float] = []
        self.notices: list[str] = []
        bounds = HistoryBounds(30, 1 << 30)
        self.pruner = Pruner(self.fleet_service, bounds, self.notices.append, self._sleep)

    async def _open(self, *_: object) -> None:
        """Open nothing: no VM wants a listener."""

    async def _sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        if wait_s == EVERY_S and len(self.slept) > 10:
            raise asyncio.CancelledError
        self.store.fails.clear()

    def begin_as_earlier_release(self) -> None:
        self.store.write_events(EventBatch(values={PENDING: b""}))

    def first(self) -> int:
        return self.store.span(Log.CHANGES).first


def run_pruner(work: Callable[[PrunerRun], Awaitable[None]], **rows: int) -> None:
    async def body() -> None:
        run = PrunerRun(**rows)
        try:
            await work(run)
        finally:
            run.fleet_service.close()

    asyncio.run(body())


def test_time_of_a_complete_run_is_known() -> None:
    async def work(run: PrunerRun) -> None:
        assert run.pruner.pruned_s is None
        run.store.fails.add("span")
        with pytest.raises(StoreError):
            await run.pruner.prune()
        assert run.pruner.pruned_s is None
        run.store.fails.clear()
        await run.pruner.prune()
        assert run.pruner.pruned_s == NOW_S

    run_pruner(work, changes=1)


def test_each_run_prunes_a_tenth_of_what_is_too_old() -> None:
    async def work(run: PrunerRun) -> None:
        await run.pruner.prune()
        assert run.pruner.pruned == {"changes": 1000, "events": 1}
        await run.pruner.prune()
        assert run.pruner.pruned == {"changes": 1900, "events": 2}
        assert run.first() == 1901

    run_pruner(work, changes=10_000, events=10)


def test_other_calls_come_between_the_steps_of_a_run() -> None:
    async def work(run: PrunerRun) -> None:
        await run.pruner.prune()
        assert run.pruner.pruned["changes"] == 5 * STEP_ROWS
        assert len(run.slept) > 55  # Fifty steps of reading, and five of deleting.
        assert {*run.slept} == {PAUSE_S}

    run_pruner(work, changes=10_000)


def test_task_goes_on_after_the_store_has_failed() -> None:
    async def work(run: PrunerRun) -> None:
        run.store.fails.add("span")
        task = asyncio.create_task(run.pruner.run())
        await asyncio.gather(task, return_exceptions=True)
        assert run.slept[0] == EVERY_S
        assert run.pruner.pruned["changes"] > 0

    run_pruner(work, changes=30)


def test_store_of_an_earlier_release_is_kept_for_seven_days() -> None:
    async def work(run: PrunerRun) -> None:
        run.begin_as_earlier_release()
        for after_s in (0.0, GRACE_S - 1):
            run.now_s = NOW_S + after_s
            await run.pruner.prune()
        assert run.first() == 1
        (notice,) = run.notices
        assert "openimds state backup, else from 2027-01-22 on" in notice
        run.now_s = NOW_S + GRACE_S
        await run.pruner.prune()
        assert run.first() == 11
        assert run.store.value(PENDING) is None

    run_pruner(work, changes=100)


def test_backup_ends_the_wait_of_an_earlier_store() -> None:
    async def work(run: PrunerRun) -> None:
        run.begin_as_earlier_release()
        await run.pruner.prune()
        assert run.first() == 1
        run.store.write_events(EventBatch(values={PENDING: None}))
        await run.pruner.prune()
        assert run.first() == 11

    run_pruner(work, changes=100)


def test_clock_set_back_does_not_prolong_the_wait() -> None:
    async def work(run: PrunerRun) -> None:
        run.begin_as_earlier_release()
        await run.pruner.prune()
        run.now_s = NOW_S - 90 * 86_400
        await run.pruner.prune()
        assert run.store.value(PENDING) == b"%d" % (run.now_s + GRACE_S)

    run_pruner(work, changes=3)


def test_each_run_forgets_what_is_too_much_else() -> None:
    calls: list[int] = []

    async def forget() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            raise StoreError("fleet.db: the disk is full")

    async def work(run: PrunerRun) -> None:
        run.slept = [0.0] * 9
        run.pruner.forget = forget
        with pytest.raises(asyncio.CancelledError):
            await run.pruner.run()

    run_pruner(work)
    assert calls == [0, 1]
