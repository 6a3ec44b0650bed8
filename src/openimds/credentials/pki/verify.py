"""Judging an attested document: what its readers should look at, one check after the other.

A check holds, fails with a reason, or could not be made (None). The document is judged strictly:
only what Azure writes has the right structure, and it must be written in the one way that DER
allows, so that there is no octet whose change goes unseen. `chain` asks whether the leaf leads to a
trusted root and `certificate times` whether the leaf is valid at the time, each without the other.
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

from openimds.credentials.pki.certificates import DOMAINS, common_name
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
_PEM = re.compile(rb"\A\s*-----BEGIN (PKCS7|CMS)-----(.*)-----END \1-----\s*\Z", re.DOTALL)
_TIME = re.compile(r"(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) -0000", re.ASCII)
_SEQUENCE = 0x30
Found = tuple[bool | None, str]
"""Whether something holds, and the detail."""


class VerificationCheck(Struct, frozen=True):
    """One thing that was looked at; `holds` is None where it could not be, or nobody asked."""

    name: str
    holds: bool | None
    detail: str


class VerificationReport(Struct, frozen=True):
    """Every check in the order of `NAMES`, and the payload where there is one."""

    checks: tuple[VerificationCheck, ...]
    payload: dict[str, Any] | None = None

    @property
    def holds(self) -> bool:
        """Whether no check fails. A check that could not be made counts as neither."""
        return all(check.holds is not False for check in self.checks)


class Expected(Struct, frozen=True):
    """What a document is held against.

    `nonce` None is any nonce; `domain` empty is the domain of any cloud, else one of them, such as
    metadata.azure.cn.
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
) -> VerificationReport:
    """Return what holds of an attested document and what does not; a bad document raises nothing.

    Args:
        document: the body of the answer, or its signature alone: base64, PEM or DER.
        trust: PEM or DER of what is trusted: its self-signed certificates are roots, the others
            are intermediates. None leaves the chain unchecked.
        nonce: what was sent with the request; None if nothing was.
        at_s: the time that everything has to be valid at.
        intermediates: more intermediates, PEM or DER.
        fetch: returns what is at a URL, for issuers that are not at hand; raises OSError. It is
            called only where signature and name hold.
        domain: the one cloud's domain that the certificate has to be for; empty for any cloud's.

    Raises:
        ConfigError: `trust` or `intermediates` hold no certificates.
    """
    known = None if trust is None else Trust(trust, intermediates, fetch)
    octets, found = _decode(
        document.encode(errors="replace") if isinstance(document, str) else document
    )
    encoding = VerificationCheck("encoding", *found)
    if octets is None:
        return VerificationReport((encoding, *_unreached(1)))
    try:
        envelope = open_envelope(octets)
    except EnvelopeError as error:
        structure = VerificationCheck("structure", holds=False, detail=str(error))
        return VerificationReport((encoding, structure, *_unreached(2)))
    return _judge(encoding, envelope, known, Expected(at_s, nonce, domain))


def _judge(
    encoding: VerificationCheck, envelope: Envelope, trust: Trust | None, expected: Expected
) -> VerificationReport:
    structure = _guard("structure", lambda: _structure(envelope))
    leaf = _leaf(envelope)
    if leaf is None:
        of_leaf = _unreached(2)[:4]
    else:
        signature = _guard("signature", lambda: _signature(envelope, leaf))
        name = _guard("name", lambda: _name(leaf, expected.domain))
        # Whoever can write a document shall not choose what is asked for in our name.
        may_fetch = bool(signature.holds and name.holds)
        of_leaf = [
            signature,
            _guard("chain", lambda: _chain(leaf, trust, expected.at_s, may_fetch=may_fetch)),
            _guard("certificate times", lambda: _certificate_times(leaf, expected.at_s)),
            name,
        ]
    body, payload = _payload(envelope.payload)
    said = body or {}
    of_payload = [
        VerificationCheck("payload", *payload),
        VerificationCheck("nonce", *_nonce(said, expected.nonce)),
        VerificationCheck("times", *_times(said, expected.at_s)),
    ]
    return VerificationReport((encoding, structure, *of_leaf, *of_payload), body)


