"""A running server: both roles in one process, started and stopped together."""

import asyncio
from contextlib import ExitStack

from msgspec import Struct, structs

from openimds.admin.token import AdminToken
from openimds.credentials.service import CredentialsService
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.faults import FaultService
from openimds.fleet.service import FleetService
from openimds.fleet.store.state import TOKEN_NAME, State, remove_token, token_path
from openimds.protocol.response import Refusal, Response
from openimds.server.control import Control
from openimds.server.host import Host
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_set import ListenerSet
from openimds.server.ready import Ready
from openimds.server.startup import Startup
from openimds.vm.types import Vm

_DRAIN_S = 5.0


class Server(Struct, kw_only=True, eq=False):
    """Both roles inside a running event loop; `build` puts their parts together.

    `resources` closes the store, the ports and the state directory, the first opened last.
    """

    host: Host
    control: Control
    inherited: InheritedSockets
    resources: ExitStack
    state: State | None

    async def start(self) -> Ready:
        """Load the fleet, its events and faults, then open every listener.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one address.
            StoreError: the store cannot be read or written.
        """
        control, host = self.control, self.host
        await control.load()
        url = await host.open()
        ready = Ready(url, None, None, control.admin_ports.public_url, host.local_callers(url))
        if control.admin_ports.has_admin:
            path = token_path(control.admin_ports.bind_admin())
            if self.state:
                path = self.state.folder / TOKEN_NAME
            elif self.startup.settings.admin.endswith(":0"):
                self.resources.callback(remove_token, path)  # No client finds it again.
            token = self.inherited.token or AdminToken(path)
            admin = control.open_admin(token)
            ready = structs.replace(ready, admin=admin, token_file=str(token.path))
        control.open_public()
        ready = structs.replace(ready, metrics=await control.open_metrics())
        # The default VM's key is made with its first token, so that a bare server stays light; for
        # a command in a sandbox it is made at once, as some clients give up after a second.
        is_named = self.state is not None or bool(self.startup.source)
        if host.fleet_index.has_identities and (is_named or self.inherited.is_exclusive):
            host.warm()
        control.follow_fleet_file()
        return ready

    async def failed(self) -> None:
        """Wait for ever: a server that has started goes on."""
        await asyncio.Event().wait()

    async def reload(self) -> None:
        """Apply the fleet file, reopen stale listeners, and try quarantined VMs again."""
        await self.listeners.reopen_stale()
        await self.control.reload()

    async def stop(self, patience_s: float = _DRAIN_S) -> None:
        """Accept no new connection, wait for open ones, then cut those that remain.

        `patience_s` is the longest wait in seconds.
        """
        await self.host.stop_tasks()
        await self.control.stop_tasks()
        await self.host.drain(patience_s)
        await self.events_service.close()
        self.resources.close()

    # Its parts, for tests and for programs that hold a server.

    @property
    def startup(self) -> Startup:
        """The input of the server."""
        return self.control.startup

    @property
    def clock(self) -> Clock:
        """The clock of guests."""
        return self.control.clock

    @property
    def credentials(self) -> CredentialsService:
        """The keys and certificates."""
        return self.host.credentials

    @property
    def fleet_service(self) -> FleetService:
        """The changes of the fleet."""
        return self.control.fleet_service

    @property
    def events_service(self) -> EventsService:
        """The scheduled events."""
        return self.control.events_service

    @property
    def faults(self) -> FaultService:
        """The injected faults."""
        return self.control.faults

    @property
    def dispatcher(self) -> Dispatcher:
        """The data plane."""
        return self.host.dispatcher

    @property
    def recorder(self) -> Recorder:
        """The recorded requests."""
        return self.host.recorder

    @property
    def listeners(self) -> ListenerSet:
        """The listeners of the data plane."""
        return self.host.listeners

    def identity_variables(self, vm: Vm, url: str = "") -> dict[str, dict[str, str]]:
        """Return the variables of each token route for clients on a VM, as `Host` does."""
        return self.host.identity_variables(vm, url)

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET as the VM is answered, as `Host` does."""
        return await self.host.get_as(vm, target)
