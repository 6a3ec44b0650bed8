"""The certificate authority of one server: leaves on demand, rotation, and the trust bundle.

It is called from several threads; one lock guards its state, and that of its parts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cryptography import x509
from msgspec import structs

from openimds.credentials.keys.files import KEY_BITS, KeyFileError, MakeKey
from openimds.credentials.pki.certificate_info import (
    CertificateInfo,
    is_root,
    number_after,
    pem,
)
from openimds.credentials.pki.certificates import (
    Issuer,
    KeyIssuer,
    LeafSubject,
    intermediate_certificate,
    root_certificate,
)
from openimds.credentials.pki.chain import Chain, ChainLocation, ExternalCa
from openimds.credentials.pki.chain_files import next_intermediate, next_root, open_chain, read_old
from openimds.credentials.pki.extensions import NO_ADDRESSES
from openimds.credentials.pki.host_leaf_register import LeafValues
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.leaves import Leaves, SigningLeaf
from openimds.credentials.pki.rehearsal import Rehearsal
from openimds.credentials.pki.renewal import Renewals, Report
from openimds.credentials.pki.revocation import Revocation, RevocationStatus
from openimds.credentials.pki.revocation_answers import RevocationAnswers
from openimds.credentials.pki.revocation_register import serial_of
from openimds.credentials.pki.revocation_targets import revocation_targets
from openimds.facts.attested import PkiBases
from openimds.facts.generations import GENERATIONS, NEWEST
from openimds.protocol.generation_walk import GenerationWalk

Part = Literal["leaf", "intermediate", "root"]
PARTS: dict[str, Part] = {"leaf": "leaf", "intermediate": "intermediate", "root": "root"}


class CertificateAuthority:
    """Root, intermediate and leaves; see `open`."""

    def __init__(
        self,
        chain: Chain,
        location: ChainLocation,
        days: int | None,
        revocation: Revocation,
        *,
        is_external: bool = False,
    ) -> None:
        """Take an opened chain, or that of an external CA; `days` None are its generation's."""
        self._location = location
        self._is_external, self._is_interrupted = is_external, False
        self._revocation = revocation
        self._issuers = Issuers(chain, location)
        self.lock = self._issuers.lock
        """Held for several steps that belong together; it may be taken again."""
        self.answers = RevocationAnswers(self._issuers, revocation, is_external=is_external)
        self.leaves = Leaves(self._issuers, days, revocation, self.answers)
        walked = None if is_external else location.folder
        self._rehearsal = Rehearsal(self, self._issuers, self.leaves, walked)
        self._renewals = Renewals(self)
        self.report: Report = _ignore
        self.generation = 0
        """Grows with each replacement of the leaf key, the intermediate or the root."""

    @classmethod
    def open(  # noqa: PLR0913 - the parts of one authority
        cls,
        folder: Path | None,
        now_s: float,
        *,
        public_url: str = "",
        days: int | None = None,
        external_ca: ExternalCa | None = None,
        make_key: MakeKey | None = None,
        generation: str = NEWEST,
        ca_bits: int = KEY_BITS,
        bases: PkiBases | None = None,
        host_leaves: LeafValues | None = None,
    ) -> "CertificateAuthority":
        """Open the CA of a folder, or make one in memory.

        Args:
            folder: the folder of root and intermediate; missing files are made.
            now_s: the time by the server's clock.
            public_url: the URL of the public listener for guests, without a slash at its end;
                leaves name it.
            days: the lifetime of a leaf; by default that of its generation.
            external_ca: an operator's issuer, which signs the leaves instead of the folder's.
            make_key: a source of new keys other than generating them.
            generation: the generation of a new chain, and of leaves of an external CA; a chain in
                the folder keeps its own until a replacement.
            ca_bits: the size of new keys of CA certificates.
            bases: the URLs in certificates, if they are not those of the public URL.
            host_leaves: the store of the leaves of hosts; None forgets them with the process.

        Raises:
            KeyFileError: a file cannot be read or written, or does not fit the others.
        """
        location = ChainLocation(
            folder, public_url, make_key, GENERATIONS[generation], ca_bits, bases
        )
        revocation = Revocation(folder, now_s, location.new_key, host_leaves)
        if external_ca is None:
            return cls(open_chain(location, now_s), location, days, revocation)
        chain = Chain(external_ca.issuer, above=external_ca.above, old=read_old(folder))
        return cls(chain, location, days, revocation, is_external=True)

    def leaf(self, domain: str, region: str, now_s: float, days: int = 0) -> SigningLeaf:
        """Return a leaf for a domain and a region, valid for a month or more.

        With `days` its life is that short, and more than half of it is left.

        Raises:
            KeyFileError: the intermediate has expired, and a new one cannot be written.
        """
        with self.lock:
            issuer = self.issuer_of(region, now_s)
            return self.leaves.leaf(LeafSubject(domain, region, days), now_s, issuer)

    def orphaned_intermediate(self, now_s: float) -> KeyIssuer:
        """Return an intermediate of this root that is published nowhere (for invalid documents).

        Where the root's key is absent, the intermediate is that of an unknown root.
        """
        with self.lock:
            holder = self.chain.tier or self.chain.root_key_holder
            generation = self._issuers.generation_of(self.chain.issuer)
            number = number_after(self.chain.issuer.certificate)
        if holder is None:
            root_key = self._location.new_key()
            holder = KeyIssuer(root_certificate(root_key, now_s), root_key)
        key = self._location.new_key()
        certificate = intermediate_certificate(
            key.public_key(), number, holder, now_s, NO_ADDRESSES, generation
        )
        return KeyIssuer(certificate, key)

    def successor(self, part: Part, now_s: float) -> Issuer:
        """Return the issuer that a replacement of a part would bring, without replacing it.

        It is of the generation that the authority was opened with.

        Its certificates are published, until a part is really replaced.

        Raises:
            KeyFileError: the root's key is absent.
        """
        with self.lock:
            chain = self._issuers.successor(part)
            if chain is None:
                self._revocation.close()  # The next question signs the successor's lists, too.
                in_memory = ChainLocation(
                    None,
                    self._location.public_url,
                    generation=self._location.generation,
                    bases=self._location.bases,
                )
                make = next_root if part == "root" else next_intermediate
                chain = make(self.chain, in_memory, now_s)
                self._issuers.add_successor(part, chain)
            return chain.issuer

    def rotate(self, part: Part, now_s: float, generation: str = "") -> None:
        """Replace the keys of the leaves, the intermediate, or the root and all below it.

        A new intermediate is of the named generation, else of that of a rehearsal, else of that
        which the authority was opened with; the leaves below it follow.

        Raises:
            KeyFileError: the root's key is absent, or a file cannot be written. A replacement
                that was interrupted in the folder is completed at once or by the next call.
        """
        with self.lock:
            if part != "leaf" and self._is_external:
                raise KeyFileError(
                    f"cannot rotate the {part}: an external CA issues the certificates. Replace "
                    "the files of --attest-key and --attest-certificates, and restart the server"
                )
            if self._is_interrupted and part != "leaf":
                self._reopen(now_s)
            self.answers.refresh(now_s)  # While the keys are here that a replacement drops.
            replaced = self.chain.issuer.certificate
            try:
                chain = self._replaced(part, now_s, generation)
            except KeyFileError as error:
                try:
                    self._reopen(now_s)
                except KeyFileError:
                    self._is_interrupted = True
                raise error from None
            if part == "leaf":
                self._revocation.retire_host_keys(now_s)
            self._adopt(chain)
            if self.chain.issuer.certificate != replaced:
                self._revocation.retire(replaced)
                self._drop_previous()
            self.answers.refresh(now_s)

    @property
    def chain(self) -> Chain:
        """The chain in use."""
        return self._issuers.chain

    @property
    def walk(self) -> GenerationWalk | None:
        """The rehearsal under way or completed, if there is one."""
        return self._rehearsal.walk

    def rehearse(self, walk: GenerationWalk, now_s: float) -> None:
        """Begin a walk through generations, with its first one; it replaces an earlier walk.

        Raises:
            KeyFileError: as `rotate`, or the walk cannot be written.
        """
        with self.lock:
            if self._is_external or not self._rehearsal.is_at(walk.generation):
                self.rotate("intermediate", now_s, walk.generation)
            self._rehearsal.begin(walk)
            self._drop_previous()

    def end_rehearsal(self) -> None:
        """Stay at the present generation, in all regions.

        Raises:
            KeyFileError: the file of the walk cannot be removed.
        """
        with self.lock:
            self._rehearsal.end()
            self._drop_previous()
            self.generation += 1

    def advance(self, now_s: float) -> None:
        """Take the due steps of the rehearsal; try a failed one again in an hour."""
        if self._rehearsal.walk is not None:
            with self.lock:
                self._rehearsal.advance(now_s)

    def end_overlap(self, now_s: float) -> None:
        """Drop the previous issuer of a rehearsal's overlap, and sign its lists once more."""
        if self._issuers.previous:
            self.answers.refresh(now_s)
            self._drop_previous()
            self.generation += 1

    def _drop_previous(self) -> None:
        """Drop the previous issuer; its lists are served until their end, after a restart, too."""
        if self._issuers.previous:
            self._revocation.retire(self._issuers.previous.certificate)
            self._issuers.previous = None

    def issuer_of(self, region: str, now_s: float) -> Issuer:
        """Return the issuer of a region's leaves: during an overlap, perhaps the previous one.

        Raises:
            KeyFileError: as `leaf`.
        """
        with self.lock:
            self.renew(now_s)
            self.advance(now_s)
            return self._rehearsal.previous_of(region, now_s) or self.chain.issuer

    def revocation_list(self, name: str, now_s: float) -> bytes | None:
        """Return a list in DER by its path below that of lists, or None."""
        return self.answers.revocation_list(name, now_s)

    def ocsp_response(self, request: bytes, now_s: float) -> bytes:
        """Return the response to an OCSP request, from those signed ahead."""
        return self.answers.ocsp_response(request, now_s)

    def revocation_status(self, now_s: float) -> RevocationStatus:
        """Return the standing of all certificates, the served lists, and what is lacking."""
        with self.lock:
            return self.answers.status(self.leaves.serials(), now_s)

    def unknown_root(self, now_s: float) -> KeyIssuer:
        """Return a root that is published nowhere, in memory (for rehearsed answers)."""
        key = self._location.new_key()
        return KeyIssuer(root_certificate(key, now_s), key)

    def issuer_addresses(self, issuer: x509.Certificate) -> tuple[str, ...]:
        """Return the URLs of an issuer's certificate, as certificates below it name them."""
        return self._location.addresses(issuer, self._location.generation).issuers

    def revoke(self, target: str, reason: str, now_s: float) -> None:
        """Revoke leaves or a CA certificate, and replace them where they are in use.

        Args:
            target: `leaf` (all leaves in use), `intermediate`, or a serial number in hexadecimal.
            reason: one of `facts.revocation.REASONS`.
            now_s: the time by the server's clock.

        Raises:
            ConfigError: the target is unknown, revoked already, or of an issuer without a key here.
            KeyFileError: a file cannot be written, or the root's key is absent.
        """
        with self.lock:
            leaves = self.leaves.serials()
            entries = revocation_targets(target, leaves, self._issuers, self._revocation, now_s)
            serials = {entry.serial for entry in entries}
            previous = self._issuers.previous
            if serial_of(self.chain.issuer.certificate) in serials:
                self.rotate("intermediate", now_s)
            elif previous and serial_of(previous.certificate) in serials:
                self.end_overlap(now_s)
            in_use = {*self.leaves.serials()} & serials
            try:
                self._revocation.revoke(entries, reason, now_s)
            finally:  # Where a write fails, the leaves before it are revoked all the same.
                if any(self.leaves.is_revoked(serial) for serial in in_use):
                    self._adopt(self.chain)
                self.answers.refresh(now_s)

    def _replaced(self, part: Part, now_s: float, generation: str) -> Chain:
        location = self._location
        generation = generation or (self.walk.generation if self.walk else "")
        if generation:
            location = structs.replace(location, generation=GENERATIONS[generation])
        if part == "root":
            return next_root(self.chain, location, now_s)
        if part == "intermediate":
            return next_intermediate(self.chain, location, now_s)
        return self.chain

    def _reopen(self, now_s: float) -> None:
        """Adopt the chain in the folder; that completes an interrupted replacement."""
        if self._location.folder is None:
            return
        chain = open_chain(self._location, now_s)
        self._is_interrupted = False
        if chain.issuer.certificate != self.chain.issuer.certificate:
            self._adopt(chain)
        self._issuers.replace(chain)

    def _adopt(self, chain: Chain) -> None:
        self._issuers.adopt(chain)
        self.leaves.clear()
        self.generation += 1

    def published(self) -> Mapping[str, bytes]:
        """Return the DER of every published CA certificate by name, as in `<name>.crt`."""
        return self._issuers.published()

    def certificate_infos(self) -> list[CertificateInfo]:
        """Return the public facts of the published certificates, those in use first."""
        return self._issuers.certificate_infos()

    def ends(self) -> dict[str, float]:
        """Return the earliest end of the certificates in use, by their part."""
        chain = self.chain.lineage()
        leaves = [leaf.certificate for leaf in [*self.leaves.cached.values()]]
        by_part = {
            "root": [one for one in chain if is_root(one)],
            "intermediate": [one for one in chain if not is_root(one)],
            "leaf": leaves,
        }
        return {
            part: min(one.not_valid_after_utc.timestamp() for one in certificates)
            for part, certificates in by_part.items()
            if certificates
        }

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM: current and replaced roots, then intermediates."""
        with self.lock:
            published = self._issuers.certificates()
        return pem(sorted(published, key=lambda certificate: not is_root(certificate)))

    def root_pem(self) -> bytes:
        """Return the root as PEM; empty where an external CA came without one."""
        return pem(
            [certificate for certificate in self._current().lineage() if is_root(certificate)]
        )

    def chain_pem(self) -> bytes:
        """Return the intermediate and the certificates above it as PEM."""
        return pem(self._current().lineage())

    def _current(self) -> Chain:
        with self.lock:
            return self.chain

    def renew(self, now_s: float) -> None:
        """Replace this server's own root or intermediate if it ends soon; retry once an hour.

        Raises:
            KeyFileError: the replacement failed, and the current certificate has expired.
        """
        with self.lock:
            self._renewals.renew(now_s)


def _ignore(part: str, cause: str, sentence: str) -> None:
    """Report to nobody."""
