import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms as reader  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    PKCS7Options,
    PKCS7SignatureBuilder,
)

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.cms import EnvelopeError, enclose, envelope, open_envelope
from openimds.credentials.pki.leaves import SigningLeaf
from tests.unit.credentials.pki.recordings import CREATED_S, CUT_SHORT, PAYLOAD, SAMPLE_DER

ODD_DIGEST = "1.2.840.113549.1.1.11"
DIGEST = "2.16.840.1.101.3.4.2.1"


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, CREATED_S)


@pytest.fixture(scope="module")
def leaf(authority: CertificateAuthority) -> SigningLeaf:
    return authority.leaf("metadata.azure.com", "northeurope", CREATED_S)


@pytest.fixture(scope="module")
def der(leaf: SigningLeaf) -> bytes:
    return envelope(PAYLOAD, leaf.certificate, leaf.key)


@pytest.fixture(scope="module")
def parsed(der: bytes) -> Any:
    """Return the envelope as asn1crypto reads it."""
    return reader.ContentInfo.load(der, strict=True)


def openssl(*arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, check=True, timeout=60
    )


def changed(der: bytes, old: str, new: str, count: int = -1) -> bytes:
    """Return DER with octets replaced by the same number of others."""
    assert bytes.fromhex(old) in der
    return der.replace(bytes.fromhex(old), bytes.fromhex(new), count)


def test_content_is_signed_data_version_1_without_crls(parsed: Any) -> None:
    assert parsed["content_type"].dotted == "1.2.840.113549.1.7.2"
    signed = parsed["content"]
    assert signed["version"].native == "v1"
    assert signed["crls"].native is None


def test_digest_algorithms_are_one_odd_oid_with_a_null(parsed: Any) -> None:
    (algorithm,) = parsed["content"]["digest_algorithms"]
    assert algorithm["algorithm"].dotted == ODD_DIGEST
    assert algorithm["parameters"].dump() == b"\x05\x00"


def test_content_is_the_payload_as_data(parsed: Any) -> None:
    content = parsed["content"]["encap_content_info"]
    assert content["content_type"].dotted == "1.2.840.113549.1.7.1"
    assert content["content"].native == PAYLOAD


def test_only_certificate_is_the_leaf(parsed: Any, leaf: SigningLeaf) -> None:
    (certificate,) = parsed["content"]["certificates"]
    assert certificate.dump() == leaf.certificate.public_bytes(Encoding.DER)


def test_signer_info_is_as_recorded(parsed: Any, leaf: SigningLeaf) -> None:
    (signer,) = parsed["content"]["signer_infos"]
    assert signer["version"].native == "v1"
    assert signer["sid"].name == "issuer_and_serial_number"
    assert signer["sid"].chosen["issuer"].dump() == leaf.certificate.issuer.public_bytes()
    assert signer["sid"].chosen["serial_number"].native == leaf.certificate.serial_number
    assert signer["digest_algorithm"]["algorithm"].dotted == ODD_DIGEST
    assert signer["digest_algorithm"]["parameters"].dump() == b"\x05\x00"
    assert signer["signed_attrs"].native is None
    assert signer["signature_algorithm"]["algorithm"].dotted == "1.2.840.113549.1.1.1"
    assert signer["signature_algorithm"]["parameters"].dump() == b"\x05\x00"
    assert len(signer["signature"].native) == 256
    assert signer["unsigned_attrs"].native is None


def test_outer_octets_equal_the_samples_except_lengths(der: bytes) -> None:
    # 30 LL, signedData, [0] LL, 30 LL, version 1, digestAlgorithms: 4 + 11 + 4 + 4 + 3 + 17 octets.
    assert SAMPLE_DER[4:15] == der[4:15]
    assert SAMPLE_DER[23:43] == der[23:43]


def test_openssl_verifies_by_the_documented_recipe(der: bytes, leaf: SigningLeaf) -> None:
    pem = openssl("pkcs7", "-inform", "DER", given=der).stdout
    printed = openssl("pkcs7", "-inform", "DER", "-print_certs", given=der).stdout
    assert leaf.certificate.public_bytes(Encoding.PEM).strip() in printed
    assert printed.count(b"BEGIN CERTIFICATE") == 1
    verified = openssl("smime", "-verify", "-inform", "pem", "-noverify", given=pem)
    assert verified.stdout == PAYLOAD
    assert b"Verification successful" in verified.stderr


