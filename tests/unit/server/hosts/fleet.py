"""A control and its hosts in one process, joined by pairs of sockets."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec.json

from openimds.credentials.keys.files import new_key
from openimds.credentials.remote.mint_service import MintService
from openimds.errors import Error
from openimds.events.clock import Clock
from openimds.fleet.store.port import API, Store
from openimds.fleet.store.sqlite import MemoryStore
from openimds.protocol.events.request import EventRequest
from openimds.server.admin_ports import AdminPorts
from openimds.server.build_control import build_control
from openimds.server.build_host import HostWorld, build_host
from openimds.server.control import Control
from openimds.server.file_budget import file_budget
from openimds.server.hosts.confirmation import stored_on
from openimds.server.hosts.follower import Answer, HostFollower
from openimds.server.hosts.host_credentials import FleetCredentials
from openimds.server.hosts.link import HostsLink
from openimds.server.hosts.messages import JoinedHost, ToFleetHost
from openimds.server.hosts.port import HostsPort
from openimds.server.hosts.session import HostSession, StoreLead
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.seam.channel import Channel
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.host_end import HostEnd
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import Startup
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from tests.support.talk import Talk

SETTINGS = Settings(listen="127.0.0.1:0", admin="none", public="none", rate_limit=False)
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
REBOOT = "Reboot"


class Authority:
    """The certificate of a host is its name; `revoked` hosts are refused."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()

    def roots(self) -> bytes:
        return b"roots"

    def host_of(self, certificate: bytes) -> str:
        name = certificate.decode()
        if name in self.revoked:
            raise Error(f"the host {name} is revoked")
        return name

    async def join(self, name: str, secret: bytes, csr: bytes) -> JoinedHost:
        return JoinedHost(b"certificate of " + name.encode() + secret, csr)

    async def admit(self, name: str, token: str, csr: bytes, source: str) -> JoinedHost:
        return JoinedHost(f"certificate of {name} by {token} at {source}".encode(), csr)

    async def renew(self, certificate: bytes, csr: bytes) -> JoinedHost:
        return JoinedHost(b"renewed " + certificate, csr)


class ControlSide:
    """A control of many hosts over a store in memory."""

    def __init__(
        self,
        store: Store | None = None,
        identity: str = "store-1",
        clock: Clock | None = None,
        age_s: Callable[[], float] | None = None,
    ) -> None:
        self.messages: list[str] = []
        self.resources = ExitStack()
        self.store: Store = store or MemoryStore()
        self.identity, self.epoch, self.age_s = identity, 1, age_s
        self.authority = Authority()
        world = world_of(self.messages.append, clock, are_placed=True)
        host = build_host(SETTINGS, world, self.resources)
        self.link = HostsLink(host, "")
        self.host = host
        link = self.link
        self.mint = MintService(host.credentials, link.placement, link.names_on, link.asks_for)
        ports = AdminPorts(SETTINGS, InheritedSockets(), self.messages.append, lambda _: None, 10)
        self.control: Control = build_control(
            Startup(SETTINGS, origin=API),
            self.messages.append,
            self.store,
            self.link,
            ports,
            self.resources,
        )
        self.sessions: dict[str, HostSession] = {}
        self.port = HostsPort(self.authority, self.sessions, self.messages.append)
        self.link.follow(self.sessions)

    async def load(self) -> None:
        await self.control.load()
        self.link.load()
        service = self.control.fleet_service
        self.link.revision = lambda: service.revision
        self.link.scopes = lambda: self.control.events_service.event_writer.scopes
        self.port.make_session = self._session

    def _session(self, name: str, channel: Channel) -> HostSession:
        service = self.control.fleet_service
        return HostSession(
            name,
            channel,
            self.link,
            StoreLead(self.identity, self.epoch),
            self.control.events_service,
            self.mint,
            self.host.caller_secrets.of,
            partial(stored_on, service),
            self.age_s or service.store_age_s,
        )

    async def put(self, name: str, **value: Any) -> None:
        await self.control.fleet_service.put(parse_vm(name, value), "test")

    async def declare(self, *vms: str) -> None:
        """Declare a reboot of VMs."""
        await self.control.events_service.declare(EventRequest("Reboot", vms), "test")

    async def settle(self) -> None:
        """Wait until every connected host shows all that was changed."""
        await until(lambda: all(session.is_settled for session in self.sessions.values()))

    async def close(self) -> None:
        await self.port.close()
        await self.control.stop_tasks()
        await self.control.events_service.close()
        self.resources.close()


