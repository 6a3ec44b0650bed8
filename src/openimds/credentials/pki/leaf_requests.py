"""The request of a host for leaves of its own key, and control's answer."""

from msgspec import Struct


class HeldLeaf(Struct, frozen=True):
    """A leaf of a host; an empty `certificate` (DER) asks for the first.

    With `is_due` it asks for a successor; control judges the key of the old one all the same.

    `domain`, `region` and `days` are those of `LeafSubject`.
    """

    domain: str
    region: str
    days: int = 0
    certificate: bytes = b""
    is_due: bool = False


class LeafRequest(Struct, frozen=True):
    """The public key of a host (DER, SubjectPublicKeyInfo), and its leaves."""

    public_key: bytes
    leaves: tuple[HeldLeaf, ...]


class LeafReply(Struct, frozen=True):
    """A certificate (DER) for each leaf of the request.

    An empty one lets the leaf stay. With `wants_new_key` there are none: the key must not be used
    again.
    """

    certificates: tuple[bytes, ...] = ()
    wants_new_key: bool = False
