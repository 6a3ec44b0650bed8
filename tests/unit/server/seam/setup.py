"""Both roles in one process, joined by the seam as two processes are."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec.json
from msgspec import structs

from openimds.events.clock import Clock
from openimds.protocol.pending import Approved, Failed, PendingApproval
from openimds.server.build_host import HostWorld, build_host
from openimds.server.control import Control
from openimds.server.control_process import ControlProcess
from openimds.server.file_budget import file_budget
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.seam.channel import Channel, open_channel
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.host_end import HostEnd
from openimds.server.seam.messages import Approve, Begin, End, EndPorts, FromControl, FromHost
from openimds.server.seam.remote_host import RemoteHost
from openimds.server.shortage_notices import ShortageNotices
from openimds.settings import Settings
from tests.support.talk import Reply, Talk

SETTINGS = Settings(listen="127.0.0.1:0", admin="none", public="none", rate_limit=False)
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"


class Roles:
    """A host that listens nowhere, and control at the other end of a channel."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.messages: list[str] = []
        self.begun = -1
        self.resources = ExitStack()
        clock = Clock(time.time, is_virtual=settings.virtual_clock)
        world = HostWorld(
            notify=self.messages.append,
            clock=clock,
            folder=None,
            inherited=InheritedSockets(),
            budget=file_budget(),
            shortages=ShortageNotices(self.messages.append, lambda: 0.0),
            public_url="",
        )
        self.host = build_host(settings, world, self.resources)
        follower = EventsFollower(self._approve, clock, self.messages.append)
        self.host.pending.events = follower
        self.end = HostEnd(self.host, "", follower)
        self.channel: Channel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._talks: dict[str, Talk] = {}

    async def _approve(self, need: PendingApproval) -> Approved | Failed:
        assert self.channel
        failure: Failed | None = await self.channel.call(Approve(need))
        return failure or Approved()

    async def begin(self) -> None:
        """Start control, as after an end of the one before."""
        self.begun += 1
        ours, theirs = socket.socketpair()
        self.process = ControlProcess()
        self.process.channel = await open_channel(theirs, FromHost, self.process.answer)
        self.end.begin()
        self.channel = await open_channel(ours, FromControl, self.end.answer)
        self.end.post = self.channel.post
        for end in (self.process.channel, self.channel):
            self._tasks.append(asyncio.create_task(end.run()))
        await self.channel.call(
            Begin(
                settings=self.settings,
                store=str(self.folder / "fleet.db"),
                token=str(self.folder / "admin-token"),
                public_url="",
                admin_sockets=(),
                public_sockets=(),
                are_of_settings=True,
                had_keys=False,
                faults=self.end.faults,
                is_restart=bool(self.begun),
            )
        )

    async def kill(self) -> None:
        """End control without a word: neither end hears of the other again."""
        assert self.channel
        self.process._resources.close()
        self.channel.close()
        self.process.channel.close()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    @property
    def control(self) -> Control:
        assert self.process._control
        return self.process._control

    @property
    def remote(self) -> RemoteHost:
        assert self.process._host
        return self.process._host

    async def put(self, name: str, value: dict[str, Any]) -> None:
        from openimds.vm.fleet_file import parse_vm

        await self.control.fleet_service.put(parse_vm(name, value), "test")

    def ask(self, source: str, target: str = NAME, **more: Any) -> Reply:
        """Return the answer to a guest's request that needs no waiting."""
        return Talk(self.host.dispatcher, (source, 5)).ask(target, **more)

    def name_at(self, source: str) -> str:
        """Return the name of the VM at an address, or the status of the refusal."""
        reply = self.ask(source)
        return reply.body.decode() if reply.status == 200 else str(reply.status)

    async def close(self) -> None:
        assert self.channel
        if not self.channel.is_closed:
            await self.channel.call(EndPorts())
            await self.channel.call(End())
        self.end.close()
        await self.host.stop_tasks()
        self.channel.close()
        self.process.channel.close()
        await asyncio.gather(*self._tasks)
        self.host.listeners.close()
        self.resources.close()


def with_roles(
    folder: Path,
    work: Callable[[Roles], Awaitable[None]],
    fleet: dict[str, Any] | None = None,
    **settings: Any,
) -> list[str]:
    """Do work with both roles; return the messages to the operator."""
    if fleet is not None:
        path = folder / "fleet.json"
        path.write_bytes(msgspec.json.encode(fleet))
        settings["fleet"] = str(path)
    messages: list[str] = []

    async def whole() -> None:
        roles = Roles(structs.replace(SETTINGS, **settings), folder)
        with patch("openimds.server.control_process.make_log", lambda *_: roles.messages.append):
            try:
                await roles.begin()
                await work(roles)
            finally:
                await roles.close()
        messages.extend(roles.messages)

    asyncio.run(whole())
    return messages
