"""Joins and renewals over register, authority and a host's identity."""

from pathlib import Path

from cryptography import x509

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import name_in
from openimds.credentials.hosts.join_token import read_join_token
from openimds.credentials.hosts.joining import (
    AdmissionRequest,
    JoinRequest,
    RenewalRequest,
    admit_host,
    join_host,
    renew_host,
)
from openimds.credentials.hosts.register import HostRegister
from tests.unit.credentials.hosts.hosts_setup import DAY_S, NOW_S, csr_of, joined

CA = HostsCa.open(None, NOW_S)
GUESS = bytes(32)


def invited(name: str) -> tuple[HostRegister, bytes]:
    register, text = HostRegister().invite(name, NOW_S, CA.fingerprint, is_admin=True)
    return register, read_join_token(text).secret


def test_host_with_the_secret_gets_a_certificate_that_counts() -> None:
    register, secret = invited("a")
    result = join_host(register, CA, JoinRequest("a", secret, csr_of()), NOW_S + 1)
    assert result.certificate
    assert result.refusal == ""
    assert name_in(result.certificate.der) == "a"
    assert result.roots == CA.roots(NOW_S)
    assert not result.register.certificate_refusal("a", result.certificate.serial, NOW_S + 1)
    assert result.register.hosts["a"].joined_s == NOW_S + 1


def test_lost_answer_is_given_again_to_the_same_key() -> None:
    register, secret = invited("a")
    csr = csr_of()
    first = join_host(register, CA, JoinRequest("a", secret, csr), NOW_S)
    second = join_host(first.register, CA, JoinRequest("a", secret, csr), NOW_S + 60)
    assert first.certificate
    assert second.certificate
    assert not second.register.certificate_refusal("a", second.certificate.serial, NOW_S + 60)
    assert second.register.certificate_refusal("a", first.certificate.serial, NOW_S + 60)


def test_malformed_request_does_not_spend_the_token() -> None:
    register, secret = invited("a")
    result = join_host(register, CA, JoinRequest("a", secret, b"?"), NOW_S)
    assert result.register is register
    assert result.certificate is None
    assert "certificate request cannot be read" in result.refusal
    assert join_host(register, CA, JoinRequest("a", secret, csr_of()), NOW_S).certificate


def test_wrong_secret_and_second_machine_get_nothing() -> None:
    register, secret = invited("a")
    wrong = join_host(register, CA, JoinRequest("a", GUESS, csr_of()), NOW_S)
    assert (wrong.register is register, wrong.certificate) == (True, None)
    assert "lets no host join" in wrong.refusal
    first = join_host(register, CA, JoinRequest("a", secret, csr_of()), NOW_S)
    second = join_host(first.register, CA, JoinRequest("a", secret, csr_of()), NOW_S)
    assert second.certificate is None
    assert "by another machine" in second.refusal
    assert second.register.hosts["a"].reuses == 1


def test_certificate_is_renewed_for_a_new_key_at_half_life(tmp_path: Path) -> None:
    identity, result = joined(CA, tmp_path, "a", NOW_S)
    half_s, before = NOW_S + 3.5 * DAY_S, identity.serial
    assert not identity.is_due(half_s - 60)
    assert identity.is_due(half_s)
    request = RenewalRequest("a", before, identity.request())
    renewed = renew_host(result.register, CA, request, half_s)
    assert renewed.certificate
    identity.accept("a", renewed.certificate.der, renewed.roots, half_s)
    assert identity.serial == renewed.certificate.serial != before
    assert not renewed.register.certificate_refusal("a", identity.serial, half_s)
    keys = [
        x509.load_der_x509_certificate(one.certificate.der).public_key()
        for one in (result, renewed)
        if one.certificate
    ]
    assert keys[0] != keys[1]


def test_renewal_is_refused_with_the_reason(tmp_path: Path) -> None:
    identity, result = joined(CA, tmp_path, "a", NOW_S)
    late_s = NOW_S + 4 * DAY_S
    malformed = RenewalRequest("a", identity.serial, b"?")
    refused = renew_host(result.register, CA, malformed, late_s)
    assert "certificate request cannot be read" in refused.refusal
    revoked = result.register.revoke("a", NOW_S)
    request = RenewalRequest("a", identity.serial, identity.request())
    refused = renew_host(revoked, CA, request, late_s)
    assert (refused.register is revoked, refused.certificate) == (True, None)
    assert "was revoked" in refused.refusal


def test_vouched_host_joins_and_joins_again_with_another_key() -> None:
    first = admit_host(HostRegister(), CA, AdmissionRequest("n1", "ns/sa", csr_of()), NOW_S)
    assert first.certificate
    assert name_in(first.certificate.der) == "n1"
    assert first.roots == CA.roots(NOW_S)
    assert first.register.hosts["n1"].account == "ns/sa"
    again = AdmissionRequest("n1", "ns/sa", csr_of())
    second = admit_host(first.register, CA, again, NOW_S + 60)
    assert second.certificate
    register = second.register
    assert not register.certificate_refusal("n1", second.certificate.serial, NOW_S + 60)
    assert register.certificate_refusal("n1", first.certificate.serial, NOW_S + 60)


def test_vouched_host_with_an_unfit_request_changes_nothing() -> None:
    result = admit_host(HostRegister(), CA, AdmissionRequest("n1", "ns/sa", b"?"), NOW_S)
    assert result.register == HostRegister()
    assert result.certificate is None
    assert "certificate request cannot be read" in result.refusal


def test_revoked_vouched_host_is_refused() -> None:
    request = AdmissionRequest("n1", "ns/sa", csr_of())
    first = admit_host(HostRegister(), CA, request, NOW_S)
    revoked = first.register.revoke("n1", NOW_S + 1)
    result = admit_host(revoked, CA, request, NOW_S + 2)
    assert (result.register, result.certificate) == (revoked, None)
    assert 'host "n1" was revoked at' in result.refusal
