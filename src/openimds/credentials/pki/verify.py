"""Verify an attested document: the checks that its clients should make, one by one.

A check holds, fails with a reason, or could not be made (None). Verification is strict: only
Azure's structure passes, and only its DER encoding, so that no octet can be changed unseen. `chain`
checks whether the leaf leads to a trusted root, `certificate times` whether the leaf is valid at
the time, each without the other.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.certificates import DOMAINS
from openimds.credentials.pki.chain_validation import Fetch, Trust
from openimds.credentials.pki.cms import (
    DATA,
    RSA,
    SHA256_DIGEST,
    SHA256_WITH_RSA,
    SIGNED_DATA,
    Algorithm,
    Envelope,
    EnvelopeError,
    open_envelope,
)
from openimds.credentials.pki.revocation_check import RevocationMode, check_revocation
from openimds.errors import BAD_JSON

NAMES = (
    "encoding",
    "structure",
    "signature",
    "chain",
    "certificate times",
    "name",
    "payload",
    "nonce",
    "times",
)
REVOCATION = "revocation"
"""The check that is made on request alone; it follows that of the chain."""
_PEM = re.compile(rb"\A\s*-----BEGIN (PKCS7|CMS)-----(.*)-----END \1-----\s*\Z", re.DOTALL)
_TIME = re.compile(r"(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) -0000", re.ASCII)
_SEQUENCE = 0x30
Outcome = tuple[bool | None, str]
"""The result of a check as in `VerificationCheck`, and its detail."""


class VerificationCheck(Struct, frozen=True):
    """The result of one check; `holds` is None if the check was not made."""

    name: str
    holds: bool | None
    detail: str


class VerificationReport(Struct, frozen=True):
    """The checks in the order of `NAMES`, and the payload if there is one."""

    checks: tuple[VerificationCheck, ...]
    payload: dict[str, Any] | None = None

    @property
    def holds(self) -> bool:
        """Whether no check fails; a check that was not made counts as neither."""
        return all(check.holds is not False for check in self.checks)


class Expected(Struct, frozen=True):
    """The values that a document must match.

    `nonce` None accepts any nonce; an empty `domain` accepts that of any cloud, else it is one of
    them, such as metadata.azure.cn.
    """

    at_s: float
    nonce: str | None = None
    domain: str = ""


def verify(  # noqa: PLR0913 - each is a fact of its own, and all but the document go by name
    document: bytes | str,
    *,
    trust: bytes | None,
    nonce: str | None,
    at_s: float,
    intermediates: bytes = b"",
    fetch: Fetch | None = None,
    domain: str = "",
    revocation: RevocationMode = "off",
) -> VerificationReport:
    """Verify an attested document and return a report; an invalid document raises nothing.

    Args:
        document: the body of the response, or its signature alone: base64, PEM or DER.
        trust: the trust bundle, PEM or DER: its self-signed certificates are roots, the others
            are intermediates. None leaves the chain unchecked.
        nonce: the nonce of the request; None if it had none.
        at_s: the time at which everything has to be valid, in seconds since 1970.
        intermediates: more intermediates, PEM or DER.
        fetch: returns the content of a URL, for missing issuers; raises OSError. It is called
            only if signature and name hold.
        domain: the cloud domain that the certificate has to be for; empty for any cloud's.
        revocation: `soft` and `hard` add the check `revocation` of the certificates of a chain that
            holds, by the addresses in them; in `hard` an unknown status fails.

    Raises:
        ConfigError: `trust` or `intermediates` contain no certificates.
    """
    trusted = None if trust is None else Trust(trust, intermediates, fetch)
    octets, outcome = _decode(
        document.encode(errors="replace") if isinstance(document, str) else document
    )
    encoding = VerificationCheck("encoding", *outcome)
    if octets is None:
        return VerificationReport((encoding, *_not_reached(1)))
    try:
        envelope = open_envelope(octets)
    except EnvelopeError as error:
        structure = VerificationCheck("structure", holds=False, detail=str(error))
        return VerificationReport((encoding, structure, *_not_reached(2)))
    at = _moment(at_s)
    revoked = (
        None if revocation == "off" else lambda path: check_revocation(path, at, fetch, revocation)
    )
    return _check(encoding, envelope, trusted, Expected(at_s, nonce, domain), revoked)


def _check(
    encoding: VerificationCheck,
    envelope: Envelope,
    trust: Trust | None,
    expected: Expected,
    revoked: Callable[[list[x509.Certificate]], Outcome] | None,
) -> VerificationReport:
    structure = _run("structure", lambda: _structure(envelope))
    leaf = _leaf(envelope)
    if leaf is None:
        leaf_checks = _not_reached(2)[:4]
    else:
        signature = _run("signature", lambda: _signature(envelope, leaf))
        name = _run("name", lambda: _name(leaf, expected.domain))
        # A document that anybody could write must not choose the URLs that we fetch.
        may_fetch = bool(signature.holds and name.holds)
        path: list[x509.Certificate] = []
        leaf_checks = [
            signature,
            _run("chain", lambda: _chain(leaf, trust, expected.at_s, path, may_fetch=may_fetch)),
            *([_run(REVOCATION, lambda: revoked(path))] if revoked else []),
            _run("certificate times", lambda: _certificate_times(leaf, expected.at_s)),
            name,
        ]
    payload, outcome = _payload(envelope.payload)
    members = payload or {}
    payload_checks = [
        VerificationCheck("payload", *outcome),
        VerificationCheck("nonce", *_nonce(members, expected.nonce)),
        VerificationCheck("times", *_times(members, expected.at_s)),
    ]
    return VerificationReport((encoding, structure, *leaf_checks, *payload_checks), payload)


def _not_reached(after: int) -> list[VerificationCheck]:
    return [
        VerificationCheck(name, None, "not reached: an earlier check fails")
        for name in NAMES[after:]
    ]


def _run(name: str, check: Callable[[], Outcome]) -> VerificationCheck:
    """Run a check; an exception from an unreadable certificate makes it fail."""
    try:
        return VerificationCheck(name, *check())
    except Exception as error:  # noqa: BLE001 - cryptography parses parts of a certificate lazily
        return VerificationCheck(name, holds=False, detail=f"cannot be read: {error}")


def _decode(document: bytes) -> tuple[bytes | None, Outcome]:
    """Return the octets of the signature, from JSON, base64, PEM or DER."""
    if document[:1] == bytes([_SEQUENCE]) and not document.isascii():
        return document, (True, "DER")
    armored = _PEM.match(document)
    if armored:
        return _base64(b"".join(armored[2].split()), "PEM")
    if not document.lstrip().startswith(b"{"):
        return _base64(b"".join(document.split()), "base64")
    try:
        body = msgspec.json.decode(document)
    except BAD_JSON as error:
        return None, (False, f"not JSON: {error}")
    if body.get("encoding") != "pkcs7":
        seen = msgspec.json.encode(body.get("encoding")).decode()
        return None, (False, f'saw the encoding {seen}, expected "pkcs7"')
    text = body.get("signature")
    if not isinstance(text, str):
        return None, (False, "the member signature is missing")
    return _base64(text.encode(errors="replace"), "pkcs7")


def _base64(text: bytes, form: str) -> tuple[bytes | None, Outcome]:
    """Decode base64; a text without its padding is decoded too, but fails."""
    missing = -len(text) % 4
    try:
        octets = b64decode(text + b"=" * missing, validate=True)
    except binascii.Error as error:
        return None, (False, f"not base64: {str(error).lower()}")
    if missing:
        return octets, (False, f"base64 of {len(text)} characters, which is not a multiple of 4")
    if not octets or b64encode(octets) != text:
        return None, (False, "not the canonical base64 of its octets")
    return octets, (True, form)


def _leaf(envelope: Envelope) -> x509.Certificate | None:
    """Return the certificate that the first signer names."""
    named = {(signer.issuer, signer.serial) for signer in envelope.signers[:1]}
    for certificate in envelope.certificates:
        try:
            if (certificate.issuer.public_bytes(), certificate.serial_number) in named:
                return certificate
        except Exception:  # noqa: BLE001, S112 - malformed names raise many kinds of errors
            continue
    return None


def _structure(envelope: Envelope) -> Outcome:
    """Compare an envelope with the recordings of 2020, 2021 and 2023 (S18, S19, S25)."""
    digest = Algorithm(SHA256_WITH_RSA, has_null=True)
    rows: list[tuple[str, object, object]] = [
        ("contentType", envelope.content_type, SIGNED_DATA),
        ("version", envelope.version, 1),
        ("digestAlgorithms", envelope.digest_algorithms, (digest,)),
        ("eContentType", envelope.payload_type, DATA),
        ("the content's presence", envelope.payload is not None, True),
        ("the number of certificates", len(envelope.certificates), 1),
        ("the presence of crls", envelope.has_crls, False),
        ("the number of signerInfos", len(envelope.signers), 1),
    ]
    for signer in envelope.signers:
        rows += [
            ("the signer's version", signer.version, 1),
            ("the presence of the signer's certificate", _leaf(envelope) is not None, True),
            ("the signer's digestAlgorithm", signer.digest, digest),
            ("the presence of signedAttrs", signer.has_signed_attributes, False),
            (
                "the signatureAlgorithm",
                signer.signature_algorithm,
                Algorithm(RSA, has_null=True),
            ),
            ("the presence of unsignedAttrs", signer.has_unsigned_attributes, False),
        ]
    wrong = [
        f"{part}: saw {seen}, Azure's is {azure}" for part, seen, azure in rows if seen != azure
    ]
    return not wrong, "; ".join(wrong) or "as Azure's"


def _signature(envelope: Envelope, leaf: x509.Certificate) -> Outcome:
    signer = envelope.signers[0]
    if signer.has_signed_attributes or envelope.payload is None:
        return False, "it does not cover the content directly"
    if signer.digest.oid not in {SHA256_WITH_RSA, SHA256_DIGEST}:
        return False, f"its digest {signer.digest.oid} is not SHA-256"
    key = leaf.public_key()
    if not isinstance(key, RSAPublicKey):
        return False, "the certificate's key is not RSA"
    try:
        key.verify(signer.signature, envelope.payload, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False, "the certificate's key did not sign this content"
    return True, f"RSA-{key.key_size} with SHA-256 over {len(envelope.payload)} octets"


def _chain(
    leaf: x509.Certificate,
    trust: Trust | None,
    at_s: float,
    path: list[x509.Certificate],
    *,
    may_fetch: bool,
) -> Outcome:
    """Check the chain, and add its certificates to a path."""
    if trust is None:
        return None, "not checked: name a bundle with --trust"
    # The leaf's own times are another check: the chain of an expired leaf is checked at its end.
    starts, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    at = min(max(_moment(at_s), starts), ends)
    found, detail = trust.path_to_root(leaf, at, may_fetch=may_fetch)
    path.extend(found)
    return bool(found), detail


def _certificate_times(leaf: x509.Certificate, at_s: float) -> Outcome:
    at, starts, ends = _moment(at_s), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    span = f"{starts:%Y-%m-%d %H:%M:%S} to {ends:%Y-%m-%d %H:%M:%S} UTC"
    return starts <= at <= ends, span if starts <= at <= ends else f"{span}, but it is {at:%F %T}"


def _name(leaf: x509.Certificate, domain: str) -> Outcome:
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = san.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = [common_name(leaf)]
    domains = [domain] if domain else list(DOMAINS)
    fits = any(f".{name.lower()}".endswith(f".{item}") for name in names for item in domains)
    seen = ", ".join(names) or "no name"
    return fits, seen if fits else f"saw {seen}, expected {' or '.join(domains)}, or below"


def _payload(content: bytes | None) -> tuple[dict[str, Any] | None, Outcome]:
    try:
        body = msgspec.json.decode(content or b"")
    except BAD_JSON as error:
        return None, (False, f"not JSON: {error}")
    if not isinstance(body, dict):
        return None, (False, "not a JSON object")
    vm_id = body.get("vmId")
    if not isinstance(vm_id, str) or not vm_id:
        return body, (False, "vmId is missing")
    return body, (True, f"vmId {vm_id}")


def _nonce(body: dict[str, Any], expected: str | None) -> Outcome:
    nonce = body.get("nonce")
    seen = "none" if nonce is None else f'"{nonce}"'
    if expected is None:
        return None, f"not checked; the document's is {seen}"
    fits = nonce == expected
    return fits, seen if fits else f'saw {seen}, expected "{expected}"'


def _times(body: dict[str, Any], at_s: float) -> Outcome:
    if "timeStamp" not in body:
        # The document of a classic VM has only vmId for certain.
        return None, "the document has none, as that of a classic VM may"
    stamp = body["timeStamp"]
    stamps = stamp if isinstance(stamp, dict) else {}
    starts, ends = _parsed(stamps.get("createdOn")), _parsed(stamps.get("expiresOn"))
    if starts is None or ends is None:
        seen = msgspec.json.encode(stamp).decode()
        return False, f"saw {seen}, expected two like 10/02/23 12:33:11 -0000"
    at, span = _moment(at_s), f"{starts:%F %T} to {ends:%F %T} UTC"
    fits = starts <= at < ends
    return fits, span if fits else f"{span}, but it is {at:%F %T}"


def _parsed(text: object) -> datetime | None:
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    month, day, year, hour, minute, second = map(int, match.groups())
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
