"""A session with a slow host: the messages that it gets, and their order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from openimds.server.hosts.digests import digest_of_all
from openimds.server.hosts.messages import FEED_VERSION, Hello, KeepScopes, PutVms, Shown
from openimds.server.hosts.session import HostSession
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import SeamMessage, UpdateScopes
from tests.unit.server.hosts.fleet import ControlSide, until

SET = {"availabilitySet": "as-1", "compute": {"subscriptionId": "s", "resourceGroupName": "g"}}
EMPTY = Hello((FEED_VERSION,), "1", "", 0, digest_of_all({}))


class SlowHost:
    """A host that answers no message before the test lets it."""

    def __init__(self, control: ControlSide, name: str) -> None:
        self.control = control
        self.session: HostSession = control._session(name, cast("Channel", self))
        self.waiting: list[tuple[SeamMessage, asyncio.Future[dict[str, str]]]] = []
        control.sessions[name] = self.session
        self.running = asyncio.create_task(self.session.run(EMPTY))

    async def call(self, message: SeamMessage) -> Any:
        future: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.waiting.append((message, future))
        return await future

    async def answer(self) -> SeamMessage:
        """Answer the next message, and return it."""
        await until(lambda: bool(self.waiting))
        message, future = self.waiting.pop()
        future.set_result({})
        return message

    async def settle(self) -> list[SeamMessage]:
        """Answer all messages until the host shows all; return them."""
        messages: list[SeamMessage] = []
        while not (self.session.is_settled and messages and isinstance(messages[-1], Shown)):
            messages.append(await self.answer())
        return messages


def with_slow_host(work: Callable[[ControlSide, SlowHost], Awaitable[None]]) -> None:
    """Do work with a control and a slow host, whose VM is in a set."""

    async def whole() -> None:
        control = ControlSide()
        await control.load()
        await control.put("web", host="a", reach={"address": ["10.0.0.1"]}, **SET)
        await control.declare("web")
        host = SlowHost(control, "a")
        try:
            await host.settle()
            await work(control, host)
        finally:
            host.running.cancel()
            await asyncio.gather(host.running, return_exceptions=True)
            control.sessions.clear()
            await control.close()

    asyncio.run(whole())


def scopes_in(message: SeamMessage) -> dict[str, int]:
    """Return the scopes of a message with their incarnations."""
    assert isinstance(message, UpdateScopes)
    return {state.scope: state.incarnation for state in message.scopes}


def test_vm_that_leaves_its_set_keeps_events_until_it_has_others() -> None:
    async def work(control: ControlSide, host: SlowHost) -> None:
        await control.declare("web")
        await until(lambda: bool(host.waiting))
        await control.put("web", host="a", reach={"address": ["10.0.0.1"]})
        messages = await host.settle()
        kinds = [type(one) for one in messages if not isinstance(one, Shown)]
        assert kinds == [UpdateScopes, UpdateScopes, PutVms, KeepScopes]
        first, second = (scopes_in(one) for one in messages if isinstance(one, UpdateScopes))
        assert first.keys() == {"set:s/g/as-1"}
        assert second["vm:web"] > first["set:s/g/as-1"]

    with_slow_host(work)


def test_vm_that_comes_back_to_a_slow_host_has_its_newest_events() -> None:
    async def work(control: ControlSide, host: SlowHost) -> None:
        patch = control.control.fleet_service.patch
        await control.put("db", host="a", reach={"address": ["10.0.0.2"]})
        await until(lambda: bool(host.waiting))
        await patch("web", {"host": "b"}, "test")
        await control.declare("web")
        await patch("web", {"host": "a"}, "test")
        newest = control.link.scopes()["set:s/g/as-1"].incarnation
        messages = await host.settle()
        (sent,) = (scopes_in(one) for one in messages if isinstance(one, UpdateScopes))
        assert sent == {"set:s/g/as-1": newest}

    with_slow_host(work)


def test_host_without_the_newest_events_of_a_vm_is_not_ready() -> None:
    async def work(control: ControlSide, host: SlowHost) -> None:
        assert host.session.shows("web")
        await control.declare("web")
        assert not host.session.shows("web")
        await host.settle()
        assert host.session.shows("web")

    with_slow_host(work)
