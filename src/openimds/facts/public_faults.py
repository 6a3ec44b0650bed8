"""Faults at the public listener, for verifiers of attested documents.

A verifier fetches issuers' certificates, lists of revoked certificates and OCSP responses from the
addresses in certificates. It is no VM: a fault for one VM alone is a scenario of the effect
`attested-document`.
"""

from openimds.facts.effects import Effect, EffectMode, PublicResource
from openimds.facts.evidence import Evidence, chosen, client, documented
from openimds.facts.fault_parameters import HANG, FaultParameter, ValueKind

ISSUER_CERTIFICATE = "issuer-certificate"
REVOCATION_LIST, OCSP_RESPONSE = "revocation-list", "ocsp-response"
TIER_PATH = "*/openimds-tls-rsa-root-g2-*"
"""The path of the certificate of the CA between issuing CA and root."""
ANSWER = "answer"
"""The parameter that each of these effects has."""
MISSING, FORBIDDEN, HTML, DAMAGED = "missing", "forbidden", "html", "damaged"
LATE, HANGING = "late", "hang"
EXPIRED, CROSS_SIGNED, STALE = "expired", "cross-signed", "stale"
TRY_LATER, UNAUTHORIZED = "try-later", "unauthorized"
REVOKED, UNKNOWN, NONCE = "revoked", "unknown", "nonce"

_DELIVERY = (MISSING, FORBIDDEN, HTML, LATE, HANGING)
"""The answers that do not depend on the document."""
_REPORTS = client("S130", note="each outage is a public report; the words of a refusal are our own")
_OUTAGES = client("S131", note="CRLs that ended, responders that hung; RFC 6960 has the answers")


def _answers(about: str, default: str, choices: tuple[str, ...]) -> tuple[FaultParameter, ...]:
    return FaultParameter(ANSWER, ValueKind.TEXT, about, default, choices=choices), HANG


PUBLIC_EFFECTS = (
    Effect(
        ISSUER_CERTIFICATE,
        EffectMode.INSTEAD,
        "At the public listener: an address of an issuer's certificate fails, or has another one.",
        "A verifier that takes the first address alone, or the first issuer of that name, stops.",
        _REPORTS,
        _answers(
            "The answer: 404, 403, a page with 200, a broken signature, the true one after "
            "`delay_s`, none; or the same CA as certified until an hour ago, or by another root.",
            MISSING,
            (*_DELIVERY, DAMAGED, EXPIRED, CROSS_SIGNED),
        ),
        resource=PublicResource.ISSUERS,
    ),
    Effect(
        REVOCATION_LIST,
        EffectMode.INSTEAD,
        "At the public listener: a list of revoked certificates (CRL) fails, or is of no use.",
        "A strict verifier refuses every document then; a lax one accepts a revoked certificate.",
        _OUTAGES,
        _answers(
            "The answer: 404, 403, a page with 200, a broken signature, the true one after "
            "`delay_s`, none; or the true list, whose nextUpdate was an hour ago.",
            MISSING,
            (*_DELIVERY, DAMAGED, STALE),
        ),
        resource=PublicResource.LISTS,
    ),
    Effect(
        OCSP_RESPONSE,
        EffectMode.INSTEAD,
        "At the public listener: the OCSP responder refuses, fails, or has another status.",
        "Each verifier decides by its own rule whether no status is a good one.",
        _OUTAGES,
        _answers(
            "The answer: one of RFC 6960's unsigned refusals; 404, 403, a page with 200, the true "
            "one after `delay_s`, none; signed as revoked, as unknown, or with the nonce.",
            TRY_LATER,
            (TRY_LATER, UNAUTHORIZED, *_DELIVERY, REVOKED, UNKNOWN, NONCE),
        ),
        resource=PublicResource.OCSP,
    ),
)
"""The effects on requests of verifiers."""

MAX_SIGNATURES_PER_S = 10
"""The most signatures for such faults in a second; beyond them the answer is to try later."""
MAX_HELD = 32
"""The most requests that such faults delay or hang at a time; one beyond them ends at once."""
MAX_REHEARSED = 256
"""The most signed answers of such faults that are kept; the oldest leave first."""
HANG_S = 60.0
"""The end of a hang without `hang_s`."""
MAX_NONCE = 128
"""The longest nonce that is answered, in octets (RFC 9654)."""
SIGNED_EVIDENCE: Evidence = chosen(
    f"faults of the public listener do, at most {MAX_SIGNATURES_PER_S} times a second: each answer "
    "once, and a nonce "
    "for its request alone"
)
NONCE_EVIDENCE = documented("S132", note="a nonce has 1 to 128 octets; longer ones are refused")
