"""The time-out of heads, and the bound on the connections of a caller."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from openimds.admin.lazy_server import CALLER_CONNECTIONS, HEAD_S, Guarded, LazyServer, bind

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Timer:
    """One that is fired by hand."""

    def __init__(self, due_s: float, act: Callable[[], None]) -> None:
        self.due_s, self.act, self.is_cancelled = due_s, act, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The timers and tasks that a connection begins; nothing happens by itself."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, due_s: float, act: Callable[[], None]) -> Timer:
        self.timers.append(Timer(due_s, act))
        return self.timers[-1]

    def create_task(self, work: Any, **_: Any) -> Mock:
        work.close()
        return Mock(asyncio.Task)

    def pending(self) -> list[float]:
        return [one.due_s for one in self.timers if not one.is_cancelled]

    def fire(self) -> None:
        for one in self.timers:
            if not one.is_cancelled:
                one.cancel()
                one.act()


class CallerTransport(asyncio.Transport):
    """The transport of a caller."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000), "sockname": ("127.0.0.1", 80)})
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def close(self) -> None:
        self.is_aborted = True

    def write(self, data: Any) -> None:
        pass


class Connections:
    """A door's connections, with uvicorn's own protocol behind them."""

    def __init__(self) -> None:
        self.callers: Counter[str] = Counter()
        self.state = ServerState()
        self.loop = Loop()

        class Connection(Guarded, HttpToolsProtocol):
            callers = self.callers

        self.config = uvicorn.Config(app, http=Connection, ws="none", log_config=None)
        self.make: Callable[..., Guarded] = Connection

    def connect(self, address: str = "10.0.0.4") -> tuple[Guarded, CallerTransport]:
        transport = CallerTransport(address)
        made = self.make(self.config, self.state, {}, _loop=self.loop)
        made.connection_made(transport)
        return made, transport


async def app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing."""


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_caller_without_a_whole_head_is_disconnected(connections: Connections, head: bytes) -> None:
    connection, transport = connections.connect()
    if head:
        connection.data_received(head)
    assert connections.loop.pending() == [HEAD_S]
    connections.loop.fire()
    assert transport.is_aborted
    connection.connection_lost(None)
    assert (connections.loop.pending(), connections.callers, connections.state.connections) == (
        [],
        {},
        set(),
    )


def test_request_under_way_has_no_timeout(connections: Connections) -> None:
    connection, transport = connections.connect()
    connection.data_received(HEAD[:10])
    connection.data_received(HEAD[10:])
    assert connections.loop.pending() == []
    assert not transport.is_aborted


def test_first_byte_of_the_next_head_starts_its_timeout(connections: Connections) -> None:
    connection, transport = connections.connect()
    connection.data_received(HEAD)
    connection.cycle.response_complete = True
    connection.on_response_complete()
    # uvicorn's own patience between requests, which the first byte ends.
    assert connections.loop.pending() == [connections.config.timeout_keep_alive]
    connection.data_received(HEAD[:1])
    connection.data_received(HEAD[1:2])
    assert connections.loop.pending() == [HEAD_S]
    connections.loop.fire()
    assert transport.is_aborted


def test_connections_of_one_address_are_bounded(connections: Connections) -> None:
    had = [connections.connect() for _ in range(CALLER_CONNECTIONS)]
    over, refused = connections.connect()
    _, other = connections.connect("10.0.0.5")
    assert refused.is_aborted
    assert not any(transport.is_aborted for _, transport in [*had, (over, other)])
    over.connection_lost(None)
    had[0][0].connection_lost(None)
    assert not connections.connect()[1].is_aborted
    assert connections.connect()[1].is_aborted


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with bind("admin", ("127.0.0.1", 0)) as listening:
        LazyServer("admin", [listening], lambda: None, lambda _: None)
        listening.settimeout(9)
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
