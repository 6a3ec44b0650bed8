"""The certificates of the hosts' authority: built for a key, and read for a name."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from openimds.credentials.keys.holders import Holder
from openimds.credentials.pki.extensions import authority_key_identifier, key_usage
from openimds.credentials.pki.revocation_register import serial_of
from openimds.errors import Error
from openimds.parameters import describe
from openimds.vm.names import NAME_FORM, is_name

CONTROL = "openimds:control"
"""The URI in the certificate of control."""
_HOST = "openimds:host:"
ROOT_DAYS = 3652
CONTROL_DAYS = 30
HOST_DAYS = 7
BACKDATED_S = 3600
"""The start of a certificate lies so long before now: clocks differ."""
MAX_CSR_BYTES = 8 << 10
_RSA_BITS = (2048, 3072, 4096)
_FORM = "a certificate request (PKCS 10, DER) with a key P-256 or RSA of 2048, 3072 or 4096 bits"

HostKey = ec.EllipticCurvePublicKey | RSAPublicKey
"""A public key that a host may have."""


class HostTrustError(Error):
    """A host, control or a certificate of theirs that is refused; the text says why."""


class HostCertificate(Struct, frozen=True):
    """A certificate of a host (DER), its serial number, and its validity.

    The number is in hexadecimal digits, times are in seconds since 1970.
    """

    der: bytes
    serial: str
    begins_s: float
    ends_s: float


def new_host_key() -> ec.EllipticCurvePrivateKey:
    """Generate a key on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(now_s: float) -> Holder:
    """Make a root, with a name that differs from those of other roots."""
    key = new_host_key()
    subject = _root_name(key.public_key())
    certificate = _authority(key.public_key(), subject, now_s).issuer_name(subject)
    return Holder(key, certificate.sign(key, SHA256()))


def cross_sign(root: x509.Certificate, older: Holder, now_s: float) -> x509.Certificate:
    """Certify a root by an older one, for hosts that know only the latter."""
    issuer = older.certificate
    return (
        _authority(known_key(root.public_key()), root.subject, now_s)
        .issuer_name(issuer.subject)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .sign(older.key, SHA256())
    )


def certify_control(key: HostKey, root: Holder, now_s: float) -> x509.Certificate:
    """Return a certificate of control for a key."""
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    return _leaf(key, root, (CONTROL, "OpenIMDS control", purpose), now_s, CONTROL_DAYS)


def certify_host(name: str, key: HostKey, root: Holder, now_s: float) -> HostCertificate:
    """Return a certificate of a host for a key.

    Raises:
        HostTrustError: the name has another form.
    """
    check_host_name(name)
    parts = (f"{_HOST}{name}", "OpenIMDS host", ExtendedKeyUsageOID.CLIENT_AUTH)
    certificate = _leaf(key, root, parts, now_s, HOST_DAYS)
    return HostCertificate(
        certificate.public_bytes(Encoding.DER),
        serial_of(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def check_host_name(name: str) -> None:
    """Check the name of a host, which has the form of a VM's.

    Raises:
        HostTrustError: it has another form.
    """
    if not is_name(name):
        raise HostTrustError(f"the name of a host: saw {describe(name)}, expected {NAME_FORM}")


def key_in_request(csr: bytes) -> HostKey:
    """Return the public key of a certificate request; nothing else of it counts.

    Raises:
        HostTrustError: the request is malformed or not signed by its key, or the key is of another
            kind.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise HostTrustError(
            f"the certificate request has {len(csr)} octets: expected {MAX_CSR_BYTES} at most"
        )
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise HostTrustError(f"the certificate request cannot be read: expected {_FORM}") from None
    if not is_signed:
        raise HostTrustError("the certificate request is not signed by its own key")
    if not _is_fit(key):
        raise HostTrustError(f"the key of the certificate request is refused: expected {_FORM}")
    return known_key(key)


def name_in(certificate: bytes) -> str | None:
    """Return the host's name in a certificate (DER), or None if it names no host.

    The signature is the business of the handshake.
    """
    uri = uri_in(certificate)
    name = uri.removeprefix(_HOST)
    return name if uri.startswith(_HOST) and is_name(name) else None


def serial_in(certificate: bytes) -> str:
    """Return the serial number of a certificate (DER) in hexadecimal digits."""
    return serial_of(x509.load_der_x509_certificate(certificate))


def uri_in(certificate: bytes) -> str:
    """Return the only name in a certificate (DER) if it is a URI, else ""."""
    try:
        loaded = x509.load_der_x509_certificate(certificate)
        names = [*loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ""
    only = names[0] if len(names) == 1 else None
    return only.value if isinstance(only, x509.UniformResourceIdentifier) else ""


def half_life_s(begins_s: float, ends_s: float) -> float:
    """Return the time at which a certificate is renewed, in seconds since 1970."""
    return (begins_s + BACKDATED_S + ends_s) / 2


def key_bytes(key: HostKey) -> bytes:
    """Return a public key as a certificate holds it (SubjectPublicKeyInfo, DER)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_ended(certificate: x509.Certificate, now_s: float) -> bool:
    """Tell whether a certificate has ended."""
    return certificate.not_valid_after_utc.timestamp() <= now_s


def _is_fit(key: object) -> bool:
    if isinstance(key, RSAPublicKey):
        return key.key_size in _RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def known_key(key: object) -> HostKey:
    """Return a key that this module has made or judged, by its type."""
    assert isinstance(key, HostKey)
    return key


def _root_name(key: HostKey) -> x509.Name:
    digest = x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()
    return _name(f"OpenIMDS Hosts Root {digest[:8]}")


def _authority(key: HostKey, subject: x509.Name, now_s: float) -> x509.CertificateBuilder:
    return (
        _start(key, subject, now_s, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(("key_cert_sign",)), critical=True)
    )


def _leaf(
    key: HostKey,
    root: Holder,
    parts: tuple[str, str, x509.ObjectIdentifier],
    now_s: float,
    days: int,
) -> x509.Certificate:
    uri, common, purpose = parts
    issuer = root.certificate
    return (
        _start(key, _name(common), now_s, days)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(("digital_signature",)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
        .add_extension(authority_key_identifier(issuer), critical=False)
        .sign(root.key, SHA256())
    )


def _start(key: HostKey, subject: x509.Name, now_s: float, days: int) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_s, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED_S))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "OpenIMDS"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
