"""The certificates themselves: what stands in a root, an intermediate and a leaf.

The leaf is that of the recording of 2023 (S25) as far as it can be true here: subject, names, usage
and lifetime are Azure's, its issuer and the address of its issuer's certificate are ours. CRL and
OCSP addresses, certificate policies and CT stamps are left out: nobody here answers for them, and a
verifier that asks for a CRL fails better at once than after a time-out.

Roots and intermediates may vouch for no names but the metadata ones (name constraints: host names,
the hosts of addresses of mail and of URIs; no IP address at all), so that a stolen key of a test
machine, in the trust store of a laptop, opens no other server's door. A subject in words is not
constrained, as too few verifiers can read that: who tells clients by it shall trust no test root.
"""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from openimds.facts.clouds import CLOUDS

LEAF_DAYS = 339
"""2023-07-24 to 2024-06-27, as in the recording."""
DOMAINS = tuple(row.domain for row in CLOUDS.values())
_NAMES: list[x509.GeneralName] = [
    kind(domain)
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    for domain in DOMAINS
]
_NO_NAMES = [x509.IPAddress(IPv4Network("0.0.0.0/0")), x509.IPAddress(IPv6Network("::/0"))]
_ROOT_DAYS, _INTERMEDIATE_DAYS = 20 * 365, 10 * 365
_LONG_AGO = datetime(2017, 3, 1, tzinfo=UTC)
"""From when our CA certificates are valid, so that a clock set back still finds them so."""
_SERIAL_TOP = 1 << 158  # A positive number of exactly 20 octets, as Azure's.
_LABEL = 63
_USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_INTERMEDIATE = "OpenIMDS TLS Issuing CA"


class Issuer(Protocol):
    """Whoever can sign certificates: a key in a file, or one that never leaves its module.

    The whole builder is handed over, not a digest: cryptography signs with any object that is an
    `RSAPrivateKey`, which is how a module's library is put behind `sign`.
    """

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the issuer itself."""
        ...

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the certificate that the builder describes, signed."""
        ...


class KeyIssuer(Struct, frozen=True):
    """An issuer whose key is at hand."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the certificate that the builder describes, signed with SHA-384 as Azure's."""
        return builder.sign(self.key, SHA384())


class LeafSubject(Struct, frozen=True):
    """Whose certificate a leaf is: the metadata domain of a cloud, and a region of it."""

    domain: str
    region: str

    def names(self) -> list[str]:
        """Return the DNS names, the region's first; a region that makes no name is left out."""
        label = re.sub("[^a-z0-9-]", "", self.region.lower())[:_LABEL].strip("-")
        return [f"{label}.{self.domain}", self.domain] if label else [self.domain]


class Validity(Struct, frozen=True):
    """From when to when a certificate is valid."""

    from_s: float
    to_s: float


def root_certificate(key: RSAPrivateKey, now_s: float) -> x509.Certificate:
    """Return a root for a key; its name tells it from the roots of other installations."""
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"OpenIMDS Root CA {key_id.digest.hex()[:8]}")
    builder = _authority(name, key.public_key(), _long(now_s, _ROOT_DAYS), None)
    return builder.issuer_name(name).sign(key, SHA384())


def cross_certificate(
    root: x509.Certificate, older: Issuer, issuer_url: str = ""
) -> x509.Certificate:
    """Return a root's key certified by an older root, for those who trust only that.

    `issuer_url` is where the older root's certificate, by a still older one, can be fetched.
    """
    key = root.public_key()
    assert isinstance(key, RSAPublicKey)
    ends = older.certificate.not_valid_after_utc.timestamp()
    builder = _authority(root.subject, key, Validity(_LONG_AGO.timestamp(), ends), None)
    return older.sign(_issued(builder, older, issuer_url))


