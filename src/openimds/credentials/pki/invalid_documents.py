"""Attested documents, good ones and on request bad ones: what a verifier has to refuse.

Each scenario spoils one thing and leaves the rest right, so that a client which lets it pass has
missed exactly that check. Those that spoil the payload are applied where it is made
(`invalid_payload`), the others where it is signed (`DocumentSigner`).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from openimds.credentials.pki.authority import Part
from openimds.credentials.pki.certificates import (
    LEAF_DAYS,
)
from openimds.errors import ConfigError
from openimds.facts.attested import LIFE_S
from openimds.parameters import nearest
from openimds.protocol.attested_document import default_nonce, stamp

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
_LEAF_S = LEAF_DAYS * _DAY_S


class InvalidDocument(Struct, frozen=True):
    """One way to be wrong: what is spoilt, why clients need to see it, what it rests on."""

    name: str
    spoils: str
    why: str
    evidence: str


SCENARIOS: dict[str, InvalidDocument] = {
    row.name: row
    for row in (
        InvalidDocument(
            "expired-leaf",
            "the signer's certificate ended an hour ago",
            "Azure's leaves last 11 months: a reader that looks at signatures only never notices",
            "recorded: a leaf valid from 2023-07-24 to 2024-06-27 (S25)",
        ),
        InvalidDocument(
            "unknown-intermediate",
            "the signer's certificate is of an intermediate that nobody can fetch",
            "Azure changes intermediates without notice; readers that pin them have to say so",
            "recorded: three issuers from 2020 to 2023 (S18, S19, S25), no notice given (S2)",
        ),
        InvalidDocument(
            "wrong-cloud",
            "the signer's certificate is for the domain of another cloud",
            "each cloud has its own domain; a reader of one has to refuse the others",
            "documented: four domains, sub-domains of each allowed (S2)",
        ),
        InvalidDocument(
            "stale-nonce",
            "the nonce is that of an earlier request",
            "whoever does not compare it accepts a document that was sent to somebody else before",
            "reported in 2019: answers from a cache of up to six hours (S30, azure-docs 43938)",
        ),
        InvalidDocument(
            "expired-document",
            "createdOn and expiresOn lie in the past",
            "a shipped verifier does not look at them, and takes a document for ever",
            "recorded: a life of six hours (S18, S25); a shipped verifier does not look (S20)",
        ),
        InvalidDocument(
            "tampered-payload",
            "vmId was changed after the payload was signed",
            "the plainest forgery: a reader that does not verify the signature takes it",
            "chosen: Azure never sends it; a forger would",
        ),
    )
}


ROTATIONS: dict[str, Part] = {"new-intermediate": "intermediate", "new-root": "root"}
"""Documents that are right, under issuers that nobody has seen yet; faults ask for them."""


def invalid_document(name: str) -> InvalidDocument:
    """Return a scenario by its name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise ConfigError("scenario", f'"{name}"', f"one of {known}", nearest(name, SCENARIOS))
    return SCENARIOS[name]


def invalid_payload(
    payload: Mapping[str, Any], name: str, now_s: float, earlier_nonce: str = ""
) -> dict[str, Any]:
    """Return a payload as a scenario spoils it; most scenarios leave it as it is.

    `earlier_nonce` is that of an earlier request; without one, it is the stamp that a document
    without a nonce had an hour ago.
    """
    said = dict(payload)
    if name == "stale-nonce":
        said["nonce"] = earlier_nonce or default_nonce(now_s - _HOUR_S + LIFE_S)
    if name == "expired-document" and "timeStamp" in said:
        said["timeStamp"] = {
            "createdOn": stamp(now_s - _HOUR_S - LIFE_S),
            "expiresOn": stamp(now_s - _HOUR_S),
        }
    return said
