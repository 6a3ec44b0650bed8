"""Listeners are closed while everybody is refused, and opened again where they were."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openimds.config import configure
from openimds.dataplane.listeners import Listener
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.server import Server
from openimds.settings import resolve
from tests.support.talk import replies, request

ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)


async def opened(listener_faults: ListenerFaults) -> None:
    """Wait until all are open again."""
    assert listener_faults._opening
    await listener_faults._opening


class Room:
    """ListenerFaults before listeners that open when the test lets them."""

    def __init__(self) -> None:
        self.wall_s, self.told = 1000.0, list[str]()
        self.engine = FaultInjector()
        self.clock = Clock(lambda: self.wall_s)
        self.closed: list[str] = []
        self.listeners = {name: self.listener(name) for name in ("", "a", "b")}
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.taken: set[str] = set()
        self.listener_faults = ListenerFaults(
            self.engine, self.clock, self.listeners, self._reopen, self.told.append
        )

    def listener(self, name: str, opened: str = "") -> Listener:
        room = self

        class Closing(Listener, frozen=True):
            def close(self) -> None:
                room.closed.append(f"{name}{opened}")

        return Closing(None, name)  # type: ignore[arg-type]

    async def _reopen(self, text: str, old: Listener) -> Listener:
        await self.may_open.wait()
        if text in self.taken:
            raise ConfigError(text, "another server", "an address that is free here")
        return self.listener(text, " again")

    def refuse(self, **window: float) -> None:
        plans = read_fault({"effect": "refused", **window})
        self.engine.running = tuple(ActiveFault("1", one, "api", self.wall_s, {}) for one in plans)
        self.listener_faults.look()

    async def opened(self) -> None:
        await opened(self.listener_faults)

    @property
    def wait_s(self) -> float | None:
        timer = self.listener_faults._timer
        return None if timer is None else timer.when() - asyncio.get_running_loop().time()


def play(work: Callable[[Room], Awaitable[None]]) -> None:
    async def whole() -> None:
        room = Room()
        await work(room)
        await room.listener_faults.close()
        assert room.wait_s is None

    asyncio.run(whole())


def test_all_are_closed_once_and_opened_again_in_time() -> None:
    async def work(room: Room) -> None:
        before = dict(room.listeners)
        room.refuse(until_s=5)
        room.listener_faults.look()
        assert room.closed == ["", "a", "b"]
        assert room.wait_s == pytest.approx(5, abs=1)
        room.wall_s += 5
        room.listener_faults.look()
        room.listener_faults.look()
        await room.opened()
        assert room.wait_s is None
        assert all(room.listeners[name] is not one for name, one in before.items())
        # What is open is closed by nobody, and opened by nobody again.
        room.listener_faults.look()
        assert room.closed == ["", "a", "b"]

    play(work)


def test_a_window_to_come_is_waited_for() -> None:
    async def work(room: Room) -> None:
        room.refuse(from_s=7)
        assert room.closed == []
        assert room.wait_s == pytest.approx(7, abs=1)
        room.wall_s += 7
        room.listener_faults.look()
        assert room.closed == ["", "a", "b"]
        assert room.wait_s is None

    play(work)


def test_a_clock_that_may_be_set_is_looked_at_now_and_then() -> None:
    async def work(room: Room) -> None:
        room.refuse(until_s=1000)
        assert room.wait_s == pytest.approx(30, abs=1)

    play(work)


def test_a_listener_that_has_gone_meanwhile_stays_gone() -> None:
    async def work(room: Room) -> None:
        room.refuse()
        del room.listeners["a"]
        room.engine.running = ()
        room.may_open.clear()
        room.listener_faults.look()
        await asyncio.sleep(0)
        mine = room.listeners["b"] = room.listener("other")
        room.may_open.set()
        await room.opened()
        assert [*room.listeners] == ["", "b"]
        assert room.listeners["b"] is mine
        # It was opened for nobody, or was not even tried.
        assert room.closed == ["", "a", "b"]

    play(work)


def test_a_listener_that_changed_while_it_was_opened_is_closed() -> None:
    async def work(room: Room) -> None:
        room.refuse()
        room.engine.running = ()
        room.may_open.clear()
        room.listener_faults.look()
        await asyncio.sleep(0)
        mine = room.listeners[""] = room.listener("other")
        room.may_open.set()
        await room.opened()
        assert room.listeners[""] is mine
        assert room.closed == ["", "a", "b", " again"]

    play(work)


def test_a_new_listener_is_closed_when_somebody_looks() -> None:
    async def work(room: Room) -> None:
        room.refuse()
        room.listeners["c"] = room.listener("c")
        room.listener_faults.look()
        assert room.closed == ["", "a", "b", "c"]

    play(work)


def test_a_place_that_is_taken_is_tried_again_and_told_once() -> None:
    said = "a: saw another server, expected an address that is free here; it is tried again"

    async def work(room: Room) -> None:
        for times in (1, 2):
            room.refuse()
            room.engine.running = ()
            room.taken = {"a"}
            for _ in range(3):
                room.listener_faults.look()
                await room.opened()
            assert room.told == [said] * times
            assert room.wait_s == pytest.approx(1, abs=0.5)
            room.taken.clear()
            old = room.listeners["a"]
            room.listener_faults.look()
            await room.opened()
            assert room.listeners["a"] is not old

    play(work)


def test_what_begins_anew_while_it_opens_is_shut_again() -> None:
    async def work(room: Room) -> None:
        room.refuse()
        running, room.engine.running = room.engine.running, ()
        room.may_open.clear()
        room.listener_faults.look()
        await asyncio.sleep(0)
        room.engine.running = running
        room.listener_faults.look()
        room.may_open.set()
        await room.opened()
        assert room.closed == ["", "a", "b", " again", "a again", "b again"]

    play(work)


def test_who_settles_goes_on_when_all_are_open() -> None:
    async def work(room: Room) -> None:
        await room.listener_faults.settle()  # Nothing was ever closed.
        before = [*room.listeners.values()]
        room.refuse()
        room.engine.running = ()
        room.may_open.clear()
        room.listener_faults.look()
        settled = asyncio.create_task(room.listener_faults.settle())
        await asyncio.sleep(0)
        assert not settled.done()
        room.may_open.set()
        await settled
        after = [*room.listeners.values()]
        assert all(old is not new for old, new in zip(before, after, strict=True))

    play(work)


def test_the_end_does_not_wait_for_what_does_not_open() -> None:
    async def work(room: Room) -> None:
        room.refuse()
        room.engine.running = ()
        room.may_open.clear()
        room.listener_faults.look()
        await room.listener_faults.close()
        assert room.listener_faults._opening
        assert room.listener_faults._opening.cancelled()

    play(work)


async def ask(port: int) -> str:
    """Ask for the name of the VM; return it, or what became of the connection."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        said = await reader.read()
        writer.close()
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    return replies(said)[0].body.decode()


