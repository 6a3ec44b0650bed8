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

from openimds.credentials.pki.authority import CertificateAuthority, SigningLeaf
from openimds.credentials.pki.cms import EnvelopeError, enclose, envelope, open_envelope
from tests.unit.credentials.pki.recorded import CREATED_S, CUT_SHORT, PAYLOAD, SAMPLE_DER

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
def unknown_caller(der: bytes) -> Any:
    """Return the envelope as asn1crypto reads it."""
    return reader.ContentInfo.load(der, strict=True)


def openssl(*arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, check=True, timeout=60
    )


def changed(der: bytes, old: str, new: str, count: int = -1) -> bytes:
    """Return DER with octets replaced by as many others."""
    assert bytes.fromhex(old) in der
    return der.replace(bytes.fromhex(old), bytes.fromhex(new), count)


def test_the_frame_is_signed_data_of_version_1_without_crls(unknown_caller: Any) -> None:
    assert unknown_caller["content_type"].dotted == "1.2.840.113549.1.7.2"
    signed = unknown_caller["content"]
    assert signed["version"].native == "v1"
    assert signed["crls"].native is None


def test_the_digest_algorithms_are_one_odd_oid_with_a_null(unknown_caller: Any) -> None:
    (algorithm,) = unknown_caller["content"]["digest_algorithms"]
    assert algorithm["algorithm"].dotted == ODD_DIGEST
    assert algorithm["parameters"].dump() == b"\x05\x00"


def test_the_content_is_the_payload_as_data(unknown_caller: Any) -> None:
    content = unknown_caller["content"]["encap_content_info"]
    assert content["content_type"].dotted == "1.2.840.113549.1.7.1"
    assert content["content"].native == PAYLOAD


def test_the_only_certificate_is_the_leafs(unknown_caller: Any, leaf: SigningLeaf) -> None:
    (certificate,) = unknown_caller["content"]["certificates"]
    assert certificate.dump() == leaf.certificate.public_bytes(Encoding.DER)


def test_the_signer_is_as_recorded(unknown_caller: Any, leaf: SigningLeaf) -> None:
    (signer,) = unknown_caller["content"]["signer_infos"]
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


def test_the_outer_octets_equal_those_of_the_sample_but_for_lengths(der: bytes) -> None:
    # 30 LL, signedData, [0] LL, 30 LL, version 1, digestAlgorithms: 4 + 11 + 4 + 4 + 3 + 17 octets.
    assert SAMPLE_DER[4:15] == der[4:15]
    assert SAMPLE_DER[23:43] == der[23:43]


def test_openssl_follows_the_recipe_of_the_document(der: bytes, leaf: SigningLeaf) -> None:
    pem = openssl("pkcs7", "-inform", "DER", given=der).stdout
    printed = openssl("pkcs7", "-inform", "DER", "-print_certs", given=der).stdout
    assert leaf.certificate.public_bytes(Encoding.PEM).strip() in printed
    assert printed.count(b"BEGIN CERTIFICATE") == 1
    verified = openssl("smime", "-verify", "-inform", "pem", "-noverify", given=pem)
    assert verified.stdout == PAYLOAD
    assert b"Verification successful" in verified.stderr


def test_openssl_refuses_a_signature_that_does_not_fit(leaf: SigningLeaf) -> None:
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


def test_what_was_enclosed_comes_out_again(der: bytes, leaf: SigningLeaf) -> None:
    found = open_envelope(der)
    (signer,) = found.signers
    assert found.payload == PAYLOAD
    assert found.certificates == (leaf.certificate,)
    assert (signer.issuer, signer.serial) == (
        leaf.certificate.issuer.public_bytes(),
        leaf.certificate.serial_number,
    )


def test_the_sample_of_the_document_is_read() -> None:
    found = open_envelope(SAMPLE_DER)
    theirs = reader.ContentInfo.load(SAMPLE_DER)["content"]
    assert found.payload == theirs["encap_content_info"]["content"].native
    assert found.signers[0].serial == 137935603016939689005533348868789375604
    assert found.signers[0].digest.oid == ODD_DIGEST
    assert found.signers[0].signature == theirs["signer_infos"][0]["signature"].native
    assert not found.signers[0].has_signed_attributes
    assert not found.has_crls


def test_an_ordinary_envelope_with_attributes_and_several_certificates_is_read(
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
    found = open_envelope(der)
    assert found.signers[0].digest.oid == DIGEST
    assert found.signers[0].has_signed_attributes
    assert set(found.certificates) == {leaf.certificate, other}


def test_an_envelope_without_its_content_has_no_payload(leaf: SigningLeaf) -> None:
    der = (
        PKCS7SignatureBuilder()
        .set_data(PAYLOAD)
        .add_signer(leaf.certificate, leaf.key, SHA256())
        .sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.NoCerts])
    )
    found = open_envelope(der)
    assert found.payload is None
    assert found.certificates == ()


def test_the_example_of_the_swagger_files_ends_too_early() -> None:
    with pytest.raises(EnvelopeError, match=r"^ContentInfo: it ends too early, by 1$"):
        open_envelope(base64.b64decode(CUT_SHORT + "="))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda der: der + b"\x00", "^ContentInfo: more octets follow its end"),
        (lambda _: b"", "^ContentInfo: it ends too early"),
        # 02 01 01 is version 1, 31 0f the set of digests: the first of each kind in the frame.
        (lambda der: changed(der, "020101310f", "020101300f", 1), "^SignedData: something else"),
        (lambda der: changed(der, "310f300d06", "310f310d06", 1), "^digestAlgorithms: something"),
        (lambda der: changed(der, "010701a0", "010701a1"), "^encapContentInfo: "),
        # The certificate's own version, 2, becomes one that X.509 does not have.
        (lambda der: changed(der, "a003020102", "a003020142"), "^certificates: 66 is not"),
        (lambda der: changed(der, "04820100", "05820100"), "^signerInfos: something else"),
    ],
)
def test_octets_that_are_no_envelope_say_in_which_part(der: bytes, spoil: Any, said: str) -> None:
    with pytest.raises(EnvelopeError, match=said):
        open_envelope(spoil(der))


def test_a_length_in_more_octets_than_it_needs_is_no_der(der: bytes) -> None:
    assert der[:2] == b"\x30\x82"
    with pytest.raises(EnvelopeError, match="a length that DER does not allow"):
        open_envelope(b"\x30\x83\x00" + der[2:])
