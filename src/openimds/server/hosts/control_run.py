"""A control of many hosts: it stands by until it leads."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, structs

from openimds.admin.lazy_server import bind
from openimds.admin.metric_rows.hosts import CONTROL_LEADS
from openimds.admin.token import AdminToken
from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.keys.mirror import KeyMirror
from openimds.credentials.remote.mint_service import MintService
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.fleet.store.port import API, Store, StoreError
from openimds.fleet.store.state import TOKEN_NAME, State
from openimds.log.events import LEAD_TAKEN, LEAD_TROUBLE, MIRRORED
from openimds.server.admin_ports import AdminPorts, tcp_address
from openimds.server.build_control import build_control
from openimds.server.build_host import HostWorld, build_host
from openimds.server.control import Control
from openimds.server.file_budget import file_budget
from openimds.server.host import Host
from openimds.server.hosts.administration import HostsAdministration
from openimds.server.hosts.confirmation import stored_on
from openimds.server.hosts.hosts_metrics import LeaseState
from openimds.server.hosts.kubernetes_settings import (
    KubernetesSettings,
    publishing,
    vouching_of,
)
from openimds.server.hosts.leading import ControlLease, Leadership
from openimds.server.hosts.link import HostsLink
from openimds.server.hosts.port import HostsPort
from openimds.server.hosts.session import HostSession, StoreLead
from openimds.server.hosts.store_values import StoreValues
from openimds.server.hosts.stored_hosts import StoredHosts
from openimds.server.hosts.upkeep import Upkeep
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.operator_log import log_samples
from openimds.server.process_metrics import CONTROL, build_samples, process_samples
from openimds.server.ready import Ready
from openimds.server.seam.channel import Channel
from openimds.server.settings_check import admin_notices
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import load
from openimds.settings import Settings

if TYPE_CHECKING:
    from openimds.admin.metrics import Samples
    from openimds.admin.standby import StandbySwitch

_PAUSE_S = 1.0


class FleetStore(Store, Protocol):
    """A store of many controls, which has a name of its own."""

    def identity(self) -> str:
        """Return the name, made with its tables: a copy has the same."""
        ...


class Engine(Protocol):
    """The engine that all controls share. Its calls block."""

    def open_lease(self) -> ControlLease:
        """Open the lease.

        Raises:
            StoreError: the engine cannot be reached.
        """
        ...

    def open_store(self, epoch: int, writer: str = "fleet") -> FleetStore:
        """Open the store as the leader of an epoch; `writer` names this opening of several.

        Raises:
            StoreError: the engine cannot be reached, or another control leads.
        """
        ...


class ControlSettings(Struct, frozen=True):
    """The settings that only a control of many hosts has.

    `hosts` is the address of the port for hosts, `key` the octets of the key file, `url` the admin
    API's URL as other controls and operators reach it, or empty. `kubernetes` has the API of a
    cluster whose pods join.
    """

    hosts: str
    key: bytes
    url: str = ""
    kubernetes: KubernetesSettings | None = None


class FleetControl:
    """A control process of many hosts."""

    def __init__(
        self, settings: Settings, own: ControlSettings, engine: Engine, notify: Notify
    ) -> None:
        """Take the state folder.

        Raises:
            ConfigError: there is none in the settings, or an address does not fit.
            StoreError: another process holds the state folder.
        """
        if not settings.state:
            hint = "It has the admin token, and keeps keys while the store is away"
            raise ConfigError("state", "nothing", "a folder of this control's own", hint)
        tcp_address(own.hosts, "hosts")
        self._settings, self._own, self._engine, self._notify = settings, own, engine, notify
        self._resources = ExitStack()
        self._state = State(Path(settings.state).absolute(), settings.state_group)
        self._resources.callback(self._state.close)
        self._shortages = ShortageNotices(notify, asyncio.get_running_loop().time)
        self._switch: StandbySwitch
        self._leadership: Leadership
        self._admin: AdminPorts | None = None
        self._leading: asyncio.Task[None] | None = None
        self._leader: Leader | None = None
        self._admin_names: frozenset[str] = frozenset()

    async def start(self) -> Ready:
        """Open the admin port, and lead as soon as no other control does.

        Raises:
            ConfigError: a port cannot be bound.
        """
        from openimds.admin.standby import StandbySwitch  # noqa: PLC0415 - it loads starlette

        token = AdminToken(self._state.folder / TOKEN_NAME)
        admin = self._ports(structs.replace(self._settings, public="none"))
        self._resources.callback(admin.shut)
        self._admin, self._admin_names = admin, admin.admin_names
        self._switch = StandbySwitch(
            lambda: (self._leadership.reason, self._leadership.leader_url), admin.admin_names
        )
        for notice in admin_notices(self._settings):
            self._notify(notice)
        url = admin.open_admin(lambda: self._switch) if admin.has_admin else None
        metrics = await admin.open_metrics(self._samples)
        holder = f"{socket.gethostname()}/{os.getpid()}"
        own_url = self._own.url or url or holder
        self._leadership = Leadership(self._engine.open_lease, holder, own_url, self._notify)
        self._leading = asyncio.create_task(self._lead(token))
        return Ready("", url, str(token.path), metrics=metrics)

    async def _samples(self) -> "Mapping[str, Samples]":
        """Return the values of the control that leads, or of one that stands by."""
        if self._leader and self._switch.application is not None:
            return await self._leader.samples()
        figures = await asyncio.to_thread(process_samples, CONTROL)
        return {
            CONTROL_LEADS: 0.0,
            **build_samples(),
            **log_samples(self._notify, CONTROL),
            **(self._admin.samples() if self._admin else {}),
            **figures,
        }

    async def failed(self) -> None:
        """Wait until this control cannot go on.

        Raises:
            Error: another control leads, or a file does not fit.
        """
        assert self._leading
        await asyncio.shield(self._leading)

    async def reload(self) -> None:
        """Apply the fleet file, and try quarantined VMs again."""
        if self._leader:
            await self._leader.control.reload()

    async def stop(self) -> None:
        """Give the lease back, and end every connection."""
        if self._leading:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
            await self._leadership.close()
        if self._admin:
            await self._admin.close()
        self._resources.close()

    async def _lead(self, token: AdminToken) -> None:
        """Lead, and end when another control does; begin again where the store failed."""
        while True:
            epoch = await self._leadership.take()
            try:
                await self._lead_in(epoch, token)
            except StoreError as error:
                if self._leader:
                    raise
                self._notify(
                    LEAD_TROUBLE.message(
                        f"this control cannot lead yet: {error}", reason=str(error)
                    )
                )
                await asyncio.sleep(_PAUSE_S)

    async def _lead_in(self, epoch: int, token: AdminToken) -> None:
        leader = Leader(
            self._settings, self._own, self._state.folder, self._notify, self._leadership.age_s
        )
        keeping = asyncio.create_task(self._leadership.keep())
        try:
            leader.operator_ports = self._admin
            begin = leader.begin(self._engine, epoch, self._ports, token)
            beginning = asyncio.create_task(begin)
            await asyncio.wait({keeping, beginning}, return_when=asyncio.FIRST_COMPLETED)
            if not beginning.done():
                beginning.cancel()
                await asyncio.gather(beginning, return_exceptions=True)
                await keeping
            await beginning
            self._leader = leader
            self._switch.application = await asyncio.to_thread(
                leader.admin_application, self._admin_names
            )
            self._notify(LEAD_TAKEN.message(f"this control leads (epoch {epoch})", epoch=epoch))
            await asyncio.wait({keeping, *leader.tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in (keeping, *leader.tasks):
                if task.done():
                    await task
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self._switch.application = None
            await leader.end()

    def _ports(self, settings: Settings) -> AdminPorts:
        """Return ports; the caller shuts them, as those of a leader end with its term."""
        return AdminPorts(
            settings,
            InheritedSockets(),
            self._notify,
            self._shortages.note,
            file_budget().port_connections,
        )


class Leader:
    """The parts of the control that leads."""

    def __init__(
        self,
        settings: Settings,
        own: ControlSettings,
        folder: Path,
        notify: Notify,
        lease_age_s: Callable[[], float],
    ) -> None:
        """Make nothing yet; `begin` does. `lease_age_s` is that of `Leadership.age_s`."""
        self._lease_age_s = lease_age_s
        self._settings, self._own, self._folder, self._notify = settings, own, folder, notify
        self._resources = ExitStack()
        self.tasks: list[asyncio.Task[None]] = []
        self.sessions: dict[str, HostSession] = {}
        self.administration: HostsAdministration
        self.control: Control
        self.hosts: StoredHosts
        self.link: HostsLink
        self._host: Host
        self._mint: MintService
        self._token: AdminToken
        self._port: HostsPort | None = None
        self._lead: StoreLead
        self.operator_ports: AdminPorts | None = None
        """The admin port, which outlives this term."""

    async def begin(
        self,
        engine: Engine,
        epoch: int,
        ports: Callable[[Settings], AdminPorts],
        token: AdminToken,
    ) -> None:
        """Load the store, and open the ports for hosts and for those who verify.

        Raises:
            StoreError: the store cannot be read.
            Error: a key or a file does not fit.
        """
        settings, notify = self._settings, self._notify
        store = await asyncio.to_thread(engine.open_store, epoch)
        self._resources.callback(store.close)
        # The outcome of a lost commit of the one does not hang on writes of the other.
        values = await asyncio.to_thread(engine.open_store, epoch, "keys")
        self._resources.callback(values.close)
        stored = StoreValues(values)
        mirror = KeyMirror(stored, self._own.key, notify=notify)
        notify(MIRRORED.message(await asyncio.to_thread(mirror.restore, self._folder)))
        self._resources.callback(mirror.close)
        admin_ports = ports(structs.replace(settings, admin="none"))
        self._resources.callback(admin_ports.shut)
        public_url = settings.public_url or admin_ports.public_url or ""
        clock = Clock(time.time, is_virtual=settings.virtual_clock)
        startup = await asyncio.to_thread(load, settings)
        if not startup.source:
            startup = structs.replace(startup, origin=API)  # No default VM: hosts serve their own.
        world = structs.replace(
            _world(notify, clock, self._folder, public_url), host_leaves=stored.leaves()
        )
        self._host = host = build_host(settings, world, self._resources)
        host.role = CONTROL
        self.link = link = HostsLink(host, public_url)
        self.control = control = build_control(
            startup, notify, store, link, admin_ports, self._resources
        )
        host.pending.events = control.events_service
        if self.operator_ports:
            control.ports.append(self.operator_ports)
        service, writer = control.fleet_service, control.events_service.event_writer
        ca = await asyncio.to_thread(HostsCa.open, self._folder, time.time())
        self.hosts = StoredHosts(
            ca,
            service,
            time.time,
            notify,
            vouching_of(self._own.kubernetes, notify, self._resources),
        )
        await self.hosts.load()
        self._port = HostsPort(self.hosts, self.sessions, notify)
        listening = bind("hosts", tcp_address(self._own.hosts, "hosts"))
        # Hosts that come while the fleet is loaded get the answer to wait.
        await self._port.open(listening, ca.server_context(time.time()))
        await control.load()
        link.load()
        link.revision, link.scopes = lambda: service.revision, lambda: writer.scopes
        self._mint = MintService(host.credentials, link.placement, link.names_on, link.asks_for)
        self._lead, self._token = StoreLead(store.identity(), epoch), token
        link.follow(self.sessions)
        lease = LeaseState(epoch, self._lease_age_s)
        self.administration = HostsAdministration(self.hosts, link, self._port, lease)
        self._port.make_session = self._session
        control.open_public()
        control.follow_fleet_file()
        control.watch_admin(token)
        upkeep = Upkeep(host, link, self._mint, self.hosts, self._port, notify)
        self.tasks = [
            asyncio.create_task(upkeep.run()),
            *publishing(self._own.kubernetes, ca, notify),
        ]

    def admin_application(self, names: frozenset[str]) -> Any:  # noqa: ANN401 - any ASGI application
        """Return the admin API, called by one of these names. Call it in a thread."""
        return self.control.admin_application(self._token, names, self.administration)

    async def samples(self) -> "Mapping[str, Samples]":
        """Return the values of all metrics by the name of a row."""
        return await self.control.samples(self.administration)

    async def end(self) -> None:
        """End all connections, and close the store."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self._port:
            await self._port.close()
            await self._host.stop_tasks()
            await self.control.stop_tasks()
            await self.control.events_service.close()
        self._resources.close()

    def _session(self, name: str, channel: Channel) -> HostSession:
        control = self.control
        return HostSession(
            name,
            channel,
            self.link,
            self._lead,
            control.events_service,
            self._mint,
            self._host.caller_secrets.of,
            partial(stored_on, control.fleet_service),
            self._lease_age_s,
        )


def _world(notify: Notify, clock: Clock, folder: Path, public_url: str) -> HostWorld:
    return HostWorld(
        notify=notify,
        clock=clock,
        folder=folder,
        inherited=InheritedSockets(),
        budget=file_budget(),
        shortages=ShortageNotices(notify, asyncio.get_running_loop().time),
        public_url=public_url,
        are_placed=True,
    )
