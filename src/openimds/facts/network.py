"""The field rows of `network` and of `extended`, and the names of the 2017-03-01 preview."""

from openimds.facts.evidence import client, inferred, observed
from openimds.facts.fields import Derived, Field, FieldKind, Rename
from openimds.facts.redaction import KEPT, MAC, OTHER, PRIVATE, PUBLIC, SUBNET

_NIC = "network.interface[]."
_SEEN = observed("S15", "S18", "S25")
_PREVIEW = observed(
    "S31", note="no recording shows whether today's service still uses the old names"
)
_BLOCK = inferred("S27", note="prefix delegation; its version is assumed")
_EXTENDED = observed("S12", "S26")

PREFIX = "000D3A"
"""The prefix of default hardware addresses."""
MAC_PREFIXES = (PREFIX, "6045BD", "002248", "7C1E52")
MAC_PREFIXES_EVIDENCE = observed(
    "S18", "S62", note="the first two are in recordings; all four are registered by Microsoft"
)
SUBNET_PREFIXES = (24, 24, 24, 16, 20, 22, 26, 27)
"""The lengths of varied subnets, each as often as it is likely; assumed."""

NETWORK: tuple[Field, ...] = (
    Field(
        _NIC + "interfaceCompartmentID",
        "2025-07-24",
        OTHER,
        client("S15", note="S28 spells it interfaceCompartmentId"),
        "",
    ),
    Field(
        _NIC + "ipv4.ipAddress[].privateIpAddress",
        "2017-03-01",
        PRIVATE,
        _SEEN,
        "10.0.0.4",
        Derived.PRIVATE_ADDRESS,
    ),
    Field(
        _NIC + "ipv4.ipAddress[].publicIpAddress",
        "2017-03-01",
        PUBLIC,
        observed("S2", "S18", note="empty for Standard-SKU addresses"),
        "20.1.2.3",
    ),
    Field(_NIC + "ipv4.ipAddressBlock[].address", "2025-04-07", PRIVATE, _BLOCK, "10.0.1.0"),
    Field(_NIC + "ipv4.ipAddressBlock[].prefix", "2025-04-07", KEPT, _BLOCK, "28"),
    Field(
        _NIC + "ipv4.subnet[].address",
        "2017-03-01",
        SUBNET,
        _SEEN,
        "10.0.0.0",
        Derived.SUBNET_ADDRESS,
    ),
    Field(
        _NIC + "ipv4.subnet[].dnsservers[].ipaddress",
        "2017-03-01",
        PRIVATE,
        _PREVIEW,
        "10.0.0.10",
        until="2017-04-02",
    ),
    Field(_NIC + "ipv4.subnet[].prefix", "2017-03-01", KEPT, _SEEN, "24", Derived.SUBNET_PREFIX),
    Field(_NIC + "ipv6.ipAddress[].privateIpAddress", "2017-03-01", PRIVATE, _SEEN, "fd00::4"),
    Field(_NIC + "ipv6.ipAddressBlock[].address", "2025-04-07", PRIVATE, _BLOCK, "fd00:1::"),
    Field(_NIC + "ipv6.ipAddressBlock[].prefix", "2025-04-07", KEPT, _BLOCK, "80"),
    Field(_NIC + "macAddress", "2017-03-01", MAC, _SEEN, "000D3AACB22A", Derived.MAC),
)

EXTENDED: tuple[Field, ...] = (
    Field(
        "extended.compute.hasCustomData",
        "2021-08-01",
        KEPT,
        _EXTENDED,
        "false",
        default=False,
        kind=FieldKind.BOOLEAN,
        extended=True,
    ),
    Field("extended.compute.ppsType", "2021-08-01", KEPT, _EXTENDED, "None", "None", extended=True),
)

RENAMES: tuple[Rename, ...] = tuple(
    Rename(path, "2017-04-02", name, _PREVIEW)
    for path, name in (
        (_NIC + "ipv4.ipAddress", "ipaddress"),
        (_NIC + "ipv4.ipAddress[].privateIpAddress", "ipaddress"),
        (_NIC + "ipv4.ipAddress[].publicIpAddress", "publicip"),
        (_NIC + "ipv6.ipAddress", "ipaddress"),
        (_NIC + "ipv6.ipAddress[].privateIpAddress", "ipaddress"),
        (_NIC + "macAddress", "mac"),
    )
)
