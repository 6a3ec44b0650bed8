"""Invalid attested documents, which a verifier must reject, and documents of new issuers.

Each scenario spoils one thing and leaves the rest valid, so that a client which accepts the
document misses exactly that check. `invalid_payload` applies the scenarios of the payload,
`DocumentSigner` the others.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from openimds.credentials.pki.authority import Part
from openimds.errors import ConfigError
from openimds.facts.attested import LIFE_S
from openimds.parameters import nearest
from openimds.protocol.attested_document import default_nonce, stamp

_HOUR_S = 3600


class InvalidDocument(Struct, frozen=True):
    """One scenario: its fault, the reason to test clients with it, and the evidence."""

    name: str
    spoils: str
    why: str
    evidence: str


SCENARIOS: dict[str, InvalidDocument] = {
    row.name: row
    for row in (
        InvalidDocument(
            "expired-leaf",
            "the signer's certificate expired an hour ago",
            "Azure's leaves last 6 months: a client that checks signatures only never notices",
            "recorded: leaves of 180 to 731 days (S25, S73)",
        ),
        InvalidDocument(
            "unknown-intermediate",
            "an orphaned intermediate issued the signer's certificate: it is published nowhere",
            "Azure changes intermediates without notice; a client that pins them must report it",
            "recorded: three issuers from 2020 to 2023 (S18, S19, S25), no notice given (S2)",
        ),
        InvalidDocument(
            "wrong-cloud",
            "the signer's certificate is for the domain of another cloud",
            "each cloud has its own domain; a client of one must reject the others",
            "documented: four domains, sub-domains of each allowed (S2)",
        ),
        InvalidDocument(
            "stale-nonce",
            "the nonce is that of an earlier request",
            "a client that does not compare it accepts a replayed document",
            "reported in 2019: answers from a cache of up to six hours (S30, azure-docs 43938)",
        ),
        InvalidDocument(
            "expired-document",
            "createdOn and expiresOn lie in the past",
            "a shipped verifier does not check them, and accepts a document for ever",
            "recorded: a life of six hours (S18, S25); a shipped verifier does not check (S20)",
        ),
        InvalidDocument(
            "tampered-payload",
            "vmId was changed after the payload was signed",
            "the plainest forgery: a client that does not verify the signature accepts it",
            "chosen: Azure never sends it; a forger would",
        ),
        InvalidDocument(
            "revoked-leaf",
            "the signer's certificate is revoked (keyCompromise), in its list and by OCSP",
            "a client that never looks, or goes on when it cannot, accepts it",
            "chosen: none was recorded; all recorded leaves name lists and OCSP (S73)",
        ),
    )
}


ROTATIONS: dict[str, Part] = {"new-intermediate": "intermediate", "new-root": "root"}
"""Scenarios of valid documents under a new issuer, by the part that would be replaced."""


def invalid_document(name: str) -> InvalidDocument:
    """Return a scenario by its name.

    Raises:
        ConfigError: there is no scenario of this name.
    """
    if name not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise ConfigError("scenario", f'"{name}"', f"one of {known}", nearest(name, SCENARIOS))
    return SCENARIOS[name]


def invalid_payload(
    payload: Mapping[str, Any], name: str, now_s: float, earlier_nonce: str = ""
) -> dict[str, Any]:
    """Return a payload as a scenario spoils it; most scenarios leave it unchanged.

    `earlier_nonce` is the nonce of an earlier request; without it, the nonce becomes the stamp that
    a document without a nonce had an hour ago.
    """
    members = dict(payload)
    if name == "stale-nonce":
        members["nonce"] = earlier_nonce or default_nonce(now_s - _HOUR_S + LIFE_S)
    if name == "expired-document" and "timeStamp" in members:
        members["timeStamp"] = {
            "createdOn": stamp(now_s - _HOUR_S - LIFE_S),
            "expiresOn": stamp(now_s - _HOUR_S),
        }
    return members