class HostSide:
    """A host that listens nowhere, and follows control."""

    def __init__(
        self,
        name: str,
        controls: dict[str, ControlSide],
        clock: Clock | None = None,
        *,
        steady: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name, self.controls = name, controls
        self.messages: list[str] = []
        self.resources = ExitStack()
        self.credentials = FleetCredentials(
            None, "", self.messages.append, make_key=new_key, steady=time.monotonic, life_clock=None
        )
        world = world_of(self.messages.append, clock, fleet=self.credentials)
        self.host = build_host(SETTINGS, world, self.resources)
        events = EventsFollower(self._approve, world.clock, self.messages.append)
        self.host.pending.events = self.events = events
        end = HostEnd(self.host, "", events)
        self.follower = HostFollower(
            self.host,
            end,
            tuple(controls),
            self._connect,
            self.messages.append,
            steady=steady,
            chance=chance,
            credentials=self.credentials,
            events=events,
        )
        self._following: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def _approve(self, need: Any) -> Any:
        return await self.follower.approve(need)

    async def _connect(self, control: str, answer: Answer) -> Channel:
        side = self.controls.get(control)
        if side is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = socket.socketpair()
        with ExitStack() as opened:
            opened.enter_context(ours)
            opened.enter_context(theirs)
            far = await asyncio.open_connection(sock=theirs)
            opened.callback(far[1].transport.abort)
            reader, writer = await asyncio.open_connection(sock=ours)
            opened.pop_all()
        self.tap(far[1])
        task = asyncio.create_task(side.port.serve(*far, self.name.encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: far[1].close())
        return Channel(reader, writer, ToFleetHost, answer)

    def tap(self, writer: asyncio.StreamWriter) -> None:
        """Do nothing; a recording keeps what control writes."""

    def name_at(self, source: str) -> str:
        """Return the name of the VM at an address, or the status of the refusal."""
        reply = Talk(self.host.dispatcher, (source, 5)).ask(NAME)
        return reply.body.decode() if reply.status == 200 else str(reply.status)

    def events_at(self, source: str) -> dict[str, Any]:
        """Return the document of scheduled events of the VM at an address."""
        body = Talk(self.host.dispatcher, (source, 5)).ask(EVENTS).body
        found: dict[str, Any] = msgspec.json.decode(body)
        return found

    def follow(self) -> None:
        """Follow control from now on."""
        self._following = asyncio.create_task(self.follower.run())

    async def close(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        await self.host.stop_tasks()
        self.host.listeners.close()
        self.resources.close()


def world_of(
    notify: Callable[[str], None],
    clock: Clock | None = None,
    *,
    are_placed: bool = False,
    fleet: FleetCredentials | None = None,
) -> HostWorld:
    return HostWorld(
        notify=notify,
        clock=clock or Clock(time.time),
        folder=None,
        inherited=InheritedSockets(),
        budget=file_budget(),
        shortages=ShortageNotices(notify, lambda: 0.0),
        public_url="",
        are_placed=are_placed,
        fleet=fleet,
    )


def with_fleet(work: Callable[["ControlSide", "HostSide", "HostSide"], Awaitable[None]]) -> None:
    """Do work with a control that has loaded, and two hosts that follow it."""

    async def whole() -> None:
        control = ControlSide()
        controls = {"control": control}
        first, second = HostSide("a", controls), HostSide("b", controls)
        try:
            await control.load()
            for host in (first, second):
                host.follow()
            await until(lambda: len(control.sessions) == 2)
            await control.settle()
            await work(control, first, second)
        finally:
            for host in (first, second):
                await host.close()
            await control.close()

    asyncio.run(whole())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a state of the fleet."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the product has no event for each state
            await asyncio.sleep(0)
