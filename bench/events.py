"""Scheduled events: how soon 10,000 VMs see one, and what it costs that they ask every second."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import address, value
from bench.stage import GENEROUS, METADATA, Caller, dispatcher, drive_all, request
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Store
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore
from openimds.protocol.events.request import EventRequest
from openimds.server.pending_dispatch import PendingDispatch
from openimds.vm.fleet_file import parse_fleet

COUNT = 10_000
GROUP = 100
"""The members of a full placement group."""
CASES = {"one set, one VM hit": COUNT, "groups of 100, all hit": GROUP, "each VM alone": 1}
"""By what is announced: how many VMs share a scope."""
_CHUNK = request("/metadata/scheduledevents?api-version=2020-07-01", *METADATA)
_ROUNDS = 5
_LAPS = 3


class _Site:
    """A fleet, its agenda, and a connection from each VM."""

    def __init__(self, count: int, members: int, store: Store) -> None:
        said = value(count)
        for number, vm in enumerate(said["vms"].values()):
            if members > 1:
                vm["availabilitySet"] = f"as-{number // members}"
        vms = list(parse_fleet(said).vms.values())
        self.hit = tuple(said["vms"])[: 1 if members >= count else None]
        self.dispatcher = dispatcher(vms, GENEROUS)
        self.fleet_service = FleetService(store, self.dispatcher.fleet_index, time.time, _open)
        self.events_service = EventsService(self.fleet_service, Clock(time.time), progress)
        self.dispatcher.provider = PendingDispatch(self.dispatcher.provider, self.events_service)
        self.callers = [Caller(self.dispatcher, address(n)) for n in range(count)]

    def poll_s(self) -> float:
        """Return the CPU seconds of a request when every VM asks in turn."""
        return sum(drive_all(self.callers, _CHUNK) for _ in range(_LAPS)) / (
            len(self.callers) * _LAPS
        )

    async def announce(self) -> tuple[float, float]:
        """Declare an event; return seconds until that is acknowledged, and until all saw it."""
        start = time.perf_counter()
        made = await self.events_service.declare(
            EventRequest("Freeze", self.hit, life_s=3600), "bench"
        )
        declared_s = time.perf_counter() - start
        drive_all(self.callers, _CHUNK)
        seen_s = time.perf_counter() - start
        shown = {event.scope: event.event_id.encode() for event in made}
        last = bytes(self.callers[-1].transport.last)
        assert any(event_id in last for event_id in shown.values()), last
        return declared_s, seen_s


async def _open(*_: object) -> None:
    """No listener is wanted."""


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of events."""
    count = COUNT // 10 if plan.is_quick else COUNT
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Callable[[], Store]] = {
            "memory": MemoryStore,
            "SQLite": lambda: SqliteStore(Path(folder) / f"{time.monotonic_ns()}.db"),
        }
        for what, members in CASES.items():
            for engine, make in engines.items():
                progress(f"events: {count:,} VMs, {what}, {engine}")
                site_rows = asyncio.run(_measured(plan, count, members, make()))
                rows[f"{count:,} VMs, {what}, {engine}"] = site_rows
    return {"events": Table("Scheduled events", "fleet", rows)}


async def _measured(plan: Plan, count: int, members: int, store: Store) -> Row:
    site = _Site(count, members, store)
    await site.events_service.load()
    site.poll_s()
    polls: list[float] = []
    times: list[tuple[float, float]] = []
    for _ in range(plan.rounds(_ROUNDS)):
        times.append(await site.announce())
        polls.append(site.poll_s())
    await site.events_service.close()
    site.fleet_service.close()
    return {
        "declared_ms": spread(one * 1e3 for one, _ in times),
        "seen_ms": spread(one * 1e3 for _, one in times),
        "cpu_us": spread(one * 1e6 for one in polls),
        "busy": spread(one * count for one in polls),
    }
