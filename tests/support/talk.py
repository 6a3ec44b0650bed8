"""A connection to the data plane without sockets: a fake transport, a fake clock."""

import asyncio
from typing import Any

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Bounds, Dispatcher, PendingProvider, ResponseIndex
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import Allowances, FleetIndex, documented_allowances
from openimds.protocol.events.document import document
from openimds.protocol.pending import EventsDocument, Pending, PendingEventsDocument, Result
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Vm

UTC_S = 1_795_377_286.0  # Sun, 22 Nov 2026 19:54:46 GMT


class Reply:
    """One response, parsed."""

    def __init__(self, head: str, body: bytes) -> None:
        line, *headers = head.split("\r\n")
        self.version, status, self.phrase = line.split(" ", 2)
        self.status = int(status)
        self.header_list = [
            (name, value) for name, _, value in (h.partition(": ") for h in headers)
        ]
        self.headers = dict(self.header_list)
        self.body = body


def replies(data: bytes, methods: list[str] | None = None) -> list[Reply]:
    """Parse the responses in `data`; `methods` are those of their requests."""
    parsed: list[Reply] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        text = head.decode("latin-1")
        is_head = bool(methods) and methods[len(parsed)] == "HEAD" if methods else False
        if text.startswith("HTTP/1.1 100"):
            parsed.append(Reply(text, b""))
            continue
        size = next(int(h[15:]) for h in text.split("\r\n") if h.startswith("Content-Length:"))
        size = 0 if is_head else size
        parsed.append(Reply(text, data[:size]))
        data = data[size:]
    return parsed


class FakeTransport(asyncio.Transport):
    """Keeps the bytes that are written."""

    def __init__(self, peer: object) -> None:
        super().__init__()
        self.peer = peer
        self.written = b""
        self.is_closed = self.is_aborted = self.is_paused = False
        self.high: int | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer if name == "peername" else default

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written after close"
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_aborted = self.is_closed = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def take(self) -> bytes:
        data, self.written = self.written, b""
        return data


class Talk:
    """One connection to a dispatcher."""

    connection_type: type[Connection] = Connection

    def __init__(
        self, dispatcher: Dispatcher, peer: object = ("127.0.0.1", 5), listener: str = ""
    ) -> None:
        self.transport = FakeTransport(peer)
        self.connection = self.connection_type(dispatcher, listener)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> bytes:
        """Deliver bytes as a loop would, and return the bytes written."""
        while data:
            buffer = self.connection.get_buffer(-1)
            size = min(len(data), len(buffer))
            buffer[:size] = data[:size]
            self.connection.buffer_updated(size)
            data = data[size:]
            if self.transport.is_closed:
                break
        return self.transport.take()

    def ask(self, target: str, method: str = "GET", **headers: str) -> Reply:
        """Send one request with the Metadata header and return the response."""
        return self.ask_raw(target, method, {"Metadata": "true", **headers})

    def ask_raw(self, target: str, method: str, headers: dict[str, str]) -> Reply:
        """Send one request with Host and exactly these headers."""
        (reply,) = replies(self.send(request(target, method, headers)), [method])
        return reply


def request(target: str, method: str = "GET", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 169.254.169.254"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if method in {"POST", "PUT", "PATCH"}:
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class FakeClock:
    """A steady clock that stands still until the test sets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class IdleProvider:
    """Has an empty events document and does no other pending work."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if isinstance(need, PendingEventsDocument):
            return EventsDocument(document((), 0, need.version))
        raise AssertionError(need)

    async def make(self, need: Pending, now_s: float) -> Result:
        raise AssertionError(need)


def an_index(*vms: Vm, newest: str = NEWEST, max_bytes: int = 1 << 28) -> ResponseIndex:
    fleet_index: ResponseIndex = FleetIndex(catalog(newest), max_bytes)
    fleet_index.apply(fleet_index.plan(vms or (Vm("vm-1"),)))
    return fleet_index


def a_dispatcher(
    fleet_index: ResponseIndex | None = None,
    *,
    allowances: Allowances | None = None,
    now: FakeClock | None = None,
    bounds: Bounds | None = None,
    provider: PendingProvider | None = None,
) -> Dispatcher:
    """Return a dispatcher, without limits unless `allowances` are given."""
    return Dispatcher(
        fleet_index or an_index(),
        now=now or FakeClock(),
        utc=lambda: UTC_S,
        allowances=allowances or {},
        provider=provider or IdleProvider(),
        bounds=bounds or Bounds(),
    )


def limited() -> Allowances:
    return documented_allowances()


def a_fleet(**vms: dict[str, Any]) -> list[Vm]:
    return list(parse_fleet({"vms": vms}).vms.values())