def intermediate_certificate(
    key: RSAPublicKey, number: int, issuer: Issuer, now_s: float, issuer_url: str
) -> x509.Certificate:
    """Return an intermediate; `issuer_url` is where the issuer's certificate can be fetched."""
    name = _name(f"{_INTERMEDIATE} {number:02}")
    builder = _authority(name, key, _long(now_s, _INTERMEDIATE_DAYS), 0)
    builder = builder.add_extension(_USES, critical=False)
    return issuer.sign(_issued(builder, issuer, issuer_url))


def leaf_certificate(
    key: RSAPublicKey, site: LeafSubject, span: Validity, issuer: Issuer, issuer_url: str
) -> x509.Certificate:
    """Return a leaf as Azure's but for its issuer."""
    names = [*map(x509.DNSName, site.names())]
    usage = _usage(digital_signature=True, key_encipherment=True)
    builder = (
        _certificate(_leaf_name(site.domain), key, span)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USES, critical=False)
    )
    return issuer.sign(_issued(builder, issuer, issuer_url))


def number_after(intermediate: x509.Certificate) -> int:
    """Return the number of the intermediate that comes after one; 1 after a stranger's."""
    found = re.fullmatch(rf"{_INTERMEDIATE} (\d+)", common_name(intermediate))
    return int(found[1]) + 1 if found else 1


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of the subject, or nothing."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def file_name(certificate: x509.Certificate) -> str:
    """Return a name for files and URLs; no two certificates have the same."""
    slug = re.sub("[^a-z0-9]+", "-", common_name(certificate).lower()).strip("-") or "ca"
    return f"{slug}-{certificate.fingerprint(SHA256()).hex()[:8]}"


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is signed by itself."""
    return certificate.issuer == certificate.subject and is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether one certificate bears the other's name and signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - a stranger's certificate fails in many ways, all of them no
        return False
    return True


class CertificateInfo(Struct, frozen=True, rename="camel"):
    """What everybody may know of a CA certificate; `in_use` ones are above today's leaves."""

    subject: str
    name: str
    not_before: str
    not_after: str
    sha256: str
    is_root: bool
    in_use: bool
    pem: str


def certificate_info(certificate: x509.Certificate, *, is_in_use: bool) -> CertificateInfo:
    """Return what everybody may know of a certificate."""
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


def pem(certificates: list[x509.Certificate]) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _long(now_s: float, days: int) -> Validity:
    return Validity(_LONG_AGO.timestamp(), now_s + timedelta(days=days).total_seconds())


def _authority(
    name: x509.Name, key: RSAPublicKey, span: Validity, path_length: int | None
) -> x509.CertificateBuilder:
    limits = x509.NameConstraints(_NAMES, _NO_NAMES)
    return (
        _certificate(name, key, span)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(limits, critical=True)
    )


def _certificate(name: x509.Name, key: RSAPublicKey, span: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number() | _SERIAL_TOP)
        .not_valid_before(datetime.fromtimestamp(span.from_s, UTC))
        .not_valid_after(datetime.fromtimestamp(span.to_s, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issued(
    builder: x509.CertificateBuilder, issuer: Issuer, issuer_url: str
) -> x509.CertificateBuilder:
    """Return the builder with what a certificate says of its issuer."""
    own = issuer.certificate
    try:
        key_id = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        known = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    except x509.ExtensionNotFound:
        key = own.public_key()
        assert isinstance(key, RSAPublicKey)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    builder = builder.issuer_name(own.subject).add_extension(known, critical=False)
    if not issuer_url:
        return builder
    where = x509.UniformResourceIdentifier(issuer_url)
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
    return builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)


def _usage(**said: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: said.get(name, False) for name in names})


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenIMDS"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _leaf_name(domain: str) -> x509.Name:
    """Return the subject of the recorded leaf of 2023."""
    parts = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
        (NameOID.LOCALITY_NAME, "Redmond"),
        (NameOID.ORGANIZATION_NAME, "Microsoft Corporation"),
        (NameOID.COMMON_NAME, domain),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