async def serving(work: Callable[[Server, int], Awaitable[None]], given: Any = None) -> None:
    said = {"admin": "none", "public": "none", "listen": "127.0.0.1:0", "virtual_clock": True}
    told: list[str] = []
    server = build(configure(resolve(said, {}, {})), told.append, given or InheritedSockets())
    port = int((await server.start()).imds.rpartition(":")[2])
    await server.events_service.set_clock(server.clock.planned(rate=0))
    await work(server, port)
    await server.stop(patience_s=0)
    assert told == []


def test_a_server_is_not_there_for_as_long_as_was_said() -> None:
    async def work(server: Server, port: int) -> None:
        assert await ask(port) == "vm-1"
        await server.faults.play("restart", refused_s=5, errors_s=9)
        assert await ask(port) == "refused"
        await server.events_service.set_clock(server.clock.planned(advance_s=5))
        await opened(server.listener_faults)
        assert await ask(port) == "Internal Server Error"
        await server.events_service.set_clock(server.clock.planned(advance_s=4))
        assert await ask(port) == "vm-1"
        # Truly refused connections are counted by nobody: nobody saw them.
        assert server.faults.played == {"proxy-500": 1}

    asyncio.run(serving(work))


def test_to_clear_it_opens_the_doors_at_once() -> None:
    async def work(server: Server, port: int) -> None:
        await server.faults.set({"effect": "refused"})
        assert await ask(port) == "refused"
        await server.faults.clear()
        await opened(server.listener_faults)
        assert await ask(port) == "vm-1"

    asyncio.run(serving(work))


def test_what_was_given_or_is_not_for_all_is_reset() -> None:
    async def work(server: Server, port: int) -> None:
        await server.faults.set({"effect": "refused", "until_s": 5})
        assert await ask(port) == "reset"
        await server.events_service.set_clock(server.clock.planned(advance_s=5))
        assert await ask(port) == "vm-1"
        await server.faults.set({"effect": "refused", "vms": ["vm-1"]})
        assert await ask(port) == "reset"
        assert server.faults.played == {"refused": 2}

    listening = socket.create_server(("127.0.0.1", 0))
    asyncio.run(serving(work, InheritedSockets(dispatcher=((listening, ""),))))
