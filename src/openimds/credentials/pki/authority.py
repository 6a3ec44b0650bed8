"""The authority of one server: leaves on demand, and what others need to trust them.

It is called from several threads; one lock guards what changes. A leaf is made once for a cloud's
domain and a region and kept until it has `_RENEW_DAYS` left, so that whoever holds one of its
documents can verify it to its end. All leaves share one key: the region is a name, not a secret.
A leaf may outlive its issuer; verifiers look at both, and so need not we.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError, MakeKey
from openimds.credentials.pki.certificates import (
    LEAF_DAYS,
    CertificateInfo,
    Issuer,
    KeyIssuer,
    LeafSubject,
    Validity,
    certificate_info,
    file_name,
    intermediate_certificate,
    is_root,
    leaf_certificate,
    number_after,
    pem,
    root_certificate,
)
from openimds.credentials.pki.chain_files import (
    Chain,
    ChainLocation,
    ExternalCa,
    next_intermediate,
    next_root,
    open_chain,
    read_old,
)

Part = Literal["leaf", "intermediate", "root"]
PARTS: dict[str, Part] = {"leaf": "leaf", "intermediate": "intermediate", "root": "root"}
_MAX_LEAVES = 256
_RENEW_DAYS = 30
_RENEW_INTERMEDIATE_DAYS = 366
_AGAIN_S = 3600
"""How long after a renewal that failed the next one is tried."""
_BACKDATED_S = 3600
"""A verifier whose clock is slow by less than this accepts a leaf made just now."""


class SigningLeaf(Struct, frozen=True):
    """A certificate for attested documents, and the key that signs them."""

    certificate: x509.Certificate
    key: RSAPrivateKey


class CertificateAuthority:
    """Root, intermediate and leaves; see `open`."""

    def __init__(
        self, chain: Chain, place: ChainLocation, days: int, *, is_brought: bool = False
    ) -> None:
        """Take a chain that was opened before, or an operator's own."""
        self._chain, self._place, self._days = chain, place, days
        self._is_brought, self._is_torn = is_brought, False
        self._lock = RLock()
        self._key: RSAPrivateKey | None = None
        self._leaves: dict[LeafSubject, SigningLeaf] = {}
        self._coming: dict[Part, Chain] = {}
        self._offered: dict[str, bytes] | None = None
        self._failed_s: float | None = None
        self.generation = 0
        """Grows whenever what signs is replaced."""

    @classmethod
    def open(  # noqa: PLR0913 - what one authority is made of
        cls,
        folder: Path | None,
        now_s: float,
        *,
        public_url: str = "",
        days: int = LEAF_DAYS,
        brought: ExternalCa | None = None,
        make_key: MakeKey | None = None,
    ) -> "CertificateAuthority":
        """Return the authority of a folder, or a fresh one in memory where there is none.

        Args:
            folder: where root and intermediate are; what is missing there is made.
            now_s: the time by the server's clock.
            public_url: where guests reach `/pki/`, without a slash at its end; leaves name it.
            days: how long a leaf is valid.
            brought: an issuer that signs the leaves instead of one in the folder.
            make_key: where new keys come from, if they are not to be made.

        Raises:
            KeyFileError: a file cannot be read or written, or does not fit the others.
        """
        place = ChainLocation(folder, public_url, make_key)
        if brought is None:
            return cls(open_chain(place, now_s), place, days)
        chain = Chain(brought.issuer, above=brought.above, old=read_old(folder))
        return cls(chain, place, days, is_brought=True)

    def leaf(self, domain: str, region: str, now_s: float) -> SigningLeaf:
        """Return a leaf for a cloud's domain and a region, with a month or more to go.

        Raises:
            KeyFileError: the intermediate has ended, and a new one cannot be written.
        """
        with self._lock:
            self._renew_intermediate(now_s)
            site = LeafSubject(domain, region)
            kept = self._leaves.pop(site, None)
            if kept is None or not self._is_fit(kept.certificate, now_s):
                ends = now_s + timedelta(days=self._days).total_seconds()
                kept = self.issue(site, Validity(now_s - _BACKDATED_S, ends))
            self._leaves[site] = kept
            if len(self._leaves) > _MAX_LEAVES:
                del self._leaves[next(iter(self._leaves))]
            return kept

    def issue(self, site: LeafSubject, span: Validity, issuer: Issuer | None = None) -> SigningLeaf:
        """Return a leaf of any span, of this authority's issuer or another, that is not kept."""
        with self._lock:
            self._key = self._key or self._place.new_key()
            by = issuer or self._chain.issuer
            url = self._place.url(by.certificate)
            public = self._key.public_key()
            return SigningLeaf(leaf_certificate(public, site, span, by, url), self._key)

    def stray(self, now_s: float) -> KeyIssuer:
        """Return an intermediate of this root that nobody can fetch (for rehearsals).

        Where the root's key is not here, it is one of a root that nobody knows.
        """
        with self._lock:
            holder = self._chain.root_key_holder
            number = number_after(self._chain.issuer.certificate)
        if holder is None:
            root_key = self._place.new_key()
            holder = KeyIssuer(root_certificate(root_key, now_s), root_key)
        key = self._place.new_key()
        made = intermediate_certificate(key.public_key(), number, holder, now_s, "")
        return KeyIssuer(made, key)

    def successor(self, part: Part, now_s: float) -> Issuer:
        """Return who would sign after a replacement of a part, which does not happen.

        Its certificates are on offer as if it had, until a part is really replaced.

        Raises:
            KeyFileError: the root's key is not here.
        """
        with self._lock:
            coming = self._coming.get(part)
            if coming is None:
                nowhere = ChainLocation(None, self._place.public_url)
                make = next_root if part == "root" else next_intermediate
                coming = self._coming[part] = make(self._chain, nowhere, now_s)
                self._offered = None
            return coming.issuer

    def rotate(self, part: Part, now_s: float) -> None:
        """Replace the key of the leaves, or the intermediate, or the root with all below it.

        Raises:
            KeyFileError: the root's key is not here, or a file cannot be written. What the folder
                holds then is carried on, now or by the next call.
        """
        with self._lock:
            if part != "leaf" and self._is_brought:
                raise KeyFileError(
                    f"saw your own issuer in use, whose {part} only you can replace. Replace the "
                    "files of --attest-key and --attest-certificates, and start again"
                )
            if self._is_torn and part != "leaf":
                self._reopen(now_s)
            try:
                chain = self._replaced(part, now_s)
            except KeyFileError as error:
                try:
                    self._reopen(now_s)
                except KeyFileError:
                    self._is_torn = True
                raise error from None
            self._take(chain)

    def _replaced(self, part: Part, now_s: float) -> Chain:
        if part == "root":
            return next_root(self._chain, self._place, now_s)
        if part == "intermediate":
            return next_intermediate(self._chain, self._place, now_s)
        return self._chain

    def _reopen(self, now_s: float) -> None:
        """Take what the folder holds: a replacement that broke off there is carried on."""
        if self._place.folder is None:
            return
        chain = open_chain(self._place, now_s)
        self._is_torn = False
        if chain.issuer.certificate != self._chain.issuer.certificate:
            self._take(chain)
        self._chain, self._offered = chain, None

    def _take(self, chain: Chain) -> None:
        self._chain, self._key, self._offered = chain, None, None
        self._leaves.clear()
        self._coming.clear()
        self.generation += 1

    def published(self) -> Mapping[str, bytes]:
        """Return the DER of every CA certificate on offer at `/pki/<name>.crt`, by name."""
        with self._lock:
            if self._offered is None:
                found = self._certificates()
                self._offered = {file_name(one): one.public_bytes(Encoding.DER) for one in found}
            return self._offered

    def certificate_infos(self) -> list[CertificateInfo]:
        """Return what everybody may know of the certificates on offer, those in use first."""
        with self._lock:
            in_use, known = self._chain.lineage(), self._certificates()
        return [certificate_info(one, is_in_use=one in in_use) for one in known]

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM: roots of now and before, then what stands below them."""
        with self._lock:
            known = self._certificates()
        return pem(sorted(known, key=lambda one: not is_root(one)))

    def root_pem(self) -> bytes:
        """Return the root as PEM; nothing where an operator's issuer came without one."""
        return pem([one for one in self._now().lineage() if is_root(one)])

    def chain_pem(self) -> bytes:
        """Return the intermediate and what stands above it as PEM."""
        return pem(self._now().lineage())

    def _certificates(self) -> list[x509.Certificate]:
        """Return every certificate on offer, those of now first."""
        chains = (self._chain, *self._coming.values())
        return list(dict.fromkeys(one for chain in chains for one in chain.certificates()))

    def _now(self) -> Chain:
        with self._lock:
            return self._chain

    def _is_fit(self, certificate: x509.Certificate, now_s: float) -> bool:
        now = datetime.fromtimestamp(now_s, UTC)
        # One that lasts no longer than that anyway is renewed when half of it is over.
        ahead = timedelta(days=min(_RENEW_DAYS, self._days / 2))
        return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - ahead

    def _renew_intermediate(self, now_s: float) -> None:
        """Replace an intermediate of ours that is in its last year.

        Raises:
            KeyFileError: that cannot be done, and the one at hand has ended.
        """
        ends = self._chain.issuer.certificate.not_valid_after_utc
        now = datetime.fromtimestamp(now_s, UTC)
        is_due = ends < now + timedelta(days=_RENEW_INTERMEDIATE_DAYS)
        if self._chain.root_key_holder is None or not is_due:
            return
        if self._failed_s is not None and 0 <= now_s - self._failed_s < _AGAIN_S and now < ends:
            return
        try:
            self.rotate("intermediate", now_s)
        except KeyFileError:
            self._failed_s = now_s
            if self._chain.issuer.certificate.not_valid_after_utc < now:
                raise
