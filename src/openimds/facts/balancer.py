"""The load balancer document: its lists and the members of their entries, in order."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, observed
from openimds.facts.redaction import KEPT, PRIVATE, PUBLIC, Redaction


class BalancerMember(Struct, frozen=True):
    """A member of an entry, and how a shared transcript replaces its value."""

    name: str
    redaction: Redaction


class BalancerList(Struct, frozen=True):
    """A list of the document, with the members of each of its entries."""

    name: str
    members: tuple[BalancerMember, ...]
    evidence: Evidence

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the members."""
        return tuple(member.name for member in self.members)


_RECORDED = observed("S7", "S62", note="the order of lists and members is that of the wire")
_FRONTEND = BalancerMember("frontendIpAddress", PUBLIC)
_PRIVATE = BalancerMember("privateIpAddress", PRIVATE)
_RULE = (
    _FRONTEND,
    BalancerMember("protocol", KEPT),
    BalancerMember("frontendPort", KEPT),
    BalancerMember("backendPort", KEPT),
    _PRIVATE,
)
LISTS: tuple[BalancerList, ...] = (
    BalancerList("publicIpAddresses", (_FRONTEND, _PRIVATE), _RECORDED),
    BalancerList("inboundRules", _RULE, _RECORDED),
    BalancerList("outboundRules", (_FRONTEND, _PRIVATE), _RECORDED),
)
