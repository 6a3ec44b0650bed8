"""The document of the load balancer metadata: its lists and their members, in their order."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented


class List(Struct, frozen=True):
    """A list of the document, and the members of each of its rows."""

    name: str
    members: tuple[str, ...]
    evidence: Evidence


_ORDER = "the order is that of the document; nobody recorded the wire's"
_ADDRESSES = ("frontendIpAddress", "privateIpAddress")
LISTS: tuple[List, ...] = (
    List("publicIpAddresses", _ADDRESSES, documented("S7", note=_ORDER)),
    List(
        "inboundRules",
        ("frontendIpAddress", "protocol", "frontendPort", "backendPort", "privateIpAddress"),
        documented("S7", note=_ORDER),
    ),
    List("outboundRules", _ADDRESSES, documented("S7", note=_ORDER)),
)
