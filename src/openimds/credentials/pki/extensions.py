"""The extensions of a certificate, in the order of its generation's row."""

from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID
from msgspec import Struct

from openimds.credentials.pki import der
from openimds.facts.generations import OID_MICROSOFT, OID_TEMPLATE, OID_VALIDATED

Made = tuple[x509.ExtensionType, bool] | None
"""An extension, and whether it is critical; None where it does not apply."""
_APPLICATION_POLICIES = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.10")
_TEMPLATE = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.7")
_CA_VERSION = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.1")
_TEMPLATE_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2")
_BMP_STRING = 0x1E
_SUB_CA = der.write(_BMP_STRING, "SubCA".encode("utf-16-be"))
_USAGES = (
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


class Addresses(Struct, frozen=True):
    """The URLs in a certificate: of its issuer's certificate, of its CRL, and of OCSP."""

    issuers: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()
    ocsp: str = ""


NO_ADDRESSES = Addresses()


class ExtensionValues(Struct, frozen=True, kw_only=True):
    """The values of a certificate's extensions. Purposes are OIDs, usages names of RFC 5280's bits.

    `path_length` None sets no limit; `issuer` None is for a root, which has no authority key
    identifier.
    """

    key: RSAPublicKey
    issuer: x509.Certificate | None
    addresses: Addresses
    usages: tuple[str, ...]
    is_usage_critical: bool = True
    is_ca: bool = False
    path_length: int | None = None
    purposes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    constraints: x509.NameConstraints | None = None


def extended(
    builder: x509.CertificateBuilder, order: tuple[str, ...], values: ExtensionValues
) -> x509.CertificateBuilder:
    """Return the builder with the named extensions that apply, in this order."""
    for name in order:
        made = _MAKERS[name](values)
        if made is not None:
            builder = builder.add_extension(made[0], critical=made[1])
    return builder


def addresses_in(certificate: x509.Certificate) -> Addresses:
    """Return the addresses that a certificate has."""
    issuers: list[str] = []
    ocsp = ""
    crls: list[str] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.AuthorityInformationAccess):
            for access in extension.value:
                if access.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
                    issuers.append(str(access.access_location.value))
                elif access.access_method == AuthorityInformationAccessOID.OCSP:
                    ocsp = ocsp or str(access.access_location.value)
        elif isinstance(extension.value, x509.CRLDistributionPoints):
            for point in extension.value:
                crls += [str(name.value) for name in point.full_name or ()]
    return Addresses(tuple(issuers), tuple(crls), ocsp)


@lru_cache(1)
def hosts_in(bundle: bytes) -> frozenset[str]:
    """Return the hosts of all addresses in a bundle's certificates (PEM), in lower case."""
    found: set[str] = set()
    for certificate in x509.load_pem_x509_certificates(bundle):
        those = addresses_in(certificate)
        urls = (*those.issuers, *those.crls, those.ocsp)
        found.update(urlsplit(url).hostname or "" for url in urls)
    return frozenset(found - {""})


def issuer_addresses(urls: tuple[str, ...]) -> x509.AuthorityInformationAccess:
    """Return the extension with the addresses of an issuer's certificate."""
    issuers = AuthorityInformationAccessOID.CA_ISSUERS
    return x509.AuthorityInformationAccess(
        x509.AccessDescription(issuers, x509.UniformResourceIdentifier(url)) for url in urls
    )


def key_usage(usages: tuple[str, ...]) -> x509.KeyUsage:
    """Return the key usage of these bits."""
    return x509.KeyUsage(**{name: name in usages for name in _USAGES})


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the identifier of an issuer's key, as the issuer's certificate has it."""
    try:
        key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _application_policies(values: ExtensionValues) -> Made:
    if not values.purposes:
        return None
    policies = der.sequence(*(der.sequence(der.oid(oid)) for oid in values.purposes))
    return x509.UnrecognizedExtension(_APPLICATION_POLICIES, policies), False


def _template(_: ExtensionValues) -> Made:
    template = der.sequence(der.oid(OID_TEMPLATE), der.integer(1), der.integer(0))
    return x509.UnrecognizedExtension(_TEMPLATE, template), False


def _ca_version(_: ExtensionValues) -> Made:
    return x509.UnrecognizedExtension(_CA_VERSION, der.integer(0)), False


def _template_name(_: ExtensionValues) -> Made:
    return x509.UnrecognizedExtension(_TEMPLATE_NAME, _SUB_CA), False


def _authority_information(values: ExtensionValues) -> Made:
    access = [*issuer_addresses(values.addresses.issuers)]
    if values.addresses.ocsp:
        url = x509.UniformResourceIdentifier(values.addresses.ocsp)
        access.append(x509.AccessDescription(AuthorityInformationAccessOID.OCSP, url))
    return (x509.AuthorityInformationAccess(access), False) if access else None


def _subject_key_identifier(values: ExtensionValues) -> Made:
    return x509.SubjectKeyIdentifier.from_public_key(values.key), False


def _authority_key_identifier(values: ExtensionValues) -> Made:
    return (authority_key_identifier(values.issuer), False) if values.issuer else None


def _key_usage(values: ExtensionValues) -> Made:
    return key_usage(values.usages), values.is_usage_critical


def _names(values: ExtensionValues) -> Made:
    return x509.SubjectAlternativeName([*map(x509.DNSName, values.names)]), False


def _basic_constraints(values: ExtensionValues) -> Made:
    return x509.BasicConstraints(ca=values.is_ca, path_length=values.path_length), True


def _crl_addresses(values: ExtensionValues) -> Made:
    """Return one point with all URLs, as Azure has it."""
    urls = [*map(x509.UniformResourceIdentifier, values.addresses.crls)]
    if not urls:
        return None
    return x509.CRLDistributionPoints([x509.DistributionPoint(urls, None, None, None)]), False


def _policies(values: ExtensionValues) -> Made:
    oids = (OID_VALIDATED,) if values.is_ca else (OID_VALIDATED, OID_MICROSOFT)
    policies = [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids]
    return x509.CertificatePolicies(policies), False


def _purposes(values: ExtensionValues) -> Made:
    if not values.purposes:
        return None
    return x509.ExtendedKeyUsage([*map(x509.ObjectIdentifier, values.purposes)]), False


def _name_constraints(values: ExtensionValues) -> Made:
    return (values.constraints, False) if values.constraints else None


_MAKERS: dict[str, Callable[[ExtensionValues], Made]] = {
    "applicationPolicies": _application_policies,
    "template": _template,
    "caVersion": _ca_version,
    "templateName": _template_name,
    "authorityInformation": _authority_information,
    "subjectKeyIdentifier": _subject_key_identifier,
    "authorityKeyIdentifier": _authority_key_identifier,
    "keyUsage": _key_usage,
    "names": _names,
    "basicConstraints": _basic_constraints,
    "crlAddresses": _crl_addresses,
    "policies": _policies,
    "purposes": _purposes,
    "nameConstraints": _name_constraints,
}
