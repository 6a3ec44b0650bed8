"""Pruning of a store: bytes a day, and the wait of a change meanwhile.

`python -m bench.pruning` fills a store in a temporary folder; 1,000,000 changes need 1.2 GB and a
minute or two.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.fleets import value
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.pruner import Pruner
from openimds.fleet.service import FleetService
from openimds.fleet.store.history import HistoryBounds
from openimds.fleet.store.port import Log, Write
from openimds.fleet.store.sqlite import SqliteStore
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.serialize import encode_vm

VMS, EVERY_S, DAY_S, DAYS = 10_000, 300, 86_400, 30
"""The load of the figures a day: each of so many VMs is patched once in so many seconds."""
_BATCH = 1000
_PAUSE_S = 0.005


def _fill(store: SqliteStore, rows: int, at: str) -> None:
    """Patch one VM after another; every patch is a change."""
    bodies = {name: encode_vm(vm) for name, vm in parse_fleet(value(_BATCH)).vms.items()}
    for lap in range(rows // _BATCH):
        writes = [Write(name, b"%b%d" % (body, lap), "api") for name, body in bodies.items()]
        store.write(writes, "api 127.0.0.1", at)


def _bytes(path: Path) -> int:
    return path.stat().st_size


async def _waits_ms(service: FleetService, until: "asyncio.Task[None] | None") -> list[float]:
    """Return the times of changes: 200 of them, or those made until a task ends."""
    waits: list[float] = []
    while not until.done() if until else len(waits) < 200:  # noqa: PLR2004 - as the text says
        start = time.perf_counter()
        write = Write("probe", b"%d" % len(waits), "api")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        await service.call_store(service.store.write, [write], "probe", now)
        waits.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(_PAUSE_S)
    return sorted(waits)


async def _measure(path: Path, rows: int) -> None:
    store = SqliteStore(path)
    index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)

    async def open_listeners(*_: object) -> None:
        """Open nothing: no VM wants a listener."""

    service = FleetService(store, index, time.time, open_listeners)
    try:
        await service.call_store(_fill, store, rows, "2020-01-01T00:00:00.000+00:00")
        size = _bytes(path)
        daily = size / rows * VMS * DAY_S / EVERY_S
        print(f"{size / rows:.0f} bytes a change; {daily / 1e9:.2f} GB a day at {VMS} VMs")
        counted = sum(one for _, one in store.row_sizes(Log.CHANGES, 1, min(rows, 10_000)))
        print(f"{counted / min(rows, 10_000):.0f} bytes a change as the pruner counts them")
        _print("idle", await _waits_ms(service, None))
        pruner = Pruner(service, HistoryBounds(DAYS, 900 << 20), print)
        for run in range(3):
            start, had = time.perf_counter(), pruner.pruned["changes"]
            task = asyncio.create_task(pruner.prune())
            waits = await _waits_ms(service, task)
            took_s = time.perf_counter() - start
            _print(f"run {run + 1}: {pruner.pruned['changes'] - had} in {took_s:.1f} s", waits)
        kept = pruner.pruned["changes"]
        await service.call_store(_fill, store, kept, "2020-01-01T00:00:00.000+00:00")
        print(f"file {size / 1e6:.0f} MB, after as many new changes {_bytes(path) / 1e6:.0f}")
    finally:
        service.close()


def _print(case: str, waits: list[float]) -> None:
    middle, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(f"{case}: a change waits {middle:.2f} ms, p99 {p99:.2f}, at most {waits[-1]:.2f}")


def main() -> None:
    """Measure with the number of changes of the command line."""
    parser = argparse.ArgumentParser("bench.pruning", description="Measure pruning of a store.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="Changes to fill in.")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder) / "fleet.db", parser.parse_args().rows))


if __name__ == "__main__":
    main()
