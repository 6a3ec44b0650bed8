"""Pending work: results that a response needs and this room cannot make.

`handle` returns pending work where a key, another service or the store must take part. The caller
has it done by a provider and passes the result to `resume`. `is_once` is true where the result is
for one request only, and must not be cached.
"""

from typing import Any, TypeAlias

from msgspec import Struct, field

from openimds.vm.identities import Principal


class TokenEdits(Struct, frozen=True):
    """Edits of the answer with a token, made on purpose.

    The fields of `drop` are missing, those of `members` have other values (JSON, or else a string),
    and the expiry is `expires_s` seconds after the response.
    """

    drop: tuple[str, ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    expires_s: float | None = None


class PendingToken(Struct, frozen=True, tag=True):
    """An access token for an identity of a VM.

    With `is_fresh` a cached token will not do. `outdated` is the SHA-256, in hexadecimal, of a
    token that a resource refused. `proof` is the text that the caller read in the file of a
    challenge; a given proof must be right. `region` is the VM's, named in Entra's refusals. `edits`
    are those of a fault.
    """

    vm: str
    cloud: str
    identity: Principal
    resource: str
    is_fresh: bool = False
    proof: str = ""
    outdated: str = ""
    region: str = ""
    edits: TokenEdits | None = None

    @property
    def is_once(self) -> bool:
        """Tell whether the token is for one request only."""
        return self.is_fresh or bool(self.proof or self.outdated)


class PendingChallenge(Struct, frozen=True):
    """A file for a caller to read, as proof that it runs on this VM."""

    vm: str

    @property
    def is_once(self) -> bool:
        """Tell whether the file is for one request only: always."""
        return True


class PendingCertificate(Struct, frozen=True, tag=True):
    """A client certificate for an identity of a VM.

    `csr` is the request with its key (PKCS 10, DER); `endpoint` is the address that issues tokens
    for it.
    """

    vm: str
    identity: Principal
    csr: bytes
    endpoint: str

    @property
    def is_once(self) -> bool:
        """Tell whether the certificate is for one request only: always."""
        return True


class PendingDocument(Struct, frozen=True, tag=True):
    """The signature of an attested document of a VM.

    `members` are the members of the payload, `facts` the values that come from the VM; the signing
    certificate is one of `region` and `domain`. `scenario` is the defect to give the document on
    purpose, or empty. `leaf_days` is the lifetime of the certificate, 0 for the usual one.
    """

    vm: str
    version: str
    nonce: str
    domain: str
    region: str
    members: tuple[str, ...]
    facts: dict[str, Any]
    scenario: str = ""
    leaf_days: int = 0

    @property
    def is_once(self) -> bool:
        """Tell whether the document is for one request only, by its nonce."""
        return bool(self.nonce)


class PendingEventsDocument(Struct, frozen=True):
    """The scheduled-events document of a scope for one of its VMs at an api-version."""

    vm: str
    scope: str
    version: str

    @property
    def is_once(self) -> bool:
        """Tell whether the document is for one request only: never."""
        return False


class PendingApproval(Struct, frozen=True):
    """A VM's approval of events in its scope."""

    vm: str
    scope: str
    event_ids: tuple[str, ...]

    @property
    def is_once(self) -> bool:
        """Tell whether the approval is for one request only: always."""
        return True


class PendingEndorsement(Struct, frozen=True, tag=True):
    """The certificates of an AMD processor: its line, id and TCB version."""

    vm: str
    product: str
    chip: bytes
    tcb: int

    @property
    def is_once(self) -> bool:
        """Tell whether the endorsement is for one request only: never."""
        return False


class PendingQuote(Struct, frozen=True, tag=True):
    """The quote of a TD report."""

    vm: str
    report: bytes

    @property
    def is_once(self) -> bool:
        """Tell whether the quote is for one request only: always."""
        return True


Pending: TypeAlias = (
    PendingToken
    | PendingChallenge
    | PendingCertificate
    | PendingDocument
    | PendingEventsDocument
    | PendingApproval
    | PendingEndorsement
    | PendingQuote
)


class AccessToken(Struct, frozen=True, tag=True):
    """An access token; its times are seconds since 1970, `life_s` its lifetime at issue."""

    text: str
    not_before_s: int
    expires_s: int
    life_s: int


class Failed(Struct, frozen=True, tag=True):
    """A failure of the work: the refusal's key, and its blanks as JSON text."""

    key: str
    blanks: dict[str, str] = field(default_factory=dict)


class Signature(Struct, frozen=True, tag=True):
    """The base64 signature of an attested document, cached until `until_s`."""

    text: str
    until_s: float


class EventsDocument(Struct, frozen=True, tag=True):
    """A scheduled-events document, the same object until it changes, and its entity tag."""

    body: bytes
    etag: str = ""


class Approved(Struct, frozen=True, tag=True):
    """The approval is in the store."""


class Challenge(Struct, frozen=True, tag=True):
    """The path of the file that the caller has to read."""

    path: str


class Certificate(Struct, frozen=True, tag=True):
    """A certificate (DER) in base64."""

    text: str


class Endorsement(Struct, frozen=True, tag=True):
    """The certificate of a processor, and those above it, as PEM."""

    certificate: str
    chain: str


class Quote(Struct, frozen=True, tag=True):
    """A quote in base64url without padding."""

    text: str


Result: TypeAlias = (
    AccessToken
    | Challenge
    | Certificate
    | Signature
    | EventsDocument
    | Approved
    | Endorsement
    | Quote
    | Failed
)
