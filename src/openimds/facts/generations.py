"""The generations of the certificates behind attested documents, from 2019 to 2026.

A row describes the leaf and the CA certificates above it as Azure had them at a time. The names are
this project's own; `DIFFERENCES` lists what else differs from Azure's certificates, and why.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, observed

OID_SERVER, OID_CLIENT = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
"""The purposes serverAuth and clientAuth."""
OID_VALIDATED, OID_MICROSOFT = "2.23.140.1.2.2", "1.3.6.1.4.1.311.76.509.1.1"
"""The policies of a validated organization (CA/Browser Forum), and of Microsoft's PKI."""
OID_TEMPLATE = "2.999.8169.1"
"""The certificate template in leaves, in the arc that X.660 keeps for examples. An arc of 128 bits,
as an OID has a UUID, is more than cryptography 42 reads."""
SERIAL_OCTETS = 19
"""The octets of a serial number, as in each decoded leaf."""
SERIAL_EVIDENCE = observed("S73")

LEAF_ORDER = (
    "applicationPolicies",
    "template",
    "authorityInformation",
    "subjectKeyIdentifier",
    "keyUsage",
    "names",
    "basicConstraints",
    "crlAddresses",
    "policies",
    "authorityKeyIdentifier",
    "purposes",
)
"""The extensions of a leaf in their order."""
ISSUING_ORDER = (
    "keyUsage",
    "caVersion",
    "subjectKeyIdentifier",
    "policies",
    "purposes",
    "templateName",
    "basicConstraints",
    "authorityKeyIdentifier",
    "crlAddresses",
    "authorityInformation",
    "nameConstraints",
)
"""The extensions of an issuing CA in their order; the last one is this project's own."""
TIER_ORDER = (
    "basicConstraints",
    "subjectKeyIdentifier",
    "authorityKeyIdentifier",
    "keyUsage",
    "purposes",
    "authorityInformation",
    "crlAddresses",
    "policies",
    "nameConstraints",
)
"""The extensions of the tier between issuing CA and root; the last one is this project's own."""


class CertificateGeneration(Struct, frozen=True):
    """One generation; `issuer` is the common name of its issuing CAs before their number.

    `key_usage` has the usages of a leaf; `tiers` counts the CA certificates below the root;
    `addresses` the CA Issuers addresses, and the addresses of each CRL.
    """

    key: str
    issuer: str
    leaf_days: int
    evidence: Evidence
    digest: str = "sha384"
    purposes: tuple[str, ...] = (OID_SERVER, OID_CLIENT)
    key_usage: tuple[str, ...] = ("digital_signature", "key_encipherment")
    is_key_usage_critical: bool = True
    tiers: int = 1
    addresses: int = 1


_REST = "the order of its extensions and its policies are assumed to be those of 2026"

GENERATIONS: dict[str, CertificateGeneration] = {
    row.key: row
    for row in (
        CertificateGeneration(
            "2019",
            "OpenIMDS IT TLS CA",
            731,
            observed("S73", note=f"SHA-256 is inferred; {_REST}"),
            digest="sha256",
            key_usage=("digital_signature", "key_encipherment", "data_encipherment"),
            is_key_usage_critical=False,
        ),
        CertificateGeneration(
            "2021",
            "OpenIMDS RSA TLS CA",
            365,
            observed("S73", note=f"the key usage is that of 2023, SHA-256 is inferred; {_REST}"),
            digest="sha256",
        ),
        CertificateGeneration(
            "2023", "OpenIMDS TLS Issuing CA", 339, observed("S25", "S73", note=_REST)
        ),
        CertificateGeneration(
            "2024",
            "OpenIMDS RSA TLS Issuing CA",
            360,
            observed("S73", note=f"180 days from 2025-11 on; {_REST}"),
        ),
        CertificateGeneration(
            "2026",
            "OpenIMDS TLS G2 RSA CA OCSP",
            180,
            observed("S73", note="leaf and tiers decoded extension by extension"),
            purposes=(OID_SERVER,),
            tiers=2,
            addresses=2,
        ),
    )
}
"""Oldest first."""
NEWEST = "2026"


class GenerationStep(Struct, frozen=True):
    """The step to a generation: its changes for verifiers, and public reports of broken ones."""

    generation: str
    change: str
    reports: tuple[str, ...]
    evidence: Evidence


_EARLIER = "the reports are of changed issuers; that these changes broke others is assumed"

STEPS: dict[str, GenerationStep] = {
    row.generation: row
    for row in (
        GenerationStep(
            "2019", "731 days, and a key usage that is not critical", (), observed("S73")
        ),
        GenerationStep(
            "2021",
            "another issuer and root, 365 days, and a critical key usage",
            ("taskcluster/taskcluster#3638", "taskcluster/taskcluster#4805"),
            observed("S73", "S96", note=_EARLIER),
        ),
        GenerationStep(
            "2023", "another issuer, and SHA-384", (), observed("S73", note="no report was found")
        ),
        GenerationStep(
            "2024",
            "another issuer",
            ("coder/coder#13028", "gravitational/teleport#61766"),
            observed("S73", "S96", note=_EARLIER),
        ),
        GenerationStep(
            "2026",
            "a second CA below the root, two addresses of issuers, 180 days, servers only",
            (
                "taskcluster/taskcluster#8569",
                "gravitational/teleport#66727",
                "gravitational/teleport#66764",
                "coder/coder#25243",
                "coder/coder#25418",
                "spiffe/spire#6952",
            ),
            observed("S73", "S95"),
        ),
    )
}
"""The steps of a rehearsal, oldest first."""
OVERLAP_EVIDENCE = observed("S95", note="uksouth moved first, the others as their leaves ended")


class CertificateDifference(Struct, frozen=True):
    """One difference between the certificates of this server and Azure's, and its reason."""

    name: str
    evidence: Evidence


DIFFERENCES: tuple[CertificateDifference, ...] = (
    CertificateDifference(
        "no list of signed certificate timestamps (Azure's leaf has three)",
        chosen("a timestamp promises an entry in a public log, and there is none"),
    ),
    CertificateDifference(
        "CA certificates have keys of RSA-2048 (Azure's: RSA-4096); attest_tier_bits sets 4096",
        chosen("a key of 4096 bits takes 0.5 to 2.8 s of CPU, and no verifier asks for its size"),
    ),
    CertificateDifference(
        "CA certificates have name constraints, not critical (Azure's have none)",
        chosen("they protect those who trust the root of a test machine"),
    ),
    CertificateDifference(
        "CA certificates are valid from March 2017 for 10 and 20 years (Azure's: for 4)",
        chosen("a chain holds for a clock that was set to another year"),
    ),
    CertificateDifference(
        "the policies name no certification practice statement (Azure's leaf does)",
        chosen("there is no such document"),
    ),
    CertificateDifference(
        "the certificate template has a number from the arc of examples",
        chosen("Microsoft's names a template of its own CA"),
    ),
    CertificateDifference(
        "the second address is the path /alternate of the first host (Azure's: another host); "
        "pki_names azure writes Azure's hosts in a sandbox",
        chosen("the public listener has one host"),
    ),
)
