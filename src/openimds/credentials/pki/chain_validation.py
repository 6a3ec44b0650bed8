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
from openimds.credentials.pki.certificate_info import common_name, is_issued_by, is_root
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
_MAX_FETCHED = 12
"""The most addresses that are fetched for one path."""
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
        """Return the path from a leaf to a root with its names, or the reason.

        Where the issuer at one address leads to no root, the one at the next address may: an
        expired certificate, or the same CA under another root.
        """
        if not self._roots:
            return [], "the trust bundle has no root: none of its certificates is self-signed"
        search = _PathSearch([*self._intermediates], self._fetch, may_fetch=may_fetch)
        first_reason = ""
        while True:
            reason = search.gather(leaf, self._roots)
            try:
                path = self._path(leaf, search.known, at)
            except VerificationError as error:
                message = str(error).removeprefix("validation failed: ")
                message = message.partition(" (encountered")[0]
                first_reason = first_reason or reason or message + STRICT
            else:
                return path, " < ".join(common_name(item) or "(no name)" for item in path)
            if not search.take_alternative():
                return [], first_reason

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


class _PathSearch:
    """The certificates that a path may have, and the addresses that are left to fetch."""

    def __init__(
        self, known: list[x509.Certificate], fetch: Fetch | None, *, may_fetch: bool
    ) -> None:
        self.known = known
        self._fetch, self._may_fetch = fetch, may_fetch
        self._left = _MAX_FETCHED
        self._untried: list[tuple[x509.Certificate, str]] = []

    def gather(self, leaf: x509.Certificate, roots: list[x509.Certificate]) -> str:
        """Fetch unknown issuers up to a root; return the reason if one is missing."""
        current = leaf
        for _ in range(_MAX_FETCHED):
            seen = [leaf]
            while issuers := [
                item for item in self.known if item not in seen and is_issued_by(current, item)
            ]:
                current = issuers[0]
                seen.append(current)
            if any(is_issued_by(current, root) for root in roots):
                return ""
            fetched, reason = self._fetch_issuer(current)
            if fetched is None:
                name = current.issuer.rfc4514_string()
                return f"the certificate of the issuer {name} is missing{reason}"
            self.known.append(fetched)
        return ""

    def take_alternative(self) -> bool:
        """Fetch an issuer from an address not yet needed; return False without any."""
        while self._untried:
            certificate, url = self._untried.pop()
            fetched, _ = self._fetch_from(url, certificate)
            if fetched and fetched not in self.known:
                self.known.insert(0, fetched)  # The next walk takes the first that fits.
                return True
        return False

    def _fetch_issuer(self, certificate: x509.Certificate) -> tuple[x509.Certificate | None, str]:
        """Fetch the issuer from the URLs in a certificate; or return the reason."""
        if self._fetch is None:
            return None, ""
        if not self._may_fetch:
            return None, "; it is not fetched because signature or name fails"
        reasons = ""
        urls = _issuer_urls(certificate)
        for place, url in enumerate(urls, 1):
            fetched, reason = self._fetch_from(url, certificate)
            if fetched:
                self._untried += [(certificate, other) for other in urls[place:]]
                return fetched, ""
            reasons += reason
        return None, reasons or "; the certificate names no URL of its issuer"

    def _fetch_from(
        self, url: str, certificate: x509.Certificate
    ) -> tuple[x509.Certificate | None, str]:
        """Fetch the issuer of a certificate from one URL; or return the reason."""
        assert self._fetch is not None
        if not self._left:
            return None, f"; {url}: not fetched, it would be more than {_MAX_FETCHED}"
        self._left -= 1
        try:
            fetched = _certificates(self._fetch(url), url)[0]
        except (OSError, ConfigError) as error:
            return None, f"; {url}: {error}"
        if is_issued_by(certificate, fetched) and not is_root(fetched):
            return fetched, ""
        name = fetched.subject.rfc4514_string()
        return None, f"; {url}: {name} did not issue it, or is not a trusted root"


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
