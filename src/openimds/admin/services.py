"""The services behind the admin port, and the ports by which the handlers call them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from openimds.admin.failed_tokens import FailedTokens
from openimds.admin.metrics import MetricsSource, Samples
from openimds.admin.request_counts import RequestCounts
from openimds.admin.token import AdminToken
from openimds.admin.token_registry import TokenRegistry
from openimds.events.service import EventsService
from openimds.faults import FaultService
from openimds.fleet.service import FleetService
from openimds.protocol.generation_walk import GenerationWalk
from openimds.protocol.lint import Record
from openimds.protocol.response import Refusal, Response
from openimds.vm.types import Vm

RecordFeed: TypeAlias = "asyncio.Queue[Record | None]"
"""Records as they come; None is the end."""
EndpointVariables: TypeAlias = Callable[[Vm, str], Awaitable[dict[str, dict[str, str]]]]
"""Returns the environment variables of a VM's clients by token route; empty without a URL.

Takes the VM and the URL by which clients reach it, by default that of its listener.
"""
GetAs: TypeAlias = Callable[[Vm, str], Awaitable[Response | Refusal]]
"""Answers a GET of a target as the VM is answered, without limits, faults or a record of it."""


class KeyTimes(Protocol):
    """The public facts of a signing key; times in seconds since 1970."""

    @property
    def kid(self) -> str:
        """The key id in the header of a token."""
        ...

    @property
    def began_s(self) -> float:
        """The time of the first signature."""
        ...

    @property
    def retired_s(self) -> float | None:
        """The time of the last signature; None while the key signs."""
        ...

    @property
    def until_s(self) -> float | None:
        """The time until which the key is published; None while that is open."""
        ...


class CertificateSource(Protocol):
    """The CA certificates of attested documents. Calls may block: they belong into a thread."""

    def certificate_infos(self, now_s: float) -> Sequence[object]:
        """Return the public facts of each published certificate, those in use first."""
        ...

    def bundle(self, now_s: float) -> bytes:
        """Return the trust bundle as PEM."""
        ...

    def revoke(self, target: str, reason: str, now_s: float) -> None:
        """Revoke leaves or a CA certificate, and replace them where they are in use."""
        ...

    def revocation_status(self, now_s: float) -> object:
        """Return the standing of all certificates, and the served lists."""
        ...

    def rotate(self, part: str, now_s: float, generation: str = "") -> None:
        """Replace the leaf, the intermediate or the root, the latter two in a generation's form."""
        ...

    def rehearse(self, walk: GenerationWalk, now_s: float) -> None:
        """Begin a walk through generations."""
        ...

    def end_rehearsal(self, now_s: float) -> None:
        """Stay at the present generation."""
        ...

    def walk(self, now_s: float) -> GenerationWalk | None:
        """Return the rehearsal under way or completed, if there is one."""
        ...


class HardwareSource(Protocol):
    """The CA certificates that vouch for processors. Calls may block, as above."""

    def certificates(self, maker: str) -> Sequence[object]:
        """Return the public facts of a maker's CA certificates."""
        ...


class CredentialsAdmin(Protocol):
    """The signing keys and certificates. Calls may block: they belong into a thread."""

    @property
    def ca(self) -> CertificateSource:
        """The CA certificates of attested documents."""
        ...

    @property
    def hardware(self) -> HardwareSource:
        """The CA certificates of the processors of confidential VMs."""
        ...

    def key_infos(self, now_s: float) -> tuple[KeyTimes, ...]:
        """Return the published keys of tokens, newest first."""
        ...

    def rotate(self, now_s: float) -> None:
        """Sign tokens with a new key from now on."""
        ...


class RequestRecording(Protocol):
    """The recorded requests, and the feed of new ones."""

    @property
    def per_vm(self) -> int:
        """The number of records kept for each VM; 0 if recording is off."""
        ...

    @property
    def is_of_hosts(self) -> bool:
        """Whether hosts keep the records: only those of one VM can be read then."""
        ...

    @property
    def clears(self) -> int:
        """The number of times that all records were dropped."""
        ...

    async def last_number(self) -> int:
        """Return the number of the last request."""
        ...

    async def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        """Return records after a number, oldest first: of a VM, unknown callers (""), or all."""
        ...

    async def clear(self) -> None:
        """Drop all records."""
        ...

    async def findings(self) -> Mapping[str, int]:
        """Return the number of records that break each rule of the client checks."""
        ...

    def subscribe(self) -> RecordFeed:
        """Return a feed of the records from now on."""
        ...

    def unsubscribe(self, feed: RecordFeed) -> None:
        """End a feed."""
        ...


class HostStanding(Struct, frozen=True, kw_only=True, rename="camel"):
    """A host of a fleet of hosts; times are seconds since 1970.

    `revision` is the one that it shows, None while it is not connected; `is_settled` tells that it
    shows all that was changed. `unshown_age_s` is the age of the oldest change that it is not known
    to show, 0 without one; `unshown_vms` and `unshown_scopes` count the changed VMs and scopes of
    events, None while it is not connected. `silent_s` is the time since it last answered, or since
    this control leads; None for a host that has not joined. `refused` are the VMs that it could not
    take, with the reasons. `sent_vms` counts the VMs that it was sent since it connected: it keeps
    those that it has. `leaf_failure` is the reason why control certified no leaves for attested
    documents at its last request, or empty. `join_token_reuses` counts the attempts of other
    machines to use its spent join token.
    """

    name: str
    state: str
    vms: int
    is_connected: bool
    is_settled: bool
    revision: int | None
    release: str
    silent_s: float | None
    unshown_vms: int | None
    unshown_scopes: int | None
    unshown_age_s: float
    sent_vms: int | None
    refused: dict[str, str]
    leaf_failure: str
    join_token_reuses: int
    invited_s: float | None
    joined_s: float | None
    certificate_ends_s: float | None


class HostsAdmin(Protocol):
    """The hosts of a fleet of hosts."""

    async def invite(self, name: str, *, is_admin: bool) -> str:
        """Return a join token for a host.

        Raises:
            ConfigError: the name does not fit, or needs another role.
            StoreError: the store takes no change.
        """
        ...

    async def revoke(self, name: str) -> None:
        """End the certificates, the join token and the connection of a host.

        Raises:
            ConfigError: there is no such host.
            StoreError: the store takes no change.
        """
        ...

    def standings(self) -> list[HostStanding]:
        """Return the standing of every known host, by name."""
        ...

    def lacking(self, vm: str) -> list[str]:
        """Return the hosts of a VM that do not show its newest state."""
        ...

    def samples(self) -> Mapping[str, Samples]:
        """Return the values of the metrics of hosts by the name of a row."""
        ...


class AdminServices(Struct, frozen=True, kw_only=True):
    """Everything that the handlers of the admin API call."""

    fleet_service: FleetService
    events_service: EventsService
    faults: FaultService
    recording: RequestRecording
    credentials: CredentialsAdmin
    endpoint_variables: EndpointVariables
    get_as: GetAs
    check_host: Callable[[], Awaitable[None]]
    metrics: MetricsSource
    token: AdminToken
    tokens: TokenRegistry
    failed_tokens: FailedTokens
    hosts: HostsAdmin | None = None
    request_counts: RequestCounts = field(default_factory=RequestCounts)
    notify: Callable[[str], None] = lambda _: None
    """Takes the messages of the log."""
