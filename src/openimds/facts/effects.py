"""The type of an effect: its relation to the true response, and its evidence."""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence
from openimds.facts.fault_parameters import FaultParameter, HeaderMatch


class EffectMode(StrEnum):
    """The relation of an effect to the true response, and to the request's own effect."""

    INSTEAD = "instead"
    """Another response is sent, and the request changes nothing."""
    OTHERWISE = "otherwise"
    """The request is answered for a VM or a region that differs from the true one."""
    DELIVERY = "delivery"
    """The true response is sent, and the request has its effect; the delivery suffers."""
    SILENCE = "silence"
    """No response is sent, and the request changes nothing."""


class PublicResource(StrEnum):
    """The documents of the public listener that a fault can spoil."""

    ISSUERS = "issuers"
    """The certificates of issuers, at the CA Issuers addresses."""
    LISTS = "lists"
    """The lists of revoked certificates, at the CRL addresses."""
    OCSP = "ocsp"
    """The responses about one certificate."""


class Effect(Struct, frozen=True):
    """One effect: the view of the client, the reason to test it, and the evidence.

    It applies only to requests of `endpoints` (keys of endpoints or categories; none: to all).
    `header` is the default of the matcher of that name.
    """

    key: str
    mode: EffectMode
    about: str
    why: str
    evidence: Evidence
    parameters: tuple[FaultParameter, ...] = ()
    endpoints: tuple[str, ...] = ()
    ends_connection: bool = False
    """Whether the effect ends the connection."""
    precedes_requests: bool = False
    """Whether the effect concerns connections: no request has been read yet."""
    header: HeaderMatch = HeaderMatch.PRESENT
    resource: PublicResource | None = None
    """The documents of the public listener that it spoils; None for an effect on guests."""
