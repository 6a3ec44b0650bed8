"""A boot storm: first requests of 10,000 VMs, new connections, a cold server.

Up to a thousand VMs wait at once; each is a client at its own source address, and as soon as one
has its response, the next one connects. The client is one process on its own core, which is quicker
than a cold server.
"""

import select
import socket
import tempfile
import time
from itertools import islice
from pathlib import Path

from bench.figures import Plan, Row, Table, percentile, progress, spread
from bench.fleets import address, name, write
from bench.http_client import pinned
from bench.machine import cores
from bench.quiet import Patience, Watch, quiet_rounds
from bench.servers import Address, openimds
from bench.targets import INSTANCE, METADATA, request

VMS = 10_000
_AT_ONCE = 1000
_ROUNDS = 3
_PATIENCE_S = 60.0
_END_S = 60.0
_READ_BYTES = 65536
_OK = b"HTTP/1.1 200 "
_REQUEST = request(INSTANCE, *METADATA)


class Boot:
    """The first request of one VM."""

    def __init__(self, server: Address, number: int) -> None:
        """Begin to connect."""
        self.number, self.data = number, b""
        self.start_s = time.perf_counter()
        self.socket = socket.socket()
        self.socket.settimeout(0)
        self.socket.bind((address(number), 0))
        self.socket.connect_ex(server)

    def step(self, events: int) -> bool:
        """Send the request or read the response; return whether it is complete.

        Raises:
            RuntimeError: the response is not about this VM.
        """
        if events & select.EPOLLOUT:
            self.socket.send(_REQUEST)
            return False
        piece = self.socket.recv(_READ_BYTES)
        self.data += piece
        head, end, body = self.data.partition(b"\r\n\r\n")
        length = int(head.partition(b"\r\nContent-Length: ")[2].partition(b"\r\n")[0] or -1)
        if piece and (not end or len(body) < length):
            return False
        if not head.startswith(_OK) or f'"name":"{name(self.number)}"'.encode() not in body:
            raise RuntimeError(f"{name(self.number)} got {self.data[:200]!r}")
        return True


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of the boot storm."""
    count = VMS // 10 if plan.is_quick else VMS
    patience = Patience(plan.seconds(_PATIENCE_S))
    seconds, cpu_s, others = list[float](), list[float](), list[float]()
    waits = list[list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        fleet = write(count, "json", Path(folder))
        for number in range(plan.rounds(_ROUNDS)):
            progress(f"storm: round {number + 1} of {plan.rounds(_ROUNDS)}")
            patience.wait()
            server_core, client_core = cores()
            with openimds("--fleet", str(fleet), core=server_core) as server, pinned(client_core):
                watch, before_s, start_s = Watch(server.cpu_s), server.cpu_s(), time.perf_counter()
                waits.append(_boot(server.address, count))
                seconds.append(time.perf_counter() - start_s)
                cpu_s.append(server.cpu_s() - before_s)
                others.append(watch.share())
    rounds = quiet_rounds(others)
    row: Row = {
        "cpu_us": spread(cpu_s[number] / count * 1e6 for number in rounds),
        "requests_per_s": spread(count / seconds[number] for number in rounds),
        "p50_ms": spread(percentile(waits[number], 50) * 1e3 for number in rounds),
        "p99_ms": spread(percentile(waits[number], 99) * 1e3 for number in rounds),
        "last_s": spread(seconds[number] for number in rounds),
        "others": spread(others[number] for number in rounds),
    }
    title = f"Boot storm: first requests of {count:,} VMs, new connections, cold"
    return {"storm": Table(title, "VMs", {f"{count:,} VMs, {_AT_ONCE:,} at once": row})}


def _boot(server: Address, count: int) -> list[float]:
    """Boot all VMs and return the seconds from the connect of each to its response.

    Raises:
        RuntimeError: a response is wrong, or the last one does not come.
    """
    numbers = iter(range(count))
    under_way: dict[int, Boot] = {}
    waits: list[float] = []
    end_s = time.perf_counter() + _END_S
    with select.epoll() as epoll:

        def begin(most: int) -> None:
            for number in islice(numbers, most):
                boot = Boot(server, number)
                under_way[boot.socket.fileno()] = boot
                epoll.register(boot.socket, select.EPOLLOUT)

        begin(_AT_ONCE)
        while under_way:
            if time.perf_counter() > end_s:
                raise RuntimeError(f"{len(under_way)} VMs without a response after {_END_S:g} s")
            for descriptor, events in epoll.poll(1.0):
                boot = under_way[descriptor]
                if boot.step(events):
                    waits.append(time.perf_counter() - boot.start_s)
                    del under_way[descriptor]
                    boot.socket.close()
                    begin(1)
                else:
                    epoll.modify(descriptor, select.EPOLLIN)
    return waits
