"""Confidential VMs: their processors, and the facts of the certificates that vouch for these.

A machine of AMD has a key that its processor alone knows (VCEK), certified by AMD's signing key
(ASK) below AMD's root (ARK). A machine of Intel has a provisioning certification key (PCK),
certified by a platform CA below Intel's root; it signs the report of an enclave that signs quotes.
"""

import re
from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, client, documented


class Processor(StrEnum):
    """The makers of processors with confidential VMs."""

    AMD = "amd"
    INTEL = "intel"


SIZE = re.compile(
    r"standard_n?[cde]c\d+(?P<features>[a-z]+)_\w*?(v(?P<generation>\d+))?", re.IGNORECASE
)
"""The sizes of the DC, EC and NCC series; `a` among their features is AMD, `e` is Intel TDX."""
SIZES_EVIDENCE = documented(
    "S68", "S121", note="DCas and ECas are AMD, DCes and ECes Intel; that others get 404 is assumed"
)


class AmdProduct(Struct, frozen=True):
    """A line of AMD's processors.

    `stepping` is the name in the certificate of a processor; `tcb` the present versions of its
    firmware, as one number of 64 bits: microcode, SNP, four reserved octets, TEE, boot loader.
    """

    name: str
    stepping: str
    tcb: int
    generations: tuple[str, ...]
    evidence: Evidence


AMD_PRODUCTS: dict[str, AmdProduct] = {
    row.name.lower(): row
    for row in (
        AmdProduct(
            "Milan",
            "Milan-B0",
            0xDB18_0000_0000_0004,
            ("", "5"),
            documented("S68", "S122", note="DCasv5; the versions of its firmware are assumed"),
        ),
        AmdProduct(
            "Genoa",
            "Genoa-B1",
            0x5417_0000_0000_000A,
            ("6",),
            documented("S121", "S122", note="DCasv6; the versions of its firmware are assumed"),
        ),
    )
}
"""By the name in lower case; Azure's other lines of processors have no confidential VMs."""

AMD_BITS = 4096
"""The size of the keys of root and signing key."""
CHIP_BYTES = 64
"""The length of a processor's id. It is derived from the VM here: no VM changes its processor."""
TCB_DIGITS = 16
COLLATERAL_EVIDENCE = documented(
    "S68",
    "S120",
    note="the members; PEM in both, the ASK before the ARK, as clients split them",
)
CACHE_CONTROL = "86400"
AMD_NAMES_EVIDENCE = client(
    "S122", note="verifiers check names, CRL addresses and extensions, so they are those of AMD"
)

REPORT_BYTES = 1024
"""The length of a TD report (TDREPORT_STRUCT)."""
QUOTE_EVIDENCE = client(
    "S68", "S123", note="base64url without padding; a report is taken in either alphabet of base64"
)
INTEL_NAMES_EVIDENCE = client("S123", note="verifiers check names, curves and extensions")
FMSPC = bytes.fromhex("00806f050000")
"""Family, model, stepping, platform type and custom SKU of the machine."""
PCE_ID = bytes(2)
PCE_SVN = 13
CPU_SVN = bytes((7, 7, 2, 2, 3, 1, 0, 3, *(0,) * 8))
MACHINE_EVIDENCE = chosen("a machine of Intel's fourth generation; its versions are assumed")
