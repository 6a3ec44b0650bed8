"""A document of ours, and what the judge says of it and of others."""

import base64
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from openimds.credentials.pki.authority import CertificateAuthority, SigningLeaf
from openimds.credentials.pki.certificates import LeafSubject, Validity
from openimds.credentials.pki.cms import envelope
from openimds.credentials.pki.verify import VerificationReport, verify
from tests.unit.credentials.pki.recorded import CREATED_S, NONCE, PAYLOAD

URL = "http://127.0.0.1:8169"
YEAR_S = 365 * 86_400

authority = CertificateAuthority.open(None, CREATED_S, public_url=URL)
# The signature of this certificate ends in a 0: then even the count of unused bits before it could
# become 1 and still be DER.
leaf = next(
    made
    for seconds in count(3600)
    if (
        made := authority.issue(
            LeafSubject("metadata.azure.com", "northeurope"),
            Validity(CREATED_S - seconds, CREATED_S + YEAR_S),
        )
    ).certificate.signature[-1]
    & 1
    == 0
)
der = envelope(PAYLOAD, leaf.certificate, leaf.key)
text = base64.b64encode(der).decode()


def judged(document: bytes | str = der, **changes: Any) -> VerificationReport:
    """Judge a document as one who got it just now, asked with its nonce and trusts us."""
    asked: dict[str, Any] = {
        "trust": authority.bundle(),
        "nonce": NONCE,
        "at_s": CREATED_S,
    } | changes
    return verify(document, **asked)


def failures(report: VerificationReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.holds is False}


def unmade(report: VerificationReport) -> list[str]:
    return [check.name for check in report.checks if check.holds is None]


def signed(payload: bytes | Mapping[str, Any], by: SigningLeaf = leaf) -> bytes:
    said = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return envelope(said, by.certificate, by.key)


def said(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PAYLOAD) | changes
    return found
