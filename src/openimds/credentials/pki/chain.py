"""The chain above the leaves, and the place of its files and addresses."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct

from openimds.credentials.keys.files import KEY_BITS, MakeKey, new_key
from openimds.credentials.pki.certificate_info import can_sign_lists, file_name, list_name
from openimds.credentials.pki.certificates import Issuer, KeyIssuer
from openimds.credentials.pki.extensions import Addresses
from openimds.credentials.pki.revocation_lists import file_of
from openimds.facts.attested import ISSUERS_PATH, PkiBases, own_bases
from openimds.facts.generations import GENERATIONS, NEWEST, CertificateGeneration
from openimds.facts.revocation import CRL_PATH, OCSP_PATH


class Chain(Struct, frozen=True):
    """The certificates above the leaves.

    `root` is None where an operator's CA is the issuer. `root_key_holder` can sign as the root; it
    is None where the root's key is stored elsewhere. `tier` is the CA between issuer and root,
    None in a chain of three. `above` has the certificates that came with an operator's issuer,
    `old` the replaced ones.
    """

    issuer: Issuer
    root: x509.Certificate | None = None
    root_key_holder: KeyIssuer | None = None
    above: tuple[x509.Certificate, ...] = ()
    old: tuple[x509.Certificate, ...] = ()
    tier: KeyIssuer | None = None

    def certificates(self) -> list[x509.Certificate]:
        """Return every published certificate, the current ones first."""
        return list(dict.fromkeys([*self.lineage(), *self.old]))

    def lineage(self) -> list[x509.Certificate]:
        """Return the issuer and the certificates above it, a known root last."""
        tier = [self.tier.certificate] if self.tier else []
        root = [self.root] if self.root else []
        return [self.issuer.certificate, *self.above, *tier, *root]


class ChainLocation(Struct, frozen=True):
    """The folder of a chain (None: in memory only), and the URL of its certificates.

    `make_key` is a source of new keys other than generating them, `generation` that of new
    intermediates, `ca_bits` the size of new keys of CAs. `bases` are in the certificates instead
    of the URL.
    """

    folder: Path | None
    public_url: str
    make_key: MakeKey | None = None
    generation: CertificateGeneration = GENERATIONS[NEWEST]
    ca_bits: int = KEY_BITS
    bases: PkiBases | None = None

    def new_key(self) -> RSAPrivateKey:
        """Return a key without a certificate."""
        return (self.make_key or new_key)()

    def new_ca_key(self) -> RSAPrivateKey:
        """Return a key for a CA certificate."""
        return self.new_key() if self.ca_bits == KEY_BITS else new_key(self.ca_bits)

    def addresses(
        self,
        issuer: x509.Certificate,
        generation: CertificateGeneration,
        partition: int | None = None,
    ) -> Addresses:
        """Return the URLs for a certificate of a generation whose issuer this is.

        A leaf is in a `partition` of the issuer's list; CA certificates are in the whole one.
        """
        if not self.public_url:
            return Addresses()
        path = f"{ISSUERS_PATH}/{file_name(issuer)}.crt"
        bases, most = self.bases or own_bases(self.public_url), generation.addresses
        crls: tuple[str, ...] = ()
        if can_sign_lists(issuer):
            crl = f"{CRL_PATH}/{file_of(list_name(issuer), partition)}"
            crls = tuple(base + crl for base in bases.lists[:most])
        issuers = tuple(base + path for base in bases.issuers[:most])
        return Addresses(issuers=issuers, crls=crls, ocsp=bases.ocsp + OCSP_PATH)


class ExternalCa(Struct, frozen=True):
    """An operator's issuer and the certificates above it, the root last if present."""

    issuer: Issuer
    above: tuple[x509.Certificate, ...] = ()
