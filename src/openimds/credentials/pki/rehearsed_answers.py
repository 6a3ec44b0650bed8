"""Signed answers of the public listener that are wrong on purpose, for faults of verifiers.

Each is signed at its first request and kept; a nonce is signed for its request alone. So that a
fault cannot make the listener a signer for anyone, all of them share a budget of signatures.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import structs

from openimds.credentials.pki import ocsp
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name, file_name, is_issued_by
from openimds.credentials.pki.certificates import Issuer, KeyIssuer, Validity, certified_again
from openimds.credentials.pki.der import DerError
from openimds.credentials.pki.ocsp import CertId, cert_ids
from openimds.credentials.pki.revocation_register import RegisterEntry
from openimds.errors import Error
from openimds.facts.public_faults import (
    EXPIRED,
    MAX_REHEARSED,
    MAX_SIGNATURES_PER_S,
    NONCE,
    REVOKED,
    TRY_LATER,
    UNAUTHORIZED,
)
from openimds.facts.revocation import BACKDATED_S, OCSP_LIFE_S

_DAY_S = 86_400
_EXPIRED_S = 3600
"""The time since the end of an expired certificate, and of a stale list."""
_UNSIGNED = {TRY_LATER: ocsp.TRY_LATER, UNAUTHORIZED: ocsp.UNAUTHORIZED}


class RehearsalError(Error):
    """An answer that cannot be signed here."""


class SignatureBudget:
    """At most so many signatures in a second. It may be used from several threads."""

    def __init__(self, now: Callable[[], float], most: int = MAX_SIGNATURES_PER_S) -> None:
        """Begin with all of them left; `now` returns the time in seconds."""
        self._now, self._last, self._lock = now, deque[float](maxlen=most), Lock()

    def take(self) -> bool:
        """Take one signature; return False if none is left at the moment."""
        with self._lock:
            now_s = self._now()
            is_full = len(self._last) == self._last.maxlen
            if is_full and now_s - self._last[0] < 1:
                return False
            self._last.append(now_s)
            return True


class RehearsedAnswers:
    """The answers of one authority. Its methods may block: call them in a thread."""

    def __init__(
        self,
        authority: Callable[[], CertificateAuthority],
        utc: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Sign with the keys of an authority; `now` is the clock of the budget."""
        self._authority, self._utc = authority, utc
        self._budget = SignatureBudget(now)
        self._kept: dict[tuple[str, ...], bytes] = {}
        self._unknown_root: KeyIssuer | None = None
        self._lock = Lock()

    def certificate(self, octets: bytes, answer: str) -> bytes:
        """Return a CA as certified until an hour ago, or by an unknown root.

        Raises:
            RehearsalError: the issuer's key is not here, or no signature is left at the moment.
        """
        certificate = x509.load_der_x509_certificate(octets)

        def sign() -> bytes:
            begins_s = certificate.not_valid_before_utc.timestamp()
            if answer == EXPIRED:
                validity = Validity(begins_s, self._utc() - _EXPIRED_S)
                made = certified_again(certificate, self._issuer_of(certificate), validity)
            else:
                root = self._root()
                validity = Validity(begins_s, certificate.not_valid_after_utc.timestamp())
                urls = self._authority().issuer_addresses(root.certificate)
                made = certified_again(certificate, root, validity, urls)
            return made.public_bytes(Encoding.DER)

        return self._keep((answer, sha256(octets).hexdigest(), self._day()), sign)

    @property
    def has_unknown_root(self) -> bool:
        """Whether the unknown root has signed."""
        return self._unknown_root is not None

    def unknown_root(self, name: str) -> bytes | None:
        """Return the DER of the unknown root by its name, once it has signed."""
        root = self._unknown_root
        if root is None or name != file_name(root.certificate):
            return None
        return root.certificate.public_bytes(Encoding.DER)

    def stale_list(self, octets: bytes) -> bytes:
        """Return a list with the same entries that ended an hour ago.

        Raises:
            RehearsalError: as `certificate`.
        """
        crl = x509.load_der_x509_crl(octets)

        def sign() -> bytes:
            issuer = self._signer_of(crl)
            ends = crl.next_update_utc or crl.last_update_utc
            over = timedelta(seconds=ends.timestamp() - self._utc() + _EXPIRED_S)
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(crl.issuer)
                .last_update(crl.last_update_utc - over)
                .next_update(ends - over)
            )
            for extension in crl.extensions:
                builder = builder.add_extension(extension.value, critical=extension.critical)
            for entry in crl:
                builder = builder.add_revoked_certificate(entry)
            return issuer.sign_list(builder).public_bytes(Encoding.DER)

        return self._keep(("stale", sha256(octets).hexdigest(), self._day()), sign)

    def ocsp_response(self, request: bytes | str, answer: str) -> bytes:
        """Return the response to a request: DER, or the path of a GET.

        A question about a certificate of another issuer is `unauthorized`, as without a fault;
        beyond the budget of signatures the answer is to try later.
        """
        if answer in _UNSIGNED:
            return _UNSIGNED[answer]
        try:
            if isinstance(request, str):
                request = ocsp.decode_path(request)
            cert_id = ocsp.read_request(request)
            nonce = ocsp.read_nonce(request) if answer == NONCE else None
        except DerError:
            return ocsp.MALFORMED
        if cert_id is None:
            return ocsp.UNAUTHORIZED
        try:
            return self._signed(request, cert_id, answer, nonce)
        except RehearsalError:
            return ocsp.TRY_LATER

    def _signed(self, request: bytes, cert_id: CertId, answer: str, nonce: bytes | None) -> bytes:
        if answer in (NONCE, REVOKED):
            questions = self._authority().answers.questions()
            found = next((one for one in questions if _is_about(cert_id, *one)), None)
            if found is None:
                return ocsp.UNAUTHORIZED
            issuer, known = found
            if answer == NONCE and nonce is None:
                return self._authority().ocsp_response(request, self._utc())
            if answer == NONCE:
                return self._response(issuer, cert_id, known, nonce)
            now_s = self._utc() - BACKDATED_S
            revoked = structs.replace(known, revoked_s=now_s, reason="keyCompromise")
            return self._kept_response(issuer, cert_id, answer, revoked)
        for issuer in self._authority().answers.issuers():
            if cert_id in cert_ids(issuer.certificate, cert_id.serial):
                return self._kept_response(issuer, cert_id, answer, None)
        return ocsp.UNAUTHORIZED

    def _kept_response(
        self, issuer: Issuer, cert_id: CertId, answer: str, entry: RegisterEntry | None
    ) -> bytes:
        key = (answer, cert_id.octets().hex(), self._day())
        return self._keep(key, lambda: self._make_response(issuer, cert_id, entry, None))

    def _response(
        self, issuer: Issuer, cert_id: CertId, entry: RegisterEntry, nonce: bytes | None
    ) -> bytes:
        self._spend()
        return self._make_response(issuer, cert_id, entry, nonce)

    def _make_response(
        self, issuer: Issuer, cert_id: CertId, entry: RegisterEntry | None, nonce: bytes | None
    ) -> bytes:
        signed_s = self._utc() - BACKDATED_S
        responder = self._authority().answers.responder(issuer)
        ends_s = signed_s + OCSP_LIFE_S
        return ocsp.sign_response(responder, cert_id, entry, signed_s, ends_s, nonce)

    def _keep(self, key: tuple[str, ...], sign: Callable[[], bytes]) -> bytes:
        """Return a kept answer, or sign it.

        Raises:
            RehearsalError: no signature is left at the moment, or `sign` raises it.
        """
        with self._lock:
            if key not in self._kept:
                self._spend()
                self._kept[key] = sign()
            while len(self._kept) > MAX_REHEARSED:
                del self._kept[next(iter(self._kept))]
            return self._kept[key]

    def _spend(self) -> None:
        if not self._budget.take():
            raise RehearsalError(
                f"more than {MAX_SIGNATURES_PER_S} signatures in a second for a fault of the "
                "public listener; ask again later"
            )

    def _day(self) -> str:
        """Return the day of the clock: answers are made anew where it changes."""
        return str(int(self._utc() // _DAY_S))

    def _root(self) -> KeyIssuer:
        self._unknown_root = self._unknown_root or self._authority().unknown_root(self._utc())
        return self._unknown_root

    def _issuer_of(self, certificate: x509.Certificate) -> Issuer:
        for issuer in self._authority().answers.issuers():
            if is_issued_by(certificate, issuer.certificate):
                return issuer
        raise _keyless(f"certificate {common_name(certificate)}")

    def _signer_of(self, crl: x509.CertificateRevocationList) -> Issuer:
        for issuer in self._authority().answers.issuers():
            key = issuer.certificate.public_key()
            if crl.issuer == issuer.certificate.subject and crl.is_signature_valid(key):  # type: ignore[arg-type]
                return issuer
        raise _keyless(f"list of {crl.issuer.rfc4514_string()}")


def _is_about(cert_id: CertId, issuer: Issuer, entry: RegisterEntry) -> bool:
    serial = int(entry.serial, 16)
    return cert_id.serial == serial and cert_id in cert_ids(issuer.certificate, serial)


def _keyless(what: str) -> RehearsalError:
    return RehearsalError(
        f"a fault of the public listener cannot sign another {what}: the key of its issuer is not "
        "here. Choose an answer that is not signed, such as missing"
    )
