"""Start and memory of a fleet, by its size and the format of its file."""

import tempfile
from pathlib import Path

from msgspec import Struct, field

from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import address, evenly_spread, name, write
from bench.http_client import http_client
from bench.servers import Server, openimds
from bench.targets import INSTANCE, METADATA, request

CALLERS = 1000
_STARTS = {1: 11, 10_000: 5, 100_000: 3}
_ENDINGS = ("json", "yaml")
_ADMIN = ("--admin", "127.0.0.1:0")
STORED = "from a store"
_OK = 200


class Start(Struct):
    """One way to start the server, and the figures of its starts."""

    arguments: tuple[str, ...]
    count: int
    file_mb: float = 0.0
    ready_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    requested_mb: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Start it, send a request for up to a thousand VMs, and stop it."""
        with openimds("--no-rate-limit", *_ADMIN, *self.arguments) as server:
            self.ready_s.append(server.ready_s)
            self.cpu_s.append(server.cpu_s())
            self.memory_mb.append(server.memory_mb())
            self.peak_mb.append(server.peak_mb())
            for number in evenly_spread(self.count, CALLERS):
                _send(server, number, self.count)
            self.requested_mb.append(server.memory_mb())

    def row(self) -> Row:
        """Return the figures."""
        row = {
            "ready_s": spread(self.ready_s),
            "cpu_s": spread(self.cpu_s),
            "memory_mb": spread(self.memory_mb),
            "requested_mb": spread(self.requested_mb),
            "peak_mb": spread(self.peak_mb),
        }
        return {**row, "file_mb": spread([self.file_mb])} if self.file_mb else row


def measure(plan: Plan) -> dict[str, Table]:
    """Return seconds and megabytes by fleet."""
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        _start_once()
        for count, times in _STARTS.items():
            if plan.is_quick and count == max(_STARTS):
                continue
            starts = _starts(count, Path(folder))
            for number in range(plan.rounds(times)):
                progress(f"scale: fleet of {count:,}, start {number + 1} of {plan.rounds(times)}")
                for start in starts.values():
                    start.run()
            rows |= {name: start.row() for name, start in starts.items()}
    return {"scale": Table("Start and memory", "fleet", rows)}


def _start_once() -> None:
    """Start a server once without measuring: the first start compiles the modules."""
    with openimds():
        pass


def row(count: int, ending: str = "") -> str:
    """Return the name of a row."""
    many = f"{count:,} VM{'s' if count > 1 else ''}"
    form = ending.upper() if ending in _ENDINGS else ending
    return f"{many}, {form or 'no file'}"


def _starts(count: int, folder: Path) -> dict[str, Start]:
    starts: dict[str, Start] = {}
    if count == 1:
        starts[row(1)] = Start((), 1)
    for ending in _ENDINGS:
        file = write(count, ending, folder)
        starts[row(count, ending)] = Start(("--fleet", str(file)), count, file.stat().st_size / 1e6)
    state = ("--state", str(folder / f"state-{count}"))
    with openimds("--fleet", str(file), *state):  # Later starts need no file.
        pass
    starts[row(count, STORED)] = Start(state, count)
    return starts


def _send(server: Server, number: int, count: int) -> None:
    """Send the request of a VM and check that the response is about that VM."""
    with http_client(server.address, address(number)) as client:
        status, body = client.send(request(INSTANCE, *METADATA))
    known = b'"name":' if count == 1 else f'"name":"{name(number)}"'.encode()
    if status != _OK or known not in body:
        raise RuntimeError(f"{name(number)} got {status}: {body[:200]!r}")
