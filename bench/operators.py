"""Operators: waits of quiet guests beside floods of the ports of operators.

The host has a core of its own. Its control process shares the other core with the flood and with
the quiet guests, who go first. Idle is measured beside the same generator that sends to a sink, or
beside other work of that core, and the two take turns. Memory is that of both processes before the
floods, at most, and after them.
"""

import os
import tempfile
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from bench import operator_load
from bench.beside import Beside
from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import write
from bench.flooder import Shape
from bench.floods import flood, sunk
from bench.guests import KINDS, PER_KIND, Kind
from bench.http_client import pinned
from bench.loads import Load, running
from bench.machine import cores
from bench.quiet import Patience
from bench.servers import Address, Server, openimds

_FLOODERS = ("127.0.0.1",)
ADMIN = {
    "/healthz over 50 connections": "/healthz",
    "/openapi.json over 50 connections": "/openapi.json",
    "/metrics over 50 connections": "/metrics",
    "requests without a token over 50 connections": "/v1/vms",
}
PUBLIC = {"public keys over 50 connections": "/common/discovery/v2.0/keys"}
CHANGES = "250 feed readers that do not read, and changes"
LARGE = "PUTs of 1 MB, one after the other"
WORKS = {CHANGES: operator_load.FEEDS, LARGE: operator_load.LARGE}
_ROUNDS, _ROUND_S, _PATIENCE_S = 5, 3.0, 120.0


def measure(plan: Plan) -> dict[str, Table]:
    """Return the tables of operators' floods and of the memory."""
    server_core, client_core = cores()
    rounds, patience = 1 if plan.is_quick else _ROUNDS, Patience(plan.seconds(_PATIENCE_S))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = write(1 + len(KINDS) * PER_KIND, "json", Path(folder), has_identities=True)
        arguments = ("--fleet", str(fleet), "--admin", "127.0.0.1:0", "--public", "127.0.0.1:0")
        server = stack.enter_context(openimds(*arguments, core=server_core))
        stack.enter_context(pinned(client_core))
        for child in server.pids()[1:]:
            os.sched_setaffinity(child, {client_core})
        floods = _floods(server)
        before_mb = server.memory_mb()
        idle = {name: Beside(partial(sunk, shape)) for name, (shape, _) in floods.items()}
        beside = {name: Beside(partial(flood, *one)) for name, one in floods.items()}
        idle |= {name: Beside(partial(running, "bench.busy")) for name in WORKS}
        for name, work in WORKS.items():
            beside[name] = Beside(partial(operator, server, work))
        for number in range(rounds):
            progress(f"operators: round {number + 1} of {rounds}, {len(beside)} floods")
            for name, one in beside.items():
                for measured in (idle[name], one):
                    patience.wait()
                    measured.run(server, KINDS, 1, plan.seconds(_ROUND_S))
        peak_mb, after_mb = server.peak_mb(), server.memory_mb()
    rows: dict[str, Row] = {}
    for name, one in beside.items():
        rows |= {row(name, kind): one.waits(kind, idle[name]) for kind in KINDS}
    memory: dict[str, Row] = {
        "before the floods": {"memory_mb": spread([before_mb])},
        "at most": {"memory_mb": spread([peak_mb])},
        "after the floods": {"memory_mb": spread([after_mb])},
    }
    return {
        "operators": Table("Quiet guests beside floods of operators", "flood", rows),
        "operators_memory": Table("Memory of both processes, resident", "when", memory),
    }


def row(flood: str, kind: Kind) -> str:
    """Return the name of the row of some quiet guests."""
    return f"{flood}: {kind.name}"


def _floods(server: Server) -> dict[str, tuple[Shape, Address]]:
    floods = {}
    for url, targets in ((server.ready["admin"], ADMIN), (server.ready["public"], PUBLIC)):
        host, _, port = url.removeprefix("http://").rpartition(":")
        for name, target in targets.items():
            floods[name] = (
                Shape("in turn", 50, _FLOODERS, target, "localhost"),
                Address(host, int(port)),
            )
    return floods


def operator(server: Server, work: str, count: int = 0) -> AbstractContextManager[Load]:
    """Repeat an operator's work in a process of its own inside the block."""
    ready = server.ready
    return running("bench.operator_load", ready["admin"], ready["token_file"], work, str(count))
