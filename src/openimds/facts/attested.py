"""The attested document: the signed members, their first api-versions, and lifetimes."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, observed
from openimds.facts.redaction import GUID, KEPT, DocumentMember, Redaction


class PayloadMember(Struct, frozen=True):
    """A member of the signed payload; documents of classic VMs have only `is_classic` ones.

    `leaves` are the names below a member that is an object.
    """

    name: str
    since: str
    redaction: Redaction
    evidence: Evidence
    leaves: tuple[str, ...] = ()
    is_classic: bool = False


MEMBERS: tuple[PayloadMember, ...] = (
    PayloadMember("licenseType", "2020-09-01", KEPT, documented("S2", note="recorded empty (S25)")),
    PayloadMember("nonce", "2018-10-01", KEPT, observed("S18", "S25"), is_classic=True),
    PayloadMember(
        "plan", "2018-10-01", KEPT, observed("S18", "S25"), ("name", "product", "publisher")
    ),
    PayloadMember(
        "sku", "2019-11-01", KEPT, documented("S2", note="equals compute.sku; recorded (S25)")
    ),
    PayloadMember(
        "subscriptionId",
        "2019-04-30",
        GUID,
        observed("S18", note="with 2019-08-15; the first version is documented (S2)"),
    ),
    PayloadMember(
        "timeStamp",
        "2018-10-01",
        KEPT,
        observed("S18", "S25"),
        ("createdOn", "expiresOn"),
        is_classic=True,
    ),
    PayloadMember("vmId", "2018-10-01", GUID, observed("S18", "S25"), is_classic=True),
)
"""In the order of the payload."""

ENVELOPE: tuple[DocumentMember, ...] = (
    DocumentMember("encoding", KEPT, observed("S18", "S25")),
    DocumentMember("signature", Redaction.SIGNATURE, observed("S18", "S25")),
)
"""The members of the response, which carries the signed payload."""

CLASSIC_EVIDENCE = documented(
    "S1", note="only vmId is certain; that other members are left out is our reading"
)

LIFE_S = 6 * 3600
LIFE_EVIDENCE = observed("S18", "S25", note="expiresOn - createdOn is six hours in every recording")

TIME_NONCE_EVIDENCE = observed(
    "S18",
    "S25",
    note="a request without a nonce gets the time of expiresOn as nonce, YYYYMMDD-HHMMSS",
)

LONGEST_NONCE = 32
NONCE_EVIDENCE = documented(
    "S4", note="up to 32 letters and digits; clients send - and _ too (S21) and get them back"
)

CACHE_S = 300
CACHE_EVIDENCE = chosen(
    "a document without a nonce is signed anew after five minutes; in 2019 Azure cached it for up "
    "to six hours (S30)"
)

ENCODING = "pkcs7"

ISSUERS_PATH = "/pkiops/certs"
"""The path of an issuer's certificate, `NAME.crt` below it."""
ISSUERS_PATH_EVIDENCE = observed("S73", note="in leaves of 2023 to 2026; Teleport wants it (S72)")
ALTERNATE_PATH = "/alternate"
"""The prefix of the second address of an issuer's certificate, in place of Azure's second host."""


class PkiBases(Struct, frozen=True):
    """The URLs before the paths of issuers' certificates, of lists, and of the OCSP responder."""

    issuers: tuple[str, ...]
    lists: tuple[str, ...]
    ocsp: str


def own_bases(public_url: str) -> PkiBases:
    """Return the bases of a public URL: both addresses have its host."""
    both = (public_url, public_url + ALTERNATE_PATH)
    return PkiBases(both, both, public_url)


AZURE_PKI_HOSTS = (
    "www.microsoft.com",
    "caissuers.microsoft.com",
    "crl2.microsoft.com",
    "oneocsp.microsoft.com",
)
"""The hosts in Azure's certificates: of both addresses, of issuers, of lists, of OCSP."""
_FIRST_HOST, _ISSUERS_HOST, _LISTS_HOST, _OCSP_HOST = (f"http://{it}" for it in AZURE_PKI_HOSTS)
AZURE_BASES = PkiBases(
    (_FIRST_HOST, _ISSUERS_HOST),
    (_FIRST_HOST, _LISTS_HOST),
    _OCSP_HOST,
)
AZURE_BASES_EVIDENCE = observed("S73", note="in the leaf of 2026")
