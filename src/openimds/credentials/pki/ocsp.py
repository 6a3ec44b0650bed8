"""Online certificate status (OCSP, RFC 6960) in the lightweight profile of RFC 5019.

Responses are signed ahead, one for each certificate and kind of CertID, so a nonce is not answered,
and a question about another certificate gets the unsigned `unauthorized`. The requests are read by
the DER reader of this room, the responses written by its writer.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from openimds.credentials.pki import der
from openimds.credentials.pki.certificate_info import CACHED_ISSUERS
from openimds.credentials.pki.revocation_register import RegisterEntry
from openimds.facts.public_faults import MAX_NONCE

_BOOLEAN, _ENUMERATED, _GENERALIZED_TIME = 0x01, 0x0A, 0x18
_HEAD = 3
"""The octets of tag and length before the longest nonce."""
_PRIMITIVE = 0x80
"""The tag of a primitive implicit member `[0]`."""
_BASIC = "1.3.6.1.5.5.7.48.1.1"
_NONCE = "1.3.6.1.5.5.7.48.1.2"
_SHA256_WITH_RSA = "1.2.840.113549.1.1.11"
_SHA1, _SHA256 = "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1"
_HASHES = {_SHA1: sha1, _SHA256: sha256}
_REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}


def _unsigned(status: int) -> bytes:
    return der.sequence(der.write(_ENUMERATED, bytes([status])))


MALFORMED, TRY_LATER, UNAUTHORIZED = _unsigned(1), _unsigned(3), _unsigned(6)
"""The unsigned responses."""


class CertId(Struct, frozen=True):
    """A certificate in a request: OID of the hash, hashes of the issuer, serial."""

    hash_oid: str
    name_hash: bytes
    key_hash: bytes
    serial: int

    def octets(self) -> bytes:
        """Return the CertID as RFC 6960 has it."""
        algorithm = der.sequence(der.oid(self.hash_oid), der.write(der.NULL, b""))
        return der.sequence(
            algorithm,
            der.write(der.OCTET_STRING, self.name_hash),
            der.write(der.OCTET_STRING, self.key_hash),
            der.integer(self.serial),
        )


class Responder(Struct, frozen=True):
    """A delegated responder of one issuer: its certificate and key."""

    certificate: x509.Certificate
    key: RSAPrivateKey


def cert_ids(issuer: x509.Certificate, serial: int) -> list[CertId]:
    """Return the CertIDs by which a certificate may be asked for: SHA-1 and SHA-256."""
    return [CertId(*hashes, serial) for hashes in _issuer_hashes(issuer)]


@lru_cache(CACHED_ISSUERS)
def _issuer_hashes(issuer: x509.Certificate) -> list[tuple[str, bytes, bytes]]:
    """Return each kind of hash of an issuer's name and key."""
    name = issuer.subject.public_bytes()
    key = key_octets(issuer)
    return [(oid, digest(name).digest(), digest(key).digest()) for oid, digest in _HASHES.items()]


def key_octets(certificate: x509.Certificate) -> bytes:
    """Return the octets of the subject's public key, without its algorithm (RFC 6960, 4.1.1)."""
    info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    members = der.Members(der.read(info))
    members.take()
    return members.take(der.BIT_STRING).content[1:]


def read_request(octets: bytes) -> CertId | None:
    """Return the CertID that a request asks for; None if it asks for several.

    Raises:
        DerError: the octets are no request.
    """
    request = der.Members(der.read(octets))
    tbs = der.Members(request.take(der.SEQUENCE))
    tbs.take_if(der.context(0))
    tbs.take_if(der.context(1))
    asked = der.Members(tbs.take(der.SEQUENCE)).rest()
    if not asked:
        raise der.DerError("no certificate is asked for")
    ids = [_cert_id(one) for one in asked]
    return ids[0] if len(ids) == 1 else None


