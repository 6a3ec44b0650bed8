"""The pruner: one task that keeps the history of a store within its bounds.

It works in small steps with pauses between them, so that a change waits for one step at most.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from openimds.fleet.service import FleetService
from openimds.fleet.store.history import PENDING, History, HistoryBounds
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.log.events import HISTORY

EVERY_S = 600.0
"""The time between two runs."""
PAUSE_S = 0.02
"""The time between two steps of a run."""
SHARE = 0.1
"""The part of a log that one run deletes by age; a wrong clock takes a day to empty a log."""
GRACE_S = 7 * 86_400.0
"""The history of a store of an earlier release is kept so long, or until a backup."""


class Pruner:
    """Prunes the history of a fleet's store; `run` is its task."""

    def __init__(
        self,
        fleet_service: FleetService,
        bounds: HistoryBounds,
        notify: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prune by the clock that dates the changes of a fleet."""
        self.pruned: Counter[str] = Counter()
        """The number of deleted rows by log."""
        self.pruned_s: float | None = None
        """The time of the last complete run, in seconds since 1970."""
        self._fleet_service, self._notify, self._sleep = fleet_service, notify, sleep
        self._history = History(fleet_service.store, bounds)
        self._is_announced = False
        self.forget: Callable[[], Awaitable[None]] | None = None
        """Called after each run; it forgets other rows that are too many."""

    async def run(self) -> None:
        """Prune until the task is cancelled."""
        while True:
            with suppress(StoreError):  # Its changes are refused, too, with the reason.
                await self.prune()
            if self.forget:
                with suppress(StoreError):
                    await self.forget()
            await self._sleep(EVERY_S)

    async def prune(self) -> None:
        """Prune once, unless the store is of an earlier release and has no backup yet.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if await self._waits():
            return
        call = self._fleet_service.call_store
        plan = self._history.plan(self._fleet_service.utc(), SHARE)
        while await call(next, plan, self) is not self:
            await self._sleep(PAUSE_S)
        steps = self._history.prune()
        while (step := await call(next, steps, None)) is not None:
            log, rows = step
            self.pruned[log.value] += rows
            await self._sleep(PAUSE_S)
        self.pruned_s = self._fleet_service.utc()

    async def _waits(self) -> bool:
        """Tell whether a store of an earlier release is still kept as it is."""
        service = self._fleet_service
        text = await service.call_store(service.store.value, PENDING)
        if text is None:
            return False
        now_s = service.utc()
        from_s = int(text) if text.isdigit() else now_s + GRACE_S
        if not text.isdigit() or from_s > now_s + GRACE_S:  # New, or from a clock that was ahead.
            from_s = now_s + GRACE_S
            batch = EventBatch(values={PENDING: b"%d" % from_s})
            await service.call_store(service.store.write_events, batch)
        elif from_s <= now_s:
            batch = EventBatch(values={PENDING: None})
            await service.call_store(service.store.write_events, batch)
            return False
        if not self._is_announced:
            self._is_announced = True
            date = datetime.fromtimestamp(from_s, UTC).strftime("%Y-%m-%d")
            self._notify(
                HISTORY.message(
                    "the store is of an earlier release: its audit log and event log are pruned to "
                    "--history-days and --history-mib after the next openimds state backup, "
                    "else from "
                    f"{date} on",
                    date=str(date),
                )
            )
        return True
