"""All parts of one server, put together inside a running loop."""

import asyncio
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from openimds.admin.token import AdminToken
from openimds.config import DEFAULT_VM, Config, FleetFileContents
from openimds.credentials.entra.client import (
    ENTRA_UNCONFIGURED,
    FEDERATION,
    EntraClient,
    UnconfiguredEntra,
)
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.arc_challenge import ChallengeFiles
from openimds.credentials.tokens.caller_secrets import CallerSecrets
from openimds.dataplane.dispatcher import Dispatcher, ResponseIndex
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.events.scenario import FLEET
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook, delivery
from openimds.facts.protocols import TOKEN_ROUTES
from openimds.faults import FaultService
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import DEFAULT, FleetService
from openimds.fleet.store.port import Change, Store
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore
from openimds.fleet.store.state import TOKEN_NAME, State, default_folder
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.identity_dialects import variables
from openimds.server.admin_ports import AdminPorts
from openimds.server.fleet_file_watcher import FleetFileWatcher
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.listener_set import ListenerSet
from openimds.server.metrics_source import ServerMetrics
from openimds.server.pending_dispatch import PendingDispatch
from openimds.vm.types import Vm

_SWEEP_S = 1.0
_DRAIN_S = 5.0

Notify = Callable[[str], None]
"""Says a sentence to the operator."""


class Ready(Struct, frozen=True):
    """What a server says when it answers."""

    imds: str
    admin: str | None
    token_file: str | None
    public: str | None = None


