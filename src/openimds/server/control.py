"""The control role: the store, the fleet file, events, faults, and the ports of operators."""

import asyncio
import gc
import time
from asyncio import Task
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from openimds.admin.token import AdminToken
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.events.scenario import FLEET
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.faults import FaultService
from openimds.fleet.fleet_files import DEFAULT_VM, FleetFileContents, default_vm
from openimds.fleet.index import FleetIndex
from openimds.fleet.pruner import Pruner
from openimds.fleet.quarantine import notices as quarantine_notices
from openimds.fleet.service import FleetService
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.port import DEFAULT, Change, StoreError
from openimds.protocol.response import Refusal, Response
from openimds.server.admin_ports import AdminPorts
from openimds.server.clock_watch import ClockWatch
from openimds.server.fleet_file_watcher import FleetFileWatcher
from openimds.server.notify import Notify
from openimds.server.startup import Startup
from openimds.vm.types import Vm

if TYPE_CHECKING:  # They load the web server's libraries, which only a connection needs.
    from openimds.admin.metrics import Samples
    from openimds.admin.public_app import PublicationSource
    from openimds.admin.public_faults import SpoiltAnswers
    from openimds.admin.services import CredentialsAdmin, RequestRecording

_CLOCK_S = 1.0
"""The time between two comparisons of the wall clock with a steady one."""
_TOKEN_S = 10.0
"""The time between two looks at the mode of the token's file."""
_LARGE_FLEET = 1000
"""From so many VMs on, loading leaves enough memory scattered to be worth a compaction."""


