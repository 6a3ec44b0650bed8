"""Answers that are wrong on purpose: read by OpenSSL and cryptography, and bounded in number."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import file_name, pem
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.ocsp import MALFORMED, TRY_LATER, UNAUTHORIZED
from openimds.credentials.pki.rehearsed_answers import (
    RehearsalError,
    RehearsedAnswers,
    SignatureBudget,
)
from openimds.facts.public_faults import MAX_NONCE, MAX_REHEARSED, MAX_SIGNATURES_PER_S
from openimds.facts.revocation import CRL_PATH
from tests.unit.credentials.pki.openssl_verify import NOW_S, PUBLIC, URL, certificates, run


class Stage:
    """An authority, its chain from the leaf to the root, and its rehearsed answers."""

    def __init__(self) -> None:
        self.authority = CertificateAuthority.open(None, NOW_S, public_url=URL)
        self.leaf = self.authority.leaf(*PUBLIC, NOW_S).certificate
        self.above = certificates(self.authority.chain_pem())
        self.time_s = 0.0
        self.answers = RehearsedAnswers(lambda: self.authority, lambda: NOW_S, lambda: self.time_s)

    def certified(self, place: int, answer: str) -> x509.Certificate:
        """Return the answer for a certificate above the leaf, 0 the intermediate."""
        self.time_s += 1
        octets = self.above[place].public_bytes(Encoding.DER)
        return x509.load_der_x509_certificate(self.answers.certificate(octets, answer))

    def true_list(self, certificate: x509.Certificate) -> bytes:
        url = addresses_in(certificate).crls[0]
        name = url.removeprefix(f"{URL}{CRL_PATH}/")
        found = self.authority.revocation_list(name, NOW_S)
        assert found
        return found

    def asked(self, serial: int = 0, nonce: bytes = b"") -> bytes:
        """Return an OCSP request about the leaf, or another serial number of its issuer."""
        issuer, digest = self.above[0], SHA1()
        builder = ocsp.OCSPRequestBuilder()
        if serial:
            ids = ocsp.OCSPRequestBuilder().add_certificate(self.leaf, issuer, digest).build()
            name, key = ids.issuer_name_hash, ids.issuer_key_hash
            builder = builder.add_certificate_by_hash(name, key, serial, digest)
        else:
            builder = builder.add_certificate(self.leaf, issuer, digest)
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.build().public_bytes(Encoding.DER)

    def status(self, answer: str, request: bytes) -> ocsp.OCSPResponse:
        return ocsp.load_der_ocsp_response(self.answers.ocsp_response(request, answer))


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


def openssl_accepts(stage: Stage, folder: Path, *untrusted: x509.Certificate) -> bool:
    """Tell whether OpenSSL finds a path from the leaf to the true root."""
    for name, items in (
        ("leaf", [stage.leaf]),
        ("root", stage.above[-1:]),
        ("more", [*untrusted]),
    ):
        (folder / f"{name}.pem").write_bytes(pem([*items]))
    trust = ("-no-CApath", "-no-CAstore", "-CAfile", "root.pem", "-untrusted", "more.pem")
    at = ("-attime", str(int(NOW_S)))
    try:
        run("verify", *at, *trust, "leaf.pem", at=folder)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("answer", ["expired", "cross-signed"])
def test_openssl_refuses_the_spoilt_ca_alone(
    stage: Stage, tmp_path: Path, place: int, answer: str
) -> None:
    true = stage.above[:2]
    assert openssl_accepts(stage, tmp_path, *true)
    spoilt = [*true]
    spoilt[place] = stage.certified(place, answer)
    assert not openssl_accepts(stage, tmp_path, *spoilt)


def test_expired_ca_differs_by_its_end_and_serial(stage: Stage) -> None:
    true, got = stage.above[1], stage.certified(1, "expired")
    got.verify_directly_issued_by(stage.above[2])
    assert got.not_valid_after_utc.timestamp() == NOW_S - 3600
    assert got.serial_number != true.serial_number
    assert (got.subject, got.public_key()) == (true.subject, true.public_key())
    assert addresses_in(got) == addresses_in(true)


def test_cross_signed_ca_leads_to_an_unknown_root(stage: Stage) -> None:
    got = stage.certified(0, "cross-signed")
    (first, second) = addresses_in(got).issuers
    name = first.rpartition("/")[2].removesuffix(".crt")
    assert second == first.replace(URL, f"{URL}/alternate")
    octets = stage.answers.unknown_root(name)
    assert octets
    root = x509.load_der_x509_certificate(octets)
    got.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert root.subject not in [one.subject for one in stage.above]
    assert addresses_in(got).crls == ()
    assert stage.answers.unknown_root(file_name(stage.above[2])) is None
    assert name not in stage.authority.published()


def test_root_is_unknown_before_it_signs() -> None:
    fresh = Stage()
    assert fresh.answers.unknown_root("openimds-root-ca-00000000-00000000") is None


def test_openssl_refuses_a_stale_list(stage: Stage, tmp_path: Path) -> None:
    stage.time_s += 1
    true = stage.true_list(stage.leaf)
    stale = stage.answers.stale_list(true)
    for name, items in (("leaf", [stage.leaf]), ("cas", stage.above)):
        (tmp_path / f"{name}.pem").write_bytes(pem([*items]))
    crl = x509.load_der_x509_crl(stale)
    (tmp_path / "list.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    arguments = ("-attime", str(int(NOW_S)), "-crl_check", "-CAfile", "cas.pem")
    text = run("verify", *arguments, "-CRLfile", "list.pem", "leaf.pem", at=tmp_path, is_ok=False)
    assert "CRL has expired" in text
    known = x509.load_der_x509_crl(true)
    assert crl.next_update_utc
    assert crl.next_update_utc.timestamp() == NOW_S - 3600
    assert [*crl.extensions] == [*known.extensions]


def test_stale_list_keeps_its_entries() -> None:
    fresh = Stage()
    fresh.authority.revoke("leaf", "keyCompromise", NOW_S)
    crl = x509.load_der_x509_crl(fresh.answers.stale_list(fresh.true_list(fresh.leaf)))
    assert [entry.serial_number for entry in crl] == [fresh.leaf.serial_number]


def test_unsigned_refusals_are_those_of_the_rows(stage: Stage) -> None:
    assert stage.answers.ocsp_response(b"", "try-later") == TRY_LATER
    assert stage.answers.ocsp_response(b"", "unauthorized") == UNAUTHORIZED


@pytest.mark.parametrize("answer", ["revoked", "unknown", "nonce"])
def test_openssl_reads_the_signed_answer(stage: Stage, tmp_path: Path, answer: str) -> None:
    stage.time_s += 1
    for name, items in (("leaf", [stage.leaf]), ("issuer", stage.above[:1]), ("cas", stage.above)):
        (tmp_path / f"{name}.pem").write_bytes(pem([*items]))
    cert = ("-issuer", "issuer.pem", "-cert", "leaf.pem")
    run("ocsp", *cert, "-nonce", "-reqout", "request.der", at=tmp_path)
    request = (tmp_path / "request.der").read_bytes()
    (tmp_path / "response.der").write_bytes(stage.answers.ocsp_response(request, answer))
    trust = ("-no_nonce", "-CAfile", "cas.pem", "-respin", "response.der", "-reqin", "request.der")
    at = ("-attime", str(int(NOW_S)), "-validity_period", "999999999")
    text = run("ocsp", *cert, *trust, *at, at=tmp_path)
    assert "Response verify OK" in text
    assert f"leaf.pem: {answer if answer != 'nonce' else 'good'}" in text
    if answer == "nonce":
        asked = ocsp.load_der_ocsp_request(request).extensions
        got = ocsp.load_der_ocsp_response((tmp_path / "response.der").read_bytes()).extensions
        assert [one.value for one in got] == [one.value for one in asked]


@pytest.mark.parametrize("answer, known", [("unknown", True), ("revoked", False), ("nonce", False)])
def test_never_issued_serial_is_unknown_or_unauthorized(
    stage: Stage, answer: str, *, known: bool
) -> None:
    stage.time_s += 1
    got = stage.status(answer, stage.asked(serial=5, nonce=b"n"))
    if known:
        assert got.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
        assert got.serial_number == 5
    else:
        assert got.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("answer", ["revoked", "unknown", "nonce"])
def test_question_about_another_issuer_is_unauthorized(stage: Stage, answer: str) -> None:
    other = Stage().asked(nonce=b"n")
    assert stage.answers.ocsp_response(other, answer) == UNAUTHORIZED
    assert stage.answers.ocsp_response(b"<html>", answer) == MALFORMED


def test_request_without_a_nonce_gets_the_prepared_response(stage: Stage) -> None:
    request = stage.asked()
    prepared = stage.authority.ocsp_response(request, NOW_S)
    assert stage.answers.ocsp_response(request, "nonce") == prepared


@pytest.mark.parametrize("length, fits", [(MAX_NONCE, True), (MAX_NONCE + 1, False)])
def test_nonce_is_answered_up_to_its_bound(stage: Stage, length: int, *, fits: bool) -> None:
    stage.time_s += 1
    nonce = bytes(length)
    request = stage.asked(nonce=nonce)
    if not fits:
        assert stage.answers.ocsp_response(request, "nonce") == MALFORMED
        return
    got = stage.status("nonce", request)
    assert got.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


def test_signatures_of_nonces_are_bounded_in_a_second() -> None:
    fresh = Stage()
    request = fresh.asked(nonce=b"n")
    got = [fresh.answers.ocsp_response(request, "nonce") for _ in range(MAX_SIGNATURES_PER_S + 2)]
    assert [one == TRY_LATER for one in got] == [False] * MAX_SIGNATURES_PER_S + [True, True]
    octets = fresh.above[0].public_bytes(Encoding.DER)
    with pytest.raises(RehearsalError, match="more than 10 signatures in a second"):
        fresh.answers.certificate(octets, "expired")
    fresh.time_s += 1
    assert fresh.status("nonce", request).certificate_status is ocsp.OCSPCertStatus.GOOD


def test_kept_answer_costs_one_signature() -> None:
    fresh = Stage()
    request = fresh.asked(serial=7)
    got = {fresh.answers.ocsp_response(request, "unknown") for _ in range(20)}
    assert len(got) == 1
    assert TRY_LATER not in got


def test_kept_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_REHEARSED == 256
    monkeypatch.setattr("openimds.credentials.pki.rehearsed_answers.MAX_REHEARSED", 2)
    fresh = Stage()
    for serial in (1, 2, 3):
        fresh.answers.ocsp_response(fresh.asked(serial=serial), "unknown")
    assert len(fresh.answers._kept) == 2


def test_absent_key_of_the_issuer_is_an_error_with_its_name(stage: Stage) -> None:
    stage.time_s += 1
    other = Stage()
    with pytest.raises(RehearsalError, match="certificate OpenIMDS TLS G2 RSA CA OCSP 01: the key"):
        stage.answers.certificate(other.above[0].public_bytes(Encoding.DER), "expired")
    with pytest.raises(RehearsalError, match=r"list of .*the key of its issuer is not here"):
        stage.answers.stale_list(other.true_list(other.leaf))


def test_budget_is_a_sliding_second() -> None:
    times = iter([0.0, 0.5, 0.9, 1.0, 1.4, 1.5])
    budget = SignatureBudget(lambda: next(times), 2)
    assert [budget.take() for _ in range(6)] == [True, True, False, True, False, True]
