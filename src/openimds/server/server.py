"""A running server: its parts, and how they start, reload and stop together."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any

from msgspec import Struct, field, structs

from openimds.admin.token import AdminToken
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.caller_secrets import CallerSecrets
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.events.scenario import FLEET
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.facts.protocols import TOKEN_ROUTES
from openimds.faults import FaultService
from openimds.fleet.fleet_files import DEFAULT_VM, FleetFileContents, default_vm
from openimds.fleet.quarantine import notices as quarantine_notices
from openimds.fleet.service import DEFAULT, FleetService
from openimds.fleet.store.port import Change
from openimds.fleet.store.state import TOKEN_NAME, State, default_folder
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.identity_dialects import variables
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.server.admin_ports import AdminPorts
from openimds.server.fleet_file_watcher import FleetFileWatcher
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.listener_set import ListenerSet
from openimds.server.metrics_source import ServerMetrics
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import Startup
from openimds.vm.identities import principals
from openimds.vm.types import Vm

_SWEEP_S = 1.0
_REVOCATION_S = 60.0
"""The time between two looks for a list of revoked certificates that is due."""
_DRAIN_S = 5.0
_DRAIN_POLL_S = 0.01
_LOOPBACK = "127.0.0.1"
_LARGE_FLEET = 1000
"""From so many VMs on, loading leaves enough memory scattered to be worth a compaction."""

Notify = Callable[[str], None]
"""Prints one message to the operator; it has no full stop."""


class LocalCaller(Struct, frozen=True):
    """A source address of this machine that belongs to a VM."""

    address: str
    has_token: bool


class Ready(Struct, frozen=True):
    """URLs of a server that accepts connections, and its token file.

    `caller` is a source address from which a program on this machine is a VM, if there is one.
    """

    imds: str
    admin: str | None
    token_file: str | None
    public: str | None = None
    caller: LocalCaller | None = None


class Server(Struct, kw_only=True, eq=False):
    """The parts of one server inside a running event loop; `build` puts them together.

    `resources` closes the store, the ports and the state directory, the first opened last.
    """

    startup: Startup
    notify: Notify
    inherited: InheritedSockets
    resources: ExitStack
    state: State | None
    clock: Clock
    public_url: str
    caller_secrets: CallerSecrets
    credentials: CredentialsService
    fleet_service: FleetService
    events_service: EventsService
    webhook: Webhook | None
    dispatcher: Dispatcher
    recorder: Recorder
    faults: FaultService
    listeners: ListenerSet
    listener_faults: ListenerFaults
    admin_ports: AdminPorts
    shortages: ShortageNotices
    loop_lag_s: float = 0.0
    _watcher: FleetFileWatcher | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> Ready:
        """Load the fleet, its events and faults, then open every listener.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one address.
            StoreError: the store cannot be read or written.
        """
        await self._load_fleet()
        index = self.dispatcher.fleet_index
        for notice in quarantine_notices(index.quarantine):
            self.notify(notice)
        self._check_inherited()
        await self._load_events()
        self._compact_fleet()
        for notice in (*self.startup.notices, *index.warnings()):
            self.notify(notice)
        first = await self.listeners.open()
        self.listener_faults.apply()
        ready = Ready(first.url, None, None, self.admin_ports.public_url, self._local_caller())
        if self.admin_ports.has_admin:
            ready = self._open_admin(ready)
        self.admin_ports.open_public(self._public_application)
        # The default VM's key is made with its first token, so that a bare server stays light; for
        # a command in a sandbox it is made at once, as some clients give up after a second.
        is_named = self.state is not None or bool(self.startup.source)
        if self.dispatcher.fleet_index.has_identities and (is_named or self.inherited.is_exclusive):
            self._run(self.credentials.warm(self.dispatcher.utc()))
        self._run(self._sweep())
        self._run(self._refresh_revocation())
        if path := self.startup.settings.fleet:
            self._watcher = FleetFileWatcher(
                path, self.startup.fingerprint, self._apply, self.notify
            )
            self._run(self._watcher.follow())
        return ready

    async def reload(self) -> None:
        """Apply the fleet file, reopen stale listeners, and try quarantined VMs again."""
        if self._watcher:
            await self._watcher.apply_edits()
        await self.listeners.reopen_stale()
        await self.fleet_service.return_quarantined()

    async def stop(self, patience_s: float = _DRAIN_S) -> None:
        """Accept no new connection, wait for open ones, then cut those that remain.

        `patience_s` is the longest wait in seconds.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.listener_faults.close()
        self.fleet_service.end_feeds()
        self.recorder.end_feeds()
        await self.admin_ports.close()
        self.listeners.close()
        connections, now = self.dispatcher.connections, self.dispatcher.now
        connections.drain()
        deadline_s = now() + patience_s
        while len(connections) and now() < deadline_s:
            connections.sweep(now())
            await asyncio.sleep(_DRAIN_POLL_S)
        for _ in ("send the last response", "abort"):
            connections.sweep(inf)
        await self.events_service.close()
        self.resources.close()

    def identity_variables(self, vm: Vm, url: str = "") -> dict[str, dict[str, str]]:
        """Return the variables of each token route for clients on a VM.

        `url` is the address by which clients reach the VM's listener, by default its own; without
        any there are no variables.
        """
        urls = [url] if url else self.listeners.urls(vm.reach.listen)
        url = next((url for url in urls if url.startswith("http")), "")
        secret, extras = self.caller_secrets.of(vm.name), {"", *self.dispatcher.extras}
        client_id = next((principal.client_id for principal in principals(vm)), "")
        routes = [row.key for row in TOKEN_ROUTES.values() if row.setting in extras]
        return {key: variables(key, url, secret, client_id) for key in routes} if url else {}

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET as the VM is answered, without limits, faults or a record.

        Raises:
            Error: a key cannot be read or written.
        """
        dispatcher = self.dispatcher
        query = parse_query(
            "GET", target.encode(), has_metadata_header=True, extras=dispatcher.extras
        )
        subject = Subject(vm, dispatcher.fleet_index.catalog)
        outcome = handle(query, subject, dispatcher.utc())
        if isinstance(outcome, Response | Refusal):
            return outcome
        result = dispatcher.provider.cached(outcome, dispatcher.utc())
        if result is None:
            result = await dispatcher.provider.make(outcome, dispatcher.utc())
        return resume(query, outcome, result, dispatcher.utc())

    async def _load_fleet(self) -> None:
        """Load the stored fleet, then apply the file, or serve the default VM."""
        vms = self.startup.vms
        await self.fleet_service.load(is_last=vms is None)
        if vms is not None:
            await self._sync(_drain(vms), "start", is_start=True)
        elif not self.dispatcher.fleet_index.by_name and not await self._has_own_vms():
            await self._serve_default_vm()

    async def _has_own_vms(self) -> bool:
        """Tell whether a quarantined VM is another than the default one."""
        service = self.fleet_service
        for name in service.fleet_index.quarantine:
            stored = await service.call_store(service.store.get, name)
            if stored and stored.origin != DEFAULT:
                return True
        return False

    def _check_inherited(self) -> None:
        """Check that the VMs of commands in sandboxes are served.

        Raises:
            ConfigError: one is quarantined.
        """
        quarantine = self.dispatcher.fleet_index.quarantine
        for _, name in self.inherited.dataplane if self.inherited.is_exclusive else ():
            if name in quarantine:
                seen = f'"{name}", which is not served ({quarantine[name].reason})'
                raise ConfigError("--vm", seen, "a VM that is served")

    async def _serve_default_vm(self) -> None:
        """Serve the default VM, without an identity if a lost store left its keys."""
        vm = default_vm(has_identity=not self.credentials.had_keys)
        if self.credentials.had_keys:
            self.notify(
                f"{DEFAULT_VM} has no identity: the state folder has keys and no VM, so others may "
                "trust its tokens. Restore the store, or type "
                f"openimds identity assign {DEFAULT_VM} --system"
            )
        await self.fleet_service.sync([vm], DEFAULT, "start")

    def _local_caller(self) -> LocalCaller | None:
        """Return 127.0.0.1 if a VM has it, else an address of the first VM."""
        index = self.dispatcher.fleet_index
        address, entry = _LOOPBACK, index.entry_at(_LOOPBACK)
        if entry is None and (first := next(iter(index.by_name.values()), None)):
            own = [text for text in first.claims.addresses if text.startswith("127.")]
            address, entry = (own[0], first) if own else ("", None)
        if entry is None:
            return None
        identities = entry.vm.identities
        # Without a system-assigned identity, several user-assigned ones need a choice.
        return LocalCaller(address, identities.system or len(identities.user) == 1)

    async def _load_events(self) -> None:
        await self.events_service.load()
        if self.webhook:
            self._run(self.webhook.run())
        if self.startup.events:
            try:
                await self.events_service.begin(FLEET, self.startup.events, is_once=True)
            except ConfigError as error:
                raise error.inside(self.startup.settings.scenario or self.startup.source) from None
        with self._naming_the_file():
            await self.faults.load(self.startup.faults)

    def _compact_fleet(self) -> None:
        """Free the memory that loading a large fleet has left in use."""
        fleet_index = self.dispatcher.fleet_index
        if len(fleet_index.by_name) >= _LARGE_FLEET:
            gc.collect()  # The results of store calls are parts of reference cycles.
            fleet_index.compact()

    def _open_admin(self, ready: Ready) -> Ready:
        folder = self.state.folder if self.state else default_folder()
        token = self.inherited.token or AdminToken(folder / TOKEN_NAME)
        url = self.admin_ports.open_admin(lambda: self._admin_application(token))
        return structs.replace(ready, admin=url, token_file=str(token.path))

    def _admin_application(self, token: AdminToken) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.app import application  # noqa: PLC0415 - on the first connection
        from openimds.admin.services import AdminServices  # noqa: PLC0415 - as above

        services = AdminServices(
            fleet_service=self.fleet_service,
            events_service=self.events_service,
            faults=self.faults,
            recording=self.recorder,
            credentials=self.credentials,
            endpoint_variables=self.identity_variables,
            get_as=self.get_as,
            metrics=ServerMetrics(
                self.dispatcher,
                self.fleet_service,
                self.events_service,
                self.webhook,
                self.recorder,
                self.faults.played,
                lambda: self.loop_lag_s,
                lambda: self.shortages.pauses,
                lambda: self.listeners.failures + self.listener_faults.failures,
            ),
            token=token,
        )
        return application(services, self.admin_ports.admin_names)

    def _public_application(self) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.public_app import (  # noqa: PLC0415 - on the first connection
            application,
        )
        from openimds.credentials.publication import Publications  # noqa: PLC0415 - as above

        clouds = self.dispatcher.fleet_index.clouds
        publications = Publications(self.public_url, self.credentials, clouds, self.dispatcher.utc)
        return application(publications, self.notify)

    def _run(self, work: Any) -> None:  # noqa: ANN401 - any coroutine
        self._tasks.append(asyncio.create_task(work))

    async def _refresh_revocation(self) -> None:
        """Sign lists of revoked certificates ahead: no request for one costs a signature."""
        while True:
            await asyncio.sleep(_REVOCATION_S)
            try:
                now_s = self.dispatcher.utc()
                await asyncio.to_thread(self.credentials.ca.refresh_revocation, now_s)
            except Error as error:  # The next turn tries again.
                self.notify(str(error))

    async def _sweep(self) -> None:
        """Close overdue connections once a second, and measure how late the loop is."""
        while True:
            due_s = self.dispatcher.now() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            self.loop_lag_s = max(0.0, self.dispatcher.now() - due_s)
            self.dispatcher.connections.sweep(self.dispatcher.now())

    async def _apply(self, contents: FleetFileContents, who: str) -> list[Change]:
        with self._naming_the_file():
            self.faults.check(contents.faults, (vm.name for vm in contents.vms))
        changes = await self._sync(contents.vms, who)
        await self.faults.follow(contents.faults)
        return changes

    async def _sync(self, vms: Iterable[Vm], who: str, *, is_start: bool = False) -> list[Change]:
        with self._naming_the_file():
            service, origin = self.fleet_service, self.startup.origin
            return await service.sync(vms, origin, who, is_start=is_start)

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Put the name of the fleet file or document before the path in a ConfigError."""
        try:
            yield
        except ConfigError as error:
            raise error.inside(self.startup.source) from None


def _drain(vms: list[Vm]) -> Iterator[Vm]:
    """Yield the VMs of a list in their order, and remove each from it."""
    vms.reverse()
    while vms:
        yield vms.pop()
