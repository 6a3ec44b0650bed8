"""The octets of a TD quote, version 4, signed by ECDSA on P-256.

A quote is a header of 48 octets, the body of 584 that the TD report holds, and the signature data:
the signature of both, the public attestation key, and the certification of that key. The latter is
the report of the quoting enclave, which has a hash of the key, and its signature by a key whose
certificates follow. Numbers are little-endian.
"""

import struct
from hashlib import sha256

from openimds.facts.confidential import CPU_SVN, PCE_SVN, REPORT_BYTES

VERSION, ECDSA_P256, TDX = 4, 2, 0x81
ENCLAVE_CERTIFICATION, CHAIN_CERTIFICATION = 6, 5
SIGNATURE_BYTES = 64
_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The id of Intel as the maker of a quoting enclave."""
_ENCLAVE_VERSION = 8
_TCB = slice(264, 264 + 16 + 48 + 48 + 8)
"""TEE_TCB_INFO without its mask: version, module, its signer, its attributes."""
_TD = slice(512, 512 + 8 + 8 + 4 * 48 + 4 * 48)
"""TDINFO: attributes, features, four measurements and owners, four registers."""
_REPORT_DATA = slice(128, 128 + 64)
_ATTRIBUTES = bytes.fromhex("1500000000000000e700000000000000")
"""Of a production enclave of 64 bits with a provisioning key."""
_PRODUCT = 2
_ENCLAVE, _ENCLAVE_SIGNER = (
    sha256(name).digest() for name in (b"OpenIMDS quoting enclave", b"OpenIMDS enclave signer")
)
"""No measurements of Intel's: a verifier must not take this enclave for that."""
AUTHENTICATION = bytes(range(32))
"""The data beside the attestation key, which the report of the enclave hashes too."""


def signed_part(report: bytes) -> bytes:
    """Return header and body of the quote of a TD report."""
    assert len(report) == REPORT_BYTES
    versions = struct.pack("<HH", PCE_SVN, _ENCLAVE_VERSION)
    header = struct.pack("<HHI", VERSION, ECDSA_P256, TDX) + versions + _VENDOR + bytes(20)
    return header + report[_TCB] + report[_TD] + report[_REPORT_DATA]


def enclave_report(attestation_key: bytes) -> bytes:
    """Return the report of the enclave that vouches for a public key (x, y)."""
    digest = sha256(attestation_key + AUTHENTICATION).digest()
    return b"".join(
        (
            CPU_SVN,
            bytes(4 + 28),
            _ATTRIBUTES,
            _ENCLAVE,
            bytes(32),
            _ENCLAVE_SIGNER,
            bytes(96),
            struct.pack("<HH", _PRODUCT, _ENCLAVE_VERSION),
            bytes(60),
            digest,
            bytes(32),
        )
    )


def whole(  # noqa: PLR0913, PLR0917 - the parts of a quote in their order
    signed: bytes,
    signature: bytes,
    attestation_key: bytes,
    report: bytes,
    report_signature: bytes,
    chain: bytes,
) -> bytes:
    """Return the quote; signatures are r and s, `chain` is PEM, the leaf first."""
    certification = b"".join(
        (
            report,
            report_signature,
            struct.pack("<H", len(AUTHENTICATION)) + AUTHENTICATION,
            struct.pack("<HI", CHAIN_CERTIFICATION, len(chain)) + chain,
        )
    )
    head = struct.pack("<HI", ENCLAVE_CERTIFICATION, len(certification))
    data = signature + attestation_key + head + certification
    return signed + struct.pack("<I", len(data)) + data