def read_nonce(octets: bytes) -> bytes | None:
    """Return the value of a request's nonce extension, or None.

    Raises:
        DerError: the octets are no request, or its nonce is too long.
    """
    tbs = der.Members(der.Members(der.read(octets)).take(der.SEQUENCE))
    tbs.take_if(der.context(0))
    tbs.take_if(der.context(1))
    tbs.take(der.SEQUENCE)
    wrapped = tbs.take_if(der.context(2))
    extensions = der.Members(der.read_explicit(wrapped, 2)).rest() if wrapped else []
    for extension in extensions:
        members = der.Members(extension)
        if der.read_oid(members.take(der.OID)) == _NONCE:
            members.take_if(_BOOLEAN)
            value = der.read_octets(members.take())
            if len(value) > MAX_NONCE + _HEAD:
                raise der.DerError(f"a nonce of more than {MAX_NONCE} octets")
            return value
    return None


def _cert_id(element: der.DerElement) -> CertId:
    members = der.Members(der.Members(element).take(der.SEQUENCE))
    algorithm = der.Members(members.take(der.SEQUENCE))
    oid = der.read_oid(algorithm.take(der.OID))
    name, key = der.read_octets(members.take()), der.read_octets(members.take())
    serial = der.read_integer(members.take(der.INTEGER))
    members.end()
    return CertId(oid, name, key, serial)


def decode_path(text: str) -> bytes:
    """Return the octets of a request in the path of a GET, in base64.

    Raises:
        DerError: it is no base64.
    """
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise der.DerError(f"not base64: {error}") from None


def sign_response(  # noqa: PLR0913, PLR0917 - each is a fact of the response
    responder: Responder,
    cert_id: CertId,
    entry: RegisterEntry | None,
    signed_s: float,
    ends_s: float,
    nonce: bytes | None = None,
) -> bytes:
    """Return a signed response about one certificate, valid from `signed_s` to `ends_s`.

    Without an entry the certificate is unknown. `nonce` is the value of a nonce extension.
    """
    times = _time(signed_s), der.write(der.context(0), _time(ends_s))
    single = der.sequence(cert_id.octets(), _status(entry), *times)
    # RFC 6960 has SHA-1 here: an identifier, no signature.
    key_id = sha1(key_octets(responder.certificate)).digest()  # noqa: S324 - see above
    key_hash = der.write(der.OCTET_STRING, key_id)
    members = [der.write(der.context(2), key_hash), _time(signed_s), der.sequence(single)]
    if nonce is not None:
        extension = der.sequence(der.oid(_NONCE), der.write(der.OCTET_STRING, nonce))
        members.append(der.write(der.context(1), der.sequence(extension)))
    data = der.sequence(*members)
    signature = responder.key.sign(data, PKCS1v15(), SHA256())
    certificate = der.sequence(responder.certificate.public_bytes(Encoding.DER))
    basic = der.sequence(
        data,
        der.sequence(der.oid(_SHA256_WITH_RSA), der.write(der.NULL, b"")),
        der.write(der.BIT_STRING, b"\0" + signature),
        der.write(der.context(0), certificate),
    )
    body = der.sequence(der.oid(_BASIC), der.write(der.OCTET_STRING, basic))
    return der.sequence(der.write(_ENUMERATED, b"\0"), der.write(der.context(0), body))


def _status(entry: RegisterEntry | None) -> bytes:
    if entry is None:
        return der.write(_PRIMITIVE | 2, b"")
    if entry.revoked_s is None:
        return der.write(_PRIMITIVE, b"")
    reason = b""
    if entry.reason:
        number = der.write(_ENUMERATED, bytes([_REASONS[entry.reason]]))
        reason = der.write(der.context(0), number)
    return der.write(der.context(1), _time(entry.revoked_s) + reason)


def _time(at_s: float) -> bytes:
    text = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%d%H%M%SZ")
    return der.write(_GENERALIZED_TIME, text.encode())