class Server:
    """All rooms put together, inside a running loop."""

    def __init__(
        self,
        config: Config,
        notify: Notify,
        given: InheritedSockets = InheritedSockets(),  # noqa: B008 - frozen
    ) -> None:
        """Take the state directory and open the store; keep nothing of it where that fails.

        Raises:
            ConfigError: a port cannot be had, or settings do not fit together.
            StoreError: the directory is held by another process, or the store cannot be used.
        """
        self.config, self.notify, self._given = config, notify, given
        self._notify_once = lru_cache(64)(notify)  # A text that is remembered is not told again.
        self._ends = ExitStack()  # Closes what is open, and what was opened first last.
        try:
            self._take(config)
            self._sign(config)
            self._plan(config)
            self._serve(config)
        except BaseException:
            self._ends.close()
            raise
        self._edits: FleetFileWatcher | None = None
        self.loop_lag_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def _take(self, config: Config) -> None:
        """Take what nobody else can have at the same time."""
        self.state = State(Path(config.state).absolute()) if config.state else None
        if self.state:
            self._ends.callback(self.state.close)
        self._admin_ports = AdminPorts(config, self._given, self.notify)
        self._ends.callback(self._admin_ports.shut)
        self.clock = Clock(time.time, is_virtual=config.virtual_clock)

    def _sign(self, config: Config) -> None:
        """Put together what signs, and what it is asked by."""
        self.public_url = config.public_url or self._admin_ports.public_url or ""
        issuer = self.public_url if config.issuer == "public" else config.issuer
        terms = TokenSettings(
            config.token_life_s, "" if issuer == "azure" else issuer, config.v2_resources
        )
        self.entra = self._bind_entra(terms.issuer)
        if self.entra:
            self._ends.callback(self.entra.close)
        elsewhere = self.entra or UnconfiguredEntra(
            self.notify, is_told=ENTRA_UNCONFIGURED in config.remarks
        )
        arc = ChallengeFiles(Path(config.arc_folder)) if config.arc_folder else None
        self.office = CredentialsService(self._issuing(), terms, elsewhere, arc)
        self._ends.callback(self.office.close)
        self.secrets = CallerSecrets.open(self.state.folder if self.state else None)
        self.office.ca.check(time.time())

    def _plan(self, config: Config) -> None:
        """Put together what the fleet is, and what is to happen to it."""
        self._fleet_index: ResponseIndex = FleetIndex(config.catalog, config.cache_bytes)
        forget = self.office.tokens.forget if config.forget_tokens else lambda _: None
        steady = asyncio.get_running_loop().time
        self.fleet_service = FleetService(
            self._store(), self._fleet_index, self.clock, self._have, forget, steady
        )
        self._ends.callback(self.fleet_service.close)
        activity = ScopeActivity() if config.events_activation else None
        self.events_service = EventsService(self.fleet_service, self.clock, self.notify, activity)
        self.hook = (
            Webhook(delivery(config.event_hook), self.fleet_service, self.notify)
            if config.event_hook
            else None
        )

    def _serve(self, config: Config) -> None:
        """Put together what answers, who looks on, and what goes wrong on request."""
        self.dispatcher = Dispatcher(
            self._fleet_index,
            now=asyncio.get_running_loop().time,
            utc=self.clock if config.virtual_clock else time.time,
            allowances=config.allowances,
            provider=PendingDispatch(self.office, self.events_service),
            bounds=config.bounds,
            extras=config.extras,
            secret_of=self.secrets.of,
        )
        self.dispatcher.on_unknown_caller = self._on_unknown_caller
        self.dispatcher.on_internal_error = self._on_internal_error
        self.recorder = Recorder(config.record)
        self.recorder.on_active = self._look
        self._look(self.recorder.is_active)
        self.listening = ListenerSet(self.dispatcher, config.listen, self._given, self.notify)
        self.faults = FaultService(
            self.fleet_service, self.dispatcher.utc, self.dispatcher.set_faults
        )
        open_now, reopen = self.listening.by_text, self.listening.reopen
        self.listener_faults = ListenerFaults(
            self.faults.engine, self.clock, open_now, reopen, self.notify
        )
        self.faults.on_change = self._shut
        self.events_service.on_clock = self._on_clock

    def _store(self) -> Store:
        if self.state is None:
            return MemoryStore()
        return SqliteStore(self.state.store_path)

    async def start(self) -> Ready:
        """Load the fleet, open every listener, and say where they are.

        Raises:
            ConfigError: a listener cannot be opened, or two VMs claim one way in.
            StoreError: the store cannot be read or written.
        """
        await self._load()
        await self._load_events()
        for remark in (*self.config.remarks, *self.dispatcher.fleet_index.warnings()):
            self.notify(remark)
        first = await self.listening.open()
        self.listener_faults.look()
        ready = Ready(first.url, None, None, self._admin_ports.public_url)
        if self._admin_ports.has_admin:
            ready = self._open_admin(ready)
        self._admin_ports.open_public(self._publications)
        if self.dispatcher.fleet_index.has_identities:
            self._tasks.append(asyncio.create_task(self.office.warm(self.dispatcher.utc())))
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self.config.fleet:
            seen = self.config.fingerprint
            self._edits = FleetFileWatcher(self.config.fleet, seen, self._apply, self.notify)
            self._tasks.append(asyncio.create_task(self._edits.follow()))
        return ready

    async def _load(self) -> None:
        await self.fleet_service.load(is_last=self.config.vms is None)
        if self.config.vms is not None:
            await self._sync(self.config.vms, "start")
            self.config.vms.clear()
        elif not self.dispatcher.fleet_index.by_name:
            await self.fleet_service.sync([Vm(DEFAULT_VM)], DEFAULT, "start")

    async def _load_events(self) -> None:
        await self.events_service.load()
        if self.hook:
            self.events_service.event_writer.on_log_entry = self.hook.wake
            self._tasks.append(asyncio.create_task(self.hook.run()))
        if self.config.plans:
            try:
                await self.events_service.begin(FLEET, self.config.plans, is_once=True)
            except ConfigError as error:
                raise error.inside(self.config.scenario or self.config.source) from None
        with self._of_file():
            await self.faults.load(self.config.faults)

    def _issuing(self) -> CaSettings:
        key, certificates = self.config.attest_key, self.config.attest_certificates
        if bool(key) != bool(certificates):
            said = "attest_key" if key else "attest_certificates"
            raise ConfigError(said, "it alone", "attest_key and attest_certificates together")
        return CaSettings(
            self.state.folder if self.state else None,
            self.public_url,
            Path(certificates) if certificates else None,
            Path(key) if key else None,
            self._given.make_key,
        )

    def _bind_entra(self, issuer: str) -> EntraClient | None:
        if not self.config.entra:
            return None
        if self.config.entra == FEDERATION and not issuer.startswith("https://"):
            self.notify(f"Entra fetches the keys of an issuer by https, and this one is {issuer}")
        return EntraClient(
            self.config.entra,
            issuer=issuer,
            # The office comes after: it has to know whom to ask.
            sign=lambda claims, now_s: self.office.sign(claims, now_s),  # noqa: PLW0108 - as said
            notify=self.notify,
        )

    def _publications(self) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.public_app import application  # noqa: PLC0415 - on the first knock
        from openimds.credentials.publication import Publications  # noqa: PLC0415 - as above

        clouds = self.dispatcher.fleet_index.clouds
        said = Publications(self.public_url, self.office, clouds, self.dispatcher.utc)
        return application(said, self.notify)

    def _open_admin(self, ready: Ready) -> Ready:
        kept = (self.state.folder if self.state else default_folder()) / TOKEN_NAME
        token = self._given.token or AdminToken(kept)
        url = self._admin_ports.open_admin(lambda: self._application(token))
        return structs.replace(ready, admin=url, token_file=str(token.path))

    def _application(self, token: AdminToken) -> Any:  # noqa: ANN401 - any ASGI application
        from openimds.admin.app import application  # noqa: PLC0415 - on the first knock

        return application(
            self.fleet_service,
            token,
            self._admin_ports.admin_names,
            ServerMetrics(
                self.dispatcher,
                self.fleet_service,
                self.events_service,
                self.hook,
                self.recorder,
                self.faults.played,
                lambda: self.loop_lag_s,
            ),
            self.office,
            self.ways_of,
            events_service=self.events_service,
            recording=self.recorder,
            faults=self.faults,
        )

    def ways_of(self, vm: Vm) -> dict[str, dict[str, str]]:
        """Return the variables of each way to tokens that this server has, for a VM's clients."""
        urls = self.listening.urls(vm.reach.listen)
        url = next((one for one in urls if one.startswith("http")), "")
        secret, extras = self.secrets.of(vm.name), {"", *self.config.extras}
        ways = [row.key for row in TOKEN_ROUTES.values() if row.setting in extras]
        return {key: variables(key, url, secret) for key in ways} if url else {}

    async def _have(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        await self.listening.have(wanted, keep)

    async def stop(self, patience_s: float = _DRAIN_S) -> None:
        """Take no new connection, let the open ones end for so long, and cut those that do not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.listener_faults.close()
        self.fleet_service.end_feeds()
        self.recorder.end_feeds()
        await self._admin_ports.close()
        self.listening.close()
        self.dispatcher.connections.drain()
        deadline = self.dispatcher.now() + patience_s
        while len(self.dispatcher.connections) and self.dispatcher.now() < deadline:
            self.dispatcher.connections.sweep(self.dispatcher.now())
            await asyncio.sleep(0.01)
        for _ in ("told", "cut"):
            self.dispatcher.connections.sweep(inf)
        await self.events_service.close()
        self._ends.close()

    async def _sweep(self) -> None:
        while True:
            due = self.dispatcher.now() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            self.loop_lag_s = max(0.0, self.dispatcher.now() - due)
            self.dispatcher.connections.sweep(self.dispatcher.now())

    async def reload(self) -> None:
        """Apply edits of the fleet file now, and listen anew where a namespace was made anew."""
        if self._edits:
            await self._edits.look()
        await self.listening.renew()

    async def _apply(self, said: FleetFileContents, who: str) -> list[Change]:
        with self._of_file():
            self.faults.check(said.faults, (vm.name for vm in said.vms))
        changes = await self._sync(said.vms, who)
        await self.faults.follow(said.faults)
        return changes

    async def _sync(self, vms: list[Vm], who: str) -> list[Change]:
        with self._of_file():
            return await self.fleet_service.sync(vms, self.config.origin, who)

    @contextmanager
    def _of_file(self) -> Iterator[None]:
        """Name the file in whatever is wrong with what it says."""
        try:
            yield
        except ConfigError as error:
            raise error.inside(self.config.source) from None

    async def _on_clock(self) -> None:
        self.dispatcher.fleet_index.clear_responses()
        await self._shut()

    async def _shut(self) -> None:
        """Shut what is to be shut now; whoever has asked for it finds it so."""
        self.listener_faults.look()
        await self.listener_faults.settle()

    def _look(self, is_looking: bool) -> None:  # noqa: FBT001 - a fact that is told
        self.dispatcher.set_observer(self.recorder if is_looking else None)

    def _on_internal_error(self, error: BaseException) -> None:
        if isinstance(error, Error):  # The operator's or the world's, and not ours.
            self._notify_once(str(error))
        else:
            self.notify(f"a mistake of ours: {error!r}")

    def _on_unknown_caller(self, caller: str) -> None:
        self.notify(
            f"unknown caller {caller}: no VM of the fleet has that address, so it gets 404. "
            "Write it under reach.address of the VM that it is"
        )
