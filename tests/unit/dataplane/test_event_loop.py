"""The loop of a server: asyncio's own work and the data plane's beside each other."""

import asyncio
import select
import socket
from collections.abc import Coroutine
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, TypeVar

import pytest

from openimds.dataplane import event_loop
from openimds.dataplane.event_loop import LoopPollSet, ServingLoop, open_poll_set
from openimds.dataplane.listeners import listen
from openimds.dataplane.poll_set import READ, Epoll
from openimds.dataplane.reactor import Reactor
from tests.support.talk import a_dispatcher, request

T = TypeVar("T")
GET = request("/metadata/versions", headers={"Metadata": "true", "Connection": "close"})

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux alone has epoll")


def run(job: Coroutine[Any, Any, T], kind: type[asyncio.AbstractEventLoop] = ServingLoop) -> T:
    with asyncio.Runner(loop_factory=kind) as runner:
        return runner.run(job)


def test_data_plane_and_streams_are_served_side_by_side() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def play() -> tuple[bytes, bytes, str]:
        reactor = Reactor(a_dispatcher())
        listener = await listen(reactor, "127.0.0.1:0", "listen")
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        ours = await asyncio.open_connection(*listener.sockets[0].getsockname())
        theirs = await asyncio.open_connection(*server.sockets[0].getsockname())
        ours[1].write(GET)
        theirs[1].write(b"hello\n")
        answers = await asyncio.gather(ours[0].read(), theirs[0].read())
        thread = await asyncio.to_thread(str, "from a thread")
        for _, writer in (ours, theirs):
            writer.close()
        server.close()
        listener.close()
        reactor.close()
        return answers[0], answers[1], thread

    ours, theirs, thread = run(play())
    assert ours.startswith(b"HTTP/1.1 200 OK")
    assert (theirs, thread) == (b"hello\n", "from a thread")


def test_loop_has_one_data_plane_at_a_time() -> None:
    async def play() -> list[type]:
        first = open_poll_set()
        second = open_poll_set()
        first.close()
        third = open_poll_set()
        second.close()
        third.close()
        return [type(first), type(second), type(third)]

    assert run(play()) == [LoopPollSet, Epoll, LoopPollSet]


def test_other_loop_gets_a_set_that_hangs_in_it() -> None:
    async def play() -> type:
        opened = open_poll_set()
        opened.close()
        return type(opened)

    assert run(play(), asyncio.SelectorEventLoop) is Epoll


def test_failed_turn_is_reported_and_the_loop_goes_on() -> None:
    async def play() -> tuple[list[str], str]:
        reports: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(repr(context["exception"])))
        polled = open_poll_set()

        def fail() -> None:
            raise ValueError("a mistake")

        polled.hang(loop, fail)
        polled.turn_soon()
        return reports, await asyncio.to_thread(str, "alive")

    assert run(play()) == (["ValueError('a mistake')"], "alive")


def test_socket_of_a_closed_set_is_left_alone() -> None:
    async def play() -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        polled = open_poll_set()
        polled.hang(asyncio.get_running_loop(), lambda: seen.extend(polled.poll()))
        one, other = socket.socketpair()
        with one, other:
            polled.register(one.fileno(), READ)
            polled.close()
            other.send(b"x")
            await asyncio.sleep(0)
            polled.unregister(one.fileno())
        return seen

    assert run(play()) == []


class Polled:
    """An epoll that notes how long it may wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def poll(self, wait_s: float, _most: int) -> list[tuple[int, int]]:
        self.waits.append(wait_s)
        return []


def test_wait_is_rounded_up_and_none_is_endless() -> None:
    selector = event_loop._TurnSelector()
    selector.epoll.close()
    selector.epoll = polled = Polled()
    for timeout_s in (None, 0, -1, 0.0004, 1.5):
        assert selector.select(timeout_s) == []
    selector.is_turn_due = True
    assert selector.select(None) == []
    assert polled.waits == [-1, 0, 0, 0.001, 1.5, 0]


def test_selector_keeps_the_contract_of_selectors() -> None:
    selector = event_loop._TurnSelector()
    one, other = socket.socketpair()
    with one, other:
        key = selector.register(one, EVENT_READ, "read")
        assert selector.get_key(one) is key
        assert selector.get_map()[one.fileno()] is key
        with pytest.raises(KeyError, match="is registered already"):
            selector.register(one.fileno(), EVENT_READ)
        with pytest.raises(KeyError):
            selector.get_key(other)
        assert selector.select(0) == []
        other.send(b"x")
        assert selector.select(0) == [(key, EVENT_READ)]
        assert selector.modify(one, EVENT_READ, "more").data == "more"
        changed = selector.modify(one, EVENT_READ | EVENT_WRITE, "both")
        assert selector.select(0) == [(changed, EVENT_READ | EVENT_WRITE)]
        assert selector.unregister(one) is changed
        with pytest.raises(KeyError):
            selector.unregister(one)
        closed = selector.register(other, EVENT_WRITE)
        other.close()
        assert selector.unregister(closed.fd).fd == closed.fd
    selector.close()
    assert selector.get_map() == {}


def test_peer_that_hung_up_wakes_readers_and_writers() -> None:
    selector = event_loop._TurnSelector()
    one, other = socket.socketpair()
    with one:
        key = selector.register(one, EVENT_READ | EVENT_WRITE)
        other.close()
        assert selector.select(0) == [(key, EVENT_READ | EVENT_WRITE)]
    selector.close()


def test_system_without_epoll_has_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    double = type("Select", (), {**vars(select)})
    monkeypatch.delattr(double, "epoll")
    monkeypatch.setattr(event_loop, "select", double)
    loop = ServingLoop()
    assert loop.open_poll_set() is None
    assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    loop.close()
