"""The issuers of one authority: in use, before it in an overlap, and successors.

A successor is published before it issues anything, so that documents can be signed by it.
"""

from collections.abc import Mapping
from threading import RLock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.pki.certificate_info import (
    CertificateInfo,
    can_sign_lists,
    certificate_info,
    file_name,
    generation_of,
)
from openimds.credentials.pki.certificates import Issuer
from openimds.credentials.pki.chain import Chain, ChainLocation
from openimds.credentials.pki.revocation import ListIssuers
from openimds.facts.generations import CertificateGeneration


class Issuers:
    """The chains of an authority, and the issuer before the present one.

    Hold `lock` to change them, and to call the methods that do not take it.
    """

    def __init__(self, chain: Chain, location: ChainLocation) -> None:
        """Begin with a chain, and without successors."""
        self.lock = RLock()
        self.location = location
        self.previous: Issuer | None = None
        """The issuer of regions that have not moved yet, during a rehearsal's overlap."""
        self._chain = chain
        self._successors: dict[str, Chain] = {}
        self._published: dict[str, bytes] | None = None

    @property
    def chain(self) -> Chain:
        """The chain in use."""
        return self._chain

    def replace(self, chain: Chain) -> None:
        """Use another chain, and keep the successors."""
        self._chain, self._published = chain, None

    def adopt(self, chain: Chain) -> None:
        """Use another chain, and drop the successors of the former one."""
        self.replace(chain)
        self._successors.clear()

    def successor(self, part: str) -> Chain | None:
        """Return the chain that a replacement of a part would bring, or None."""
        return self._successors.get(part)

    def add_successor(self, part: str, chain: Chain) -> None:
        """Publish the chain that a replacement of a part would bring."""
        self._successors[part] = chain
        self._published = None

    def generation_of(self, issuer: Issuer) -> CertificateGeneration:
        """Return the generation of an issuer; for an operator's own, that of new ones."""
        return generation_of(issuer.certificate) or self.location.generation

    def certificates(self) -> list[x509.Certificate]:
        """Return every published certificate, the current chain's first."""
        return list(dict.fromkeys(item for chain in self._all() for item in chain.certificates()))

    def in_use(self) -> list[x509.Certificate]:
        """Return the certificates above present leaves."""
        previous = [self.previous.certificate] if self.previous else []
        return [*self._chain.lineage(), *previous]

    def published(self) -> Mapping[str, bytes]:
        """Return the DER of every published CA certificate by name, as in `<name>.crt`."""
        with self.lock:
            if self._published is None:
                self._published = {
                    file_name(certificate): certificate.public_bytes(Encoding.DER)
                    for certificate in self.certificates()
                }
            return self._published

    def certificate_infos(self) -> list[CertificateInfo]:
        """Return the public facts of the published certificates, those in use first."""
        with self.lock:
            in_use, published = self.in_use(), self.certificates()
        return [
            certificate_info(certificate, is_in_use=certificate in in_use)
            for certificate in published
        ]

    def list_issuers(self) -> ListIssuers:
        """Return the issuers whose keys are here: of leaves, and of CA certificates."""
        of_leaves = [chain.issuer for chain in self._all()]
        of_leaves += [self.previous] if self.previous else []
        holders = [
            holder for chain in self._all() for holder in (chain.tier, chain.root_key_holder)
        ]
        return ListIssuers(
            [one for one in of_leaves if can_sign_lists(one.certificate)],
            of_leaves,
            [one for one in holders if one],
            self.certificates(),
            self._list_addresses,
        )

    def _list_addresses(self, issuer: Issuer, partition: int) -> tuple[str, ...]:
        generation = self.generation_of(issuer)
        return self.location.addresses(issuer.certificate, generation, partition).crls

    def _all(self) -> tuple[Chain, ...]:
        return (self._chain, *self._successors.values())
