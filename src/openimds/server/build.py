"""The composition root: one function that makes every part of a server, top to bottom."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from openimds.credentials.entra.client import (
    ENTRA_UNCONFIGURED,
    EntraClient,
    Sign,
    UnconfiguredEntra,
)
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.arc_challenge import ChallengeFiles
from openimds.credentials.tokens.caller_secrets import CallerSecrets
from openimds.dataplane.dispatcher import Bounds, Dispatcher, ResponseIndex
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import Error
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook, delivery
from openimds.facts.attested import AZURE_BASES
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.limits import FORGIVENESS, LIMITS, REFUSED_IDENTITY
from openimds.facts.versions import catalog
from openimds.faults import FaultService
from openimds.fleet.index import Allowance, Allowances, FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.schema import upgrade_notice
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore
from openimds.fleet.store.state import State
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.events.document import ScopeActivity
from openimds.server.admin_ports import AdminPorts
from openimds.server.azure_hosts import AzureHosts
from openimds.server.connection_filters import ConnectionFilters
from openimds.server.file_budget import file_budget
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.listener_set import ListenerSet
from openimds.server.pending_dispatch import PendingDispatch
from openimds.server.server import Notify, Server
from openimds.server.settings_check import check_pki_names
from openimds.server.shortage_notices import ShortageNotices
from openimds.server.startup import Startup
from openimds.settings import Settings

_MESSAGES = 64
"""So many operator messages are remembered, and not repeated."""
_MIB = 1 << 20


class Callbacks(Struct, frozen=True, kw_only=True):
    """Reactions of a server to events inside its parts, made before the parts."""

    unknown_caller: Callable[[str], None]
    internal_error: Callable[[BaseException], None]
    sign: Sign
    vms_changed: Callable[[AbstractSet[str]], None]
    listeners_wanted: Callable[[dict[str, str], AbstractSet[str]], Awaitable[None]]
    listeners_counted: Callable[[int], None]
    listeners_reopened: Callable[[], None]
    log_entry_written: Callable[[], None]
    clock_set: Callable[[], Awaitable[None]]
    faults_changed: Callable[[], Awaitable[None]]
    observers_changed: Callable[[bool], None]


def build(  # noqa: C901, PLR0915 - a list of parts, read from top to bottom
    startup: Startup,
    notify: Notify,
    inherited: InheritedSockets = InheritedSockets(),  # noqa: B008 - frozen
) -> Server:
    """Make every part of a server; call it inside the event loop that will serve.

    Nothing stays open if it fails. No listener of the data plane opens before `Server.start`.

    Raises:
        ConfigError: a port cannot be bound, or a setting names something unusable.
        StoreError: another process holds the state directory, or the store cannot be opened.
    """
    settings = startup.settings
    check_pki_names(settings, is_in_sandbox=inherited.trust is not None)
    loop_time = asyncio.get_running_loop().time
    notify_once = lru_cache(_MESSAGES)(notify)
    budget = file_budget()
    shortages = ShortageNotices(notify, loop_time)

    # Reactions. They name parts that are made below, and run only after all of them exist.

    def unknown_caller(address: str) -> None:
        notify(
            f"unknown caller {address}: no VM has this address, so it gets 404. To serve it, add "
            "the address to reach.address of its VM"
        )

    def internal_error(error: BaseException) -> None:
        if isinstance(error, Error):
            notify_once(str(error))
        else:
            notify(f"internal error: {error!r}. Please report it")

    def sign(claims: Mapping[str, object], now_s: float) -> str:
        return credentials.sign(claims, now_s)

    def vms_changed(names: AbstractSet[str]) -> None:
        if settings.forget_tokens:
            credentials.tokens.forget(names)

    async def listeners_wanted(wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        await listeners.update(wanted, keep)
        listener_faults.apply()

    def listeners_counted(count: int) -> None:
        """Leave guests' connections the files that neither the reserve nor a listener has."""
        most = budget.connections(settings.max_connections, count)
        dispatcher.connections.resize(most)

    def listeners_reopened() -> None:
        """Close or filter them again if a fault refuses or swallows connections."""
        listener_faults.apply()

    def log_entry_written() -> None:
        if webhook:
            webhook.wake()

    async def faults_changed() -> None:
        """Close, filter or reopen listeners to match the active faults before returning."""
        listener_faults.apply()
        await listener_faults.settle()

    async def clock_set() -> None:
        """Drop responses of the old time; faults may begin or end with the new one."""
        fleet_index.clear_responses()
        await faults_changed()

    def observers_changed(is_observed: bool) -> None:  # noqa: FBT001 - the one fact of the call
        dispatcher.set_observer(recorder if is_observed else None)

    callbacks = Callbacks(
        unknown_caller=unknown_caller,
        internal_error=internal_error,
        sign=sign,
        vms_changed=vms_changed,
        listeners_wanted=listeners_wanted,
        listeners_counted=listeners_counted,
        listeners_reopened=listeners_reopened,
        log_entry_written=log_entry_written,
        clock_set=clock_set,
        faults_changed=faults_changed,
        observers_changed=observers_changed,
    )

    with ExitStack() as resources:
        # Exclusive resources: the state lock and the public port, whose URL is signed.
        state = State(Path(settings.state).absolute()) if settings.state else None
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
        clock = Clock(time.time, is_virtual=settings.virtual_clock)
        public_url = settings.public_url or admin_ports.public_url or ""

        # Credentials.
        token_settings = _token_settings(settings, public_url)
        entra = _entra(startup, token_settings.issuer, notify, callbacks.sign)
        if isinstance(entra, EntraClient):
            resources.callback(entra.close)
        credentials = CredentialsService(
            _ca_settings(settings, state, public_url, inherited),
            token_settings,
            entra,
            ChallengeFiles(Path(settings.arc_folder)) if settings.arc_folder else None,
        )
        resources.callback(credentials.close)
        caller_secrets = CallerSecrets.open(state.folder if state else None)
        credentials.ca.check(time.time())
        if azure_hosts:
            azure_hosts.publish(credentials.ca.root_pem(time.time()))

        # The fleet and its events.
        fleet_index: ResponseIndex = FleetIndex(
            catalog(settings.newest_version), settings.cache_mib * _MIB
        )
        fleet_index.homes = startup.homes
        store = SqliteStore(state.store_path) if state else MemoryStore()
        if store.copied_to:
            notify(upgrade_notice(store.path, store.copied_to))
        fleet_service = FleetService(
            store,
            fleet_index,
            clock,
            callbacks.listeners_wanted,
            callbacks.vms_changed,
            loop_time,
            unsafe_claims=settings.unsafe_claims,
            notify=notify,
        )
        resources.callback(fleet_service.close)
        webhook = (
            Webhook(delivery(settings.event_hook), fleet_service, notify)
            if settings.event_hook
            else None
        )
        events_service = EventsService(
            fleet_service,
            clock,
            notify,
            ScopeActivity() if settings.events_activation else None,
            on_clock=callbacks.clock_set,
            on_log_entry=callbacks.log_entry_written,
        )

        # The data plane, its recorder, its listeners and its faults.
        dispatcher = Dispatcher(
            fleet_index,
            now=loop_time,
            utc=clock if settings.virtual_clock else time.time,
            allowances=_allowances(settings),
            provider=PendingDispatch(credentials, events_service),
            bounds=Bounds(
                connections=budget.connections(settings.max_connections),
                connections_per_caller=settings.max_connections_per_vm,
            ),
            extras=_extras(settings),
            secret_of=caller_secrets.of,
            on_unknown_caller=callbacks.unknown_caller,
            on_internal_error=callbacks.internal_error,
        )
        recorder = Recorder(settings.record, on_active=callbacks.observers_changed)
        if recorder.is_active:
            dispatcher.set_observer(recorder)
        reactor = Reactor(dispatcher)
        reactor.on_shortage = shortages.note
        resources.callback(reactor.close)
        listeners = ListenerSet(
            reactor,
            settings.listen,
            inherited,
            notify,
            callbacks.listeners_counted,
            on_reopen=callbacks.listeners_reopened,
        )
        faults = FaultService(
            fleet_service, dispatcher.utc, dispatcher.set_faults, callbacks.faults_changed, notify
        )
        filters = ConnectionFilters(
            faults.injector,
            dispatcher.utc,
            fleet_index,
            lambda: listeners.all,
            inherited,
            notify,
        )
        faults.check_system = filters.check
        listener_faults = ListenerFaults(
            faults.injector, clock, listeners.by_text, listeners.reopen, notify
        )
        listener_faults.filters = filters

        return Server(
            startup=startup,
            notify=notify,
            inherited=inherited,
            resources=resources.pop_all(),
            state=state,
            clock=clock,
            public_url=public_url,
            caller_secrets=caller_secrets,
            credentials=credentials,
            fleet_service=fleet_service,
            events_service=events_service,
            webhook=webhook,
            dispatcher=dispatcher,
            recorder=recorder,
            faults=faults,
            listeners=listeners,
            listener_faults=listener_faults,
            admin_ports=admin_ports,
            shortages=shortages,
        )