def _unreached(after: int) -> list[VerificationCheck]:
    return [
        VerificationCheck(name, None, "not reached: a check before it fails")
        for name in NAMES[after:]
    ]


def _guard(name: str, look: Callable[[], Found]) -> VerificationCheck:
    """Return a check; whatever a stranger's certificate raises while it is read is a reason."""
    try:
        return VerificationCheck(name, *look())
    except Exception as error:  # noqa: BLE001 - parts of a certificate are only read when asked for
        return VerificationCheck(name, holds=False, detail=f"cannot be read: {error}")


def _decode(document: bytes) -> tuple[bytes | None, Found]:
    """Return the octets of the signature, whatever it is wrapped in."""
    if document[:1] == bytes([_SEQUENCE]) and not document.isascii():
        return document, (True, "DER")
    found = _PEM.match(document)
    if found:
        return _base64(b"".join(found[2].split()), "PEM")
    if not document.lstrip().startswith(b"{"):
        return _base64(b"".join(document.split()), "base64")
    try:
        body = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, (False, f"not JSON: {error}")
    if body.get("encoding") != "pkcs7":
        seen = msgspec.json.encode(body.get("encoding")).decode()
        return None, (False, f'saw the encoding {seen}, expected "pkcs7"')
    text = body.get("signature")
    if not isinstance(text, str):
        return None, (False, "there is no signature beside the encoding")
    return _base64(text.encode(errors="replace"), "pkcs7")


def _base64(text: bytes, what: str) -> tuple[bytes | None, Found]:
    """Return the octets of base64; of a text that lost its padding too, but it does not hold."""
    missing = -len(text) % 4
    try:
        octets = b64decode(text + b"=" * missing, validate=True)
    except binascii.Error as error:
        return None, (False, f"not base64: {str(error).lower()}")
    if missing:
        return octets, (False, f"base64 of {len(text)} characters: no whole fours")
    if not octets or b64encode(octets) != text:
        return None, (False, "not base64 as it would be written again")
    return octets, (True, what)


def _leaf(envelope: Envelope) -> x509.Certificate | None:
    """Return the certificate that the first signer names."""
    named = {(one.issuer, one.serial) for one in envelope.signers[:1]}
    for one in envelope.certificates:
        try:
            if (one.issuer.public_bytes(), one.serial_number) in named:
                return one
        except Exception:  # noqa: BLE001, S112 - a stranger's names raise what they like
            continue
    return None


def _structure(envelope: Envelope) -> Found:
    """Hold an envelope against the recordings of 2020, 2021 and 2023 (S18, S19, S25)."""
    digest = Algorithm(SHA256_WITH_RSA.dotted_string, has_null=True)
    rows: list[tuple[str, object, object]] = [
        ("contentType", envelope.content_type, SIGNED_DATA.dotted_string),
        ("version", envelope.version, 1),
        ("digestAlgorithms", envelope.digest_algorithms, (digest,)),
        ("eContentType", envelope.payload_type, DATA.dotted_string),
        ("the content's presence", envelope.payload is not None, True),
        ("the number of certificates", len(envelope.certificates), 1),
        ("the presence of crls", envelope.has_crls, False),
        ("the number of signerInfos", len(envelope.signers), 1),
    ]
    for signer in envelope.signers:
        rows += [
            ("the signer's version", signer.version, 1),
            ("the signer's certificate among them", _leaf(envelope) is not None, True),
            ("the signer's digestAlgorithm", signer.digest, digest),
            ("the presence of signedAttrs", signer.has_signed_attributes, False),
            (
                "the signatureAlgorithm",
                signer.signature_algorithm,
                Algorithm(RSA.dotted_string, has_null=True),
            ),
            ("the presence of unsignedAttrs", signer.has_unsigned_attributes, False),
        ]
    wrong = [
        f"{what}: saw {seen}, Azure's is {right}" for what, seen, right in rows if seen != right
    ]
    return not wrong, "; ".join(wrong) or "as Azure's"


