"""Floods: waits of quiet guests and CPU time of the server beside one bad guest.

The server has the documented limits, and a core of its own. The flooding guest and the quiet ones
share the other core, where the quiet ones go first. A flood takes time of that core, too, so idle
is not an empty machine: it is measured beside the same generator that sends to a sink. The two take
turns.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec.json

from bench.beside import Beside
from bench.figures import Plan, Row, Table, progress
from bench.fleets import address, unknown_address, write
from bench.flooder import Shape
from bench.guests import KINDS, PER_KIND, Kind
from bench.http_client import pinned
from bench.loads import Load, running
from bench.machine import cores
from bench.quiet import Patience
from bench.servers import Address, openimds

_GUEST = (address(0),)
REQUESTS: dict[str, Shape] = {
    "1,000 connections, one request at a time each": Shape("in turn", 1000, _GUEST),
    "one pipelined connection": Shape("pipelined", 1, _GUEST),
    "64 pipelined connections": Shape("pipelined", 64, _GUEST),
    "1,000 pipelined connections": Shape("pipelined", 1000, _GUEST),
    "64 connections that never read": Shape("never reading", 64, _GUEST),
    "1,000 pipelined connections of unknown callers": Shape(
        "pipelined", 1000, tuple(map(unknown_address, range(20)))
    ),
}
"""The floods of requests."""
RESET = "connections that are reset at once"
_SHAPES = {**REQUESTS, RESET: Shape("reset", 0, _GUEST)}
_NONE = "no flood, no sink"
_ROUNDS = 5
_ROUND_S = 3.0
_PATIENCE_S = 120.0


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of floods."""
    server_core, client_core = cores()
    rounds, patience = 1 if plan.is_quick else _ROUNDS, Patience(plan.seconds(_PATIENCE_S))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = write(1 + len(KINDS) * PER_KIND, "json", Path(folder), has_identities=True)
        server = stack.enter_context(openimds("--fleet", str(fleet), core=server_core))
        stack.enter_context(pinned(client_core))
        none = Beside()
        idle = {name: Beside(partial(sunk, shape)) for name, shape in _SHAPES.items()}
        flooded = {
            name: Beside(partial(flood, shape, server.address)) for name, shape in _SHAPES.items()
        }
        for number in range(rounds):
            progress(f"floods: round {number + 1} of {rounds}, {len(_SHAPES)} floods")
            for name in _SHAPES:
                for beside in (idle[name], flooded[name]):
                    patience.wait()
                    beside.run(server, KINDS, 1, plan.seconds(_ROUND_S))
            none.run(server, KINDS, 1, plan.seconds(_ROUND_S))
    rows: dict[str, Row] = {_NONE: none.costs()}
    rows |= {row(_NONE, kind): none.waits(kind) for kind in KINDS}
    for name, beside in flooded.items():
        rows[name] = beside.costs(idle[name])
        rows |= {row(name, kind): beside.waits(kind, idle[name]) for kind in KINDS}
    return {"floods": Table("Quiet guests while one guest floods the server", "flood", rows)}


def row(flood: str, kind: Kind) -> str:
    """Return the name of the row of some quiet guests."""
    return f"{flood}: {kind.name}"


@contextmanager
def flood(shape: Shape, server: Address) -> Iterator[Load]:
    """Flood a server inside the block."""
    host, port = server
    with running("bench.flooder", host, str(port), msgspec.json.encode(shape).decode()) as load:
        yield load


@contextmanager
def sunk(shape: Shape) -> Iterator[Load]:
    """Flood a sink inside the block."""
    with running("bench.sink") as sink, flood(shape, Address("127.0.0.1", int(sink.fact))) as load:
        yield load
