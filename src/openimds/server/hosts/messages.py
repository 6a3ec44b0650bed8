"""The messages between control and its hosts, version 1 of the feed.

Each message has the type of its result.
A later release adds messages and members with defaults, and removes none. A message that a release
does not know is refused to its sender, and changes nothing.
"""

from typing import ClassVar, TypeAlias

from msgspec import Struct, field

from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.pending import (
    PendingCertificate,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    PendingToken,
    Result,
)
from openimds.server.seam.messages import (
    Approve,
    CountFaults,
    ForgetTokens,
    Ping,
    ReadRecords,
    ReadSamples,
    SeamMessage,
    UpdateClock,
    UpdateFaults,
    UpdateScopes,
)

FEED_VERSION = 1
DIGEST_OCTETS = 8
DIGESTS_AT_ONCE = 5000
"""So many digests pass in one message."""


# From a host to control.


class HostsRoots(Struct, frozen=True):
    """The roots of the hosts' authority, as PEM."""

    roots: bytes


class JoinedHost(Struct, frozen=True):
    """The certificate of a host (DER), and the roots of the hosts' authority as PEM."""

    certificate: bytes
    roots: bytes


class AskTrust(SeamMessage, frozen=True):
    """Return the roots; the caller compares them with its join token."""

    result: ClassVar[type] = HostsRoots


class Join(SeamMessage, frozen=True):
    """Certify the key of a new host.

    `secret` is that of its join token, `csr` a PKCS 10 request (DER).
    """

    name: str
    secret: bytes
    csr: bytes
    result: ClassVar[type] = JoinedHost


class JoinByAccount(SeamMessage, frozen=True):
    """Certify the key of a host whose pod has a projected service-account token.

    `name` is that of its node, `csr` a PKCS 10 request (DER).
    """

    name: str
    token: str
    csr: bytes
    result: ClassVar[type] = JoinedHost


class Renew(SeamMessage, frozen=True):
    """Certify a new key of the calling host."""

    csr: bytes
    result: ClassVar[type] = JoinedHost


class Welcome(Struct, frozen=True, tag=True):
    """Control has loaded its store, and sends what the host has to show.

    `store` is the identity of the store, `epoch` that of the lease by which control leads; 0 is
    unknown.
    """

    version: int
    store: str
    name: str
    epoch: int = 0


class Wait(Struct, frozen=True, tag=True):
    """Control cannot decide yet."""

    reason: str


class Hello(SeamMessage, frozen=True):
    """The first message of a host: what it speaks, and what it shows.

    `store` is the identity of the store that it followed last, `digest` that of all VMs shown.
    """

    versions: tuple[int, ...]
    release: str
    store: str
    count: int
    digest: bytes
    result: ClassVar[object] = Welcome | Wait


MadeByControl: TypeAlias = (
    PendingToken | PendingCertificate | PendingQuote | PendingEndorsement | PendingDocument
)
"""The pending work that control does for hosts."""


class Make(SeamMessage, frozen=True):
    """Make the result of pending work for a VM on the calling host."""

    need: MadeByControl
    result: ClassVar[object] = Result


class Certify(SeamMessage, frozen=True):
    """Certify leaves for attested documents, for the key of the calling host."""

    request: LeafRequest
    result: ClassVar[object] = LeafReply


class NoteActivity(SeamMessage, frozen=True):
    """The first and the last request of scopes, by the time of guests.

    A host sends those of its guests, control passes them to the other hosts of the scope.
    """

    scopes: dict[str, tuple[float, float]]


class NoteRefused(SeamMessage, frozen=True):
    """The VMs that the calling host cannot take now, with the reasons."""

    refused: dict[str, str]


FromFleetHost: TypeAlias = (
    AskTrust
    | Join
    | JoinByAccount
    | Renew
    | Hello
    | Make
    | Certify
    | Approve
    | NoteActivity
    | NoteRefused
    | Ping
)
Unproven: TypeAlias = AskTrust | Join | JoinByAccount
"""The messages of a caller without a certificate."""


# From control to a host.


class ReadDigests(SeamMessage, frozen=True):
    """Return the digests of shown VMs whose names follow `after`."""

    after: str
    result: ClassVar[object] = dict[str, bytes]


class PutVms(SeamMessage, frozen=True):
    """Show and remove VMs; the result is that of `Shown`.

    `is_confirmed` tells that control has read in its store that the removed ones are not here.
    `secrets` are those of the VMs' callers, `tokens` the tokens that they asked for lately.
    """

    puts: tuple[PackedVm, ...]
    removes: frozenset[str] = frozenset()
    is_confirmed: bool = False
    secrets: dict[str, str] = field(default_factory=dict)
    tokens: tuple[PendingToken, ...] = ()
    result: ClassVar[object] = dict[str, str]


class KeepScopes(SeamMessage, frozen=True):
    """Show the events of no other scopes than these."""

    scopes: frozenset[str]


class Shown(SeamMessage, frozen=True):
    """All up to a revision was sent; the lease was renewed `store_age_s` ago.

    The result has the VMs that the host cannot take now, with the reasons.
    """

    store: str
    revision: int
    store_age_s: float
    result: ClassVar[object] = dict[str, str]


ToFleetHost: TypeAlias = (
    ReadDigests
    | PutVms
    | Shown
    | UpdateScopes
    | UpdateFaults
    | UpdateClock
    | ForgetTokens
    | CountFaults
    | ReadSamples
    | ReadRecords
    | NoteActivity
    | KeepScopes
    | Ping
)
