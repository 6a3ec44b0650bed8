"""The page in the browser: its times with 10,000 VMs, and guests beside viewers.

The host has a core of its own; its control process shares the other one with the readers and with
the quiet guests, who go first. Viewers refresh the live parts as the script does. Guests' requests
are recorded, so the live parts change all the time.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.beside import Beside
from bench.changes import AdminClient
from bench.figures import Plan, Row, Table, percentile, progress, spread
from bench.fleets import name, write
from bench.guests import KINDS, Kind
from bench.http_client import pinned
from bench.loads import running
from bench.machine import cores
from bench.page_client import PageReader
from bench.quiet import Patience
from bench.servers import Server, openimds
from openimds.admin.page.page_rows import PAGES

FLEET = 10_000
VIEWERS = "ten viewers of live pages"
_COUNT, _EVERY_S = 10, 3.0
_LIVE = (
    "/ui/?live=vms",
    f"/ui/vms/{name(1)}?live=activity",
    "/ui/health?live=health",
)
_READS, _ROUNDS, _ROUND_S, _PATIENCE_S = 100, 5, 6.0, 120.0
_ADMIN = ("--admin", "127.0.0.1:0", "--record", "100")
PATHS = {
    **{row.title: f"/ui{row.path}" for row in PAGES if row.is_in_navigation},
    "Fleet, searched": "/ui/?q=team-7",
    "Fleet, selected": "/ui/?select=tag=env:prod,location=westeurope,zone=2",
    "Fleet, sorted, last part": "/ui/?sort=size&order=down&page=100",
    "VM": f"/ui/vms/{name(1)}",
}
CHANGED = "Fleet, after a change of a VM"


def measure(plan: Plan) -> dict[str, Table]:
    """Return the tables of the pages and of guests beside viewers."""
    server_core, client_core = cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = write(FLEET, "json", Path(folder), has_identities=True)
        arguments = ("--fleet", str(fleet), *_ADMIN)
        server = stack.enter_context(openimds(*arguments, core=server_core))
        stack.enter_context(pinned(client_core))
        for child in server.pids()[1:]:
            os.sched_setaffinity(child, {client_core})
        pages, viewers = _pages(server, plan), _viewers(server, plan)
    return {
        "pages": Table(f"Pages in the browser with {FLEET:,} VMs", "page", pages),
        "viewers": Table(f"Quiet guests beside {VIEWERS}", "guests", viewers),
    }


def row(kind: Kind) -> str:
    """Return the name of the row of some quiet guests beside viewers."""
    return f"{VIEWERS}: {kind.name}"


def _pages(server: Server, plan: Plan) -> dict[str, Row]:
    reader = PageReader(server.ready["admin"], Path(server.ready["token_file"]))
    for path in PATHS.values():
        reader.get(path)  # The first one loads a template, and makes what it shows.
    rows = {}
    for title, path in PATHS.items():
        progress(f"page: {title}")
        rows[title] = _times(partial(reader.get, path), plan.rounds(_READS))
    admin, zones = AdminClient.of(server), iter(range(10 * _READS))

    def change() -> None:
        admin.send("PATCH", f"/v1/vms/{name(2)}", {"compute": {"zone": str(next(zones) % 3 + 1)}})

    progress(f"page: {CHANGED}")
    rows[CHANGED] = _times(partial(reader.get, "/ui/"), plan.rounds(_READS), before=change)
    return rows


def _times(read: Callable[[], object], count: int, before: Callable[[], None] | None = None) -> Row:
    """Return the times of so many reads, each after some work that is not timed."""
    found_ms = []
    for _ in range(count):
        if before:
            before()
        start_s = time.perf_counter()
        read()
        found_ms.append((time.perf_counter() - start_s) * 1e3)
    return {
        "p50_ms": spread([percentile(found_ms, 50)]),
        "p95_ms": spread([percentile(found_ms, 95)]),
    }


def _viewers(server: Server, plan: Plan) -> dict[str, Row]:
    ready, patience = server.ready, Patience(plan.seconds(_PATIENCE_S))
    arguments = (ready["admin"], ready["token_file"], str(_COUNT), str(_EVERY_S), *_LIVE)
    idle = Beside()  # Viewers take little of their core: beside nothing the ratio is the strictest.
    beside = Beside(partial(running, "bench.page_viewers", *arguments))
    rounds = 1 if plan.is_quick else _ROUNDS
    for number in range(rounds):
        progress(f"page: round {number + 1} of {rounds} beside viewers")
        for one in (idle, beside):
            patience.wait()
            one.run(server, KINDS, 1, plan.seconds(_ROUND_S))
    return {row(kind): beside.waits(kind, idle) for kind in KINDS}
