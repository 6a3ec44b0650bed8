"""Quiet guests while other VMs need signatures: at full rate, and as a crowd.

At full rate, without limits, few VMs keep the signing worker busy and the quiet ones request
metadata. In the crowd each VM asks as often as the documented limits allow, which all together is
more than a core can sign, and the quiet ones ask for new tokens, too.
"""

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import msgspec.json
from msgspec import Struct

from bench.beside import Beside
from bench.figures import Plan, Table, progress
from bench.fleets import write
from bench.guests import KEPT, PER_KIND, TOKENS, Kind
from bench.http_client import http_client, pinned
from bench.loads import Load, running
from bench.machine import cores
from bench.quiet import Patience
from bench.servers import Server, openimds
from bench.signing_load import Minting
from bench.targets import ATTESTED, METADATA, TOKEN, request

IDLE = "no signatures"
FULL_RATE = {
    "tokens are made": Minting("tokens"),
    "documents are signed": Minting("documents"),
}
CROWD = "150 guests ask for new tokens within their limits"
_CROWD = Minting("resources", vms=150, connections=5, per_s=4.0)
"""Each asks 20 times a second, with 5 requests at once: the documented limits."""
_ROUNDS = 4
_ROUND_S = 4.0
_PATIENCE_S = 60.0
_OK = 200


class Setting(Struct, frozen=True):
    """A server, its loads, and the guests beside them."""

    mintings: dict[str, Minting]
    kind: Kind
    arguments: Sequence[str] = ()


def measure(plan: Plan) -> dict[str, Table]:
    """Return the tables of both settings."""
    full_rate = Setting(FULL_RATE, KEPT, ("--no-rate-limit",))
    return {
        "minting": _table(plan, full_rate, "Metadata of quiet guests while others need signatures"),
        "crowd": _table(plan, Setting({CROWD: _CROWD}, TOKENS), "New tokens of quiet guests"),
    }


def _table(plan: Plan, setting: Setting, title: str) -> Table:
    server_core, client_core = cores()
    rounds, patience = plan.rounds(_ROUNDS), Patience(plan.seconds(_PATIENCE_S))
    first = max(minting.vms for minting in setting.mintings.values())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = write(first + PER_KIND, "json", Path(folder), has_identities=True)
        arguments = ("--fleet", str(fleet), *setting.arguments)
        server = stack.enter_context(openimds(*arguments, core=server_core))
        stack.enter_context(pinned(client_core))
        _warm(server)
        idle = Beside()
        loads = {
            name: Beside(partial(_mint, server, minting))
            for name, minting in setting.mintings.items()
        }
        for number in range(rounds):
            progress(f"minting: {title.lower()}, round {number + 1} of {rounds}")
            for beside in (idle, *loads.values()):
                patience.wait()
                beside.run(server, (setting.kind,), first, plan.seconds(_ROUND_S))
    rows = {IDLE: {**idle.waits(setting.kind), **idle.costs()}}
    for name, load in loads.items():
        rows[name] = {**load.waits(setting.kind, idle), **load.costs(), **load.answered()}
    return Table(title, "load", rows)


def _mint(server: Server, minting: Minting) -> AbstractContextManager[Load]:
    host, port = server.address
    return running("bench.signing_load", host, str(port), msgspec.json.encode(minting).decode())


def _warm(server: Server) -> None:
    """Let the server make its keys and certificates, which takes longer than a signature."""
    with http_client(server.address) as client:
        for target in (TOKEN, ATTESTED):
            status, body = client.send(request(target, *METADATA))
            if status != _OK:
                raise RuntimeError(f"{target}: status {status}, {body[:200]!r}")