def _signature(envelope: Envelope, leaf: x509.Certificate) -> Found:
    signer = envelope.signers[0]
    if signer.has_signed_attributes or envelope.payload is None:
        return False, "it is not over the content itself"
    if signer.digest.oid not in {SHA256_WITH_RSA.dotted_string, SHA256_DIGEST.dotted_string}:
        return False, f"its digest {signer.digest.oid} is not SHA-256"
    key = leaf.public_key()
    if not isinstance(key, RSAPublicKey):
        return False, "the certificate's key is not RSA"
    try:
        key.verify(signer.signature, envelope.payload, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False, "the certificate's key did not sign this content"
    return True, f"RSA-{key.key_size} with SHA-256 over {len(envelope.payload)} octets"


def _chain(leaf: x509.Certificate, trust: Trust | None, at_s: float, *, may_fetch: bool) -> Found:
    if trust is None:
        return None, "not checked: name a bundle with --trust"
    # The leaf's own times are another check: of an expired leaf, its last moment is taken.
    starts, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    at = min(max(_moment(at_s), starts), ends)
    return trust.leads_to_root(leaf, at, may_fetch=may_fetch)


def _certificate_times(leaf: x509.Certificate, at_s: float) -> Found:
    at, starts, ends = _moment(at_s), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    said = f"{starts:%Y-%m-%d %H:%M:%S} to {ends:%Y-%m-%d %H:%M:%S} UTC"
    return starts <= at <= ends, said if starts <= at <= ends else f"{said}, but it is {at:%F %T}"


def _name(leaf: x509.Certificate, domain: str) -> Found:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = [common_name(leaf)]
    right = [domain] if domain else list(DOMAINS)
    fits = any(
        name.lower() == one or name.lower().endswith(f".{one}") for name in names for one in right
    )
    said = ", ".join(names) or "no name"
    return fits, said if fits else f"{said}: neither {' nor '.join(right)}, nor below"


def _payload(content: bytes | None) -> tuple[dict[str, Any] | None, Found]:
    try:
        body = msgspec.json.decode(content or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, (False, f"not JSON: {error}")
    if not isinstance(body, dict):
        return None, (False, "not a JSON object")
    vm_id = body.get("vmId")
    if not isinstance(vm_id, str) or not vm_id:
        return body, (False, "it names no vmId")
    return body, (True, f"vmId {vm_id}")


def _nonce(body: dict[str, Any], asked: str | None) -> Found:
    seen = body.get("nonce")
    said = "none" if seen is None else f'"{seen}"'
    if asked is None:
        return None, f"not asked; the document's is {said}"
    fits = seen == asked
    return fits, said if fits else f'saw {said}, expected "{asked}"'


def _times(body: dict[str, Any], at_s: float) -> Found:
    if "timeStamp" not in body:
        # Of a classic VM's document only vmId is promised.
        return None, "the document bears none, as that of a classic VM may"
    stamp = body["timeStamp"]
    stamps = stamp if isinstance(stamp, dict) else {}
    starts, ends = _parsed(stamps.get("createdOn")), _parsed(stamps.get("expiresOn"))
    if starts is None or ends is None:
        seen = msgspec.json.encode(stamp).decode()
        return False, f"saw {seen}, expected two like 10/02/23 12:33:11 -0000"
    at, said = _moment(at_s), f"{starts:%F %T} to {ends:%F %T} UTC"
    fits = starts <= at < ends
    return fits, said if fits else f"{said}, but it is {at:%F %T}"


def _parsed(text: object) -> datetime | None:
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    month, day, year, hour, minute, second = map(int, found.groups())
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
