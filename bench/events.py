"""Scheduled events: time until 10,000 VMs see one, cost of their polls each second."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import address, value
from bench.harness import GENEROUS, Caller, dispatcher, drive_all
from bench.targets import METADATA, request
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
CASES = {
    "one set, one VM affected": COUNT,
    "groups of 100, all affected": GROUP,
    "each VM alone": 1,
}
"""The number of VMs that share a scope, by case."""
_CHUNK = request("/metadata/scheduledevents?api-version=2020-07-01", *METADATA)
_ROUNDS = 5
_LAPS = 3


class _Site:
    """A fleet, its events service, and a connection from each VM."""

    def __init__(self, count: int, members: int, store: Store) -> None:
        fleet = value(count)
        for number, vm in enumerate(fleet["vms"].values()):
            if members > 1:
                vm["availabilitySet"] = f"as-{number // members}"
        vms = list(parse_fleet(fleet).vms.values())
        self.affected = tuple(fleet["vms"])[: 1 if members >= count else None]
        self.dispatcher = dispatcher(vms, GENEROUS)
        self.fleet_service = FleetService(store, self.dispatcher.fleet_index, time.time, _open)
        self.events_service = EventsService(self.fleet_service, Clock(time.time), progress)
        pending = PendingDispatch(self.dispatcher.provider)
        pending.events = self.events_service
        self.dispatcher.provider = pending
        self.callers = [Caller(self.dispatcher, address(n)) for n in range(count)]

    def poll_s(self) -> float:
        """Return the CPU seconds of a request when every VM polls in turn."""
        return sum(drive_all(self.callers, _CHUNK) for _ in range(_LAPS)) / (
            len(self.callers) * _LAPS
        )

    async def announce(self) -> tuple[float, float]:
        """Declare an event; return the seconds until its acknowledgement and its last sight."""
        start = time.perf_counter()
        declared = await self.events_service.declare(
            EventRequest("Freeze", self.affected, life_s=3600), "bench"
        )
        declared_s = time.perf_counter() - start
        drive_all(self.callers, _CHUNK)
        seen_s = time.perf_counter() - start
        shown = {event.scope: event.event_id.encode() for event in declared}
        last = bytes(self.callers[-1].socket.last)
        assert any(event_id in last for event_id in shown.values()), last
        return declared_s, seen_s


async def _open(*_: object) -> None:
    """Open no listener."""


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of events."""
    count = COUNT // 10 if plan.is_quick else COUNT
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Callable[[], Store]] = {
            "memory": MemoryStore,
            "SQLite": lambda: SqliteStore(Path(folder) / f"{time.monotonic_ns()}.db"),
        }
        for case, members in CASES.items():
            for engine, make in engines.items():
                progress(f"events: {count:,} VMs, {case}, {engine}")
                site_rows = asyncio.run(_measured(plan, count, members, make()))
                rows[f"{count:,} VMs, {case}, {engine}"] = site_rows
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
        "declared_ms": spread(declared * 1e3 for declared, _ in times),
        "seen_ms": spread(seen * 1e3 for _, seen in times),
        "cpu_us": spread(seconds * 1e6 for seconds in polls),
        "busy": spread(seconds * count for seconds in polls),
    }
