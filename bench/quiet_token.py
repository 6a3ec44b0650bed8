"""The waits of quiet VMs for new tokens beside many VMs within their limits."""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from msgspec import Struct, field

from bench import wrk
from bench.figures import Plan, Row, Table, percentile, progress, spread
from bench.fleets import address, value
from bench.http_client import http_client, pinned
from bench.machine import cores
from bench.quiet import Patience, Watch, quiet_rounds
from bench.servers import Server, openimds
from bench.signing_load import GUEST_LOAD, GUESTS, NEW_TOKEN
from bench.targets import METADATA, request

ALONE = "no other guests"
CROWD = f"{GUESTS} guests that ask for new tokens within their limits"
_QUIET = 5
_QUIET_PER_S = 2
_LEAD_S = 1.0
_ROUNDS = 6
_ROUND_S = 10.0
_PATIENCE_S = 180.0
_OK, _TOO_MANY = 200, 429


class _TokenWaits(Struct):
    """The quiet VMs' waits for tokens and their refusals beside one load, round by round."""

    has_crowd: bool
    waits: list[list[float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    crowd_refused: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def run(self, server: Server, seconds: float) -> None:
        """Run a round."""
        watch = Watch(server.cpu_s)
        # The crowd begins before the measurement and outlasts it.
        process = _crowd(server, seconds + 2 * _LEAD_S) if self.has_crowd else None
        time.sleep(_LEAD_S)
        before, start = server.cpu_s(), time.perf_counter()
        waits, refused = _ask(server, seconds)
        self.busy.append((server.cpu_s() - before) / (time.perf_counter() - start))
        self.waits.append(waits)
        self.refused.append(refused / (len(waits) + refused))
        if process:
            requests, crowd_refused, passed = wrk.counts(process)
            self.rates.append((requests - crowd_refused) / passed)
            self.crowd_refused.append(crowd_refused / requests)
        self.others.append(watch.share())

    def row(self) -> Row:
        """Return the figures; without a served request there are no waits."""
        rounds = quiet_rounds(self.others)
        row = {"refused": spread(self.refused[number] for number in rounds)}
        served = [self.waits[number] for number in rounds if self.waits[number]]
        if served:
            row["p50_ms"] = spread(percentile(waits, 50) * 1e3 for waits in served)
            row["p99_ms"] = spread(percentile(waits, 99) * 1e3 for waits in served)
        if self.has_crowd:
            row["crowd_refused"] = spread(self.crowd_refused[number] for number in rounds)
            row["made_per_s"] = spread(self.rates[number] for number in rounds)
        row["busy"] = spread(self.busy[number] for number in rounds)
        row["others"] = spread(self.others[number] for number in rounds)
        return row


def table(plan: Plan) -> Table:
    """Return the waits of the quiet VMs, with and without the crowd, in turns."""
    server_core, client_core = cores()
    rounds, patience = plan.rounds(_ROUNDS), Patience(plan.seconds(_PATIENCE_S))
    loads = {ALONE: _TokenWaits(has_crowd=False), CROWD: _TokenWaits(has_crowd=True)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "fleet.json"
        fleet = value(GUESTS + _QUIET)
        for vm in fleet["vms"].values():
            vm["identities"] = {"system": True}
        file.write_text(json.dumps(fleet), "utf-8")
        # The limits are Azure's: no guest of this measurement goes beyond them.
        server = stack.enter_context(openimds("--fleet", str(file), core=server_core))
        stack.enter_context(pinned(client_core))
        _ask(server, 1.0)  # The first token makes the key, which takes longer than a signature.
        for number in range(rounds):
            progress(f"signing: a quiet guest's token, round {number + 1} of {rounds}")
            for load in loads.values():
                patience.wait()
                load.run(server, plan.seconds(_ROUND_S))
    title = f"{_QUIET} quiet guests, {_QUIET_PER_S} new tokens a second each"
    return Table(title, "load", {name: load.row() for name, load in loads.items()})


def _crowd(server: Server, seconds: float) -> subprocess.Popen[str]:
    host, port = server.address
    command = (
        sys.executable,
        "-m",
        "bench.signing_load",
        host,
        str(port),
        GUEST_LOAD,
        str(seconds),
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _ask(server: Server, seconds: float) -> tuple[list[float], int]:
    """Request new tokens; return the seconds until each, and the number of refused requests."""
    waits, refused = list[float](), 0
    interval_s = 1 / _QUIET / _QUIET_PER_S
    with ExitStack() as stack:
        clients = [
            stack.enter_context(http_client(server.address, address(GUESTS + number)))
            for number in range(_QUIET)
        ]
        next_s, end_s = time.perf_counter(), time.perf_counter() + seconds
        first = time.time_ns()  # Other resources than those of an earlier round.
        for number in count():
            # A late request does not bring the next ones nearer, or they would pass the limits.
            next_s = max(next_s, time.perf_counter())
            if next_s >= end_s:
                break
            time.sleep(max(0, next_s - time.perf_counter()))
            next_s += interval_s
            client = clients[number % _QUIET]
            status, body = client.send(request(NEW_TOKEN.format(first + number), *METADATA))
            if status == _OK:
                waits.append(client.wait_s)
            elif status == _TOO_MANY:
                refused += 1
            else:
                raise RuntimeError(f"status {status}, {body[:200]!r}")
    return waits, refused
