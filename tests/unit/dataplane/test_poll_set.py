"""The four poll sets; kqueue is a double over epoll."""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from openimds.dataplane import event_loop
from openimds.dataplane.event_loop import ServingLoop, open_poll_set
from openimds.dataplane.listeners import listen
from openimds.dataplane.poll_set import (
    READ,
    WRITE,
    Epoll,
    Kqueue,
    PollSet,
    SelectorPollSet,
)
from openimds.dataplane.reactor import Reactor
from tests.support.talk import a_dispatcher, replies, request

T = TypeVar("T")
GET = request("/metadata/versions", headers={"Metadata": "true", "Connection": "close"})


class Kevent:
    def __init__(self, ident: int, filter: int, flags: int = 1) -> None:  # noqa: A002 - kqueue's name
        self.ident, self.filter, self.flags = ident, filter, flags


class FakeKqueue:
    """The part of kqueue that the set uses, over epoll."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._masks: dict[int, int] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def control(
        self, changes: list[Kevent] | None, most: int, timeout: float | None = None
    ) -> list[Kevent]:
        for change in changes or ():
            bit = READ if change.filter == -1 else WRITE
            before = self._masks.get(change.ident, 0)
            assert bool(before & bit) is (change.flags == 2), "added twice, or deleted unseen"
            after = before ^ bit
            if before and after:
                self._epoll.modify(change.ident, after)
            elif after:
                self._epoll.register(change.ident, after)
            else:
                self._epoll.unregister(change.ident)
            self._masks[change.ident] = after
        if not most:
            return []
        return [
            Kevent(number, name)
            for number, events in self._epoll.poll(timeout or 0, most)
            for bit, name in ((READ, -1), (WRITE, -2))
            if events & bit
        ]

    def close(self) -> None:
        self._epoll.close()


def a_kqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {
        "kqueue": FakeKqueue,
        "kevent": Kevent,
        "KQ_FILTER_READ": -1,
        "KQ_FILTER_WRITE": -2,
        "KQ_EV_ADD": 1,
        "KQ_EV_DELETE": 2,
    }
    for name, value in names.items():
        monkeypatch.setattr(select, name, value, raising=False)


@pytest.fixture(params=["of the loop", "epoll", "kqueue", "selector"])
def a_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], PollSet]:
    if request.param == "kqueue":
        a_kqueue(monkeypatch)
    kinds: dict[str, Callable[[], PollSet]] = {
        "of the loop": open_poll_set,
        "epoll": Epoll,
        "kqueue": Kqueue,
        "selector": SelectorPollSet,
    }
    return kinds[request.param]


def run(job: Coroutine[Any, Any, T]) -> T:
    """Run a job on the loop of a server."""
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        return runner.run(job)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_ready_socket_is_reported_until_it_is_read(a_set: Callable[[], PollSet]) -> None:
    async def play() -> list[list[tuple[int, int]]]:
        polled = a_set()
        turns: list[list[tuple[int, int]]] = []
        polled.hang(asyncio.get_running_loop(), lambda: turns.append(polled.poll()))
        one, other = socket.socketpair()
        with one, other:
            number = one.fileno()
            polled.register(number, READ)
            await settle()
            assert turns == []
            other.send(b"x")
            await settle()
            assert turns[-1] == [(number, READ)]
            polled.modify(number, 0)
            await settle()
            turns.clear()
            await settle()
            assert turns == [], "no event is awaited"
            polled.modify(number, READ | WRITE)
            await settle()
            events = {event for turn in turns for _, event in turn}
            assert READ | WRITE in events or events == {READ, WRITE}
            polled.unregister(number)
            await settle()
            turns.clear()
            await settle()
            assert turns == []
        polled.close()
        return turns

    assert run(play()) == []


def test_turn_comes_once_though_no_socket_is_ready(a_set: Callable[[], PollSet]) -> None:
    async def play() -> list[list[tuple[int, int]]]:
        turns: list[list[tuple[int, int]]] = []
        polled = a_set()
        polled.hang(asyncio.get_running_loop(), lambda: turns.append(polled.poll()))
        polled.turn_soon()
        polled.turn_soon()
        await settle()
        seen = list(turns)
        polled.turn_soon()
        await settle()
        polled.close()
        return [*seen, *turns]

    assert run(play()) == [[], [], []]


def test_server_answers_with_each_set(a_set: Callable[[], PollSet]) -> None:
    async def play() -> bytes:
        reactor = Reactor(a_dispatcher(), a_set())
        listener = await listen(reactor, "127.0.0.1:0", "listen")
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(GET)
        data = await reader.read()
        writer.close()
        listener.close()
        reactor.close()
        return data

    (reply,) = replies(run(play()))
    assert reply.status == 200


def test_socket_registered_before_the_loop_is_watched_later() -> None:
    async def play() -> list[tuple[int, int]]:
        polled = SelectorPollSet()
        one, other = socket.socketpair()
        with one, other:
            polled.register(one.fileno(), READ)
            seen: list[tuple[int, int]] = []
            polled.hang(asyncio.get_running_loop(), lambda: seen.extend(polled.poll()))
            other.send(b"x")
            await settle()
            polled.close()
            return [(one.fileno() - number, events) for number, events in seen][:1]

    assert run(play()) == [(0, READ)]


def test_socket_that_only_writes_is_reported_writable(a_set: Callable[[], PollSet]) -> None:
    async def play() -> set[tuple[int, int]]:
        polled = a_set()
        seen: set[tuple[int, int]] = set()
        polled.hang(asyncio.get_running_loop(), lambda: seen.update(polled.poll()))
        one, other = socket.socketpair()
        with one, other:
            polled.register(one.fileno(), WRITE)
            polled.modify(one.fileno(), WRITE)
            await settle()
            polled.unregister(one.fileno())
            polled.close()
            return {(number - one.fileno(), events) for number, events in seen}

    assert run(play()) == {(0, WRITE)}


@pytest.mark.parametrize(
    "missing, kind", [((), Epoll), (("epoll",), Kqueue), (("epoll", "kqueue"), SelectorPollSet)]
)
def test_best_set_of_the_system_is_opened(
    missing: tuple[str, ...], kind: type[PollSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_kqueue(monkeypatch)
    double = type("Select", (), {**vars(select)})
    for name in missing:
        monkeypatch.delattr(double, name)
    monkeypatch.setattr(event_loop, "select", double)
    if kind is Kqueue:
        monkeypatch.setattr(FakeKqueue, "__init__", lambda self: setattr(self, "_epoll", _EPOLL()))
    opened = open_poll_set()
    assert isinstance(opened, kind)
    opened.close()


_EPOLL = select.epoll
