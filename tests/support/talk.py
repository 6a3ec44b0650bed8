"""A connection without the kernel: a fake socket, poll set and clock."""

import asyncio
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher, PendingProvider, ResponseIndex
from openimds.dataplane.phase import Phase
from openimds.dataplane.poll_set import LOST, READ, WRITE
from openimds.dataplane.reactor import Reactor
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.vm_entry import Allowances, documented_allowances
from openimds.protocol.events.document import document
from openimds.protocol.pending import EventsDocument, Pending, PendingEventsDocument, Result
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Vm

DEFAULT_GROUP = "c3a18333-25f1-45d8-86ba-25a65d78c979/openimds"
"""The subscription and the resource group of a VM that names neither, as scopes have them."""
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
        sizes = [int(h[15:]) for h in text.split("\r\n") if h.startswith("Content-Length:")]
        if "Transfer-Encoding: chunked" in text and not is_head:
            digits, _, data = data.partition(b"\r\n")
            body, data = data[: int(digits, 16)], data[int(digits, 16) :]
            assert data.startswith(b"\r\n0\r\n\r\n"), data
            parsed.append(Reply(text, body))
            data = data[7:]
            continue
        size = 0 if is_head else sum(sizes)
        parsed.append(Reply(text, data[:size]))
        data = data[size:]
    return parsed


class FakeSocket:
    """The server's end of a connection, with the other end in the test's hands.

    `room` is the number of bytes that the peer still takes; `is_reset` and `is_ended` are the ways
    in which the peer ends. A broken socket fails whenever it is written to or shut down.
    """

    _numbers = count(1000)

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self.incoming = self.written = b""
        self.room = 1 << 30
        self.options: list[tuple[object, ...]] = []
        self.is_closed = self.is_shut = self.is_ended = self.is_reset = self.is_broken = False

    def fileno(self) -> int:
        return self.number

    def recv(self, size: int, _flags: int = 0) -> bytes:
        assert not self.is_closed, "read after close"
        if self.is_reset:
            raise ConnectionResetError
        if not self.incoming and not self.is_ended:
            raise BlockingIOError
        data, self.incoming = self.incoming[:size], self.incoming[size:]
        return data

    def send(self, data: bytes, _flags: int = 0) -> int:
        assert not self.has_ended, "written after close"
        if self.is_broken:
            raise BrokenPipeError
        sent = min(len(data), self.room)
        if not sent:
            raise BlockingIOError
        self.written += data[:sent]
        self.room -= sent
        return sent

    def setsockopt(self, *option: object) -> None:
        self.options.append(option)

    def shutdown(self, _how: int) -> None:
        if self.is_broken:
            raise OSError
        self.is_shut = True

    def close(self) -> None:
        self.is_closed = True

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended its side."""
        return self.is_closed or self.is_shut

    def take(self) -> bytes:
        data, self.written = self.written, b""
        return data


class FakePollSet:
    """Knows which fake sockets are ready."""

    def __init__(self) -> None:
        self.sockets: dict[int, FakeSocket] = {}
        self.awaited: dict[int, int] = {}
        self.is_turn_due = False

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        raise AssertionError("a test calls the turns itself")

    def turn_soon(self) -> None:
        self.is_turn_due = True

    def register(self, descriptor: int, events: int) -> None:
        assert descriptor not in self.awaited
        self.awaited[descriptor] = events

    def modify(self, descriptor: int, events: int) -> None:
        assert descriptor in self.awaited
        self.awaited[descriptor] = events

    def unregister(self, descriptor: int) -> None:
        del self.awaited[descriptor]

    forget = unregister

    def poll(self) -> list[tuple[int, int]]:
        ready = [(number, self._events(number)) for number in self.awaited]
        return [(number, events) for number, events in ready if events]

    def close(self) -> None:
        self.awaited.clear()

    def _events(self, number: int) -> int:
        end, awaited = self.sockets[number], self.awaited[number]
        events = awaited & READ if end.incoming or end.is_ended or end.is_reset else 0
        events |= awaited & WRITE if end.room else 0
        return events | (LOST if end.is_reset else 0)


class FakeReactor(Reactor):
    """A reactor whose turns and delays the test calls."""

    poll_set: FakePollSet

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        super().__init__(dispatcher, FakePollSet(), self._call_later)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.calls.append((delay_s, call))

    def pump(self) -> None:
        """Have turns until none is left to do."""
        while self.poll_set.is_turn_due or self.poll_set.poll():
            self.poll_set.is_turn_due = False
            self.turn()

    def pass_delays(self) -> None:
        """Let the delays of connections end whose time has come."""
        due, self.calls = self.calls, []
        for _, call in due:
            call()
        self.pump()


def a_reactor(dispatcher: Dispatcher) -> FakeReactor:
    """Return the reactor of a dispatcher, the same for all of its connections."""
    found = dispatcher.__dict__.get("a_reactor")
    if found is None:
        found = dispatcher.__dict__["a_reactor"] = FakeReactor(dispatcher)
    assert isinstance(found, FakeReactor)
    return found


class Talk:
    """One connection to a dispatcher."""

    connection_type: type[Connection] = Connection

    def __init__(
        self, dispatcher: Dispatcher, peer: object = ("127.0.0.1", 5), listener: str = ""
    ) -> None:
        self.reactor = a_reactor(dispatcher)
        self.socket = FakeSocket()
        self.reactor.poll_set.sockets[self.socket.number] = self.socket
        address = listener or (str(peer[0]) if isinstance(peer, tuple) else "")
        accepted = cast("socket.SocketType", self.socket)
        self.connection = self.connection_type(self.reactor, accepted, address, listener)
        self.connection.begin()

    def send(self, data: bytes) -> bytes:
        """Send bytes as a guest, and return the bytes that it gets."""
        self.socket.incoming += data
        self.reactor.pump()
        return self.socket.take()

    def lose(self) -> None:
        """End the connection as a guest."""
        self.socket.is_reset = True
        self.connection.ready(LOST)

    @property
    def is_paused(self) -> bool:
        """Whether the server reads nothing."""
        return not self.reactor.poll_set.awaited.get(self.socket.number, 0) & READ

    @property
    def is_closed(self) -> bool:
        """Whether the server has ended the connection, or does once its last bytes are taken."""
        return self.connection.phase is Phase.CLOSED

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
    listen_hosts: frozenset[str] = frozenset(),
    checks_hosts: bool = False,
) -> Dispatcher:
    """Return a dispatcher, without limits unless `allowances` are given."""
    return Dispatcher(
        fleet_index or an_index(),
        now=now or FakeClock(),
        utc=lambda: UTC_S,
        allowances=allowances or {},
        provider=provider or IdleProvider(),
        bounds=bounds or Bounds(),
        listen_hosts=listen_hosts,
        checks_hosts=checks_hosts,
    )


def limited() -> Allowances:
    return documented_allowances()


def a_fleet(**vms: dict[str, Any]) -> list[Vm]:
    return list(parse_fleet({"vms": vms}).vms.values())
