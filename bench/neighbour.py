"""The waits of a fleet's VMs while one VM sends a hundred times its limit."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from bench import wrk
from bench.figures import Plan, Row, Table, percentile, progress, ratio, spread
from bench.fleets import address, write
from bench.http_client import http_client, pinned
from bench.machine import cores
from bench.quiet import Patience, Watch, quiet_rounds
from bench.servers import Server, openimds
from bench.targets import INSTANCE, METADATA, request

IDLE = "no other requests"
LOUD = "one VM at 100 times its limit (500/s)"
_FULL_RATE = "one VM at full rate over 64 connections"
_LOUD_PER_S = 500
_CONNECTIONS = 64
_LEAD_S = 0.5
_QUIET = 50
_QUIET_PER_S = 2
_ROUNDS = 6
_ROUND_S = 10.0
_PATIENCE_S = 180.0
_REFUSED_SHARE = 0.9
_OK = 200

Noise = Callable[[Server, float], subprocess.Popen[str]]


class Waits(Struct):
    """The waits of the quiet VMs beside one kind of noise, round by round."""

    noise: Noise | None = None
    waits: list[list[float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def run(self, server: Server, seconds: float) -> None:
        """Run a round.

        Raises:
            RuntimeError: too little of the noise was refused.
        """
        watch = Watch(server.cpu_s)
        # The noise begins before the measurement and outlasts it.
        process = self.noise(server, seconds + 2 * _LEAD_S) if self.noise else None
        time.sleep(_LEAD_S)
        self.waits.append(_waits(server, seconds))
        if process:
            requests, refused, passed = wrk.counts(process)
            if refused < requests * _REFUSED_SHARE:
                raise RuntimeError(f"only {refused} of {requests} were refused")
            self.rates.append(requests / passed)
        self.others.append(watch.share())

    def at(self, percent: float, rounds: list[int]) -> list[float]:
        """Return a percentile in microseconds."""
        return [percentile(self.waits[number], percent) * 1e6 for number in rounds]

    def row(self, idle: "Waits") -> Row:
        """Return the figures."""
        rounds, both = quiet_rounds(self.others), quiet_rounds(self.others, idle.others)
        row = {
            "p50_us": spread(self.at(50, rounds)),
            "p99_us": spread(self.at(99, rounds)),
            "others": spread(self.others[number] for number in rounds),
        }
        if self.rates:
            row["p99_times_idle"] = ratio(self.at(99, both), idle.at(99, both))
            row["noise_per_s"] = spread(self.rates)
        return row


def measure(plan: Plan) -> dict[str, Table]:
    """Return the waits of the quiet VMs, with and without noise, in turns."""
    server_core, client_core = cores()
    rounds, patience = plan.rounds(_ROUNDS), Patience(plan.seconds(_PATIENCE_S))
    loads = {IDLE: Waits(), LOUD: Waits(_loud), _FULL_RATE: Waits(_full_rate)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = write(_QUIET + 1, "json", Path(folder))
        server = stack.enter_context(openimds("--fleet", str(fleet), core=server_core))
        stack.enter_context(pinned(client_core))
        for number in range(rounds):
            progress(f"neighbour: round {number + 1} of {rounds}, {len(loads)} loads")
            for load in loads.values():
                patience.wait()
                load.run(server, plan.seconds(_ROUND_S))
    title = f"{_QUIET} quiet VMs, {_QUIET_PER_S} requests a second each"
    rows = {name: load.row(loads[IDLE]) for name, load in loads.items()}
    return {"neighbour": Table(title, "noise", rows)}


def _waits(server: Server, seconds: float) -> list[float]:
    """Send the requests of the quiet VMs and return the seconds until each response."""
    chunk = request(INSTANCE, *METADATA)
    waits: list[float] = []
    with ExitStack() as stack:
        clients = [
            stack.enter_context(http_client(server.address, address(n)))
            for n in range(1, _QUIET + 1)
        ]
        start = time.perf_counter()
        for number in range(int(seconds * _QUIET * _QUIET_PER_S)):
            time.sleep(max(0, start + number / (_QUIET * _QUIET_PER_S) - time.perf_counter()))
            client = clients[number % _QUIET]
            status, _ = client.send(chunk)
            waits.append(client.wait_s)
            assert status == _OK, status
    return waits


def _loud(server: Server, seconds: float) -> subprocess.Popen[str]:
    host, port = server.address
    arguments = (host, str(port), address(0), str(_LOUD_PER_S), str(seconds))
    command = (sys.executable, "-m", "bench.noise", *arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _full_rate(server: Server, seconds: float) -> subprocess.Popen[str]:
    return wrk.start(server, wrk.Target(INSTANCE, METADATA, _CONNECTIONS), seconds)
