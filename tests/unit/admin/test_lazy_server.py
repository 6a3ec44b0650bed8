"""A connection of the web server has to say what it wants, and nobody has all connections."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from openimds.admin.lazy_server import CALLER_CONNECTIONS, HEAD_S, Guarded

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


class Wire(asyncio.Transport):
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


class Here:
    """A door's connections, with uvicorn's own protocol behind them."""

    def __init__(self) -> None:
        self.callers: Counter[str] = Counter()
        self.state = ServerState()
        self.loop = Loop()

        class Connection(Guarded, HttpToolsProtocol):
            callers = self.callers

        self.config = uvicorn.Config(app, http=Connection, ws="none", log_config=None)
        self.make: Callable[..., Guarded] = Connection

    def connect(self, address: str = "10.0.0.4") -> tuple[Guarded, Wire]:
        wire = Wire(address)
        made = self.make(self.config, self.state, {}, _loop=self.loop)
        made.connection_made(wire)
        return made, wire


async def app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing."""


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_a_caller_who_does_not_say_what_he_wants_is_cut_off(here: Here, said: bytes) -> None:
    connection, wire = here.connect()
    if said:
        connection.data_received(said)
    assert here.loop.pending() == [HEAD_S]
    here.loop.fire()
    assert wire.is_aborted
    connection.connection_lost(None)
    assert (here.loop.pending(), here.callers, here.state.connections) == ([], {}, set())


def test_a_request_under_way_has_all_the_time_it_needs(here: Here) -> None:
    connection, wire = here.connect()
    connection.data_received(HEAD[:10])
    connection.data_received(HEAD[10:])
    assert here.loop.pending() == []
    assert not wire.is_aborted


def test_the_next_request_has_to_be_complete_as_soon_from_its_first_byte(here: Here) -> None:
    connection, wire = here.connect()
    connection.data_received(HEAD)
    connection.cycle.response_complete = True
    connection.on_response_complete()
    # uvicorn's own patience between requests, which the first byte ends.
    assert here.loop.pending() == [here.config.timeout_keep_alive]
    connection.data_received(HEAD[:1])
    connection.data_received(HEAD[1:2])
    assert here.loop.pending() == [HEAD_S]
    here.loop.fire()
    assert wire.is_aborted


def test_one_address_cannot_have_all_connections(here: Here) -> None:
    had = [here.connect() for _ in range(CALLER_CONNECTIONS)]
    over, refused = here.connect()
    _, other = here.connect("10.0.0.5")
    assert refused.is_aborted
    assert not any(wire.is_aborted for _, wire in [*had, (over, other)])
    over.connection_lost(None)
    had[0][0].connection_lost(None)
    assert not here.connect()[1].is_aborted
    assert here.connect()[1].is_aborted
