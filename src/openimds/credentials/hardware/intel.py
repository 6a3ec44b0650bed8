"""The chain of Intel's platform, and the quotes that its quoting enclave signs.

Root, platform CA and provisioning certification key (PCK) are ECDSA on P-256. The enclave has an
attestation key, which ends with the process; the PCK signs its report.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from openimds.credentials.hardware.holders import (
    crl_address,
    date,
    key_usage,
    name_of,
    open_lasting,
    place_of,
    start_certificate,
    with_authority,
)
from openimds.credentials.hardware.quote import (
    SIGNATURE_BYTES,
    enclave_report,
    signed_part,
    whole,
)
from openimds.credentials.keys.holders import Holder, open_holder
from openimds.credentials.pki.der import OCTET_STRING, integer, oid, sequence, write
from openimds.facts.confidential import CPU_SVN, FMSPC, PCE_ID, PCE_SVN

_BEGINS = date(2017, 3, 1)
_YEARS = 40
_ROOT, _PLATFORM, _LEAF = (
    "Intel SGX Root CA",
    "Intel SGX PCK Platform CA",
    "Intel SGX PCK Certificate",
)
_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_PLATFORM_CRL = (
    "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
)
_OID = "1.2.840.113741.1.13.1"
_ENUMERATED, _BOOLEAN = 0x0A, 0x01
_SCALABLE_WITH_INTEGRITY = 2
_TRUE = write(_BOOLEAN, b"\xff")
_ROOT_FILE = "intel-root"
_HALF = SIGNATURE_BYTES // 2


class IntelChain(Struct, frozen=True):
    """The keys and certificates of a platform, the root first."""

    root: Holder
    platform: Holder
    leaf: Holder

    def certificates(self) -> list[x509.Certificate]:
        """Return the certificates, the leaf first."""
        return [holder.certificate for holder in (self.leaf, self.platform, self.root)]


def _open(folder: Path | None) -> IntelChain:
    root = open_holder(folder, _ROOT_FILE, _make_root)
    platform = open_holder(folder, "intel-platform", lambda: _make_platform(root))
    return IntelChain(
        root, platform, open_holder(folder, "intel-pck", lambda: _make_leaf(platform))
    )


class IntelAuthority:
    """The chain of the platform and its quoting enclave. Call it in threads."""

    def __init__(self, folder: Path | None, report: Callable[[str], None] | None = None) -> None:
        """Store keys in a folder; without one they end with the process.

        `report` takes a sentence on keys that cannot be written; None makes that an error.
        """
        self._folder, self._report = folder, report
        self._chain: IntelChain | None = None
        self._enclave: EllipticCurvePrivateKey | None = None
        self._lock = Lock()

    def chain(self) -> IntelChain:
        """Return the chain; the first call may make it.

        Raises:
            KeyFileError: a file of the folder cannot be used or written.
        """
        with self._lock:
            if self._chain is None:
                self._chain = open_lasting(_open, self._folder, _ROOT_FILE, self._report)
            return self._chain

    def quote(self, report: bytes) -> bytes:
        """Return the quote of a TD report.

        Raises:
            KeyFileError: as `chain`.
        """
        chain = self.chain()
        with self._lock:
            self._enclave = self._enclave or generate_private_key(SECP256R1())
            enclave = self._enclave
        public = _point(enclave.public_key())
        signed, about = signed_part(report), enclave_report(public)
        return whole(
            signed,
            _signature(enclave, signed),
            public,
            about,
            _signature(chain.leaf.key, about),
            b"".join(one.public_bytes(Encoding.PEM) for one in chain.certificates()),
        )


def _make_root() -> Holder:
    return _issue(_ROOT, None)


def _make_platform(root: Holder) -> Holder:
    return _issue(_PLATFORM, root)


def _make_leaf(platform: Holder) -> Holder:
    return _issue(_LEAF, platform)


def _issue(common: str, issuer: Holder | None) -> Holder:
    key = generate_private_key(SECP256R1())
    name = name_of(
        (NameOID.COMMON_NAME, common),
        (NameOID.ORGANIZATION_NAME, "Intel Corporation"),
        *place_of("CA", "Santa Clara"),
    )
    above = issuer.certificate.subject if issuer else name
    builder = start_certificate(name, above, _BEGINS, _YEARS).public_key(key.public_key())
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(key_id, critical=False)
    signer = issuer.key if issuer else key
    assert isinstance(signer, EllipticCurvePrivateKey)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(authority, critical=False)
    if common == _LEAF:
        builder = (
            builder.add_extension(crl_address(_PLATFORM_CRL), critical=False)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_machine(), critical=False)
        )
    else:
        builder = with_authority(builder, _ROOT_CRL, 0 if issuer else 1)
    return Holder(key, builder.sign(signer, SHA256()))


def _machine() -> x509.UnrecognizedExtension:
    """Return the extension with the facts of a machine: its id, versions, family and kind."""
    tcb = [_pair(f"2.{at}", integer(version)) for at, version in enumerate(CPU_SVN, 1)]
    tcb += [_pair("2.17", integer(PCE_SVN)), _pair("2.18", write(OCTET_STRING, CPU_SVN))]
    platform_id = sha256(b"OpenIMDS platform").digest()[:16]
    configuration = [_pair(f"7.{at}", _TRUE) for at in (1, 2, 3)]
    value = sequence(
        _pair("1", write(OCTET_STRING, platform_id)),
        _pair("2", sequence(*tcb)),
        _pair("3", write(OCTET_STRING, PCE_ID)),
        _pair("4", write(OCTET_STRING, FMSPC)),
        _pair("5", write(_ENUMERATED, bytes((_SCALABLE_WITH_INTEGRITY,)))),
        _pair("6", write(OCTET_STRING, platform_id)),
        _pair("7", sequence(*configuration)),
    )
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(_OID), value)


def _pair(name: str, value: bytes) -> bytes:
    return sequence(oid(f"{_OID}.{name}"), value)


def _point(key: EllipticCurvePublicKey) -> bytes:
    """Return x and y of a public key, 32 octets each."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(_HALF, "big") + numbers.y.to_bytes(_HALF, "big")


def _signature(key: object, data: bytes) -> bytes:
    """Return r and s of a signature, 32 octets each."""
    assert isinstance(key, EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA256())))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
