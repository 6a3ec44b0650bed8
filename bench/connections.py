"""Open connections: the memory of one, and a guest's way past thousands of idle ones.

Memory is the growth of the server's resident memory divided by the connections; buffers of the
kernel are not part of it. The thousands of idle connections have sent one request each. The server
holds a part of them, bounded by its limits and by its file descriptors: the table has the number.
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import Plan, Row, Table, percentile, progress, ratio, spread
from bench.fleets import address, unknown_address, value, write
from bench.flooder import Shape, Way
from bench.floods import flood
from bench.guests import NEW, PER_KIND, Waits, quiet_guests
from bench.http_client import http_client, pinned
from bench.machine import cores
from bench.servers import Server, openimds
from bench.targets import INSTANCE, METADATA, request

SILENT = "idle, nothing sent"
ANSWERED = "idle after a response"
NEVER_READING = "never reads, largest document, no limits"
_IDLE, _CALLERS = 20_000, 20
NONE = "no other connections"
UNKNOWN = f"{_IDLE:,} idle connections of {_CALLERS} unknown callers"
KNOWN = f"{_IDLE:,} idle connections of {_CALLERS} VMs"
_HELD: dict[str, tuple[Way, int]] = {
    SILENT: ("silent", 1000),
    ANSWERED: ("answered", 1000),
    NEVER_READING: ("never reading", 60),
}
_ROUNDS = 3
_HELD_S = 2.0
_ROUND_S = 3.0
_OTHER_FILES = 100
"""File descriptors of a client that are no connections."""
_SETTLED_S = 0.2
_OK = 200

Callers = Callable[[int], str]
"""Returns the source address of one of some callers."""
# The largest that Azure allows: user data of 64 KiB, 50 tags of 512 and 256 characters.
_USER_DATA = "QUJD" * (65535 // 3)
_TAGS = {f"{number:0512}": "v" * 256 for number in range(50)}


def measure(plan: Plan) -> dict[str, Table]:
    """Return the tables of memory and of first answers."""
    with tempfile.TemporaryDirectory() as folder, pinned(cores()[1]):
        return {
            "connections": _memory(plan, Path(folder)),
            "idle_connections": _others(plan, Path(folder)),
        }


def _memory(plan: Plan, folder: Path) -> Table:
    fleet = folder / "large.json"
    vm = value(1)["vms"].popitem()[1]
    vm["compute"] |= {"userData": _USER_DATA, "tags": _TAGS}
    fleet.write_text(json.dumps({"vms": {"large": vm}}), "utf-8")
    each: dict[str, list[float]] = {name: [] for name in _HELD}
    for number in range(plan.rounds(_ROUNDS)):
        progress(f"connections: memory, round {number + 1} of {plan.rounds(_ROUNDS)}")
        for name, (way, count) in _HELD.items():
            each[name].append(_growth_mb(fleet, Shape(way, count, (address(0),))) / count)
    rows: dict[str, Row] = {}
    for name, (_, count) in _HELD.items():
        unit, factor = ("each_mb", 1.0) if name == NEVER_READING else ("each_kb", 1e3)
        rows[name] = {
            "connections": spread([count]),
            unit: spread(growth * factor for growth in each[name]),
        }
    return Table("Memory of one connection", "connection", rows)


def _growth_mb(fleet: Path, shape: Shape) -> float:
    """Return the growth of a server's memory by connections of a shape."""
    with openimds("--fleet", str(fleet), "--no-rate-limit", core=cores()[0]) as server:
        _try(server)
        before_mb = server.memory_mb()
        with flood(shape, server.address):
            time.sleep(_HELD_S)
            return server.peak_mb() - before_mb


def _try(server: Server) -> None:
    """Send a request; the first one costs memory and files that others do not."""
    with http_client(server.address) as client:
        status, _ = client.send(request(INSTANCE, *METADATA))
        assert status == _OK, status


def _others(plan: Plan, folder: Path) -> Table:
    vms = 1 + PER_KIND
    fleet = write(vms + _CALLERS, "json", folder)
    callers: dict[str, Callers | None] = {
        NONE: None,
        UNKNOWN: unknown_address,
        KNOWN: lambda number: address(vms + number),
    }
    count = 1000 if plan.is_quick else _IDLE
    held: dict[str, list[int]] = {name: [] for name in callers}
    waits: dict[str, list[Waits]] = {name: [] for name in callers}
    for number in range(plan.rounds(_ROUNDS)):
        progress(f"connections: idle ones, round {number + 1} of {plan.rounds(_ROUNDS)}")
        for name, caller in callers.items():
            with openimds("--fleet", str(fleet), core=cores()[0]) as server, ExitStack() as stack:
                _try(server)
                before = server.open_files()
                guests = stack.enter_context(quiet_guests(server.address, (NEW,), 1))
                if caller:
                    stack.enter_context(_idle(server, count, caller))
                    held[name].append(server.open_files() - before)
                waits[name].append(guests.ask(plan.seconds(_ROUND_S))[NEW.name])
    p99 = {
        name: [percentile(one.seconds, 99) * 1e3 for one in found] for name, found in waits.items()
    }
    rows: dict[str, Row] = {}
    for name, found in waits.items():
        rows[name] = {
            "p50_ms": spread(percentile(one.seconds, 50) * 1e3 for one in found),
            "p99_ms": spread(p99[name]),
            "failed": spread(one.failed / len(one.seconds) for one in found),
        }
        if held[name]:
            rows[name]["connections"] = spread(held[name])
            rows[name]["p99_times_idle"] = ratio(p99[name], p99[NONE])
    return Table("A guest's answers on new connections", "other connections", rows)


@contextmanager
def _idle(server: Server, count: int, caller: Callers) -> Iterator[None]:
    """Hold idle connections of some callers inside the block."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _OTHER_FILES
    callers = tuple(map(caller, range(_CALLERS)))
    with ExitStack() as stack:
        for first in range(0, count, most):
            shape = Shape("answered", min(most, count - first), callers)
            stack.enter_context(flood(shape, server.address))
        before = -1
        while (now := server.open_files()) != before:
            before = now
            time.sleep(_SETTLED_S)
        yield
