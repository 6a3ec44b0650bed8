"""The leaves of one authority: one key, and the certificates that are used again.

A leaf is issued once for a cloud's domain and a region and cached until it has `_RENEW_DAYS` left,
so that a document verifies until its own end. All leaves share one key: the region is a name, not a
secret. A leaf may outlive its issuer: verifiers check both, so the authority need not.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct

from openimds.credentials.pki.certificates import Issuer, LeafSubject, Validity, leaf_certificate
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.revocation import Revocation
from openimds.credentials.pki.revocation_answers import RevocationAnswers
from openimds.credentials.pki.revocation_register import serial_of

_MAX_LEAVES = 256
_RENEW_DAYS = 30
_BACKDATED_S = 3600
"""A verifier whose clock is slow by less than this accepts a new leaf."""


class SigningLeaf(Struct, frozen=True):
    """A leaf certificate for attested documents, and its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey


class Leaves:
    """The leaves below the issuers of an authority, whose lock is the issuers'."""

    def __init__(
        self,
        issuers: Issuers,
        days: int | None,
        revocation: Revocation,
        answers: RevocationAnswers,
    ) -> None:
        """Begin without a leaf; `days` None are those of the issuer's generation."""
        self._issuers, self._days = issuers, days
        self._revocation, self._answers = revocation, answers
        self._key: RSAPrivateKey | None = None
        self._cached: dict[LeafSubject, SigningLeaf] = {}
        self._revoked: dict[LeafSubject, SigningLeaf] = {}

    @property
    def cached(self) -> Mapping[LeafSubject, SigningLeaf]:
        """The leaves that sign documents."""
        return self._cached

    def serials(self) -> list[str]:
        """Return the serial numbers of the leaves that sign documents."""
        return [serial_of(leaf.certificate) for leaf in self._cached.values()]

    def clear(self) -> None:
        """Drop the key and all leaves."""
        self._key = None
        self._cached.clear()
        self._revoked.clear()

    def restore(self, leaves: Mapping[LeafSubject, SigningLeaf]) -> None:
        """Use leaves of an issuer that a rehearsal replaces for some regions only."""
        self._cached = {**leaves}

    def leaf(self, subject: LeafSubject, now_s: float, issuer: Issuer) -> SigningLeaf:
        """Return a leaf by an issuer, valid for a month or more.

        With `days` in its subject its life is that short, and more than half of it is left.
        """
        with self._issuers.lock:
            days = subject.days or self._leaf_days(issuer)
            leaf = self._cached.pop(subject, None)
            is_below = leaf and leaf.certificate.issuer == issuer.certificate.subject
            if not (leaf and is_below and _is_fit(leaf.certificate, days, now_s)):
                leaf = self._issue_for_long(subject, now_s, issuer)
            self._cached[subject] = leaf
            if len(self._cached) > _MAX_LEAVES:
                del self._cached[next(iter(self._cached))]
            return leaf

    def revoked_leaf(self, subject: LeafSubject, now_s: float) -> SigningLeaf:
        """Return a revoked leaf, issued once for a domain and a region (for invalid documents).

        Raises:
            KeyFileError: the revocation cannot be written.
        """
        with self._issuers.lock:
            issuer = self._issuers.chain.issuer
            days = subject.days or self._leaf_days(issuer)
            leaf = self._revoked.pop(subject, None)
            if leaf is None or not _is_fit(leaf.certificate, days, now_s):
                leaf = self._issue_for_long(subject, now_s, issuer)
                entry = self._revocation.find(serial_of(leaf.certificate))
                if entry:  # There is none without a public URL, whose address it would name.
                    self._revocation.revoke(entry, "keyCompromise", now_s)
                    self._answers.refresh_due(now_s)
            self._revoked[subject] = leaf
            if len(self._revoked) > _MAX_LEAVES:
                del self._revoked[next(iter(self._revoked))]
            return leaf

    def issue(
        self,
        subject: LeafSubject,
        validity: Validity,
        issuer: Issuer | None = None,
        partition: int = 0,
    ) -> SigningLeaf:
        """Issue a leaf of any validity, by the current issuer or another; uncached.

        Partition 0 of the issuer's list is that of leaves for one document.
        """
        location = self._issuers.location
        with self._issuers.lock:
            self._key = self._key or location.new_key()
            issuer = issuer or self._issuers.chain.issuer
            generation = self._issuers.generation_of(issuer)
            addresses = location.addresses(issuer.certificate, generation, partition)
            public = self._key.public_key()
            certificate = leaf_certificate(public, subject, validity, issuer, addresses, generation)
            return SigningLeaf(certificate, self._key)

    def validity(self, now_s: float, issuer: Issuer | None = None, days: int = 0) -> Validity:
        """Return the validity of a leaf issued now, by the current issuer or another."""
        life = timedelta(days=days or self._leaf_days(issuer or self._issuers.chain.issuer))
        return Validity(now_s - _BACKDATED_S, now_s + life.total_seconds())

    def _issue_for_long(self, subject: LeafSubject, now_s: float, issuer: Issuer) -> SigningLeaf:
        """Issue a leaf for many documents, in a partition of its own."""
        partition = self._revocation.next_partition()
        validity = self.validity(now_s, issuer, subject.days)
        leaf = self.issue(subject, validity, issuer, partition)
        if self._issuers.location.public_url:
            self._revocation.note(leaf.certificate, issuer.certificate, partition, now_s)
            self._revocation.refresh_if_open(self._issuers.list_issuers, now_s)
        return leaf

    def _leaf_days(self, issuer: Issuer) -> int:
        return self._days or self._issuers.generation_of(issuer).leaf_days


def _is_fit(certificate: x509.Certificate, days: int, now_s: float) -> bool:
    now = datetime.fromtimestamp(now_s, UTC)
    # A shorter leaf is renewed when half of its life is over.
    ahead = timedelta(days=min(_RENEW_DAYS, days / 2))
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - ahead
