"""The leaves of one authority: one key, and the certificates that are used again.

A leaf is issued once for a cloud's domain and a region and cached until it has `_RENEW_DAYS` left,
so that a document verifies until its own end. All leaves share one key: the region is a name, not a
secret. A leaf may outlive its issuer: verifiers check both, so the authority need not.

A host that is not control has a key of its own, for which leaves are certified here.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from msgspec import Struct

from openimds.credentials.pki.certificates import Issuer, LeafSubject, Validity, leaf_certificate
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.revocation import Revocation
from openimds.credentials.pki.revocation_answers import RevocationAnswers
from openimds.credentials.pki.revocation_register import host_partition, serial_of

_MAX_LEAVES = 256
_RENEW_DAYS = 30
HOST_DAYS = 90
"""The longest life of a leaf for a host's own key: so long a stolen host can sign unless its leaf
is revoked."""
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
                    self._revocation.revoke([entry], "keyCompromise", now_s)
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
            public = self._key.public_key()
            certificate = self._certificate(public, subject, validity, issuer, partition)
            return SigningLeaf(certificate, self._key)

    def certify(
        self, key: RSAPublicKey, subject: LeafSubject, now_s: float, issuer: Issuer, host: str
    ) -> x509.Certificate:
        """Issue a leaf for a host's key; call `note_of_host` before the host gets it."""
        days = min(subject.days or self._leaf_days(issuer), HOST_DAYS)
        validity = self.validity(now_s, issuer, days)
        return self._certificate(key, subject, validity, issuer, host_partition(host))

    def note_of_host(
        self, host: str, leaves: Sequence[tuple[x509.Certificate, Issuer]], now_s: float
    ) -> None:
        """Remember the new leaves of a host; without a public URL nobody looks them up.

        Raises:
            FullRegisterError: there is no room for them.
            KeyFileError: they cannot be stored; none counts.
        """
        if not leaves or not self._issuers.location.public_url:
            return
        with self._issuers.lock:
            issued = [(leaf, issuer.certificate) for leaf, issuer in leaves]
            if self._revocation.note_of_host(host, issued, now_s):
                self._answers.refresh_due(now_s)

    def count_of(self, host: str, now_s: float) -> int:
        """Return the number of valid leaves that the register has of a host."""
        return len(self._revocation.leaves_of_hosts(now_s, host))

    def has_retired_key(self, leaf: x509.Certificate, now_s: float) -> bool:
        """Tell whether a host must replace the key of a leaf: revoked or rotated."""
        issued_s = leaf.not_valid_before_utc.timestamp() + _BACKDATED_S
        # By a clock set back before the rotation, no new leaf would be new enough.
        is_rotated = issued_s < self._revocation.host_keys_from_s <= now_s
        return is_rotated or self.is_revoked(serial_of(leaf))

    def is_revoked(self, serial: str) -> bool:
        """Tell whether a leaf is revoked."""
        entry = self._revocation.find(serial)
        return entry is not None and entry.revoked_s is not None

    def validity(self, now_s: float, issuer: Issuer | None = None, days: int = 0) -> Validity:
        """Return the validity of a leaf issued now, by the current issuer or another."""
        life = timedelta(days=days or self._leaf_days(issuer or self._issuers.chain.issuer))
        return Validity(now_s - _BACKDATED_S, now_s + life.total_seconds())

    def _issue_for_long(self, subject: LeafSubject, now_s: float, issuer: Issuer) -> SigningLeaf:
        """Issue a leaf for many documents, in a partition of its own."""
        partition = self._revocation.next_partition()
        validity = self.validity(now_s, issuer, subject.days)
        leaf = self.issue(subject, validity, issuer, partition)
        self._note(leaf.certificate, issuer, partition, now_s)
        return leaf

    def _certificate(
        self,
        key: RSAPublicKey,
        subject: LeafSubject,
        validity: Validity,
        issuer: Issuer,
        partition: int,
    ) -> x509.Certificate:
        generation = self._issuers.generation_of(issuer)
        addresses = self._issuers.location.addresses(issuer.certificate, generation, partition)
        return leaf_certificate(key, subject, validity, issuer, addresses, generation)

    def _note(self, leaf: x509.Certificate, issuer: Issuer, partition: int, now_s: float) -> None:
        """Remember a leaf; without a public URL nobody could look it up."""
        if self._issuers.location.public_url:
            self._revocation.note(leaf, issuer.certificate, partition, now_s)
            self._revocation.refresh_if_open(self._issuers.list_issuers, now_s)

    def _leaf_days(self, issuer: Issuer) -> int:
        return self._days or self._issuers.generation_of(issuer).leaf_days


def _is_fit(certificate: x509.Certificate, days: int, now_s: float) -> bool:
    now = datetime.fromtimestamp(now_s, UTC)
    # A shorter leaf is renewed when half of its life is over.
    ahead = timedelta(days=min(_RENEW_DAYS, days / 2))
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - ahead
