"""The chain of AMD's processors, checked by openssl."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from openimds.credentials.hardware.amd import AmdAuthority
from openimds.facts.confidential import AMD_PRODUCTS
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, run

MILAN, GENOA = AMD_PRODUCTS["milan"], AMD_PRODUCTS["genoa"]
CHIP, OTHER = bytes(range(64)), bytes(64)
TCB = 0xDB18_7766_5544_0304


@pytest.fixture(scope="module")
def authority() -> AmdAuthority:
    return AmdAuthority(None, bits=2048)


def key_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def extension(certificate: x509.Certificate, oid: str) -> bytes:
    full = x509.ObjectIdentifier(f"1.3.6.1.4.1.3704.1.{oid}")
    value = certificate.extensions.get_extension_for_oid(full).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def write(folder: Path, name: str, *certificates: x509.Certificate) -> None:
    text = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    (folder / name).write_bytes(text)


def verify(folder: Path, *, is_ok: bool = True) -> str:
    time = ("-attime", str(int(NOW_S)))
    files = ("-no-CApath", "-CAfile", "ark.pem", "-untrusted", "ask.pem", "vcek.pem")
    return run("verify", *time, *files, at=folder, is_ok=is_ok)


def test_openssl_verifies_a_processor_with_the_root_alone(
    authority: AmdAuthority, tmp_path: Path
) -> None:
    write(tmp_path, "vcek.pem", authority.certify(MILAN, CHIP, TCB, NOW_S))
    chain = authority.chain(MILAN)
    write(tmp_path, "ask.pem", chain.signer.certificate)
    write(tmp_path, "ark.pem", chain.root.certificate)
    assert "vcek.pem: OK" in verify(tmp_path)
    write(tmp_path, "ark.pem", authority.chain(GENOA).root.certificate)
    verify(tmp_path, is_ok=False)


def test_signatures_are_pss_with_sha_384(authority: AmdAuthority, tmp_path: Path) -> None:
    chain = authority.chain(MILAN)
    processor = authority.certify(MILAN, CHIP, TCB, NOW_S)
    for one in (processor, chain.signer.certificate, chain.root.certificate):
        write(tmp_path, "one.pem", one)
        shown = run("x509", "-in", "one.pem", "-noout", "-text", at=tmp_path)
        assert "Signature Algorithm: rsassaPss" in shown
        assert "Mask Algorithm: mgf1 with sha384" in shown
        assert "Salt Length: 0x30" in shown
    key = processor.public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert key.curve.name == "secp384r1"


def test_keys_of_the_chain_have_4096_bits() -> None:
    key = AmdAuthority(None).chain(MILAN).root.certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 4096


def test_extensions_of_a_processor_are_its_id_and_versions(authority: AmdAuthority) -> None:
    certificate = authority.certify(MILAN, CHIP, TCB, NOW_S)
    got = {oid: extension(certificate, oid).hex() for oid in ("1", "2", "4")}
    assert got == {"1": "020100", "2": "1608" + b"Milan-B0".hex(), "4": CHIP.hex()}
    versions = {
        f"3.{number}": extension(certificate, f"3.{number}").hex() for number in range(1, 9)
    }
    assert versions == {
        "3.1": "020104",
        "3.2": "020103",
        "3.3": "020118",
        "3.4": "020144",
        "3.5": "020155",
        "3.6": "020166",
        "3.7": "020177",
        "3.8": "020200db",
    }


def test_names_are_those_that_verifiers_look_for(authority: AmdAuthority) -> None:
    chain = authority.chain(GENOA)
    names = [
        one.subject.rfc4514_string().split(",")[0]
        for one in (
            authority.certify(GENOA, CHIP, TCB, NOW_S),
            chain.signer.certificate,
            chain.root.certificate,
        )
    ]
    assert names == ["CN=SEV-VCEK", "CN=SEV-Genoa", "CN=ARK-Genoa"]
    crl = chain.root.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert crl.value[0].full_name
    assert crl.value[0].full_name[0].value == "https://kdsintf.amd.com/vcek/v1/Genoa/crl"


def test_key_follows_from_processor_and_versions(authority: AmdAuthority) -> None:
    one = key_of(authority.certify(MILAN, CHIP, TCB, NOW_S))
    assert one == key_of(authority.certify(MILAN, CHIP, TCB, NOW_S + DAY_S))
    others = (
        authority.certify(MILAN, OTHER, TCB, NOW_S),
        authority.certify(MILAN, CHIP, TCB + 1, NOW_S),
        authority.certify(GENOA, CHIP, TCB, NOW_S),
    )
    assert len({one, *map(key_of, others)}) == 4


def test_stored_chain_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = AmdAuthority(tmp_path, bits=2048)
    key = key_of(first.certify(MILAN, CHIP, TCB, NOW_S))
    again = AmdAuthority(tmp_path, bits=2048)
    assert again.chain(MILAN).root.certificate == first.chain(MILAN).root.certificate
    assert key_of(again.certify(MILAN, CHIP, TCB, NOW_S)) == key
    files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert files == {"amd-milan-ark.pem": 0o600, "amd-milan-ask.pem": 0o600}
