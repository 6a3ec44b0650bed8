"""Sign attested documents with leaves of the certificate authority, valid or invalid on request."""

from base64 import b64encode
from collections.abc import Callable
from threading import Lock

import msgspec.json
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import DOMAINS, KeyIssuer, LeafSubject, Validity
from openimds.credentials.pki.cms import enclose, envelope
from openimds.credentials.pki.invalid_documents import ROTATIONS
from openimds.credentials.pki.leaves import SigningLeaf

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S


class DocumentSigner:
    """Signs attested documents. It may be called from several threads."""

    def __init__(self, authority: CertificateAuthority) -> None:
        """Sign with the leaves of an authority."""
        self._authority = authority
        self._lock = Lock()
        self._orphan: KeyIssuer | None = None
        self._makers: dict[str, Callable[[bytes, LeafSubject, float], bytes]] = {
            "expired-leaf": self._expired_leaf,
            "unknown-intermediate": self._unknown_intermediate,
            "wrong-cloud": self._wrong_cloud,
            "tampered-payload": self._tampered_payload,
            "revoked-leaf": self._revoked_leaf,
        }

    def document(  # noqa: PLR0913, PLR0917 - the facts of one document
        self,
        payload: bytes,
        domain: str,
        region: str,
        now_s: float,
        scenario: str = "",
        days: int = 0,
    ) -> str:
        """Return the signature of a document: base64 of the envelope, without line breaks.

        `scenario` is the name of an invalid document or of a rotation. A scenario of the payload
        was applied to it before; here it changes nothing. With `days` the leaf lives that long.

        Raises:
            KeyFileError: a new intermediate is due and cannot be written.
        """
        subject = LeafSubject(domain, region, days)
        if scenario in ROTATIONS:
            return b64encode(self._rotated(payload, subject, now_s, scenario)).decode()
        make = self._makers.get(scenario, self._valid)
        return b64encode(make(payload, subject, now_s)).decode()

    def _valid(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        return sealed(payload, self._leaf(subject, now_s))

    def _rotated(self, payload: bytes, subject: LeafSubject, now_s: float, scenario: str) -> bytes:
        issuer = self._authority.successor(ROTATIONS[scenario], now_s)
        validity = self._authority.leaves.validity(now_s, issuer)
        return sealed(payload, self._authority.leaves.issue(subject, validity, issuer))

    def _expired_leaf(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        validity = Validity(now_s - _DAY_S, now_s - _HOUR_S)
        return sealed(payload, self._authority.leaves.issue(subject, validity))

    def _unknown_intermediate(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        with self._lock:
            self._orphan = orphan = self._orphan or self._authority.orphaned_intermediate(now_s)
        validity = Validity(now_s - _HOUR_S, now_s + _DAY_S)
        return sealed(payload, self._authority.leaves.issue(subject, validity, orphan))

    def _wrong_cloud(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        subject = LeafSubject(other_domain(subject.domain), subject.region)
        return sealed(payload, self._leaf(subject, now_s))

    def _revoked_leaf(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        return sealed(payload, self._authority.leaves.revoked_leaf(subject, now_s))

    def _tampered_payload(self, payload: bytes, subject: LeafSubject, now_s: float) -> bytes:
        return sealed_tampered(payload, self._leaf(subject, now_s))

    def _leaf(self, subject: LeafSubject, now_s: float) -> SigningLeaf:
        return self._authority.leaf(subject.domain, subject.region, now_s, subject.days)


def sealed(payload: bytes, leaf: SigningLeaf) -> bytes:
    """Return the envelope of a payload, signed by a leaf."""
    return envelope(payload, leaf.certificate, leaf.key)


def sealed_tampered(payload: bytes, leaf: SigningLeaf) -> bytes:
    """Return the envelope of a payload that was changed after its signature."""
    signature = leaf.key.sign(payload, PKCS1v15(), SHA256())
    return enclose(_tampered(payload), leaf.certificate, signature)


def other_domain(domain: str) -> str:
    """Return the metadata domain of another cloud."""
    return next(other for other in reversed(DOMAINS) if other != domain)


def _tampered(payload: bytes) -> bytes:
    """Return the payload with the first digit of vmId changed."""
    members = msgspec.json.decode(payload)
    vm_id = members.get("vmId", "")
    members["vmId"] = ("1" if vm_id[:1] == "0" else "0") + vm_id[1:]
    return msgspec.json.encode(members)
