"""wrk, the load generator, on the core of the clients."""

import re
import subprocess

from msgspec import Struct

from bench.asking import pinned
from bench.figures import progress
from bench.machine import cores, find
from bench.quiet import QUIET, Patience, Watch
from bench.servers import Server

_PATIENCE_S = 30.0


class Ask(Struct, frozen=True):
    """What is asked, and over how many connections at once."""

    target: str
    headers: tuple[str, ...]
    connections: int


class Load(Struct, frozen=True):
    """What one run saw, the CPU seconds that the server used meanwhile, and others' share."""

    requests: int
    refused: int
    seconds: float
    cpu_s: float
    others: float


def start(server: Server, ask: Ask, seconds: float) -> subprocess.Popen[str]:
    """Start to ask for whole seconds; the source address is 127.0.0.1."""
    _, core = cores()
    url = f"http://{server.address.host}:{server.address.port}{ask.target}"
    command = [find("wrk"), "-t1", f"-c{ask.connections}", f"-d{round(seconds)}s", url]
    command += [f"-H{header}" for header in ask.headers]
    with pinned(core):  # What is started on a core stays there.
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counts(process: subprocess.Popen[str]) -> tuple[int, int, float]:
    """Wait for the end and return requests, refused ones among them, and seconds.

    Raises:
        RuntimeError: a connection failed.
    """
    with process:
        said, _ = process.communicate(timeout=_PATIENCE_S)
    done = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if not done or not int(done[1]) or "Socket errors" in said:
        raise RuntimeError(f"wrk: {said}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return int(done[1]), int(refused[1]) if refused else 0, float(done[2])


def run(server: Server, ask: Ask, seconds: float, patience: Patience) -> Load:
    """Ask for whole seconds and return what was seen; again while others disturb."""
    while True:
        patience.wait()
        watch, before = Watch(server.cpu_s), server.cpu_s()
        requests, refused, passed = counts(start(server, ask, seconds))
        load = Load(requests, refused, passed, server.cpu_s() - before, watch.share())
        if load.others <= QUIET or not patience.spend(passed):
            return load
        progress(f"others used {load.others:.0%} of our cores: once more")
