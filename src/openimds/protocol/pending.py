"""What an answer waits for: things that the core cannot make, and what comes back.

`answer` returns a need instead of an answer where a key, another service or the store must have a
part in it. Whoever serves gets it made and asks `finish` for the answer.
"""

from typing import Any, TypeAlias

from msgspec import Struct, field

from openimds.vm.identities import Principal


class PendingToken(Struct, frozen=True):
    """An access token for an identity of a VM. `is_fresh`: not one that is held already.

    `outdated` is the SHA-256, in hexadecimal, of a token that the caller was refused with.

    `proof` is what the caller read in the file of a challenge; where it is given it must be right.
    """

    vm: str
    cloud: str
    identity: Principal
    resource: str
    is_fresh: bool = False
    proof: str = ""
    outdated: str = ""

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only."""
        return self.is_fresh or bool(self.proof or self.outdated)


class PendingChallenge(Struct, frozen=True):
    """A file that a caller who says to be this VM has to read."""

    vm: str

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only."""
        return True


class PendingCertificate(Struct, frozen=True):
    """A client certificate for an identity of a VM, for the key of a request (PKCS 10, DER).

    `endpoint` is where tokens are had for it.
    """

    vm: str
    identity: Principal
    csr: bytes
    endpoint: str

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only."""
        return True


class PendingDocument(Struct, frozen=True):
    """The signature of an attested document of a VM.

    `members` are those of the payload, `facts` what is said of the VM; the certificate that signs
    is one of `region` and `domain`. `scenario` names what is to be wrong with it, if anything.
    """

    vm: str
    version: str
    nonce: str
    domain: str
    region: str
    members: tuple[str, ...]
    facts: dict[str, Any]
    scenario: str = ""

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only: a nonce is used once."""
        return bool(self.nonce)


class PendingEventsDocument(Struct, frozen=True):
    """The scheduled-events document of a scope, as a VM of it sees it at an api-version."""

    vm: str
    scope: str
    version: str

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only."""
        return False


class PendingApproval(Struct, frozen=True):
    """The note that a VM approves events of its scope."""

    vm: str
    scope: str
    event_ids: tuple[str, ...]

    @property
    def is_once(self) -> bool:
        """Tell whether what is made serves this one request only."""
        return True


Pending: TypeAlias = (
    PendingToken
    | PendingChallenge
    | PendingCertificate
    | PendingDocument
    | PendingEventsDocument
    | PendingApproval
)


class AccessToken(Struct, frozen=True):
    """An access token, its times in seconds since 1970; `life_s` is what it was made for."""

    text: str
    not_before_s: int
    expires_s: int
    life_s: int


class Failed(Struct, frozen=True):
    """It could not be made: the key of the refusal, and its blanks as JSON text."""

    key: str
    blanks: dict[str, str] = field(default_factory=dict)


class Signature(Struct, frozen=True):
    """The signature of an attested document, in base64, and until when it is given again."""

    text: str
    until_s: float


class EventsDocument(Struct, frozen=True):
    """A scheduled-events document. It holds for as long as the same one is held: an object."""

    body: bytes


class Approved(Struct, frozen=True):
    """The approval is written down."""


class Challenge(Struct, frozen=True):
    """The path of a file that has to be read."""

    path: str


class Certificate(Struct, frozen=True):
    """A certificate (DER) in base64."""

    text: str


Result: TypeAlias = (
    AccessToken | Challenge | Certificate | Signature | EventsDocument | Approved | Failed
)