class HostAccess(Protocol):
    """The parts of the host that the admin and public ports use."""

    @property
    def recording(self) -> "RequestRecording":
        """The recorded requests."""
        ...

    @property
    def credentials(self) -> "CredentialsAdmin":
        """The keys and certificates."""
        ...

    def publications(self) -> "PublicationSource":
        """Return the documents of the public port."""
        ...

    def rehearsed_answers(self) -> "SpoiltAnswers":
        """Return the signed answers of the public port that are wrong on purpose."""
        ...

    async def check(self) -> None:
        """Check that the host answers.

        Raises:
            Error: it does not.
        """
        ...

    async def samples(self) -> "Mapping[str, Samples]":
        """Return the values of the host's metrics."""
        ...

    async def endpoint_variables(self, vm: Vm, url: str) -> dict[str, dict[str, str]]:
        """Return the environment variables of a VM's clients by token route."""
        ...

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET of a target as the VM is answered."""
        ...


class Control(Struct, kw_only=True, eq=False):
    """The parts that decide what guests are served, inside a running event loop.

    `had_keys` tells that the state folder had keys before this start; `sandboxed` are the names of
    the VMs of commands in sandboxes.
    """

    startup: Startup
    notify: Notify
    clock: Clock
    fleet_service: FleetService
    events_service: EventsService
    webhook: Webhook | None
    pruner: Pruner
    faults: FaultService
    admin_ports: AdminPorts
    host: HostAccess
    had_keys: bool
    sandboxed: AbstractSet[str] = frozenset()
    _is_unapplied: bool = False
    """Whether the store has not taken the file at the start."""
    _watcher: FleetFileWatcher | None = None
    _tasks: list[Task[None]] = field(default_factory=list)
    _removed: AbstractSet[str] = frozenset()

    @property
    def fleet_index(self) -> FleetIndex[Any]:
        """The VMs that the store has."""
        return self.fleet_service.fleet_index

    async def load(self) -> None:
        """Load the fleet, its events and faults.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one address.
            StoreError: the store cannot be read or written.
        """
        await self._load_fleet()
        for notice in quarantine_notices(self.fleet_index.quarantine):
            self.notify(notice)
        self._check_sandboxed()
        await self._load_events()
        self._compact_fleet()
        self._check_store()
        self._run(self._follow_clock())
        self._run(self.pruner.run())
        for notice in (*self.startup.notices, *self.fleet_index.warnings()):
            self.notify(notice)

    def _check_store(self) -> None:
        """Check a store beside the requests that is too large to be checked before them."""
        store = self.fleet_service.store
        if isinstance(store, KeptStore) and store.is_unchecked:

            async def check() -> None:
                if damage := await asyncio.to_thread(store.check_beside):
                    self.notify(damage)

            self._run(check())

    def open_admin(self, token: AdminToken) -> str:
        """Open the admin port, and return its URL.

        Raises:
            ConfigError: the port cannot be bound.
        """
        url = self.admin_ports.open_admin(lambda: self._admin_application(token))
        self._run(self._watch_token(token))
        return url

    async def _watch_token(self, token: AdminToken) -> None:
        """Report each time that the token's file is opened to others."""
        reported = ""
        while True:
            found = token.exposure()
            if found and found != reported:
                self.notify(found)
            reported = found
            await asyncio.sleep(_TOKEN_S)

    def open_public(self) -> None:
        """Open the public port, if there is one."""
        self.admin_ports.open_public(self._public_application)

    def follow_fleet_file(self) -> None:
        """Apply edits of the fleet file from now on, if there is one."""
        if path := self.startup.settings.fleet:
            startup, is_unapplied = self.startup, self._is_unapplied
            self._watcher = FleetFileWatcher(
                path,
                b"" if is_unapplied else startup.fingerprint,
                self._apply,
                self.notify,
                entries=None if is_unapplied else startup.entries,
            )
            self._run(self._watcher.follow())

    async def reload(self) -> None:
        """Apply the fleet file, and try quarantined VMs again."""
        if self._watcher:
            await self._watcher.apply_edits()
        await self.fleet_service.return_quarantined()

    async def stop_tasks(self) -> None:
        """Cancel what runs beside the requests, and answer the requests under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.fleet_service.end_feeds()
        await self.admin_ports.close()

    async def _load_fleet(self) -> None:
        """Load the stored fleet, then apply the file, or serve the default VM."""
        vms = self.startup.vms
        await self.fleet_service.load(is_last=vms is None)
        if vms is not None:
            named = frozenset(vm.name for vm in vms)
            await self._apply_at_start(vms)
            index = self.fleet_index
            self._removed = named - index.by_name.keys() - index.quarantine.keys()
        elif (
            self.startup.origin == DEFAULT  # Else a file could not be read.
            and not self.fleet_index.by_name
            and not await self._has_own_vms()
        ):
            await self._serve_default_vm()

    async def _apply_at_start(self, vms: list[Vm]) -> None:
        """Apply the file; serve the stored fleet where the store takes no change.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one address.
            StoreError: there is no stored VM either.
        """
        try:
            await self._sync(_drain(vms), "start", self.startup.text, is_start=True)
        except StoreError as error:
            if not self.fleet_index.by_name:
                raise
            self._is_unapplied = True
            self.notify(
                f"{self.startup.source} is not applied: {error}. The stored fleet is served until "
                "it is"
            )
            await self.fleet_service.open_listeners()

    async def _has_own_vms(self) -> bool:
        """Tell whether a quarantined VM is another than the default one."""
        service = self.fleet_service
        for name in service.fleet_index.quarantine:
            stored = await service.call_store(service.store.get, name)
            if stored and stored.origin != DEFAULT:
                return True
        return False

    def _check_sandboxed(self) -> None:
        """Check that the VMs of commands in sandboxes are served.

        Raises:
            ConfigError: one is quarantined.
        """
        quarantine = self.fleet_index.quarantine
        for name in sorted(self.sandboxed & quarantine.keys()):
            seen = f'"{name}", which is not served ({quarantine[name].reason})'
            raise ConfigError("--vm", seen, "a VM that is served")

    async def _serve_default_vm(self) -> None:
        """Serve the default VM, without an identity if a lost store left its keys."""
        vm = default_vm(has_identity=not self.had_keys)
        if self.had_keys:
            self.notify(
                f"{DEFAULT_VM} has no identity: the state folder has keys and no VM, so others may "
                "trust its tokens. Restore the store, or type "
                f"openimds identity assign {DEFAULT_VM} --system"
            )
        await self.fleet_service.sync([vm], DEFAULT, "start")

    async def _load_events(self) -> None:
        await self.events_service.load()
        if self.webhook:
            self._run(self.webhook.run())
        if self.startup.events:
            try:
                await self.events_service.begin(
                    FLEET, self.startup.events, is_once=True, removed=self._removed
                )
            except ConfigError as error:
                raise error.inside(self.startup.settings.scenario or self.startup.source) from None
        with self._naming_the_file():
            await self.faults.load(self.startup.faults, self._removed)

    async def _follow_clock(self) -> None:
        """Set the timers of events anew after a step, which the host reports."""
        watch = ClockWatch(self.clock.wall, asyncio.get_running_loop().time)
        while True:
            await asyncio.sleep(_CLOCK_S)
            if watch.look():
                with suppress(StoreError):  # The timers try again.
                    await self.events_service.follow_clock_step()

    def _compact_fleet(self) -> None:
        """Free the memory that loading a large fleet has left in use."""
        if len(self.fleet_index.by_name) >= _LARGE_FLEET:
            gc.collect()  # The results of store calls are parts of reference cycles.
            self.fleet_index.compact()

    def _admin_application(self, token: AdminToken) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.app import application  # noqa: PLC0415 - on the first connection
        from openimds.admin.failed_tokens import FailedTokens  # noqa: PLC0415 - as above
        from openimds.admin.services import AdminServices  # noqa: PLC0415 - as above
        from openimds.server.metrics_source import ServerMetrics  # noqa: PLC0415 - as above

        failed = FailedTokens(time.monotonic, self.notify)
        services = AdminServices(
            fleet_service=self.fleet_service,
            events_service=self.events_service,
            faults=self.faults,
            recording=self.host.recording,
            credentials=self.host.credentials,
            endpoint_variables=self.host.endpoint_variables,
            get_as=self.host.get_as,
            check_host=self.host.check,
            metrics=ServerMetrics(
                self.host.samples,
                self.fleet_service,
                self.events_service,
                self.webhook,
                self.pruner.pruned,
                failed.counts,
            ),
            token=token,
            failed_tokens=failed,
        )
        return application(services, self.admin_ports.admin_names)

    def _public_application(self) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.host_rule import PublicHosts  # noqa: PLC0415 - on the first connection
        from openimds.admin.public_app import application  # noqa: PLC0415 - as above
        from openimds.admin.public_faults import (  # noqa: PLC0415 - as above
            FaultyPublicApplication,
        )
        from openimds.credentials.pki.extensions import hosts_in  # noqa: PLC0415 - as above

        publications = self.host.publications()
        faulty = FaultyPublicApplication(
            application(publications, self.notify),
            self.faults.injector,
            publications,
            self.host.rehearsed_answers(),
            self.clock,
            self.notify,
        )
        names = self.admin_ports.public_names
        return PublicHosts(faulty, names, lambda: hosts_in(publications.bundle()))

    def _run(self, work: Any) -> None:  # noqa: ANN401 - any coroutine
        self._tasks.append(asyncio.create_task(work))

    async def _apply(self, contents: FleetFileContents, who: str) -> list[Change]:
        with self._naming_the_file():
            self.faults.check(contents.faults, contents.names)
        changes = await self._sync(contents.vms, who, contents.text, gone=contents.gone)
        await self.faults.follow(contents.faults)
        return changes

    async def _sync(
        self,
        vms: Iterable[Vm],
        who: str,
        text: bytes,
        *,
        is_start: bool = False,
        gone: AbstractSet[str] | None = None,
    ) -> list[Change]:
        with self._naming_the_file():
            service, origin = self.fleet_service, self.startup.origin
            return await service.sync(vms, origin, who, is_start=is_start, text=text, gone=gone)

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
