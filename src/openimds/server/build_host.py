"""The composition root of the host role, in one function from top to bottom."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from openimds.credentials.entra.client import EntraClient, Sign, UnconfiguredEntra
from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.arc_challenge import ChallengeFiles
from openimds.credentials.tokens.caller_secrets import CallerSecrets
from openimds.dataplane.bounds import Bounds
from openimds.dataplane.dispatcher import Dispatcher, ResponseIndex
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import Error, kind_and_place
from openimds.events.clock import Clock
from openimds.facts.attested import AZURE_BASES
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.limits import FORGIVENESS, LIMITS, REFUSED_IDENTITY
from openimds.facts.versions import catalog
from openimds.faults import FaultInjector
from openimds.fleet.address_claims import claims_of
from openimds.fleet.index import FleetIndex
from openimds.fleet.placement import placed_claims
from openimds.fleet.vm_entry import Allowance, Allowances
from openimds.log.events import (
    CALLER_MOVED,
    CALLER_UNKNOWN,
    CREDENTIALS_TROUBLE,
    INTERNAL_ERROR,
    SETTING,
)
from openimds.protocol.access_token import TokenSettings
from openimds.server.access_log import access_log
from openimds.server.clock_watch import ClockWatch
from openimds.server.connection_filters import ConnectionFilters
from openimds.server.file_budget import FileBudget
from openimds.server.host import Host
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_faults import ListenerFaults
from openimds.server.listener_set import ListenerSet
from openimds.server.notify import Notify
from openimds.server.pending_dispatch import PendingDispatch
from openimds.server.shortage_notices import ShortageNotices
from openimds.settings import Settings

if TYPE_CHECKING:  # They load cryptography.
    from openimds.credentials.pki.host_leaf_register import LeafValues
    from openimds.credentials.remote.given_secrets import GivenSecrets
    from openimds.credentials.remote.host_credentials import HostCredentials

_MESSAGES = 64
"""So many operator messages are remembered, and not repeated."""
_MIB = 1 << 20


class GuestCredentials(Protocol):
    """The credentials of guests whose control is on another machine."""

    provider: "HostCredentials"
    secrets: "GivenSecrets"


class HostWorld(Struct, frozen=True, kw_only=True):
    """The world around a host: its clock, state folder, sockets and bounds.

    `public_url` stands in certificates and tokens. `is_entra_reported` tells that the operator
    knows that no credential for Entra is set. With `are_placed` the index has the VMs of all hosts.
    `fleet` are the credentials of a host of a fleet of hosts, whose control signs. `host_leaves` is
    the store of the leaves of hosts, at their control.
    """

    notify: Notify
    clock: Clock
    folder: Path | None
    inherited: InheritedSockets
    budget: FileBudget
    shortages: ShortageNotices
    public_url: str
    is_entra_reported: bool = False
    are_placed: bool = False
    fleet: "GuestCredentials | None" = None
    host_leaves: "LeafValues | None" = None


def build_host(  # noqa: C901, PLR0915 - a list of parts, read from top to bottom
    settings: Settings, world: HostWorld, resources: ExitStack
) -> Host:
    """Make every part of a host inside the event loop that will serve.

    `resources` closes them. Its events provider is set afterwards.

    Raises:
        KeyFileError: a key file cannot be read or used.
        ConfigError: a setting names something unusable.
    """
    notify, clock = world.notify, world.clock
    loop_time = asyncio.get_running_loop().time
    notify_once = lru_cache(_MESSAGES)(notify)
    budget = world.budget

    # Reactions. They name parts that are made below, and run only after all of them exist.

    def unknown_caller(address: str) -> None:
        reason = "no VM has this address"
        if fleet_index.only is not None:
            name = fleet_index.only.name
            reason = f"{name} has tokens of Entra and no reach: it answers this machine alone"
        notify(
            CALLER_UNKNOWN.message(
                f"unknown caller {address}: {reason}, so it gets 404. To serve it, add the "
                "address to "
                "reach.address of its VM",
                address=address,
                reason=reason,
            )
        )

    def moved_address(address: str, vm: str) -> None:
        notify_once(
            CALLER_MOVED.message(
                f"{address} is an address of {vm}, but the host rules let another hardware "
                "address use "
                "it, so its connections are closed; type openimds host up",
                address=address,
                vm=vm,
            )
        )

    def internal_error(error: BaseException) -> None:
        if isinstance(error, Error):
            notify_once(CREDENTIALS_TROUBLE.message(str(error)))
        else:
            notify(
                INTERNAL_ERROR.message(
                    f"internal error: {kind_and_place(error)}. Please report it",
                    error=type(error).__name__,
                )
            )

    def sign(claims: Mapping[str, object], now_s: float) -> str:
        return credentials.sign(claims, now_s)

    def listeners_counted(count: int) -> None:
        """Leave guests' connections the files that neither the reserve nor a listener has."""
        most = budget.connections(settings.max_connections, count)
        dispatcher.connections.resize(most)

    def listeners_reopened() -> None:
        """Close or filter them again if a fault refuses or swallows connections."""
        listener_faults.apply()

    def observers_changed(is_observed: bool) -> None:  # noqa: FBT001 - the one fact of the call
        dispatcher.set_observer(recorder if is_observed else None)

    # Credentials.
    token_settings = _token_settings(settings, world.public_url)
    entra = _entra(settings, token_settings.issuer, world, sign)
    if isinstance(entra, EntraClient):
        resources.callback(entra.close)
    credentials = CredentialsService(
        _ca_settings(settings, None if world.fleet else world.folder, world),
        token_settings,
        entra,
        _challenges(settings, world),
        # The lives of a virtual clock are its own.
        steady=(lambda: 0.0) if settings.virtual_clock else loop_time,
    )
    own_secrets = CallerSecrets.open(None if world.fleet else world.folder, notify)
    credentials.ca.check(time.time())
    fleet = world.fleet.provider if world.fleet else None
    caller_secrets = world.fleet.secrets if world.fleet else own_secrets
    resources.callback(credentials.close)
    if fleet:
        resources.callback(fleet.close)

    # The data plane, its recorder, its listeners and its faults.
    fleet_index: ResponseIndex = FleetIndex(
        catalog(settings.newest_version),
        settings.cache_mib * _MIB,
        placed_claims if world.are_placed else claims_of,
    )
    pending = PendingDispatch(fleet or credentials)
    dispatcher = Dispatcher(
        fleet_index,
        now=loop_time,
        utc=clock if settings.virtual_clock else time.time,
        allowances=_allowances(settings),
        provider=pending,
        bounds=Bounds(
            connections=budget.connections(settings.max_connections),
            connections_per_caller=settings.max_connections_per_vm,
        ),
        extras=_extras(settings),
        listen_hosts=frozenset(settings.listen_hosts),
        checks_hosts=settings.check_hosts,
        secret_of=caller_secrets.of,
        on_unknown_caller=unknown_caller,
        on_internal_error=internal_error,
        on_moved_address=moved_address,
    )
    tap = access_log(settings, notify)
    recorder = Recorder(settings.record, on_active=observers_changed, tap=tap)
    if recorder.is_active:
        dispatcher.set_observer(recorder)
    reactor = Reactor(dispatcher)
    reactor.on_shortage = world.shortages.note
    resources.callback(reactor.close)
    listeners = ListenerSet(
        reactor,
        settings.listen,
        world.inherited,
        notify,
        listeners_counted,
        on_reopen=listeners_reopened,
    )
    injector = FaultInjector()
    listener_faults = ListenerFaults(injector, clock, listeners.by_text, listeners.reopen, notify)
    listener_faults.filters = ConnectionFilters(
        injector, dispatcher.utc, fleet_index, lambda: listeners.all, world.inherited, notify
    )
    return Host(
        notify=notify,
        clock=clock,
        caller_secrets=caller_secrets,
        credentials=credentials,
        fleet=fleet,
        entra=entra,
        pending=pending,
        dispatcher=dispatcher,
        recorder=recorder,
        clock_watch=ClockWatch(clock.wall, loop_time),
        injector=injector,
        listeners=listeners,
        listener_faults=listener_faults,
        shortages=world.shortages,
        forgets_tokens=settings.forget_tokens,
    )


