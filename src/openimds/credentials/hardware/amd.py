"""The chain of AMD's processors: root (ARK), signing key (ASK), processor (VCEK).

Root and signing key are RSA of 4096 bits and sign with RSASSA-PSS and SHA-384; a processor's key
is ECDSA on P-384. Each line of processors has a chain of its own.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA384, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct

from openimds.credentials.hardware.holders import (
    date,
    name_of,
    open_lasting,
    place_of,
    start_certificate,
    with_authority,
)
from openimds.credentials.keys.files import new_key
from openimds.credentials.keys.holders import Holder, open_holder
from openimds.credentials.pki.der import integer, write
from openimds.facts.confidential import AMD_BITS, AmdProduct

_PSS = PSS(MGF1(SHA384()), SHA384.digest_size)
_BEGINS = date(2017, 3, 1)
"""The chain is valid for a clock that was set back."""
_ROOT_YEARS, _PROCESSOR_YEARS = 40, 7
_BACKDATED_S = 86400
_CRL = "https://kdsintf.amd.com/vcek/v1/{product}/crl"
"""Verifiers compare this address. Nothing here fetches it; its contents are signed by AMD."""
_IA5_STRING = 0x16
_OID = "1.3.6.1.4.1.3704.1."
_VERSIONS = ("3.1", "3.2", "3.4", "3.5", "3.6", "3.7", "3.3", "3.8")
"""The extensions of the eight octets of a TCB version, the least significant first."""
_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
"""The order of P-384."""


class AmdChain(Struct, frozen=True):
    """The root and the signing key of a line of processors."""

    root: Holder
    signer: Holder


class AmdAuthority:
    """The chains of the lines of processors, made at first use. Thread-safe."""

    def __init__(
        self,
        folder: Path | None,
        bits: int = AMD_BITS,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Store keys in a folder; without one they end with the process.

        `report` takes a sentence on keys that cannot be written; None makes that an error.
        """
        self._folder, self._bits, self._report = folder, bits, report
        self._chains: dict[str, AmdChain] = {}
        self._lock = Lock()

    def chain(self, product: AmdProduct) -> AmdChain:
        """Return the chain of a line of processors. The first call takes seconds.

        Raises:
            KeyFileError: a file of the folder cannot be used or written.
        """
        with self._lock:
            chain = self._chains.get(product.name)
            if chain is None:
                stem = f"amd-{product.name.lower()}"

                def opened(folder: Path | None) -> AmdChain:
                    root = open_holder(folder, f"{stem}-ark", lambda: self._root(product))
                    signer = open_holder(folder, f"{stem}-ask", lambda: self._signer(product, root))
                    return AmdChain(root, signer)

                chain = open_lasting(opened, self._folder, f"{stem}-ark", self._report)
                self._chains[product.name] = chain
            return chain

    def certify(self, product: AmdProduct, chip: bytes, tcb: int, now_s: float) -> x509.Certificate:
        """Return the certificate of a processor for one TCB version.

        Raises:
            KeyFileError: as `chain`.
        """
        signer = self.chain(product).signer
        begins = datetime.fromtimestamp(now_s - _BACKDATED_S, UTC)
        builder = start_certificate(
            _name("SEV-VCEK"), signer.certificate.subject, begins, _PROCESSOR_YEARS
        )
        # A chip id is written as bare octets, as AMD writes it; a version is an INTEGER.
        values = {
            "1": integer(0),
            "2": write(_IA5_STRING, product.stepping.encode("ascii")),
            "4": chip,
            **{
                oid: integer(octet)
                for oid, octet in zip(_VERSIONS, tcb.to_bytes(8, "little"), strict=True)
            },
        }
        for oid, value in sorted(values.items()):
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(_OID + oid), value)
            builder = builder.add_extension(extension, critical=False)
        key = derive_private_key(_scalar(signer, product, chip, tcb), SECP384R1())
        return _sign(builder.public_key(key.public_key()), signer)

    def _root(self, product: AmdProduct) -> Holder:
        key = new_key(self._bits)
        name = _name(f"ARK-{product.name}")
        return Holder(key, self._authority(product, key, name, None))

    def _signer(self, product: AmdProduct, root: Holder) -> Holder:
        key = new_key(self._bits)
        return Holder(key, self._authority(product, key, _name(f"SEV-{product.name}"), root))

    def _authority(
        self, product: AmdProduct, key: RSAPrivateKey, name: x509.Name, root: Holder | None
    ) -> x509.Certificate:
        """Return the certificate of a CA; without a `root` it signs itself."""
        issuer = root.certificate.subject if root else name
        builder = start_certificate(name, issuer, _BEGINS, _ROOT_YEARS).public_key(key.public_key())
        builder = with_authority(builder, _CRL.format(product=product.name), 0 if root else None)
        key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(key_id, critical=False)
        above = root.key if root else key
        assert isinstance(above, RSAPrivateKey)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())
        builder = builder.add_extension(authority, critical=False)
        return builder.sign(above, SHA384(), rsa_padding=_PSS)


def _sign(builder: x509.CertificateBuilder, signer: Holder) -> x509.Certificate:
    assert isinstance(signer.key, RSAPrivateKey)
    return builder.sign(signer.key, SHA384(), rsa_padding=_PSS)


def _name(common: str) -> x509.Name:
    return name_of(
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        *place_of("CA", "Santa Clara"),
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
        (NameOID.COMMON_NAME, common),
    )


def _scalar(signer: Holder, product: AmdProduct, chip: bytes, tcb: int) -> int:
    """Return the private number of a processor's key, which never changes."""
    secret = signer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    info = product.name.encode() + chip + tcb.to_bytes(8, "big")
    octets = HKDF(SHA512(), 64, None, info).derive(secret)
    return int.from_bytes(octets, "big") % (_ORDER - 1) + 1
