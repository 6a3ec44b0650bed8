"""A certificate for https, below a root of its own: both live in memory.

The root may certify its hosts and no others, so that a copy of it is worth nothing elsewhere.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from openimds.credentials.pki.extensions import authority_key_identifier, key_usage

_DAYS = 397
"""The longest life of a server's certificate that browsers accept."""
_BACKDATED = timedelta(days=1)
_SERIAL_BITS = 127


class WebCertificate(Struct, frozen=True):
    """A certificate and its key, and the root that has issued it, each as PEM."""

    root: bytes
    certificate: bytes
    key: bytes


def web_certificate(hosts: Sequence[str], now_s: float) -> WebCertificate:
    """Return a certificate for hosts, below a new root whose key nobody keeps."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = root_key.public_key()
    name = _name("OpenIMDS Web Root")
    no_addresses = [x509.IPAddress(net) for net in (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))]
    names = [x509.DNSName(host) for host in hosts]
    root = (
        _builder(name, public, now_s)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(("key_cert_sign",)), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.NameConstraints(names, no_addresses), critical=True)
        .sign(root_key, SHA256())
    )
    certificate = (
        _builder(_name(hosts[0]), key.public_key(), now_s)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(("digital_signature",)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority_key_identifier(root), critical=False)
        .sign(root_key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return WebCertificate(
        root.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.PEM), private
    )


def _builder(
    name: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float
) -> x509.CertificateBuilder:
    starts = datetime.fromtimestamp(now_s, UTC) - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(1 << _SERIAL_BITS - 1 | secrets.randbits(_SERIAL_BITS - 1))
        .not_valid_before(starts)
        .not_valid_after(starts + timedelta(days=_DAYS))
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenIMDS"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
