"""Write and read the envelope of the attested document: CMS SignedData as Azure writes it.

Its oddities were decoded from recordings of 2020, 2021 and 2023 (S18, S19, S25): both digest
algorithms are the OID of a *signature* algorithm, the signature covers the content directly (no
signed attributes), and the leaf comes without its issuer. The structure is that of RFC 5652. `der`
encodes and decodes it, cryptography reads the certificates; decision 0016 gives the reasons.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from openimds.credentials.pki import der
from openimds.credentials.pki.der import DerElement, Members
from openimds.errors import Error

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
SHA256_WITH_RSA = "1.2.840.113549.1.1.11"
"""The OID that Azure writes in the place of a digest's."""
SHA256_DIGEST = "2.16.840.1.101.3.4.2.1"
RSA = "1.2.840.113549.1.1.1"
_CERTIFICATES, _CRLS = der.context(0), der.context(1)
_SIGNED, _UNSIGNED = der.context(0), der.context(1)


class EnvelopeError(Error):
    """The octets are not CMS SignedData; the text names the part that cannot be read."""


class Envelope(Struct, frozen=True):
    """The parts of an envelope, unverified.

    Absent optional parts are None; absent certificates are an empty tuple.
    """

    content_type: str
    version: int
    digest_algorithms: tuple["Algorithm", ...]
    payload_type: str
    payload: bytes | None
    certificates: tuple[x509.Certificate, ...]
    has_crls: bool
    signers: tuple["SignerInfo", ...]


class Algorithm(Struct, frozen=True):
    """An algorithm's OID, and whether a NULL follows it."""

    oid: str
    has_null: bool


class SignerInfo(Struct, frozen=True):
    """One SignerInfo; issuer (DER) and serial number name its certificate."""

    version: int
    issuer: bytes
    serial: int
    digest: Algorithm
    has_signed_attributes: bool
    signature_algorithm: Algorithm
    signature: bytes
    has_unsigned_attributes: bool


def envelope(payload: bytes, leaf: x509.Certificate, key: RSAPrivateKey) -> bytes:
    """Sign a payload by the leaf's key, and return the DER of its envelope."""
    return enclose(payload, leaf, key.sign(payload, PKCS1v15(), SHA256()))


def enclose(payload: bytes, leaf: x509.Certificate, signature: bytes) -> bytes:
    """Return the DER of the envelope of a payload and a signature, valid or not."""
    certificates, signer = _parts_of(leaf)
    content = der.write(der.context(0), der.write(der.OCTET_STRING, payload))
    signed = der.sequence(
        _HEAD,
        der.sequence(_DATA, content),
        certificates,
        der.set_of([der.sequence(signer, der.write(der.OCTET_STRING, signature))]),
    )
    return der.sequence(_SIGNED_DATA, der.write(der.context(0), signed))


@lru_cache(maxsize=64)
def _parts_of(leaf: x509.Certificate) -> tuple[bytes, bytes]:
    """Return the certificates of a leaf's envelopes, and their SignerInfo up to the signature.

    They are the same in each document of a leaf, and cost a tenth of a signature.
    """
    name = der.sequence(leaf.issuer.public_bytes(), der.integer(leaf.serial_number))
    signer = b"".join((der.integer(1), name, _DIGEST, _algorithm(RSA)))
    return der.set_of([leaf.public_bytes(Encoding.DER)], _CERTIFICATES), signer


def open_envelope(octets: bytes) -> Envelope:
    """Read an envelope of any shape that CMS allows for RSA and plain data.

    It must be DER to the last octet: the returned parts would be encoded as the same octets.

    Raises:
        EnvelopeError: it is not DER, not SignedData, or has an unreadable certificate.
    """
    with _reading("ContentInfo"):
        outer = Members(der.read(octets))
        content_type = der.read_oid(outer.take())
        content = der.read_explicit(outer.take(), 0)
        outer.end()
    with _reading("SignedData"):
        inner = Members(content)
        version = der.read_integer(inner.take())
        digests = der.read_set(inner.take())
        encapsulated = inner.take()
        certificates = _set_if(inner.take_if(_CERTIFICATES), _CERTIFICATES)
        crls = _set_if(inner.take_if(_CRLS), _CRLS)
        signers = der.read_set(inner.take())
        inner.end()
    with _reading("digestAlgorithms"):
        algorithms = tuple(map(_read_algorithm, digests))
    with _reading("encapContentInfo"):
        payload_type, payload = _read_content(encapsulated)
    with _reading("signerInfos"):
        infos = tuple(map(_read_signer, signers))
    return Envelope(
        content_type=content_type,
        version=version,
        digest_algorithms=algorithms,
        payload_type=payload_type,
        payload=payload,
        certificates=_read_certificates(certificates or []),
        has_crls=crls is not None,
        signers=infos,
    )


