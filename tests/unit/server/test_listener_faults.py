"""Listeners close while faults refuse all connections, and reopen at their addresses."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from openimds.dataplane.listeners import Listener
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings
from tests.support.talk import replies, request

ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)


async def reopened(listener_faults: ListenerFaults) -> None:
    """Wait until all listeners are open again."""
    assert listener_faults._opening
    await listener_faults._opening


class Stage:
    """ListenerFaults over listeners that open when the test lets them."""

    def __init__(self) -> None:
        self.utc_s, self.messages = 1000.0, list[str]()
        self.engine = FaultInjector()
        self.clock = Clock(lambda: self.utc_s)
        self.closed: list[str] = []
        self.listeners = {name: self.listener(name) for name in ("", "a", "b")}
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.taken: set[str] = set()
        self.listener_faults = ListenerFaults(
            self.engine, self.clock, self.listeners, self._reopen, self.messages.append
        )

    def listener(self, name: str, suffix: str = "") -> Listener:
        stage = self

        class Closing(Listener, frozen=True):
            def close(self) -> None:
                stage.closed.append(f"{name}{suffix}")

        return Closing(None, (), name)  # type: ignore[arg-type]

    async def _reopen(self, text: str, old: Listener) -> Listener:
        await self.may_open.wait()
        if text in self.taken:
            raise ConfigError(text, "another server", "an address that is free here")
        return self.listener(text, " again")

    def refuse(self, **window: float) -> None:
        plans = read_fault({"effect": "refused", **window})
        self.engine.running = tuple(ActiveFault("1", one, "api", self.utc_s, {}) for one in plans)
        self.listener_faults.apply()

    async def reopened(self) -> None:
        await reopened(self.listener_faults)

    @property
    def wait_s(self) -> float | None:
        timer = self.listener_faults._timer
        return None if timer is None else timer.when() - asyncio.get_running_loop().time()


def play(work: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        await work(stage)
        await stage.listener_faults.close()
        assert stage.wait_s is None

    asyncio.run(whole())


def test_active_fault_closes_all_listeners_until_it_ends() -> None:
    async def work(stage: Stage) -> None:
        before = dict(stage.listeners)
        stage.refuse(until_s=5)
        stage.listener_faults.apply()
        assert stage.closed == ["", "a", "b"]
        assert stage.wait_s == pytest.approx(5, abs=1)
        stage.utc_s += 5
        stage.listener_faults.apply()
        stage.listener_faults.apply()
        await stage.reopened()
        assert stage.wait_s is None
        assert all(stage.listeners[name] is not one for name, one in before.items())
        # Open listeners are left alone.
        stage.listener_faults.apply()
        assert stage.closed == ["", "a", "b"]

    play(work)


def test_future_fault_closes_listeners_at_its_time() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse(from_s=7)
        assert stage.closed == []
        assert stage.wait_s == pytest.approx(7, abs=1)
        stage.utc_s += 7
        stage.listener_faults.apply()
        assert stage.closed == ["", "a", "b"]
        assert stage.wait_s is None

    play(work)


def test_long_wait_is_cut_for_a_clock_that_may_be_set() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse(until_s=1000)
        assert stage.wait_s == pytest.approx(30, abs=1)

    play(work)


def test_listener_removed_meanwhile_is_not_reopened() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse()
        del stage.listeners["a"]
        stage.engine.running = ()
        stage.may_open.clear()
        stage.listener_faults.apply()
        await asyncio.sleep(0)
        mine = stage.listeners["b"] = stage.listener("other")
        stage.may_open.set()
        await stage.reopened()
        assert [*stage.listeners] == ["", "b"]
        assert stage.listeners["b"] is mine
        assert stage.closed == ["", "a", "b"]

    play(work)


def test_listener_replaced_during_reopening_is_closed() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse()
        stage.engine.running = ()
        stage.may_open.clear()
        stage.listener_faults.apply()
        await asyncio.sleep(0)
        mine = stage.listeners[""] = stage.listener("other")
        stage.may_open.set()
        await stage.reopened()
        assert stage.listeners[""] is mine
        assert stage.closed == ["", "a", "b", " again"]

    play(work)


def test_listener_added_during_a_fault_is_closed() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse()
        stage.listeners["c"] = stage.listener("c")
        stage.listener_faults.apply()
        assert stage.closed == ["", "a", "b", "c"]

    play(work)


def test_taken_address_is_retried_and_reported_once() -> None:
    message = "a: saw another server, expected an address that is free here; retrying every 1 s"

    async def work(stage: Stage) -> None:
        for times in (1, 2):
            stage.refuse()
            stage.engine.running = ()
            stage.taken = {"a"}
            for _ in range(3):
                stage.listener_faults.apply()
                await stage.reopened()
            assert stage.messages == [message] * times
            assert stage.wait_s == pytest.approx(1, abs=0.5)
            stage.taken.clear()
            old = stage.listeners["a"]
            stage.listener_faults.apply()
            await stage.reopened()
            assert stage.listeners["a"] is not old

    play(work)


def test_fault_that_restarts_during_reopening_closes_again() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse()
        running, stage.engine.running = stage.engine.running, ()
        stage.may_open.clear()
        stage.listener_faults.apply()
        await asyncio.sleep(0)
        stage.engine.running = running
        stage.listener_faults.apply()
        stage.may_open.set()
        await stage.reopened()
        assert stage.closed == ["", "a", "b", " again", "a again", "b again"]

    play(work)


def test_settle_returns_when_all_listeners_are_open() -> None:
    async def work(stage: Stage) -> None:
        await stage.listener_faults.settle()  # Nothing was ever closed.
        before = [*stage.listeners.values()]
        stage.refuse()
        stage.engine.running = ()
        stage.may_open.clear()
        stage.listener_faults.apply()
        settled = asyncio.create_task(stage.listener_faults.settle())
        await asyncio.sleep(0)
        assert not settled.done()
        stage.may_open.set()
        await settled
        after = [*stage.listeners.values()]
        assert all(old is not new for old, new in zip(before, after, strict=True))

    play(work)


def test_close_cancels_a_listener_that_does_not_open() -> None:
    async def work(stage: Stage) -> None:
        stage.refuse()
        stage.engine.running = ()
        stage.may_open.clear()
        stage.listener_faults.apply()
        await stage.listener_faults.close()
        assert stage.listener_faults._opening
        assert stage.listener_faults._opening.cancelled()

    play(work)


async def ask(port: int) -> str:
    """Ask for the name of the VM; return it, or how the connection failed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        received = await reader.read()
        writer.close()
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    return replies(received)[0].body.decode()


