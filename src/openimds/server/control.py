"""The control role: the store, the fleet file, events, faults, and the ports of operators."""

import asyncio
import gc
from asyncio import Task
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from openimds.admin.failed_tokens import FailedTokens
from openimds.admin.metric_rows.control import FINDINGS
from openimds.admin.request_counts import RequestCounts
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
from openimds.fleet.store.kept import START, KeptStore
from openimds.fleet.store.port import DEFAULT, Change, StoreError
from openimds.log.events import (
    ADMIN_TOKEN_EXPOSED,
    ADMIN_TOKEN_WRITTEN,
    FLEET_REJECTED,
    FLEET_WARNING,
    SETTING,
    STORE_DAMAGED,
    VM_QUARANTINED,
)
from openimds.server.admin_ports import AdminPorts
from openimds.server.clock_watch import ClockWatch
from openimds.server.fleet_file_watcher import FleetFileWatcher
from openimds.server.host_access import HostAccess
from openimds.server.notify import Notify
from openimds.server.reload_record import ReloadRecord
from openimds.server.startup import Startup
from openimds.vm.types import Vm

if TYPE_CHECKING:  # They load the web server's libraries, which only a connection needs.
    from openimds.admin.metrics import Samples
    from openimds.admin.services import HostsAdmin

_CLOCK_S = 1.0
"""The time between two comparisons of the wall clock with a steady one."""
_STORE_S = 10.0
"""The time between two attempts to make a store on a disk that takes none."""
_TOKEN_S = 10.0
"""The time between two looks at the token's file."""
_LARGE_FLEET = 1000
"""From so many VMs on, loading leaves enough memory scattered to be worth a compaction."""


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
    failed_tokens: FailedTokens
    request_counts: RequestCounts = field(default_factory=RequestCounts)
    loop_lag_s: float = 0.0
    ports: list[AdminPorts] = field(default_factory=list)
    """The ports of operators and verifiers."""
    _is_unapplied: bool = False
    """Whether the store has not taken the file at the start."""
    _watcher: FleetFileWatcher | None = None
    _tasks: list[Task[None]] = field(default_factory=list)
    _removed: AbstractSet[str] = frozenset()

    @property
    def fleet_index(self) -> FleetIndex[Any]:
        """The VMs that the store has."""
        return self.fleet_service.fleet_index

    @property
    def reloads(self) -> ReloadRecord | None:
        """The record of the fleet file's edits; None without a file."""
        return self._watcher.record if self._watcher else None

    async def load(self) -> None:
        """Load the fleet, its events and faults.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one address.
            StoreError: the store cannot be read or written.
        """
        await self._load_fleet()
        for notice in quarantine_notices(self.fleet_index.quarantine):
            self.notify(VM_QUARANTINED.message(notice))
        self._check_sandboxed()
        await self._load_events()
        self._compact_fleet()
        self._check_store()
        self._run(self._follow_clock())
        self._run(self.pruner.run())
        for notice in self.startup.notices:
            self.notify(SETTING.message(notice))
        for notice in self.fleet_index.warnings():
            self.notify(FLEET_WARNING.message(notice))

    def _check_store(self) -> None:
        """Check a store beside the requests that is too large to be checked before them."""
        store = self.fleet_service.store
        if self._is_unmade:
            self._run(self._make_store())
        if isinstance(store, KeptStore) and store.is_unchecked:

            async def check() -> None:
                if damage := await asyncio.to_thread(store.check_beside):
                    self.notify(STORE_DAMAGED.message(damage))

            self._run(check())

    @property
    def _is_unmade(self) -> bool:
        """Whether there is no store yet, as the disk takes none."""
        store = self.fleet_service.store
        return isinstance(store, KeptStore) and store.is_unmade

    async def _make_store(self) -> None:
        """Try to make the store until the disk takes it, and the scenario with it."""
        service, has_begun = self.fleet_service, False
        while not has_begun:
            await asyncio.sleep(_STORE_S)
            await service.call_store(service.store.problem)
            with suppress(StoreError):  # The next turn tries again.
                await self._begin_scenario()
                has_begun = not self._is_unmade

    def open_admin(self, token: AdminToken) -> str:
        """Open the admin port, and return its URL.

        Raises:
            ConfigError: the port cannot be bound, or its certificate cannot be used.
        """
        url = self.admin_ports.open_admin(lambda: self.admin_application(token))
        self.watch_admin(token)
        return url

    def watch_admin(self, token: AdminToken) -> None:
        """Watch the token's file from now on."""
        self._run(self._watch_token(token))

    async def _watch_token(self, token: AdminToken) -> None:
        """Report each time that the token's file is opened to others; make a lacking one."""
        reported = ""
        while True:
            was_lacking = token.is_lacking
            found = token.look()
            if found and found != reported:
                self.notify(ADMIN_TOKEN_EXPOSED.message(found))
            elif was_lacking and not found:
                self.notify(
                    ADMIN_TOKEN_WRITTEN.message(
                        f"admin token {token.path} is written", path=str(token.path)
                    )
                )
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
        self.fleet_service.feeds.end()
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
        elif self.startup.origin != DEFAULT and self._is_unmade:
            # A new control that cannot read the file knows no VM: guests are served without it.
            raise StoreError(f"{self.startup.source} cannot be read, and there is no store yet")
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
            await self._sync(_drain(vms), START, self.startup.text, is_start=True)
        except StoreError as error:
            if not self.fleet_index.by_name:
                raise
            self._is_unapplied = True
            self.notify(
                FLEET_REJECTED.message(
                    f"{self.startup.source} is not applied: {error}. The stored fleet is served "
                    "until "
                    "it is",
                    file=self.startup.source,
                    reason=str(error),
                )
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
                FLEET_WARNING.message(
                    f"{DEFAULT_VM} has no identity: the state folder has keys and no VM, so "
                    "others may "
                    "trust its tokens. Restore the store, or type "
                    f"openimds identity assign {DEFAULT_VM} --system"
                )
            )
        await self.fleet_service.sync([vm], DEFAULT, START)

    async def _load_events(self) -> None:
        await self.events_service.load()
        if self.webhook:
            self._run(self.webhook.run())
        try:
            await self._begin_scenario()
        except StoreError:
            if not self._is_unmade:
                raise
        with self._naming_the_file():
            await self.faults.load(self.startup.faults, self._removed)

    async def _begin_scenario(self) -> None:
        if self.startup.events:
            try:
                await self.events_service.begin(
                    FLEET, self.startup.events, is_once=True, removed=self._removed
                )
            except ConfigError as error:
                raise error.inside(self.startup.settings.scenario or self.startup.source) from None

    async def _follow_clock(self) -> None:
        """Set the timers of events anew after a step, which the host reports."""
        now_s = asyncio.get_running_loop().time
        watch = ClockWatch(self.clock.wall, now_s)
        while True:
            due_s = now_s() + _CLOCK_S
            await asyncio.sleep(_CLOCK_S)
            self.loop_lag_s = max(0.0, now_s() - due_s)
            if watch.look():
                with suppress(StoreError):  # The timers try again.
                    await self.events_service.follow_clock_step()

    def _compact_fleet(self) -> None:
        """Free the memory that loading a large fleet has left in use."""
        if len(self.fleet_index.by_name) >= _LARGE_FLEET:
            gc.collect()  # The results of store calls are parts of reference cycles.
            self.fleet_index.compact()

    def admin_application(
        self,
        token: AdminToken,
        names: frozenset[str] | None = None,
        hosts: "HostsAdmin | None" = None,
    ) -> Any:  # noqa: ANN401 - any ASGI application
        """Return the admin API, called by one of these host names.

        `hosts` are those of a control of many hosts. Call it in a thread: it loads much.
        """
        from openimds.admin.app import application  # noqa: PLC0415 - on the first connection
        from openimds.server.admin_services import admin_services  # noqa: PLC0415 - as above

        services = admin_services(self, token, hosts)
        return application(services, self.admin_ports.admin_names if names is None else names)

    async def samples(self, hosts: "HostsAdmin | None" = None) -> "Mapping[str, Samples]":
        """Return the values of all metrics by the name of a row."""
        from openimds.server.control_metrics import metrics_source  # noqa: PLC0415 - as above

        samples = await metrics_source(self, hosts).samples()
        return {**samples, FINDINGS: await self.host.recording.findings()}

    async def open_metrics(self) -> str | None:
        """Open the listener for metrics alone, if the settings ask for one; return its URL.

        Raises:
            ConfigError: it cannot be bound.
        """
        return await self.admin_ports.open_metrics(self.samples)

    def _public_application(self) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.server.public_application import (  # noqa: PLC0415 - on the first connection
            public_application,
        )

        return public_application(
            self.host, self.faults.injector, self.clock, self.notify, self.admin_ports.public_names
        )

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
