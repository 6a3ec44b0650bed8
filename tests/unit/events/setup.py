"""An events service over a failing store, with a clock set by hand."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.events.event import Event
from openimds.protocol.pending import Approved, Failed, PendingApproval, PendingEventsDocument
from openimds.vm.fleet_file import parse_fleet
from tests.support.talk import DEFAULT_GROUP
from tests.unit.admin.setup import FailingStore

NOW_S = 1_795_377_286.0
SCOPE = f"set:{DEFAULT_GROUP}/as"
VMS: dict[str, Any] = {
    "as-1": {"availabilitySet": "as", "compute": {"name": "first"}},
    "as-2": {"availabilitySet": "AS"},
    "lone": {},
}


class EventsRun:
    """An events service, its store and its wall clock."""

    def __init__(
        self, store: FailingStore | None = None, activity: ScopeActivity | None = None
    ) -> None:
        self.store = store or FailingStore()
        self.now_s = NOW_S
        self.notices: list[str] = []
        self.fleet_index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.fleet_service = FleetService(
            self.store, self.fleet_index, lambda: self.now_s, self._open
        )
        self.clock = Clock(lambda: self.now_s, is_virtual=True)
        self.events_service = EventsService(
            self.fleet_service, self.clock, self.notices.append, activity
        )

    async def _open(self, *_: object) -> None:
        """Open nothing: no VM wants a listener."""

    async def load(self) -> "EventsRun":
        self.fleet_index.apply(self.fleet_index.plan(parse_fleet({"vms": VMS}).vms.values()))
        await self.events_service.load()
        return self

    def document(self, scope: str = SCOPE, version: str = "2020-07-01") -> Any:
        need = PendingEventsDocument("as-1", scope, version)
        return json.loads(self.events_service.cached(need, self.now_s).body)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass without a timer: due transitions come with the next job."""
        self.now_s += seconds
        await self.events_service.set_clock(self.clock.state)

    async def approve(self, vm: str, *events: Event, scope: str = SCOPE) -> Approved | Failed:
        ids = tuple(event.event_id for event in events)
        return await self.events_service.approve(PendingApproval(vm, scope, ids))

    async def log(self) -> list[tuple[str, str]]:
        entries = await self.fleet_service.call_store(self.store.log_entries, 0, 999)
        return [(json.loads(entry.body)["trigger"], entry.who) for entry in entries]

    async def close(self) -> None:
        await self.events_service.close()
        self.store.fails.clear()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(condition)


def run(work: Callable[[EventsRun], Awaitable[None]], **options: Any) -> None:
    async def work_and_close() -> None:
        events_run = await EventsRun(**options).load()
        try:
            await work(events_run)
        finally:
            await events_run.close()
            events_run.fleet_service.close()

    asyncio.run(work_and_close())
