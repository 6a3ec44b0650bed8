"""From a leaf to a trusted root: the certificates at hand, those that can be fetched, the path.

Whether a path is good is cryptography's to say (RFC 5280 with the rules of the web's certificates).
Here is which certificates it may use, and two rules that are looser than the web's: a leaf may be
for servers or for clients (public authorities stop issuing for both in 2026), and an operator's CA
certificate may say nothing of its key usage, as those of a plain `openssl req -x509`.
"""

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from openimds.credentials.keys.files import plain_reason
from openimds.credentials.pki.certificates import common_name, is_issued_by, is_root
from openimds.errors import ConfigError

Fetch = Callable[[str], bytes]
_MOST_FETCHED = 6
_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_PEM = b"-----BEGIN"


class Trust:
    """What is trusted, and what helps to get there."""

    def __init__(self, trust: bytes, intermediates: bytes, fetch: Fetch | None) -> None:
        """Read a bundle and more intermediates, each PEM or DER.

        Raises:
            ConfigError: there is no certificate in one of them.
        """
        bundle = _certificates(trust, "trust bundle")
        more = _certificates(intermediates, "intermediates") if intermediates else []
        self._roots = [one for one in bundle if is_root(one)]
        # A self-signed one is no intermediate: the search would run in a circle.
        self._known = [one for one in [*bundle, *more] if not is_root(one)]
        self._fetch = fetch

    def leads_to_root(
        self, leaf: x509.Certificate, at: datetime, *, may_fetch: bool = True
    ) -> tuple[bool, str]:
        """Tell whether a leaf leads to a root at a time, and by whom, or why not."""
        if not self._roots:
            return False, "the trust bundle has no root: nothing in it is signed by itself"
        found, why = self._gather(leaf, may_fetch=may_fetch)
        policy = PolicyBuilder().store(Store(self._roots)).time(at)
        policy = policy.extension_policies(ca_policy=_of_authorities(), ee_policy=_of_leaves())
        try:
            path = policy.build_client_verifier().verify(leaf, found).chain
        except VerificationError as error:
            said = str(error).removeprefix("validation failed: ").partition(" (encountered")[0]
            return False, why or said
        return True, " < ".join(common_name(one) or "(no name)" for one in path)

    def _gather(
        self, leaf: x509.Certificate, *, may_fetch: bool
    ) -> tuple[list[x509.Certificate], str]:
        """Return the intermediates at hand with those that had to be fetched; or why one lacks."""
        found, current = list(self._known), leaf
        for _ in range(_MOST_FETCHED):
            seen = [leaf]
            while above := [one for one in found if one not in seen and is_issued_by(current, one)]:
                current = above[0]
                seen.append(current)
            if any(is_issued_by(current, root) for root in self._roots):
                return found, ""
            fetched, why = self._fetched(current, may_fetch=may_fetch)
            if fetched is None:
                name = current.issuer.rfc4514_string()
                return found, f"no certificate of the issuer {name} is at hand{why}"
            found.append(fetched)
        return found, ""

    def _fetched(
        self, certificate: x509.Certificate, *, may_fetch: bool
    ) -> tuple[x509.Certificate | None, str]:
        """Return the issuer from where a certificate says that it is, or why not."""
        if self._fetch is None:
            return None, ""
        if not may_fetch:
            return None, "; it is not fetched, as signature or name does not hold"
        why = ""
        for url in _issuer_urls(certificate):
            try:
                got = _certificates(self._fetch(url), url)[0]
            except (OSError, ConfigError) as error:
                why += f"; {url}: {error}"
                continue
            if is_issued_by(certificate, got) and not is_root(got):
                return got, ""
            why += (
                f"; {url}: {got.subject.rfc4514_string()} did not issue it, or is no trusted root"
            )
        return None, why or "; the certificate does not say where it is"


def _of_authorities() -> ExtensionPolicy:
    said = ExtensionPolicy.webpki_defaults_ca()
    said = said.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_certify)
    return said.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_either)


def _of_leaves() -> ExtensionPolicy:
    said = ExtensionPolicy.webpki_defaults_ee()
    return said.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_either)


def _may_certify(_: Policy, one: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{common_name(one)}: its keyUsage lacks keyCertSign")


def _is_for_either(_: Policy, one: x509.Certificate, usages: x509.ExtendedKeyUsage | None) -> None:
    if usages is not None and not _USES & set(usages):
        raise ValueError(f"{common_name(one)}: for neither serverAuth nor clientAuth")


def _issuer_urls(certificate: x509.Certificate) -> list[str]:
    try:
        said = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [
        one.access_location.value
        for one in said
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]


def _certificates(text: bytes, where: str) -> list[x509.Certificate]:
    try:
        if _PEM in text:
            return x509.load_pem_x509_certificates(text)
        return [x509.load_der_x509_certificate(text)]
    except (ValueError, x509.InvalidVersion) as error:
        seen = plain_reason(error) or "something else"
        raise ConfigError(where, seen, "certificates in PEM or DER") from None
