"""OCSP: requests of OpenSSL and of cryptography, prepared responses, and malformed requests."""

from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.credentials.pki import der
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.ocsp import MALFORMED, UNAUTHORIZED, read_request
from openimds.facts.revocation import MAX_OCSP_REQUEST
from tests.unit.credentials.pki.openssl_verify import DAY_S, NOW_S, PUBLIC, URL, certificates, run


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


@pytest.fixture(scope="module")
def chain(authority: CertificateAuthority) -> list[x509.Certificate]:
    """Return the leaf and the certificates above it, the root last."""
    return [authority.leaf(*PUBLIC, NOW_S).certificate, *certificates(authority.chain_pem())]


def request(certificate: x509.Certificate, issuer: x509.Certificate, hash_: HashAlgorithm) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hash_)
    return builder.build().public_bytes(Encoding.DER)


def test_addresses_name_the_responder(chain: list[x509.Certificate]) -> None:
    *below, root = chain
    assert {addresses_in(one).ocsp for one in below} == {f"{URL}/ocsp"}
    assert addresses_in(root).ocsp == ""


@pytest.mark.parametrize("hash_", [SHA1(), SHA256()], ids=["sha1", "sha256"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["leaf", "intermediate", "tier"])
def test_good_certificate_gets_a_signed_response(
    authority: CertificateAuthority,
    chain: list[x509.Certificate],
    place: int,
    hash_: HashAlgorithm,
) -> None:
    certificate, issuer = chain[place], chain[place + 1]
    asked = request(certificate, issuer, hash_)
    got = ocsp.load_der_ocsp_response(authority.ocsp_response(asked, NOW_S))
    assert got.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
    assert got.certificate_status == ocsp.OCSPCertStatus.GOOD
    assert got.serial_number == certificate.serial_number
    assert got.hash_algorithm.name == hash_.name
    this, following = times(got)
    assert (following - this).days == 4
    (responder,) = got.certificates
    responder.verify_directly_issued_by(issuer)
    responder.extensions.get_extension_for_class(x509.OCSPNoCheck)


def times(response: ocsp.OCSPResponse) -> tuple[datetime, datetime]:
    """Return thisUpdate and nextUpdate, by the names that this version of cryptography has."""
    suffix = "_utc" if hasattr(response, "this_update_utc") else ""
    this, following = (getattr(response, f"{name}_update{suffix}") for name in ("this", "next"))
    return this, following


@pytest.mark.parametrize("place", [0, 1, 2], ids=["leaf", "intermediate", "tier"])
def test_openssl_verifies_the_response(
    authority: CertificateAuthority, chain: list[x509.Certificate], place: int, tmp_path: Path
) -> None:
    files = {"cert": chain[place], "issuer": chain[place + 1], "root": chain[-1]}
    for name, certificate in files.items():
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    above = b"".join(one.public_bytes(Encoding.PEM) for one in chain[1:-1])
    (tmp_path / "above.pem").write_bytes(above)
    asked = ["-issuer", "issuer.pem", "-cert", "cert.pem", "-reqout", "request.der"]
    run("ocsp", *asked, at=tmp_path)
    got = authority.ocsp_response((tmp_path / "request.der").read_bytes(), NOW_S)
    (tmp_path / "response.der").write_bytes(got)
    asked = ["-issuer", "issuer.pem", "-cert", "cert.pem", "-respin", "response.der"]
    trust = ["-CAfile", "root.pem", "-verify_other", "above.pem"]
    time = ["-attime", str(int(NOW_S)), "-validity_period", str(20 * 365 * DAY_S)]
    output = run("ocsp", *asked, *trust, *time, "-no_nonce", at=tmp_path)
    assert "Response verify OK" in output
    assert "cert.pem: good" in output


def test_certificate_of_another_ca_gets_unauthorized(
    authority: CertificateAuthority, chain: list[x509.Certificate]
) -> None:
    other = CertificateAuthority.open(None, NOW_S, public_url=URL)
    leaf = other.leaf(*PUBLIC, NOW_S).certificate
    for issuer in (certificates(other.chain_pem())[0], chain[1]):
        asked = request(leaf, issuer, SHA1())
        assert authority.ocsp_response(asked, NOW_S) == UNAUTHORIZED
    got = ocsp.load_der_ocsp_response(UNAUTHORIZED)
    assert got.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_nonce_is_not_answered(
    authority: CertificateAuthority, chain: list[x509.Certificate]
) -> None:
    builder = ocsp.OCSPRequestBuilder().add_certificate(chain[0], chain[1], SHA1())
    nonce = builder.add_extension(x509.OCSPNonce(b"12345678"), critical=False).build()
    asked = nonce.public_bytes(Encoding.DER)
    got = authority.ocsp_response(asked, NOW_S)
    assert got == authority.ocsp_response(request(chain[0], chain[1], SHA1()), NOW_S)
    assert not ocsp.load_der_ocsp_response(got).extensions


def test_several_certificates_at_once_get_unauthorized(
    authority: CertificateAuthority, chain: list[x509.Certificate], tmp_path: Path
) -> None:
    for name, certificate in (("a", chain[0]), ("b", chain[1]), ("issuer", chain[1])):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    both = ["-issuer", "issuer.pem", "-cert", "a.pem", "-cert", "b.pem"]
    run("ocsp", *both, "-reqout", "request.der", at=tmp_path)
    asked = (tmp_path / "request.der").read_bytes()
    assert read_request(asked) is None
    assert authority.ocsp_response(asked, NOW_S) == UNAUTHORIZED


def test_request_signs_nothing(chain: list[x509.Certificate]) -> None:
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate
    asked = request(leaf, certificates(authority.chain_pem())[0], SHA1())
    first = authority.ocsp_response(asked, NOW_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "openimds.credentials.pki.ocsp_responses.sign_response",
            lambda *_: pytest.fail("a request signs"),
        )
        for days in range(0, 30, 3):
            assert authority.ocsp_response(asked, NOW_S + days * DAY_S) == first
    authority.answers.refresh_due(NOW_S + 2 * DAY_S - 1)
    assert authority.ocsp_response(asked, NOW_S) == first
    authority.answers.refresh_due(NOW_S + 2 * DAY_S)
    assert authority.ocsp_response(asked, NOW_S) != first


def test_leaf_issued_after_the_first_question_is_known_at_once(
    authority: CertificateAuthority, chain: list[x509.Certificate]
) -> None:
    authority.ocsp_response(request(chain[0], chain[1], SHA1()), NOW_S)
    leaf = authority.leaf("metadata.azure.us", "", NOW_S).certificate
    got = authority.ocsp_response(request(leaf, chain[1], SHA1()), NOW_S)
    assert ocsp.load_der_ocsp_response(got).serial_number == leaf.serial_number


def test_responses_survive_a_restart(tmp_path: Path) -> None:
    before = CertificateAuthority.open(tmp_path / "ca", NOW_S, public_url=URL)
    leaf = before.leaf(*PUBLIC, NOW_S).certificate
    again = CertificateAuthority.open(tmp_path / "ca", NOW_S, public_url=URL)
    asked = request(leaf, certificates(again.chain_pem())[0], SHA256())
    got = ocsp.load_der_ocsp_response(again.ocsp_response(asked, NOW_S))
    assert got.certificate_status == ocsp.OCSPCertStatus.GOOD


# Malformed requests.


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80\x00\x00",
        b"GET / HTTP/1.1",
        der.sequence(der.sequence(der.sequence())),
        der.sequence(der.sequence(der.sequence(der.sequence(der.integer(1))))),
        bytes(MAX_OCSP_REQUEST),
    ],
)
def test_malformed_request_gets_the_protocols_own_words(
    authority: CertificateAuthority, octets: bytes
) -> None:
    assert authority.ocsp_response(octets, NOW_S) == MALFORMED
    got = ocsp.load_der_ocsp_response(MALFORMED)
    assert got.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_each_shortened_request_is_malformed(
    authority: CertificateAuthority, chain: list[x509.Certificate]
) -> None:
    asked = request(chain[0], chain[1], SHA1())
    for size in range(len(asked)):
        assert authority.ocsp_response(asked[:size], NOW_S) == MALFORMED


def test_each_changed_octet_gets_an_unsigned_answer_or_the_same(
    authority: CertificateAuthority, chain: list[x509.Certificate]
) -> None:
    asked = request(chain[0], chain[1], SHA1())
    good = authority.ocsp_response(asked, NOW_S)
    for place in range(len(asked)):
        changed = bytearray(asked)
        changed[place] ^= 1
        assert authority.ocsp_response(bytes(changed), NOW_S) in {MALFORMED, UNAUTHORIZED, good}


def test_responses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.credentials.pki.ocsp_responses.MAX_RESPONSES", 7)
    authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
    for number in range(5):
        authority.leaf("metadata.azure.com", f"r{number}", NOW_S)
    authority.ocsp_response(b"", NOW_S)
    assert len(authority._revocation._responses._responses) == 7