def test_openssl_rejects_a_wrong_signature(leaf: SigningLeaf) -> None:
    wrong = enclose(PAYLOAD, leaf.certificate, bytes(255) + b"\x01")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        openssl("smime", "-verify", "-inform", "DER", "-noverify", given=wrong)
    assert b"Verification failure" in caught.value.stderr


def test_openssl_builds_the_chain_with_the_bundle(
    der: bytes, authority: CertificateAuthority, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.bundle())
    at = ["-attime", str(int(CREATED_S)), "-purpose", "any", "-CAfile", str(bundle)]
    assert openssl("smime", "-verify", "-inform", "DER", *at, given=der).stdout == PAYLOAD


def test_envelope_round_trips(der: bytes, leaf: SigningLeaf) -> None:
    opened = open_envelope(der)
    (signer,) = opened.signers
    assert opened.payload == PAYLOAD
    assert opened.certificates == (leaf.certificate,)
    assert (signer.issuer, signer.serial) == (
        leaf.certificate.issuer.public_bytes(),
        leaf.certificate.serial_number,
    )


def test_documented_sample_is_read() -> None:
    opened = open_envelope(SAMPLE_DER)
    reference = reader.ContentInfo.load(SAMPLE_DER)["content"]
    assert opened.payload == reference["encap_content_info"]["content"].native
    assert opened.signers[0].serial == 137935603016939689005533348868789375604
    assert opened.signers[0].digest.oid == ODD_DIGEST
    assert opened.signers[0].signature == reference["signer_infos"][0]["signature"].native
    assert not opened.signers[0].has_signed_attributes
    assert not opened.has_crls


def test_ordinary_envelope_with_attributes_is_read(
    authority: CertificateAuthority, leaf: SigningLeaf
) -> None:
    other = authority.leaf("metadata.azure.cn", "chinaeast2", CREATED_S).certificate
    der = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .add_certificate(other)
        .sign(Encoding.DER, [PKCS7Options.Binary])
    )
    opened = open_envelope(der)
    assert opened.signers[0].digest.oid == DIGEST
    assert opened.signers[0].has_signed_attributes
    assert set(opened.certificates) == {leaf.certificate, other}


def test_detached_envelope_has_no_payload(leaf: SigningLeaf) -> None:
    der = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.NoCerts])
    )
    opened = open_envelope(der)
    assert opened.payload is None
    assert opened.certificates == ()


def test_swagger_example_ends_too_early() -> None:
    with pytest.raises(EnvelopeError, match=r"^ContentInfo: it ends too early, by 1$"):
        open_envelope(base64.b64decode(CUT_SHORT + "="))


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda der: der + b"\x00", "^ContentInfo: more octets follow its end"),
        (lambda _: b"", "^ContentInfo: it ends too early"),
        # 02 01 01 is version 1, 31 0f the set of digests: their first occurrences.
        (lambda der: changed(der, "020101310f", "020101300f", 1), "^SignedData: another part"),
        (
            lambda der: changed(der, "310f300d06", "310f310d06", 1),
            "^digestAlgorithms: another part",
        ),
        (lambda der: changed(der, "010701a0", "010701a1"), "^encapContentInfo: "),
        # The certificate's own version, 2, becomes one that X.509 does not have.
        (lambda der: changed(der, "a003020102", "a003020142"), "^certificates: 66 is not"),
        (lambda der: changed(der, "04820100", "05820100"), "^signerInfos: another part"),
    ],
)
def test_unreadable_part_is_named(der: bytes, spoil: Any, reason: str) -> None:
    with pytest.raises(EnvelopeError, match=reason):
        open_envelope(spoil(der))


def test_overlong_length_is_rejected(der: bytes) -> None:
    assert der[:2] == b"\x30\x82"
    with pytest.raises(EnvelopeError, match="a length that DER forbids"):
        open_envelope(b"\x30\x83\x00" + der[2:])
