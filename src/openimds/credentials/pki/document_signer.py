"""Sign attested documents with leaves of the certificate authority, valid or invalid on request."""

from base64 import b64encode
from collections.abc import Callable
from threading import Lock

import msgspec.json
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from openimds.credentials.pki.authority import CertificateAuthority, SigningLeaf
from openimds.credentials.pki.certificates import (
    DOMAINS,
    LEAF_DAYS,
    KeyIssuer,
    LeafSubject,
    Validity,
)
from openimds.credentials.pki.cms import enclose, envelope
from openimds.credentials.pki.invalid_documents import ROTATIONS

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
_LEAF_S = LEAF_DAYS * _DAY_S


class DocumentSigner:
    """Makes the signature of attested documents; called from several threads."""

    def __init__(self, authority: CertificateAuthority) -> None:
        """Sign with the leaves of an authority."""
        self._authority = authority
        self._lock = Lock()
        self._stray: KeyIssuer | None = None
        self._makers: dict[str, Callable[[bytes, LeafSubject, float], bytes]] = {
            "expired-leaf": self._expired_leaf,
            "unknown-intermediate": self._unknown_intermediate,
            "wrong-cloud": self._wrong_cloud,
            "tampered-payload": self._tampered_payload,
        }

    def document(
        self, payload: bytes, domain: str, region: str, now_s: float, invalid_document: str = ""
    ) -> str:
        """Return the signature of a document: base64 of the envelope, without line breaks.

        A scenario that spoils the payload was applied to it before; here it changes nothing.

        Raises:
            KeyFileError: a new intermediate is due and cannot be written.
        """
        if invalid_document in ROTATIONS:
            return b64encode(
                self._rotated(payload, LeafSubject(domain, region), now_s, invalid_document)
            ).decode()
        make = self._makers.get(invalid_document, self._right)
        return b64encode(make(payload, LeafSubject(domain, region), now_s)).decode()

    def _right(self, payload: bytes, site: LeafSubject, now_s: float) -> bytes:
        return _sealed(payload, self._leaf(site, now_s))

    def _rotated(
        self, payload: bytes, site: LeafSubject, now_s: float, invalid_document: str
    ) -> bytes:
        issuer = self._authority.successor(ROTATIONS[invalid_document], now_s)
        span = Validity(now_s - _HOUR_S, now_s + _LEAF_S)
        return _sealed(payload, self._authority.issue(site, span, issuer))

    def _expired_leaf(self, payload: bytes, site: LeafSubject, now_s: float) -> bytes:
        span = Validity(now_s - _DAY_S, now_s - _HOUR_S)
        return _sealed(payload, self._authority.issue(site, span))

    def _unknown_intermediate(self, payload: bytes, site: LeafSubject, now_s: float) -> bytes:
        with self._lock:
            self._stray = stray = self._stray or self._authority.stray(now_s)
        span = Validity(now_s - _HOUR_S, now_s + _DAY_S)
        return _sealed(payload, self._authority.issue(site, span, stray))

    def _wrong_cloud(self, payload: bytes, site: LeafSubject, now_s: float) -> bytes:
        other = next(domain for domain in reversed(DOMAINS) if domain != site.domain)
        return _sealed(payload, self._leaf(LeafSubject(other, site.region), now_s))

    def _tampered_payload(self, payload: bytes, site: LeafSubject, now_s: float) -> bytes:
        leaf = self._leaf(site, now_s)
        signature = leaf.key.sign(payload, PKCS1v15(), SHA256())
        return enclose(_tampered(payload), leaf.certificate, signature)

    def _leaf(self, site: LeafSubject, now_s: float) -> SigningLeaf:
        return self._authority.leaf(site.domain, site.region, now_s)


def _sealed(payload: bytes, leaf: SigningLeaf) -> bytes:
    return envelope(payload, leaf.certificate, leaf.key)


def _tampered(payload: bytes) -> bytes:
    """Return the payload with the first digit of vmId changed."""
    said = msgspec.json.decode(payload)
    vm_id = said.get("vmId", "")
    said["vmId"] = ("1" if vm_id[:1] == "0" else "0") + vm_id[1:]
    return msgspec.json.encode(said)
