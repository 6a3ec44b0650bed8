"""The composition root of a server in one process, and its shared resources."""

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

from openimds.credentials.entra.client import ENTRA_UNCONFIGURED
from openimds.events.clock import Clock
from openimds.fleet.store.opening import open_store
from openimds.fleet.store.sqlite import MemoryStore
from openimds.fleet.store.state import State
from openimds.server.admin_ports import AdminPorts
from openimds.server.azure_hosts import AzureHosts
from openimds.server.build_control import build_control
from openimds.server.build_host import HostWorld, build_host
from openimds.server.file_budget import file_budget
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.local_host import LocalHost
from openimds.server.notify import Notify
from openimds.server.server import Server
from openimds.server.settings_check import check_pki_names
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import Startup

_NO_SOCKETS = InheritedSockets()


def build(startup: Startup, notify: Notify, inherited: InheritedSockets = _NO_SOCKETS) -> Server:
    """Make both roles in this process; call it inside the event loop that will serve.

    Nothing stays open if it fails. No listener of the data plane opens before `Server.start`.

    Raises:
        ConfigError: a port cannot be bound, or a setting names something unusable.
        StoreError: another process holds the state directory, or the store cannot be opened.
    """
    settings = startup.settings
    check_pki_names(settings, is_in_sandbox=inherited.trust is not None)
    budget = file_budget()
    shortages = ShortageNotices(notify, asyncio.get_running_loop().time)
    with ExitStack() as resources:
        # Exclusive resources: the state lock and the public port, whose URL is signed.
        state = (
            State(Path(settings.state).absolute(), settings.state_group) if settings.state else None
        )
        if state:
            resources.callback(state.close)
        azure_hosts = AzureHosts(inherited.trust) if inherited.trust else None
        admin_ports = AdminPorts(
            settings,
            inherited,
            notify,
            shortages.note,
            budget.port_connections,
            azure_hosts.tls if azure_hosts else None,
        )
        resources.callback(admin_ports.shut)
        world = HostWorld(
            notify=notify,
            clock=Clock(time.time, is_virtual=settings.virtual_clock),
            folder=state.folder if state else None,
            inherited=inherited,
            budget=budget,
            shortages=shortages,
            public_url=settings.public_url or admin_ports.public_url or "",
            is_entra_reported=ENTRA_UNCONFIGURED in startup.notices,
        )
        host = build_host(settings, world, resources)
        host.fleet_index.homes = startup.homes
        if azure_hosts:
            azure_hosts.publish(host.credentials.ca.root_pem(time.time()))
        store = (
            open_store(state.store_path, notify, is_recovery=settings.state_recover)
            if state
            else MemoryStore()
        )
        control = build_control(
            startup, notify, store, LocalHost(host, world.public_url), admin_ports, resources
        )
        host.pending.events = control.events_service
        if inherited.is_exclusive:
            control.sandboxed = frozenset(name for _, name in inherited.dataplane)
        return Server(
            host=host,
            control=control,
            inherited=inherited,
            state=state,
            resources=resources.pop_all(),
        )
