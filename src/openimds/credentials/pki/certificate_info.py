"""Facts that a certificate shows: its names, its generation, and whether another signed it.

Names for files and URLs are the common name and a part of a hash.
"""

import re
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from openimds.facts.generations import GENERATIONS, CertificateGeneration

CACHED_ISSUERS = 64
"""The most CA certificates whose facts are cached: lists of thousands of leaves need them again."""
_HASHES: dict[str, SHA256 | SHA384] = {"sha256": SHA256(), "sha384": SHA384()}


class CertificateInfo(Struct, frozen=True, rename="camel"):
    """The public facts of a CA certificate; `in_use`: it is above the current leaves."""

    subject: str
    name: str
    not_before: str
    not_after: str
    sha256: str
    is_root: bool
    in_use: bool
    pem: str


def certificate_info(certificate: x509.Certificate, *, is_in_use: bool) -> CertificateInfo:
    """Return the public facts of a certificate."""
    return CertificateInfo(
        subject=certificate.subject.rfc4514_string(),
        name=file_name(certificate),
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        sha256=certificate.fingerprint(SHA256()).hex(),
        is_root=is_root(certificate),
        in_use=is_in_use,
        pem=pem([certificate]).decode(),
    )


def end_of(text: bytes) -> datetime:
    """Return the time at which the first certificate of a PEM text ends.

    Raises:
        ValueError: it has no certificate that can be read.
    """
    return x509.load_pem_x509_certificates(text)[0].not_valid_after_utc


def pem(certificates: list[x509.Certificate]) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of the subject, or an empty string."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


@lru_cache(CACHED_ISSUERS)
def file_name(certificate: x509.Certificate) -> str:
    """Return a name for files and URLs, unique for each certificate."""
    return f"{_slug(certificate)}-{certificate.fingerprint(SHA256()).hex()[:8]}"


@lru_cache(CACHED_ISSUERS)
def list_name(issuer: x509.Certificate) -> str:
    """Return a name for an issuer's lists, one for all certificates of its key."""
    key = issuer.public_key()
    assert isinstance(key, RSAPublicKey)
    return f"{_slug(issuer)}-{short_id(key)}"


def short_id(key: RSAPublicKey) -> str:
    """Return eight hexadecimal digits that identify a key."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:8]


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is self-signed."""
    return certificate.issuer == certificate.subject and is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether a certificate bears the issuer's name and signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - an unknown certificate fails in many ways, all of them no
        return False
    return True


@lru_cache(CACHED_ISSUERS)
def can_sign_lists(issuer: x509.Certificate) -> bool:
    """Tell whether the key usage of a CA, if present, allows lists."""
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def has_critical_constraints(certificate: x509.Certificate) -> bool:
    """Tell whether name constraints are critical, as those of 0.1.0."""
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).critical
    except x509.ExtensionNotFound:
        return False


@lru_cache(CACHED_ISSUERS)
def generation_of(issuer: x509.Certificate) -> CertificateGeneration | None:
    """Return the generation of an issuing CA by its name; None for an operator's own."""
    name = common_name(issuer)
    return next((row for row in GENERATIONS.values() if _number(row, name) is not None), None)


def signature_hash(issuer: x509.Certificate) -> SHA256 | SHA384:
    """Return the hash with which a CA signs."""
    generation = generation_of(issuer)
    return _HASHES[generation.digest] if generation else SHA384()


def number_after(intermediate: x509.Certificate) -> int:
    """Return the number of the next intermediate; 1 after an external CA's."""
    generation = generation_of(intermediate)
    number = _number(generation, common_name(intermediate)) if generation else None
    return 1 + (number or 0)


def _number(generation: CertificateGeneration, name: str) -> int | None:
    match = re.fullmatch(rf"{generation.issuer} (\d+)", name)
    return int(match[1]) if match else None


def _slug(certificate: x509.Certificate) -> str:
    return re.sub("[^a-z0-9]+", "-", common_name(certificate).lower()).strip("-") or "ca"
