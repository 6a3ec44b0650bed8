"""The load generator wrk, on the core of the clients."""

import re
import subprocess

from msgspec import Struct

from bench.figures import progress
from bench.http_client import pinned
from bench.machine import cores, find
from bench.quiet import QUIET, Patience, Watch
from bench.servers import RIVALS, Server

_PATIENCE_S = 30.0


class Target(Struct, frozen=True):
    """A path with headers, and the number of connections; a script may make the requests."""

    path: str
    headers: tuple[str, ...]
    connections: int
    script: str = ""


class Load(Struct, frozen=True):
    """One run: counts, CPU seconds of the server, share of other processes."""

    requests: int
    refused: int
    seconds: float
    cpu_s: float
    others: float


def start(server: Server, target: Target, seconds: float) -> subprocess.Popen[str]:
    """Start wrk for whole seconds; the source address is 127.0.0.1."""
    _, core = cores()
    url = f"http://{server.address.host}:{server.address.port}{target.path}"
    command = [find("wrk"), "-t1", f"-c{target.connections}", f"-d{round(seconds)}s", url]
    command += [f"-H{header}" for header in target.headers]
    if target.script:
        command += ["-s", str(RIVALS / target.script)]
    with pinned(core):  # A child stays on the core of its parent.
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counts(process: subprocess.Popen[str]) -> tuple[int, int, float]:
    """Wait for the end and return requests, refused ones among them, and seconds.

    Raises:
        RuntimeError: a connection failed.
    """
    with process:
        out, _ = process.communicate(timeout=_PATIENCE_S)
    done = re.search(r"(\d+) requests in ([\d.]+)s", out)
    if not done or not int(done[1]) or "Socket errors" in out:
        raise RuntimeError(f"wrk: {out}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return int(done[1]), int(refused[1]) if refused else 0, float(done[2])


def run(server: Server, target: Target, seconds: float, patience: Patience) -> Load:
    """Run wrk for whole seconds; repeat while other processes disturb it."""
    while True:
        patience.wait()
        watch, before = Watch(server.cpu_s), server.cpu_s()
        requests, refused, passed = counts(start(server, target, seconds))
        load = Load(requests, refused, passed, server.cpu_s() - before, watch.share())
        if load.others <= QUIET or not patience.spend(passed):
            return load
        progress(f"other processes used {load.others:.0%} of our cores: repeating")
