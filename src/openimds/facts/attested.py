"""The attested document: what is signed, from which api-version on, and for how long."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, observed


class PayloadMember(Struct, frozen=True):
    """A member of the signed payload; `is_classic` ones are there for classic VMs too."""

    name: str
    since: str
    evidence: Evidence
    is_classic: bool = False


MEMBERS: tuple[PayloadMember, ...] = (
    PayloadMember("licenseType", "2020-09-01", documented("S2", note="recorded empty (S25)")),
    PayloadMember("nonce", "2018-10-01", observed("S18", "S25"), is_classic=True),
    PayloadMember("plan", "2018-10-01", observed("S18", "S25")),
    PayloadMember("sku", "2019-11-01", documented("S2", note="equals compute.sku; recorded (S25)")),
    PayloadMember(
        "subscriptionId",
        "2019-04-30",
        observed("S18", note="with 2019-08-15; the first version is documented (S2)"),
    ),
    PayloadMember("timeStamp", "2018-10-01", observed("S18", "S25"), is_classic=True),
    PayloadMember("vmId", "2018-10-01", observed("S18", "S25"), is_classic=True),
)
"""In the order of the payload."""

CLASSIC_EVIDENCE = documented(
    "S1", note="only vmId is sure to be filled; that the others are left out is our reading"
)

LIFE_S = 6 * 3600
LIFE_EVIDENCE = observed("S18", "S25", note="expiresOn - createdOn is six hours in every recording")

TIME_NONCE_EVIDENCE = observed(
    "S18", "S25", note="without a nonce the nonce is the time of expiresOn, YYYYMMDD-HHMMSS"
)

LONGEST_NONCE = 32
NONCE_EVIDENCE = documented(
    "S4", note="up to 32 letters and digits; clients send - and _ too (S21) and get them back"
)

CACHE_S = 300
CACHE_EVIDENCE = chosen(
    "documents without a nonce are signed anew after five minutes; Azure kept them for up to six "
    "hours in 2019 (S30)"
)

ENCODING = "pkcs7"