@contextmanager
def _reading(part: str) -> Iterator[None]:
    """Name the part that cannot be read."""
    try:
        yield
    except der.DerError as error:
        raise EnvelopeError(f"{part}: {error}") from None


def _algorithm(oid: str) -> bytes:
    return der.sequence(der.oid(oid), der.write(der.NULL, b""))


_DIGEST = _algorithm(SHA256_WITH_RSA)
_HEAD = der.integer(1) + der.set_of([_DIGEST])
"""The version of SignedData and its digest algorithms."""
_DATA, _SIGNED_DATA = der.oid(DATA), der.oid(SIGNED_DATA)


def _set_if(element: DerElement | None, tag: int) -> list[DerElement] | None:
    return None if element is None else der.read_set(element, tag)


def _read_algorithm(element: DerElement) -> Algorithm:
    members = Members(element)
    oid = der.read_oid(members.take())
    null = members.take_if(der.NULL)
    members.end()
    if null is not None:
        der.read_null(null)
    return Algorithm(oid, null is not None)


def _read_content(element: DerElement) -> tuple[str, bytes | None]:
    """Return the type of the payload, and the payload unless it is detached."""
    members = Members(element)
    oid = der.read_oid(members.take())
    content = members.take_if(der.context(0))
    members.end()
    return oid, None if content is None else der.read_octets(der.read_explicit(content, 0))


def _read_signer(element: DerElement) -> SignerInfo:
    members = Members(element)
    version = der.read_integer(members.take())
    name = Members(members.take())
    issuer, serial = name.take(), der.read_integer(name.take())
    name.end()
    digest = _read_algorithm(members.take())
    signed = _set_if(members.take_if(_SIGNED), _SIGNED)
    algorithm = _read_algorithm(members.take())
    signature = der.read_octets(members.take())
    unsigned = _set_if(members.take_if(_UNSIGNED), _UNSIGNED)
    members.end()
    return SignerInfo(
        version=version,
        issuer=issuer.octets,
        serial=serial,
        digest=digest,
        has_signed_attributes=signed is not None,
        signature_algorithm=algorithm,
        signature=signature,
        has_unsigned_attributes=unsigned is not None,
    )


def _read_certificates(elements: list[DerElement]) -> tuple[x509.Certificate, ...]:
    with _reading("certificates"):
        for element in elements:
            _check(element)
    try:
        return tuple(x509.load_der_x509_certificate(element.octets) for element in elements)
    except (ValueError, x509.InvalidVersion) as error:
        raise EnvelopeError(f"certificates: {_reason(error)}") from None


def _check(certificate: DerElement) -> None:
    """Reject faults that cryptography accepts with a warning or unseen."""
    members = Members(certificate)
    fields = Members(members.take())
    fields.take_if(der.context(0))
    if der.read_integer(fields.take()) <= 0:
        raise der.DerError("the serial number is not positive")
    members.take()
    if members.take(der.BIT_STRING).content[:1] != b"\0":
        # No signature covers these bits: they could be changed unseen.
        raise der.DerError("the signature is not a whole number of octets")


_KINDS = {
    "ShortData": "it ends too early",
    "ExtraData": "more octets follow its end",
    "InvalidLength": "a length that DER forbids",
    "UnexpectedTag": "another part stands in its place",
    "InvalidValue": "a value that DER forbids",
}


def _reason(error: Exception) -> str:
    """Return the error message of cryptography in plain words."""
    text = str(error)
    kind = re.search(r"kind: (\w+)", text)
    missing = re.search(r"needed: (\d+)", text)
    if kind is None:
        return text
    reason = _KINDS.get(kind[1], kind[1])
    return f"{reason}, by {missing[1]}" if missing else reason
