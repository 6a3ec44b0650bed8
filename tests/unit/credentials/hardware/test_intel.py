"""Quotes, read by code of their own from Intel's description, and verified step by step."""

import struct
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.hardware.intel import IntelAuthority
from tests.unit.credentials.pki.openssl_verify import NOW_S, run

REPORT = b"".join(bytes([part]) * 64 for part in range(16))
SGX = x509.ObjectIdentifier("1.2.840.113741.1.13.1")


@pytest.fixture(scope="module")
def authority() -> IntelAuthority:
    return IntelAuthority(None)


def signature_holds(key: EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def point(octets: bytes) -> EllipticCurvePublicKey:
    x, y = (int.from_bytes(half, "big") for half in (octets[:32], octets[32:]))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


class Parts:
    """The parts of a quote, cut by their offsets."""

    def __init__(self, quote: bytes) -> None:
        self.header, self.body = quote[:48], quote[48:632]
        (size,) = struct.unpack_from("<I", quote, 632)
        data = quote[636:]
        assert len(data) == size
        self.signature, self.key = data[:64], data[64:128]
        self.kind, size = struct.unpack_from("<HI", data, 128)
        inner = data[134:]
        assert len(inner) == size
        self.report, self.report_signature = inner[:384], inner[384:448]
        (size,) = struct.unpack_from("<H", inner, 448)
        self.authentication = inner[450 : 450 + size]
        self.chain_kind, length = struct.unpack_from("<HI", inner, 450 + size)
        chain = inner[456 + size :]
        assert len(chain) == length
        self.chain = x509.load_pem_x509_certificates(chain)

    def holds(self) -> bool:
        """Tell whether each signature holds, up to the leaf of the chain."""
        leaf = self.chain[0].public_key()
        assert isinstance(leaf, EllipticCurvePublicKey)
        return (
            signature_holds(point(self.key), self.signature, self.header + self.body)
            and self.report[320:352] == sha256(self.key + self.authentication).digest()
            and signature_holds(leaf, self.report_signature, self.report)
        )


def test_header_and_kinds_are_those_of_a_td_quote_of_version_4(authority: IntelAuthority) -> None:
    parts = Parts(authority.quote(REPORT))
    version, key_kind, tee = struct.unpack_from("<HHI", parts.header)
    assert (version, key_kind, tee) == (4, 2, 0x81)
    assert parts.header[12:28].hex() == "939a7233f79c4ca9940a0db3957f0607"
    assert (parts.kind, parts.chain_kind) == (6, 5)


def test_body_has_the_members_of_the_report(authority: IntelAuthority) -> None:
    body = Parts(authority.quote(REPORT)).body
    assert len(body) == 584
    assert body[:16] == REPORT[264:280]  # The version of the module.
    assert body[16:64] == REPORT[280:328]  # Its measurement.
    assert body[120:128] == REPORT[512:520]  # The attributes of the TD.
    assert body[136:184] == REPORT[528:576]  # The measurement of the TD.
    assert body[328:520] == REPORT[720:912]  # Its registers.
    assert body[520:] == REPORT[128:192]  # The report data.


def test_every_signature_of_a_quote_holds(authority: IntelAuthority) -> None:
    assert Parts(authority.quote(REPORT)).holds()


@pytest.mark.parametrize("at", [0, 48, 631, 636, 770, 770 + 320, 1155])
def test_changed_octet_breaks_a_quote(authority: IntelAuthority, at: int) -> None:
    quote = bytearray(authority.quote(REPORT))
    quote[at] ^= 1
    assert not Parts(bytes(quote)).holds()


def test_openssl_verifies_the_chain_with_the_root_alone(
    authority: IntelAuthority, tmp_path: Path
) -> None:
    leaf, platform, root = Parts(authority.quote(REPORT)).chain
    for name, certificate in (("leaf", leaf), ("platform", platform), ("root", root)):
        (tmp_path / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    time = ("-attime", str(int(NOW_S)), "-no-CApath")
    shown = run("verify", *time, "-CAfile", "root", "-untrusted", "platform", "leaf", at=tmp_path)
    assert "leaf: OK" in shown
    run("verify", *time, "-CAfile", "leaf", "platform", at=tmp_path, is_ok=False)


def test_leaf_has_the_six_extensions_of_intel(authority: IntelAuthority) -> None:
    leaf = authority.chain().leaf.certificate
    assert len(leaf.extensions) == 6
    value = leaf.extensions.get_extension_for_oid(SGX).value
    assert isinstance(value, x509.UnrecognizedExtension)
    assert bytes.fromhex("0406" + "00806f050000") in value.value


def test_stored_chain_signs_after_a_restart(tmp_path: Path) -> None:
    first = IntelAuthority(tmp_path).chain()
    parts = Parts(IntelAuthority(tmp_path).quote(REPORT))
    assert parts.chain == first.certificates()
    assert parts.holds()
