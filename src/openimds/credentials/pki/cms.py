"""Write and read the envelope of the attested document: CMS SignedData as Azure writes it.

Its oddities were decoded from recordings of 2020, 2021 and 2023 (S18, S19, S25): both digest
algorithms are the OID of a *signature* algorithm, the signature covers the content directly (no
signed attributes), and the leaf comes without its issuer. The classes below are the ASN.1 of RFC
5652; cryptography encodes and decodes the DER. Decision 0010 gives the reasons for that library.
"""

import re
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier
from msgspec import Struct

from openimds.errors import Error

SIGNED_DATA = ObjectIdentifier("1.2.840.113549.1.7.2")
DATA = ObjectIdentifier("1.2.840.113549.1.7.1")
SHA256_WITH_RSA = ObjectIdentifier("1.2.840.113549.1.1.11")
"""The OID that Azure writes in the place of a digest's."""
SHA256_DIGEST = ObjectIdentifier("2.16.840.1.101.3.4.2.1")
RSA = ObjectIdentifier("1.2.840.113549.1.1.1")


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


@asn1.sequence
class _AlgorithmIdentifier:
    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _EncapsulatedContent:
    content_type: ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class _IssuerAndSerial:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class _SignerInfo:
    version: int
    sid: _IssuerAndSerial
    digest_algorithm: _AlgorithmIdentifier
    signed_attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    signature_algorithm: _AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.SetOf[_AlgorithmIdentifier]
    content: _EncapsulatedContent
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _ContentInfo:
    content_type: ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _ToBeSigned:
    version: Annotated[int | None, asn1.Explicit(0)]
    serial: int
    signature: asn1.TLV
    issuer: asn1.TLV
    validity: asn1.TLV
    subject: asn1.TLV
    key: asn1.TLV
    issuer_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Explicit(3)]


@asn1.sequence
class _Certificate:
    to_be_signed: _ToBeSigned
    algorithm: asn1.TLV
    signature: asn1.BitString


# The same with its parts unread, to find the part that cannot be read.
@asn1.sequence
class _Outer:
    content_type: ObjectIdentifier
    content: Annotated[asn1.TLV, asn1.Explicit(0)]


@asn1.sequence
class _Inner:
    version: int
    digest_algorithms: asn1.SetOf[asn1.TLV]
    content: asn1.TLV
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[asn1.TLV]


def envelope(payload: bytes, leaf: x509.Certificate, key: RSAPrivateKey) -> bytes:
    """Sign a payload by the leaf's key, and return the DER of its envelope."""
    return enclose(payload, leaf, key.sign(payload, PKCS1v15(), SHA256()))


def enclose(payload: bytes, leaf: x509.Certificate, signature: bytes) -> bytes:
    """Return the DER of the envelope of a payload and a signature, valid or not."""
    digest = _AlgorithmIdentifier(algorithm=SHA256_WITH_RSA, parameters=asn1.Null())
    signer = _SignerInfo(
        version=1,
        sid=_IssuerAndSerial(issuer=_read(leaf.issuer.public_bytes()), serial=leaf.serial_number),
        digest_algorithm=digest,
        signed_attributes=None,
        signature_algorithm=_AlgorithmIdentifier(algorithm=RSA, parameters=asn1.Null()),
        signature=signature,
        unsigned_attributes=None,
    )
    signed = _SignedData(
        version=1,
        digest_algorithms=asn1.SetOf([digest]),
        content=_EncapsulatedContent(content_type=DATA, content=payload),
        certificates=asn1.SetOf([_read(leaf.public_bytes(Encoding.DER))]),
        crls=None,
        signer_infos=asn1.SetOf([signer]),
    )
    return asn1.encode_der(_ContentInfo(content_type=SIGNED_DATA, content=signed))


def open_envelope(der: bytes) -> Envelope:
    """Read an envelope of any shape that CMS allows for RSA and plain data.

    It must be DER to the last octet: the returned parts would be encoded as the same octets.

    Raises:
        EnvelopeError: it is not DER, not SignedData, or has an unreadable certificate.
    """
    try:
        outer = asn1.decode_der(_ContentInfo, der)
    except ValueError as error:
        raise EnvelopeError(f"{_part(der)}: {_reason(error)}") from None
    if asn1.encode_der(outer) != der:
        raise EnvelopeError("ContentInfo: its encoding is not DER")
    inner = outer.content
    return Envelope(
        content_type=outer.content_type.dotted_string,
        version=inner.version,
        digest_algorithms=tuple(map(_algorithm, inner.digest_algorithms.as_list())),
        payload_type=inner.content.content_type.dotted_string,
        payload=inner.content.content,
        certificates=_certificates(inner.certificates.as_list() if inner.certificates else []),
        has_crls=inner.crls is not None,
        signers=tuple(map(_signer, inner.signer_infos.as_list())),
    )


def _certificates(items: list[asn1.TLV]) -> tuple[x509.Certificate, ...]:
    try:
        for item in items:
            _check(item.parse(_Certificate))
        return tuple(item.parse(x509.Certificate) for item in items)
    except (ValueError, x509.InvalidVersion) as error:
        raise EnvelopeError(f"certificates: {_reason(error)}") from None


def _check(certificate: _Certificate) -> None:
    """Reject faults that cryptography accepts with a warning or unseen."""
    if certificate.to_be_signed.serial <= 0:
        raise ValueError("the serial number is not positive")
    if certificate.signature.padding_bits():
        # No signature covers these bits: they could be changed unseen.
        raise ValueError("the signature is not a whole number of octets")


def _signer(info: _SignerInfo) -> SignerInfo:
    issuer = info.sid.issuer
    return SignerInfo(
        version=info.version,
        issuer=asn1.encode_der(issuer),
        serial=info.sid.serial,
        digest=_algorithm(info.digest_algorithm),
        has_signed_attributes=info.signed_attributes is not None,
        signature_algorithm=_algorithm(info.signature_algorithm),
        signature=info.signature,
        has_unsigned_attributes=info.unsigned_attributes is not None,
    )


def _algorithm(identifier: _AlgorithmIdentifier) -> Algorithm:
    return Algorithm(identifier.algorithm.dotted_string, identifier.parameters is not None)


def _read(der: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, der)


def _part(der: bytes) -> str:
    """Return the name of the smallest part that cannot be read."""
    part = "ContentInfo"
    try:
        _read(der)
        outer = asn1.decode_der(_Outer, der)
        part = "SignedData"
        inner = outer.content.parse(_Inner)
        part = "digestAlgorithms"
        for algorithm in inner.digest_algorithms.as_list():
            algorithm.parse(_AlgorithmIdentifier)
        part = "encapContentInfo"
        inner.content.parse(_EncapsulatedContent)
    except ValueError:
        return part
    return "signerInfos"


_KINDS = {
    "ShortData": "it ends too early",
    "ExtraData": "more octets follow its end",
    "InvalidLength": "a length that DER forbids",
    "UnexpectedTag": "another part stands in its place",
    "InvalidValue": "a value that DER forbids",
}


def _reason(error: Exception) -> str:
    """Return the library's error message in plain words."""
    text = str(error)
    kind = re.search(r"kind: (\w+)", text)
    missing = re.search(r"needed: (\d+)", text)
    if kind is None:
        return text
    reason = _KINDS.get(kind[1], kind[1])
    return f"{reason}, by {missing[1]}" if missing else reason
