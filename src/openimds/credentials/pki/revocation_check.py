"""Ask whether the certificates of a valid path are revoked, as a strict verifier does.

A list is taken if it is the issuer's, valid at the time, and for the partition that the certificate
names; OCSP is asked where no list can be had. Only the addresses in the certificates are fetched.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from openimds.credentials.pki import der
from openimds.credentials.pki.certificate_info import common_name, is_issued_by
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.ocsp import cert_ids

RevocationMode = Literal["off", "soft", "hard"]
MODES: tuple[RevocationMode, ...] = ("off", "soft", "hard")
MAX_ADDRESSES = 4
"""The most addresses of lists that are asked for one certificate."""
_KNOWN = (x509.AuthorityKeyIdentifier, x509.CRLNumber)


class UnknownStatusError(Exception):
    """The status of a certificate cannot be had; the text is the reason."""


_FAILURES = (OSError, ValueError, UnknownStatusError, x509.DuplicateExtension)


def check_revocation(
    path: Sequence[x509.Certificate],
    at: datetime,
    fetch: Callable[[str], bytes] | None,
    mode: RevocationMode,
) -> tuple[bool | None, str]:
    """Return whether no certificate of a path is revoked, and the reason.

    An unknown status is None in the mode `soft`, and False in `hard`. `path` ends with the root,
    which cannot be revoked. `fetch` raises OSError.
    """
    if not path:
        return None, "not reached: the chain does not hold"
    seen = []
    for certificate, issuer in pairwise(path):
        name = common_name(certificate) or "a certificate without a name"
        try:
            revoked, source = _status(certificate, issuer, at, fetch)
        except UnknownStatusError as error:
            return (None if mode == "soft" else False), f"{name}: unknown: {error}"
        if revoked:
            return False, f"{name}: {revoked}"
        seen.append(f"{name} by {source}")
    return True, "good: " + ", ".join(seen)


def _status(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    at: datetime,
    fetch: Callable[[str], bytes] | None,
) -> tuple[str, str]:
    """Return the sentence of a revocation, empty for a good certificate, and the source.

    Raises:
        UnknownStatusError: neither a list nor a response can be had.
    """
    addresses = addresses_in(certificate)
    if fetch is None:
        raise UnknownStatusError("nothing is fetched")
    reasons = []
    for url in addresses.crls[:MAX_ADDRESSES]:
        try:
            return _by_list(fetch(url), certificate, issuer, at), "CRL"
        except _FAILURES as error:
            reasons.append(f"CRL: {error}")
    if addresses.ocsp:
        try:
            return _by_ocsp(fetch, addresses.ocsp, certificate, issuer, at), "OCSP"
        except _FAILURES as error:
            reasons.append(f"OCSP: {error}")
    raise UnknownStatusError("; ".join(reasons) or "it names no address")


def _by_list(
    octets: bytes, certificate: x509.Certificate, issuer: x509.Certificate, at: datetime
) -> str:
    crl = x509.load_der_x509_crl(octets)
    key = issuer.public_key()
    if crl.issuer != issuer.subject or not crl.is_signature_valid(key):  # type: ignore[arg-type]
        raise UnknownStatusError("the list is not the issuer's")
    if crl.next_update_utc is None or not crl.last_update_utc <= at <= crl.next_update_utc:
        raise UnknownStatusError("the list is not valid at this time")
    for extension in crl.extensions:
        _check_extension(extension, certificate)
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return ""
    reason = "unspecified"
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = extension.value.reason.value
    return f"revoked {entry.revocation_date_utc:%F %T} UTC, {reason}"


def _check_extension(
    extension: x509.Extension[x509.ExtensionType], certificate: x509.Certificate
) -> None:
    """Check that an extension of a list leaves it valid for a certificate.

    Raises:
        UnknownStatusError: it does not.
    """
    value = extension.value
    if not isinstance(value, x509.IssuingDistributionPoint):
        if extension.critical and not isinstance(value, _KNOWN):
            raise UnknownStatusError(f"the list has the critical {extension.oid.dotted_string}")
        return
    is_partial = value.only_some_reasons or value.only_contains_attribute_certs
    if is_partial or value.indirect_crl:
        raise UnknownStatusError("the list is not for every certificate and reason")
    points = {str(name.value) for name in value.full_name or ()}
    if points and not points & set(addresses_in(certificate).crls):
        raise UnknownStatusError("the list is for another partition")


def _by_ocsp(
    get: Callable[[str], bytes],
    url: str,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    at: datetime,
) -> str:
    asked = cert_ids(issuer, certificate.serial_number)[0].octets()
    request = der.sequence(der.sequence(der.sequence(der.sequence(asked))))
    text = quote(b64encode(request).decode(), safe="")
    response = ocsp.load_der_ocsp_response(get(f"{url.rstrip('/')}/{text}"))
    if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise UnknownStatusError(response.response_status.name.lower().replace("_", " "))
    if response.serial_number != certificate.serial_number:
        raise UnknownStatusError("the response is about another certificate")
    starts, ends = response_time(response, "this_update"), response_time(response, "next_update")
    if starts is None or ends is None or not starts <= at <= ends:
        raise UnknownStatusError("the response is not valid at this time")
    if not is_signed_by_responder(response, issuer):
        raise UnknownStatusError("no responder of the issuer signed the response")
    if response.certificate_status == ocsp.OCSPCertStatus.GOOD:
        return ""
    if response.certificate_status != ocsp.OCSPCertStatus.REVOKED:
        raise UnknownStatusError("the responder does not know it")
    reason = response.revocation_reason
    when = response_time(response, "revocation_time")
    return f"revoked {when:%F %T} UTC, {reason.value if reason else 'unspecified'}"


def is_signed_by_responder(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    """Tell whether the issuer, or a responder that it delegated to, signed a response."""
    delegates = [one for one in response.certificates if _is_delegate(one, issuer)]
    for signer in (issuer, *delegates):
        key, digest = signer.public_key(), response.signature_hash_algorithm
        if not isinstance(key, RSAPublicKey) or digest is None:
            continue
        try:
            key.verify(response.signature, response.tbs_response_bytes, PKCS1v15(), digest)
        except InvalidSignature:
            continue
        return True
    return False


def _is_delegate(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in purposes and is_issued_by(certificate, issuer)


def response_time(response: ocsp.OCSPResponse, name: str) -> datetime | None:
    """Return a time with its zone; cryptography before 43 has it without one."""
    if hasattr(response, f"{name}_utc"):
        with_zone: datetime | None = getattr(response, f"{name}_utc")
        return with_zone
    at: datetime | None = getattr(response, name)
    return at and at.replace(tzinfo=UTC)
