"""Build the certificates: root, tier, issuing CA and leaf.

The rows of `facts.generations` say what a certificate has: days, purposes, key usage and the order
of its extensions. Its issuer and the URLs in it are this server's.

Name constraints limit CA certificates to the metadata domains: DNS names, hosts of mail addresses
and of URIs; no IP address at all. So a stolen key of a test machine whose root is in a laptop's
trust store impersonates no other server. Subject names are not constrained, since too few verifiers
support that: a service that identifies clients by subject must not trust a test root. They are not
critical, as docs/why/decisions/0021-name-constraints.md says.
"""

import re
import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from msgspec import Struct

from openimds.credentials.pki.certificate_info import short_id, signature_hash
from openimds.credentials.pki.extensions import (
    NO_ADDRESSES,
    Addresses,
    ExtensionValues,
    authority_key_identifier,
    extended,
    issuer_addresses,
    key_usage,
)
from openimds.facts.clouds import CLOUDS
from openimds.facts.generations import (
    ISSUING_ORDER,
    LEAF_ORDER,
    OID_SERVER,
    SERIAL_OCTETS,
    TIER_ORDER,
    CertificateGeneration,
)

DOMAINS = tuple(row.domain for row in CLOUDS.values() if row.domain)
_NAMES: list[x509.GeneralName] = [
    kind(domain)
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    for domain in DOMAINS
]
_NO_NAMES = [x509.IPAddress(IPv4Network("0.0.0.0/0")), x509.IPAddress(IPv6Network("::/0"))]
_CONSTRAINTS = x509.NameConstraints(_NAMES, _NO_NAMES)
_TIER_CONSTRAINTS = x509.NameConstraints(_NAMES, None)
"""For CAs between root and issuing CA: Java fails when it merges IPv4 and IPv6 of two of them."""
_ROOT_DAYS, _INTERMEDIATE_DAYS = 20 * 365, 10 * 365
_LONG_AGO = datetime(2017, 3, 1, tzinfo=UTC)
"""The notBefore of our CA certificates: they are valid for a clock that was set back."""
_SERIAL_BITS = 8 * SERIAL_OCTETS - 2
"""One more bit is set, and the sign bit is not: the number has exactly so many octets."""
_LABEL = 63
_CA_USAGES = ("digital_signature", "key_cert_sign", "crl_sign")
_ROOT_ORDER = ("subjectKeyIdentifier", "basicConstraints", "keyUsage", "nameConstraints")
_CROSS_ORDER = (*_ROOT_ORDER, "policies", "authorityKeyIdentifier", "authorityInformation")


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

    def sign_list(
        self, builder: x509.CertificateRevocationListBuilder
    ) -> x509.CertificateRevocationList:
        """Return the list of revoked certificates that the builder describes, signed."""
        ...


class KeyIssuer(Struct, frozen=True):
    """An issuer with a private key in memory."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the certificate that the builder describes, signed as its generation signs."""
        return builder.sign(self.key, signature_hash(self.certificate))

    def sign_list(
        self, builder: x509.CertificateRevocationListBuilder
    ) -> x509.CertificateRevocationList:
        """Return the list that the builder describes, signed with the same hash."""
        return builder.sign(self.key, signature_hash(self.certificate))


class LeafSubject(Struct, frozen=True):
    """The subject of a leaf: a cloud's metadata domain, and a region.

    `days` is the lifetime of its leaves, 0 for that of the authority.
    """

    domain: str
    region: str
    days: int = 0

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
    name = _name(f"OpenIMDS Root CA {short_id(key.public_key())}")
    builder = _certificate(name, key.public_key(), _long(now_s, _ROOT_DAYS)).issuer_name(name)
    values = ExtensionValues(
        key=key.public_key(),
        issuer=None,
        addresses=NO_ADDRESSES,
        usages=_CA_USAGES,
        is_ca=True,
        constraints=_CONSTRAINTS,
    )
    return extended(builder, _ROOT_ORDER, values).sign(key, SHA384())


def cross_certificate(
    root: x509.Certificate, older: Issuer, addresses: Addresses = NO_ADDRESSES
) -> x509.Certificate:
    """Return a root's key certified by an older root, for verifiers that trust only that.

    `addresses` lead to the older root's certificate by a still older one.
    """
    return _below_root(root.subject, root.public_key(), older, addresses, _CROSS_ORDER)


def tier_certificate(
    key: RSAPublicKey, root: Issuer, addresses: Addresses = NO_ADDRESSES
) -> x509.Certificate:
    """Return the CA certificate between root and issuing CAs, in a chain of four."""
    name = _name(f"OpenIMDS TLS RSA Root G2 {short_id(key)}")
    return _below_root(name, key, root, addresses, TIER_ORDER, (OID_SERVER,))


