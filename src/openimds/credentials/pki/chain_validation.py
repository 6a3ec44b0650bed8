"""Chain validation: from a leaf to a trusted root, fetching missing intermediates.

cryptography validates the chain (RFC 5280 with the rules of the web PKI). This module chooses the
certificates that it may use, and two rules looser than the web's: a leaf may be for servers or for
clients (public CAs stop issuing for both in 2026), and an operator's CA certificate may lack a
keyUsage, as those of a plain `openssl req -x509` do. cryptography before 45 has no way to set them:
there the rules of the web hold, and `STRICT` ends the reason of a broken chain.
"""

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from openimds.credentials.keys.files import plain_reason
from openimds.credentials.pki.certificates import common_name, is_issued_by, is_root
from openimds.errors import ConfigError

Fetch = Callable[[str], bytes]
_HAS_POLICIES = hasattr(verification, "ExtensionPolicy")
STRICT = (
    ""
    if _HAS_POLICIES
    else "; this version of cryptography accepts only a leaf for servers, and CA certificates with "
    "a keyUsage: version 45 or newer is less strict"
)
"""The hint at a version of cryptography that knows the rules of the web alone."""
_MAX_FETCHED = 6
_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_PEM = b"-----BEGIN"


class Trust:
    """Trusted roots, and intermediates that lead to them."""

    def __init__(self, trust: bytes, intermediates: bytes, fetch: Fetch | None) -> None:
        """Read a trust bundle and more intermediates, each PEM or DER.

        Raises:
            ConfigError: one of them contains no certificate.
        """
        bundle = _certificates(trust, "trust bundle")
        more = _certificates(intermediates, "intermediates") if intermediates else []
        self._roots = [certificate for certificate in bundle if is_root(certificate)]
        # A self-signed certificate among the intermediates would make the search run in a circle.
        self._intermediates = [
            certificate for certificate in [*bundle, *more] if not is_root(certificate)
        ]
        self._fetch = fetch

    def path_to_root(
        self, leaf: x509.Certificate, at: datetime, *, may_fetch: bool = True
    ) -> tuple[list[x509.Certificate], str]:
        """Return the path from a leaf to a root with its names, or the reason."""
        if not self._roots:
            return [], "the trust bundle has no root: none of its certificates is self-signed"
        intermediates, reason = self._gather(leaf, may_fetch=may_fetch)
        try:
            path = self._path(leaf, intermediates, at)
        except VerificationError as error:
            message = str(error).removeprefix("validation failed: ").partition(" (encountered")[0]
            return [], reason or message + STRICT
        return path, " < ".join(common_name(item) or "(no name)" for item in path)

    def _path(
        self, leaf: x509.Certificate, intermediates: list[x509.Certificate], at: datetime
    ) -> list[x509.Certificate]:
        """Return the certificates from the leaf to a root.

        Raises:
            VerificationError: no path is valid.
        """
        policy = PolicyBuilder().store(Store(self._roots)).time(at)
        if not _HAS_POLICIES:
            name = x509.DNSName(_first_name(leaf))
            return policy.build_server_verifier(name).verify(leaf, intermediates)
        policy = policy.extension_policies(ca_policy=_ca_policy(), ee_policy=_leaf_policy())
        return policy.build_client_verifier().verify(leaf, intermediates).chain

    def _gather(
        self, leaf: x509.Certificate, *, may_fetch: bool
    ) -> tuple[list[x509.Certificate], str]:
        """Return known and fetched intermediates, and the reason if one is missing."""
        known, current = list(self._intermediates), leaf
        for _ in range(_MAX_FETCHED):
            seen = [leaf]
            while issuers := [
                item for item in known if item not in seen and is_issued_by(current, item)
            ]:
                current = issuers[0]
                seen.append(current)
            if any(is_issued_by(current, root) for root in self._roots):
                return known, ""
            fetched, reason = self._fetch_issuer(current, may_fetch=may_fetch)
            if fetched is None:
                name = current.issuer.rfc4514_string()
                return known, f"the certificate of the issuer {name} is missing{reason}"
            known.append(fetched)
        return known, ""

    def _fetch_issuer(
        self, certificate: x509.Certificate, *, may_fetch: bool
    ) -> tuple[x509.Certificate | None, str]:
        """Fetch the issuer from the URLs in a certificate; or return the reason."""
        if self._fetch is None:
            return None, ""
        if not may_fetch:
            return None, "; it is not fetched because signature or name fails"
        reasons = ""
        for url in _issuer_urls(certificate):
            try:
                fetched = _certificates(self._fetch(url), url)[0]
            except (OSError, ConfigError) as error:
                reasons += f"; {url}: {error}"
                continue
            if is_issued_by(certificate, fetched) and not is_root(fetched):
                return fetched, ""
            name = fetched.subject.rfc4514_string()
            reasons += f"; {url}: {name} did not issue it, or is not a trusted root"
        return None, reasons or "; the certificate names no URL of its issuer"


def _first_name(leaf: x509.Certificate) -> str:
    """Return a name, as the verifier requires one; `verify` checks the names itself."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return common_name(leaf)
    return next(iter(names.get_values_for_type(x509.DNSName)), "")


def _ca_policy() -> "verification.ExtensionPolicy":
    policy = verification.ExtensionPolicy.webpki_defaults_ca()
    either = verification.Criticality.AGNOSTIC
    policy = policy.may_be_present(x509.KeyUsage, either, _check_key_usage)
    return policy.may_be_present(x509.ExtendedKeyUsage, either, _check_purpose)


def _leaf_policy() -> "verification.ExtensionPolicy":
    policy = verification.ExtensionPolicy.webpki_defaults_ee()
    either = verification.Criticality.AGNOSTIC
    return policy.may_be_present(x509.ExtendedKeyUsage, either, _check_purpose)


def _check_key_usage(
    _: "verification.Policy", certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{common_name(certificate)}: its keyUsage lacks keyCertSign")


def _check_purpose(
    _: "verification.Policy", certificate: x509.Certificate, usages: x509.ExtendedKeyUsage | None
) -> None:
    if usages is not None and not _USES & set(usages):
        raise ValueError(f"{common_name(certificate)}: for neither serverAuth nor clientAuth")


def _issuer_urls(certificate: x509.Certificate) -> list[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return []
    return [
        description.access_location.value
        for description in access.value
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(description.access_location, x509.UniformResourceIdentifier)
    ]


def _certificates(text: bytes, where: str) -> list[x509.Certificate]:
    try:
        if _PEM in text:
            return x509.load_pem_x509_certificates(text)
        return [x509.load_der_x509_certificate(text)]
    except (ValueError, x509.InvalidVersion) as error:
        seen = plain_reason(error) or "other content"
        raise ConfigError(where, seen, "certificates in PEM or DER") from None
