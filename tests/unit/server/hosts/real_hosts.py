"""A control whose port for hosts is real: TLS over loopback, certificates and their register."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from openimds.admin.lazy_server import bind
from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.join_token import JoinToken, read_join_token
from openimds.server.hosts.administration import HostsAdministration
from openimds.server.hosts.connecting import connect, join
from openimds.server.hosts.follower import Answer
from openimds.server.hosts.hosts_metrics import LeaseState
from openimds.server.hosts.stored_hosts import StoredHosts
from openimds.server.hosts.vouching import Vouching
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import SeamMessage
from tests.unit.admin.setup import FailingStore
from tests.unit.server.hosts.fleet import ControlSide


class RealControl(ControlSide):
    """A control with an authority, a register and a listening port."""

    def __init__(self, folder: Path, vouching: Vouching | None = None) -> None:
        self.failing = FailingStore()
        super().__init__(self.failing)
        self.ahead_s = 0.0
        """The clock of control is ahead of that of the hosts."""
        self.folder = folder
        self.ca = HostsCa.open(folder / "control", time.time())
        self.hosts = StoredHosts(
            self.ca, self.control.fleet_service, self.now_s, self.messages.append, vouching
        )
        self.port.authority = self.hosts
        lease = LeaseState(7, lambda: 0.5)
        self.administration = HostsAdministration(self.hosts, self.link, self.port, lease)
        self.address = ""

    def now_s(self) -> float:
        return time.time() + self.ahead_s

    async def open(self, context: ssl.SSLContext | None = None) -> None:
        """Listen for hosts."""
        listening = bind("hosts", ("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        await self.port.open(listening, context or self.ca.server_context(time.time()))

    async def token(self, name: str = "a") -> JoinToken:
        """Return a new join token of a host."""
        return read_join_token(await self.administration.invite(name, is_admin=True))

    async def joined(self, name: str = "a") -> HostIdentity:
        """Let a host join; return its identity."""
        identity = HostIdentity.open(self.folder / name)
        await join(self.address, await self.token(name), identity)
        return identity

    async def connected(self, identity: HostIdentity, answer: Answer | None = None) -> "Talk":
        """Connect as a host."""
        channel = await connect(self.address, identity.context(), answer or takes_all)
        return Talk(channel)


class Talk:
    """A connection of a host to control."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.reading = asyncio.create_task(channel.run())

    async def ask(self, message: SeamMessage) -> Any:
        return await self.channel.call(message)

    async def close(self) -> None:
        self.channel.close()
        await asyncio.wait({self.reading})


async def takes_all(message: SeamMessage) -> Any:
    """Answer control as a host that shows no VM, and refuses none."""
    return None if message.result is None else {}


def with_control(
    folder: Path,
    work: Callable[[RealControl], Awaitable[None]],
    vouching: Vouching | None = None,
) -> None:
    """Do work with a control that has loaded and listens."""

    async def whole() -> None:
        control = RealControl(folder, vouching)
        try:
            async with asyncio.timeout(30):
                await control.load()
                await control.open()
                await work(control)
        finally:
            await control.close()

    asyncio.run(whole())