async def serving(
    work: Callable[[Server, int], Awaitable[None]],
    inherited: InheritedSockets = InheritedSockets(),  # noqa: B008 - frozen
) -> None:
    messages: list[str] = []
    settings = Settings(admin="none", public="none", listen="127.0.0.1:0", virtual_clock=True)
    server = build(load(settings), messages.append, inherited)
    port = int((await server.start()).imds.rpartition(":")[2])
    await server.events_service.set_clock(server.clock.planned(rate=0))
    await work(server, port)
    await server.stop(patience_s=0)
    assert [text for text in messages if " set: " not in text and " cleared: " not in text] == []


def test_restart_playbook_refuses_then_answers_500_then_200() -> None:
    async def work(server: Server, port: int) -> None:
        assert await ask(port) == "vm-1"
        await server.faults.play("restart", refused_s=5, errors_s=9)
        assert await ask(port) == "refused"
        await server.events_service.set_clock(server.clock.planned(advance_s=5))
        await reopened(server.host.listener_faults)
        assert await ask(port) == "Internal Server Error"
        await server.events_service.set_clock(server.clock.planned(advance_s=4))
        assert await ask(port) == "vm-1"
        # The kernel refuses connections unseen: they are not counted.
        assert server.faults.played == {"proxy-500": 1}

    asyncio.run(serving(work))


def test_clearing_a_fault_reopens_listeners() -> None:
    async def work(server: Server, port: int) -> None:
        await server.faults.set({"effect": "refused"})
        assert await ask(port) == "refused"
        await server.faults.clear()
        await reopened(server.host.listener_faults)
        assert await ask(port) == "vm-1"

    asyncio.run(serving(work))


def test_inherited_socket_or_single_vm_gets_a_reset() -> None:
    async def work(server: Server, port: int) -> None:
        await server.faults.set({"effect": "refused", "until_s": 5})
        assert await ask(port) == "reset"
        await server.events_service.set_clock(server.clock.planned(advance_s=5))
        assert await ask(port) == "vm-1"
        await server.faults.set({"effect": "refused", "vms": ["vm-1"]})
        assert await ask(port) == "reset"
        assert server.faults.played == {"refused": 2}

    listening = socket.create_server(("127.0.0.1", 0))
    asyncio.run(serving(work, InheritedSockets(dataplane=((listening, ""),))))