def _token_settings(settings: Settings, public_url: str) -> TokenSettings:
    issuer = public_url if settings.issuer == "public" else settings.issuer
    return TokenSettings(
        settings.token_life,
        "" if issuer == "azure" else issuer,
        frozenset(settings.v2_resources),
        settings.unsafe_claims,
    )


def _entra(
    startup: Startup, issuer: str, notify: Notify, sign: Sign
) -> EntraClient | UnconfiguredEntra:
    """Return the client of Entra that the settings choose, or one that refuses every token."""
    credential = startup.settings.entra
    if not credential:
        return UnconfiguredEntra(notify, is_reported=ENTRA_UNCONFIGURED in startup.notices)
    if credential == "federation" and not issuer.startswith("https://"):
        notify(
            f"Entra rejects tokens of the issuer {issuer}: it fetches signing keys by https only. "
            "Set --public-url or --issuer to an https URL"
        )
    return EntraClient(credential, issuer=issuer, sign=sign, notify=notify)


def _ca_settings(
    settings: Settings, state: State | None, public_url: str, inherited: InheritedSockets
) -> CaSettings:
    bases = AZURE_BASES if settings.pki_names == "azure" else None
    return CaSettings(
        state.folder if state else None,
        bases.issuers[0] if bases else public_url,
        Path(settings.attest_certificates) if settings.attest_certificates else None,
        Path(settings.attest_key) if settings.attest_key else None,
        inherited.make_key,
        settings.attest_generation,
        settings.attest_tier_bits,
        bases,
    )


def _allowances(settings: Settings) -> Allowances:
    if not settings.rate_limit:
        return {}
    rates = {
        "general": (settings.general_per_s, settings.general_burst),
        "identity": (settings.identity_per_s, settings.identity_burst),
        REFUSED_IDENTITY: (
            settings.identity_per_s * FORGIVENESS,
            settings.identity_burst * FORGIVENESS,
        ),
    }
    return {key: Allowance(*rate, LIMITS[key].concurrent) for key, rate in rates.items()}


def _extras(settings: Settings) -> frozenset[str]:
    """Return the names of the set settings that enable endpoints."""
    names = {row.setting for row in ENDPOINTS if row.setting}
    return frozenset(name for name in names if getattr(settings, name))