def intermediate_certificate(  # noqa: PLR0913, PLR0917 - each is a fact of the certificate
    key: RSAPublicKey,
    number: int,
    issuer: Issuer,
    now_s: float,
    addresses: Addresses,
    generation: CertificateGeneration,
) -> x509.Certificate:
    """Return an issuing CA of a generation; `addresses` lead to the issuer's certificate."""
    name = _name(f"{generation.issuer} {number:02}")
    values = ExtensionValues(
        key=key,
        issuer=issuer.certificate,
        addresses=addresses,
        usages=_CA_USAGES,
        is_ca=True,
        path_length=0,
        purposes=generation.purposes,
        constraints=_CONSTRAINTS,
    )
    builder = _certificate(name, key, _long(now_s, _INTERMEDIATE_DAYS))
    builder = builder.issuer_name(issuer.certificate.subject)
    return issuer.sign(extended(builder, ISSUING_ORDER, values))


def leaf_certificate(  # noqa: PLR0913, PLR0917 - each is a fact of the certificate
    key: RSAPublicKey,
    subject: LeafSubject,
    validity: Validity,
    issuer: Issuer,
    addresses: Addresses,
    generation: CertificateGeneration,
) -> x509.Certificate:
    """Return a leaf of a generation that differs from Azure's only by `DIFFERENCES`."""
    values = ExtensionValues(
        key=key,
        issuer=issuer.certificate,
        addresses=addresses,
        usages=generation.key_usage,
        is_usage_critical=generation.is_key_usage_critical,
        purposes=generation.purposes,
        names=tuple(subject.names()),
    )
    builder = _certificate(_leaf_name(subject.domain), key, validity)
    builder = builder.issuer_name(issuer.certificate.subject)
    return issuer.sign(extended(builder, LEAF_ORDER, values))


def responder_certificate(key: RSAPublicKey, issuer: Issuer) -> x509.Certificate:
    """Return the certificate of an issuer's delegated OCSP responder (RFC 6960, 4.2.2.2).

    A verifier need not ask whether it is revoked: its key never leaves memory.
    """
    certificate = issuer.certificate
    ends = certificate.not_valid_after_utc.timestamp()
    builder = (
        _certificate(_name("OpenIMDS OCSP Responder"), key, Validity(_LONG_AGO.timestamp(), ends))
        .issuer_name(certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(("digital_signature",)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority_key_identifier(certificate), critical=False)
    )
    return issuer.sign(builder)


def certified_again(
    certificate: x509.Certificate, issuer: Issuer, validity: Validity, urls: tuple[str, ...] = ()
) -> x509.Certificate:
    """Return a CA certificate of the same subject and key, by this issuer.

    With `urls` it names these addresses of its issuer and no others; else it keeps its addresses.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(new_serial())
        .not_valid_before(datetime.fromtimestamp(validity.from_s, UTC))
        .not_valid_after(datetime.fromtimestamp(validity.to_s, UTC))
    )
    replaced = {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        *((ExtensionOID.AUTHORITY_INFORMATION_ACCESS,) if urls else ()),
        *((ExtensionOID.CRL_DISTRIBUTION_POINTS,) if urls else ()),
    }
    for extension in certificate.extensions:
        if extension.oid not in replaced:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    identifier = authority_key_identifier(issuer.certificate)
    builder = builder.add_extension(identifier, critical=False)
    if urls:
        builder = builder.add_extension(issuer_addresses(urls), critical=False)
    return issuer.sign(builder)


def _long(now_s: float, days: int) -> Validity:
    return Validity(_LONG_AGO.timestamp(), now_s + timedelta(days=days).total_seconds())


def _below_root(  # noqa: PLR0913, PLR0917 - each is a fact of the certificate
    name: x509.Name,
    key: object,
    root: Issuer,
    addresses: Addresses,
    order: tuple[str, ...],
    purposes: tuple[str, ...] = (),
) -> x509.Certificate:
    """Return a CA certificate that lives as long as the root that issues it."""
    assert isinstance(key, RSAPublicKey)
    values = ExtensionValues(
        key=key,
        issuer=root.certificate,
        addresses=addresses,
        usages=_CA_USAGES,
        is_ca=True,
        purposes=purposes,
        constraints=_TIER_CONSTRAINTS,
    )
    ends = root.certificate.not_valid_after_utc.timestamp()
    builder = _certificate(name, key, Validity(_LONG_AGO.timestamp(), ends))
    return root.sign(extended(builder.issuer_name(root.certificate.subject), order, values))


def new_serial() -> int:
    """Return a random serial number of the length that Azure's have."""
    return 1 << _SERIAL_BITS | secrets.randbits(_SERIAL_BITS)


def _certificate(name: x509.Name, key: RSAPublicKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(new_serial())
        .not_valid_before(datetime.fromtimestamp(validity.from_s, UTC))
        .not_valid_after(datetime.fromtimestamp(validity.to_s, UTC))
    )


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
