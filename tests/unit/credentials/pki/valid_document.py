"""A valid attested document, and helpers that verify it and variants of it."""

import base64
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import LeafSubject, Validity
from openimds.credentials.pki.cms import envelope
from openimds.credentials.pki.leaves import SigningLeaf
from openimds.credentials.pki.verify import VerificationReport, verify
from tests.unit.credentials.pki.recordings import CREATED_S, NONCE, PAYLOAD

URL = "http://127.0.0.1:8169"
YEAR_S = 365 * 86_400

authority = CertificateAuthority.open(None, CREATED_S, public_url=URL)
# The last bit of this certificate's signature is 0: so even a count of unused bits changed to 1
# would still be DER.
leaf = next(
    candidate
    for seconds in count(3600)
    if (
        candidate := authority.leaves.issue(
            LeafSubject("metadata.azure.com", "northeurope"),
            Validity(CREATED_S - seconds, CREATED_S + YEAR_S),
        )
    ).certificate.signature[-1]
    & 1
    == 0
)
der = envelope(PAYLOAD, leaf.certificate, leaf.key)
text = base64.b64encode(der).decode()


def check(document: bytes | str = der, **changes: Any) -> VerificationReport:
    """Verify a document at its creation, with its nonce and our trust bundle."""
    arguments: dict[str, Any] = {
        "trust": authority.bundle(),
        "nonce": NONCE,
        "at_s": CREATED_S,
    } | changes
    return verify(document, **arguments)


def failures(report: VerificationReport) -> dict[str, str]:
    return {item.name: item.detail for item in report.checks if item.holds is False}


def unmade(report: VerificationReport) -> list[str]:
    return [item.name for item in report.checks if item.holds is None]


def signed(payload: bytes | Mapping[str, Any], by: SigningLeaf = leaf) -> bytes:
    encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return envelope(encoded, by.certificate, by.key)


def payload_with(**changes: Any) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(PAYLOAD) | changes
    return members
