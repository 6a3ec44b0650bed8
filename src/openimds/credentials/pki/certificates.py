"""Build the certificates: root, intermediate and leaf.

The leaf equals the recorded one of 2023 (S25) where that can be true here: subject, names, usage
and lifetime are Azure's; its issuer and the URL of the issuer's certificate are this server's. CRL
and OCSP URLs, certificate policies and CT stamps are left out: no service here answers for them,
and a verifier that wants a CRL had better fail at once than after a time-out.

Name constraints limit roots and intermediates to the metadata domains: DNS names, hosts of mail
addresses and of URIs; no IP address at all. So a stolen key of a test machine whose root is in a
laptop's trust store impersonates no other server. Subject names are not constrained, since too few
verifiers support that: a service that identifies clients by subject must not trust a test root.
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
"""The notBefore of our CA certificates: they are valid for a clock that was set back."""
_SERIAL_TOP = 1 << 158  # Makes a positive number of exactly 20 octets, as Azure's.
_LABEL = 63
_USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_INTERMEDIATE = "OpenIMDS TLS Issuing CA"


class Issuer(Protocol):
    """A signer of certificates, with its key in a file or in an HSM.

    `sign` takes the builder, not a digest: cryptography signs with any object that is an
    `RSAPrivateKey`, so the library of an HSM can stand behind it.
    """

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the issuer itself."""
        ...

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the certificate that the builder describes, signed."""
        ...


class KeyIssuer(Struct, frozen=True):
    """An issuer with a private key in memory."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the certificate that the builder describes, signed with SHA-384 as Azure's."""
        return builder.sign(self.key, SHA384())


class LeafSubject(Struct, frozen=True):
    """The subject of a leaf: a cloud's metadata domain, and a region."""

    domain: str
    region: str

    def names(self) -> list[str]:
        """Return the DNS names: that of a valid region, then the domain."""
        label = re.sub("[^a-z0-9-]", "", self.region.lower())[:_LABEL].strip("-")
        return [f"{label}.{self.domain}", self.domain] if label else [self.domain]


class Validity(Struct, frozen=True):
    """The validity of a certificate, in seconds since 1970."""

    from_s: float
    to_s: float


def root_certificate(key: RSAPrivateKey, now_s: float) -> x509.Certificate:
    """Return a root for a key; its name differs from the roots of other installations."""
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"OpenIMDS Root CA {key_id.digest.hex()[:8]}")
    builder = _authority(name, key.public_key(), _long(now_s, _ROOT_DAYS), None)
    return builder.issuer_name(name).sign(key, SHA384())


def cross_certificate(
    root: x509.Certificate, older: Issuer, issuer_url: str = ""
) -> x509.Certificate:
    """Return a root's key certified by an older root, for verifiers that trust only that.

    `issuer_url` is the URL of the older root's certificate by a still older one.
    """
    key = root.public_key()
    assert isinstance(key, RSAPublicKey)
    ends = older.certificate.not_valid_after_utc.timestamp()
    builder = _authority(root.subject, key, Validity(_LONG_AGO.timestamp(), ends), None)
    return older.sign(_issued(builder, older, issuer_url))


def intermediate_certificate(
    key: RSAPublicKey, number: int, issuer: Issuer, now_s: float, issuer_url: str
) -> x509.Certificate:
    """Return an intermediate; `issuer_url` is the URL of the issuer's certificate."""
    name = _name(f"{_INTERMEDIATE} {number:02}")
    builder = _authority(name, key, _long(now_s, _INTERMEDIATE_DAYS), 0)
    builder = builder.add_extension(_USES, critical=False)
    return issuer.sign(_issued(builder, issuer, issuer_url))


def leaf_certificate(
    key: RSAPublicKey, subject: LeafSubject, validity: Validity, issuer: Issuer, issuer_url: str
) -> x509.Certificate:
    """Return a leaf that differs from Azure's only in its issuer."""
    names = [*map(x509.DNSName, subject.names())]
    usage = _usage(digital_signature=True, key_encipherment=True)
    builder = (
        _certificate(_leaf_name(subject.domain), key, validity)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USES, critical=False)
    )
    return issuer.sign(_issued(builder, issuer, issuer_url))


def number_after(intermediate: x509.Certificate) -> int:
    """Return the number of the next intermediate; 1 after an external CA's."""
    match = re.fullmatch(rf"{_INTERMEDIATE} (\d+)", common_name(intermediate))
    return int(match[1]) + 1 if match else 1


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of the subject, or an empty string."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def file_name(certificate: x509.Certificate) -> str:
    """Return a name for files and URLs, unique for each certificate."""
    slug = re.sub("[^a-z0-9]+", "-", common_name(certificate).lower()).strip("-") or "ca"
    return f"{slug}-{certificate.fingerprint(SHA256()).hex()[:8]}"


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


def pem(certificates: list[x509.Certificate]) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _long(now_s: float, days: int) -> Validity:
    return Validity(_LONG_AGO.timestamp(), now_s + timedelta(days=days).total_seconds())


def _authority(
    name: x509.Name, key: RSAPublicKey, validity: Validity, path_length: int | None
) -> x509.CertificateBuilder:
    limits = x509.NameConstraints(_NAMES, _NO_NAMES)
    return (
        _certificate(name, key, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(limits, critical=True)
    )


def _certificate(name: x509.Name, key: RSAPublicKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number() | _SERIAL_TOP)
        .not_valid_before(datetime.fromtimestamp(validity.from_s, UTC))
        .not_valid_after(datetime.fromtimestamp(validity.to_s, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issued(
    builder: x509.CertificateBuilder, issuer: Issuer, issuer_url: str
) -> x509.CertificateBuilder:
    """Return the builder with the issuer's name, key identifier and URL."""
    certificate = issuer.certificate
    try:
        key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    except x509.ExtensionNotFound:
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    builder = builder.issuer_name(certificate.subject)
    builder = builder.add_extension(authority_id, critical=False)
    if not issuer_url:
        return builder
    location = x509.UniformResourceIdentifier(issuer_url)
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
    return builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)


def _usage(**flags: bool) -> x509.KeyUsage:
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
    return x509.KeyUsage(**{name: flags.get(name, False) for name in names})


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenIMDS"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _leaf_name(domain: str) -> x509.Name:
    """Return the subject of the recorded leaf of 2023 (S25)."""
    parts = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
        (NameOID.LOCALITY_NAME, "Redmond"),
        (NameOID.ORGANIZATION_NAME, "Microsoft Corporation"),
        (NameOID.COMMON_NAME, domain),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
