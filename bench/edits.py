"""Large edits: time until guests see them, and the waits of guests meanwhile.

The host has a core of its own. Its control process shares the other core with the guests, who go
first, and with operators. Guests ask all the time; the longest wait shows a stall of the server.
Idle is measured beside other work of the guests' core.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from bench import operator_load
from bench.figures import Plan, Row, Table, percentile, progress, ratio, spread
from bench.fleets import address, name, write
from bench.http_client import HttpClient, http_client, pinned
from bench.loads import running
from bench.machine import cores
from bench.operators import operator
from bench.servers import Server, openimds
from bench.targets import METADATA, request

ONE, ALL = "one line of {} changed", "all lines of {} changed"
EVENT, LIST = "an event of 10,000 single VMs", "listing all VMs"
_FORMATS = {"json": "JSON", "yaml": "YAML"}
_LEAF = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
_ARGUMENTS = ("--no-rate-limit", "--admin", "127.0.0.1:0")
_FLEET, _GUESTS, _ROUNDS, _IDLE_S, _PAUSE_S = 100_000, 20, 5, 3.0, 0.001
_MEMBERS, _WORK_S = 10_000, 3.0
_TIME_OUT_S = 120.0


def row(case: str, ending: str = "json") -> str:
    """Return the name of the row of a case."""
    return case.format(_FORMATS[ending])


class Guests:
    """Connections that ask one after the other, and the waits for their answers."""

    def __init__(self, server: Server, stack: ExitStack, count: int) -> None:
        """Connect as the first VMs, and as the last."""
        sources = [address(number) for number in range(_GUESTS)]
        self._guests = cycle(
            [stack.enter_context(http_client(server.address, source)) for source in sources]
        )
        self._last = stack.enter_context(http_client(server.address, address(count - 1)))
        self._request = request(_LEAF, *METADATA)
        self.waits_s: list[float] = []

    def ask(self) -> bytes:
        """Ask as the next VM and as the last; return the answer of the last."""
        for guest in (next(self._guests), self._last):
            body = self._asked(guest)
            time.sleep(_PAUSE_S)
        return body

    def ask_for(self, seconds: float) -> None:
        """Ask as all of them in turn for some seconds."""
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            self.ask()

    def _asked(self, guest: HttpClient) -> bytes:
        _, body = guest.send(self._request)
        self.waits_s.append(guest.wait_s)
        return body


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of large edits."""
    count = 2000 if plan.is_quick else _FLEET
    rows: dict[str, Row] = {}
    server_core, client_core = cores()
    for ending in _FORMATS:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            file = write(count, ending, Path(folder))
            progress(f"edits: {count:,} VMs, {ending}")
            server = stack.enter_context(
                openimds("--fleet", str(file), *_ARGUMENTS, core=server_core)
            )
            stack.enter_context(pinned(client_core))
            for child in server.pids()[1:]:
                os.sched_setaffinity(child, {client_core})
            guests = Guests(server, stack, count)
            cases = {ONE: _edit_of_one(file, count), ALL: _edit_of_all(file)}
            for case, sizes in cases.items():
                progress(f"edits: {row(case, ending)}")
                rows[row(case, ending)] = _row(plan, guests, partial(_seen_s, guests, sizes))
            if ending == "json":
                members = min(count, _MEMBERS)
                for case, work in {EVENT: operator_load.EVENT, LIST: operator_load.LIST}.items():
                    progress(f"edits: {case}")
                    done = partial(_done_s, guests, server, work, members, plan.seconds(_WORK_S))
                    rows[case] = _row(plan, guests, done)
    return {"edits": Table(f"Large edits of {count:,} VMs", "case", rows)}


def _row(plan: Plan, guests: Guests, act: Callable[[], float]) -> Row:
    seen, idle, waits, longest = [], [], [], []
    for _ in range(plan.rounds(_ROUNDS)):
        guests.waits_s = []
        with running("bench.busy"):
            guests.ask_for(plan.seconds(_IDLE_S))
        idle.append(percentile(guests.waits_s, 99) * 1e6)
        guests.waits_s = []
        seen.append(act())
        waits.append(percentile(guests.waits_s, 99) * 1e6)
        longest.append(max(guests.waits_s) * 1e3)
    return {
        "done_s": spread(seen),
        "p99_us": spread(waits),
        "p99_times_idle": ratio(waits, idle),
        "longest_ms": spread(longest),
    }


def _seen_s(guests: Guests, edits: Iterator[tuple[Path, str]]) -> float:
    """Make the next edit; return the seconds until the last VM sees it."""
    new, size = next(edits)
    start_s = time.perf_counter()
    new.replace(new.with_name(new.name.removeprefix("new-")))
    while guests.ask() != size.encode():
        if time.perf_counter() - start_s > _TIME_OUT_S:
            raise RuntimeError(f"the edit was not seen within {_TIME_OUT_S:g} s")
    return time.perf_counter() - start_s


def _edit_of_one(file: Path, count: int) -> Iterator[tuple[Path, str]]:
    """Yield new texts of the file, each with the size of its last VM."""
    before, mark = file.read_text("utf-8"), name(count - 1)
    place = before.index("Standard_", before.index(mark))
    for number in range(1000):
        size = f"Standard_{number:03}"
        end = place + len("Standard_D2s_v5")
        yield _written(file, f"{before[:place]}{size}{before[end:]}"), size


def _edit_of_all(file: Path) -> Iterator[tuple[Path, str]]:
    text = file.read_text("utf-8")
    place = text.rindex("Standard_")
    end = min(at for at in (text.find(mark, place) for mark in ('"', "\n")) if at > 0)
    for number in range(1000):
        size = f"Round_{number:03}_{text[place:end].removeprefix('Standard_')}"
        yield _written(file, text.replace("Standard_", f"Round_{number:03}_")), size


def _written(file: Path, text: str) -> Path:
    new = file.with_name(f"new-{file.name}")
    new.write_text(text, "utf-8")
    return new


def _done_s(guests: Guests, server: Server, work: str, count: int, seconds: float) -> float:
    """Ask while an operator works again and again; return the seconds of one work."""
    with operator(server, work, count) as load:
        guests.ask_for(seconds)
    return load.counts.seconds / load.counts.sent