def _challenges(settings: Settings, world: HostWorld) -> ChallengeFiles | None:
    """Return the folder of challenges, unless a fleet's credentials have it."""
    has_own = settings.arc_folder and not world.fleet
    return ChallengeFiles(Path(settings.arc_folder)) if has_own else None


def _token_settings(settings: Settings, public_url: str) -> TokenSettings:
    issuer = public_url if settings.issuer == "public" else settings.issuer
    return TokenSettings(
        settings.token_life,
        "" if issuer == "azure" else issuer,
        frozenset(settings.v2_resources),
        settings.unsafe_claims,
    )


def _entra(
    settings: Settings, issuer: str, world: HostWorld, sign: Sign
) -> EntraClient | UnconfiguredEntra:
    """Return the client of Entra that the settings choose, or one that refuses every token."""
    notify, credential = world.notify, settings.entra
    if not credential:
        return UnconfiguredEntra(notify, is_reported=world.is_entra_reported)
    if credential == "federation" and not issuer.startswith("https://"):
        notify(
            SETTING.message(
                f"Entra rejects tokens of the issuer {issuer}: it fetches signing keys by https "
                "only. "
                "Set --public-url or --issuer to an https URL"
            )
        )
    return EntraClient(credential, issuer=issuer, sign=sign, notify=notify)


def _ca_settings(settings: Settings, folder: Path | None, world: HostWorld) -> CaSettings:
    bases = AZURE_BASES if settings.pki_names == "azure" else None
    return CaSettings(
        folder,
        bases.issuers[0] if bases else world.public_url,
        Path(settings.attest_certificates) if settings.attest_certificates else None,
        Path(settings.attest_key) if settings.attest_key else None,
        world.inherited.make_key,
        settings.attest_generation,
        settings.attest_tier_bits,
        bases,
        world.notify,
        tuple(map(Path, settings.attest_crl)),
        tuple(map(Path, settings.attest_ocsp)),
        world.host_leaves,
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
