"""The hosts' authority: its files, its certificates, and the renewal of its root."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from openimds.credentials.hosts import authority
from openimds.credentials.hosts.authority import MAX_OLD, HostsCa
from openimds.credentials.hosts.host_certificates import (
    MAX_CSR_BYTES,
    HostTrustError,
    key_in_request,
    name_in,
    uri_in,
)
from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.authority import CertificateAuthority
from tests.unit.credentials.hosts.hosts_setup import DAY_S, NOW_S, csr_of, rsa_key, signed


def test_certificate_of_a_host_has_its_uri_for_seven_days() -> None:
    made = signed(HostsCa.open(None, NOW_S), "web-1", NOW_S)
    certificate = x509.load_der_x509_certificate(made.der)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (uri_in(made.der), name_in(made.der)) == ("openimds:host:web-1", "web-1")
    assert made.ends_s == certificate.not_valid_after_utc.timestamp() == NOW_S + 7 * DAY_S
    assert made.begins_s == NOW_S - 3600
    assert int(made.serial, 16) == certificate.serial_number
    assert [*usage] == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_request_gives_its_key_and_nothing_else() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    ca = HostsCa.open(None, NOW_S)
    made = ca.sign("a", key_in_request(csr_of(key, "openimds:control")), NOW_S)
    certificate = x509.load_der_x509_certificate(made.der)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["OpenIMDS host"]
    assert certificate.public_key() == key.public_key()


def test_host_name_of_another_form_is_refused() -> None:
    ca = HostsCa.open(None, NOW_S)
    with pytest.raises(
        HostTrustError, match=r'name of a host: saw the string "\.\./x", expected 1'
    ):
        signed(ca, "../x", NOW_S)


@pytest.mark.parametrize("bits", [2048, 4096])
def test_rsa_key_of_usual_size_is_accepted(bits: int) -> None:
    key = rsa_key(bits)
    assert key_in_request(csr_of(key)) == key.public_key()


@pytest.mark.parametrize("kind", ["P-384", 1024, 2056])
def test_key_of_another_kind_or_size_is_refused(kind: str | int) -> None:
    key = rsa_key(kind) if isinstance(kind, int) else ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(HostTrustError, match="key of the certificate request is refused: expected"):
        key_in_request(csr_of(key))


def test_key_without_a_hash_is_refused() -> None:
    name = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = name.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)
    with pytest.raises(HostTrustError, match="key of the certificate request is refused"):
        key_in_request(csr)


def test_request_with_a_changed_signature_is_refused() -> None:
    csr = bytearray(csr_of())
    csr[-1] ^= 1
    with pytest.raises(HostTrustError, match="not signed by its own key"):
        key_in_request(bytes(csr))


def test_unreadable_and_huge_requests_are_refused() -> None:
    with pytest.raises(HostTrustError, match="cannot be read: expected a certificate request"):
        key_in_request(b"\x30\x00")
    with pytest.raises(HostTrustError, match=f"{MAX_CSR_BYTES + 1} octets: expected 8192 at most"):
        key_in_request(bytes(MAX_CSR_BYTES + 1))


def test_certificate_without_the_uri_names_no_host() -> None:
    ca = HostsCa.open(None, NOW_S)
    control = ca.server_certificate(NOW_S).certificate.public_bytes(Encoding.DER)
    root = x509.load_pem_x509_certificate(ca.roots(NOW_S)).public_bytes(Encoding.DER)
    attested = CertificateAuthority.open(None, NOW_S).leaf("metadata.azure.com", "", NOW_S)
    leaf = attested.certificate.public_bytes(Encoding.DER)
    assert [name_in(one) for one in (control, root, leaf, b"no certificate")] == [None] * 4
    assert uri_in(control) == "openimds:control"


def test_certificate_of_control_is_renewed_at_half_life() -> None:
    ca = HostsCa.open(None, NOW_S)
    first = ca.server_certificate(NOW_S)
    assert first.certificate.not_valid_after_utc.timestamp() == NOW_S + 30 * DAY_S
    assert ca.server_certificate(NOW_S + 14.9 * DAY_S) is first
    second = ca.server_certificate(NOW_S + 15.1 * DAY_S)
    assert second.certificate.public_key() != first.certificate.public_key()
    # Made by a clock that was set back since: hosts would not accept it yet.
    third = ca.server_certificate(NOW_S)
    assert third is not second
    assert ca.server_context(NOW_S) is ca.server_context(NOW_S + 20 * DAY_S)


def test_root_in_a_folder_is_the_same_after_a_restart(tmp_path: Path) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    again = HostsCa.open(tmp_path, NOW_S + DAY_S)
    assert again.fingerprint == ca.fingerprint
    assert again.roots(NOW_S) == ca.roots(NOW_S)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "hosts").iterdir()]
    assert set(modes) == {0o600}


def test_damaged_root_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    HostsCa.open(tmp_path, NOW_S)
    (tmp_path / "hosts" / "ca.pem").write_bytes(b"nonsense")
    with pytest.raises(KeyFileError, match="every host then has to join again"):
        HostsCa.open(tmp_path, NOW_S)


def test_renewed_root_is_trusted_beside_the_former(tmp_path: Path) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    before = ca.fingerprint
    assert ca.keep_up(NOW_S + 2920 * DAY_S) == ""
    assert ca.fingerprint == before
    due_s = NOW_S + 2922 * DAY_S
    report = ca.keep_up(due_s)
    assert ca.fingerprint != before
    assert report.startswith("the root of hosts OpenIMDS Hosts Root ")
    assert "hosts accept both until 2037-01-14" in report
    assert ca.roots(due_s).count(b"BEGIN CERT") == 2
    assert ca.roots(NOW_S + 3653 * DAY_S).count(b"BEGIN CERT") == 1
    again = HostsCa.open(tmp_path, due_s)
    assert again.roots(due_s) == ca.roots(due_s)
    assert len(again.server_certificate(due_s).above) == 1


def test_root_that_has_ended_vouches_for_none(tmp_path: Path) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    late_s = NOW_S + 3653 * DAY_S
    ca.rotate(late_s)
    again = HostsCa.open(tmp_path, late_s)
    assert again.fingerprint == ca.fingerprint
    assert again.roots(late_s).count(b"BEGIN CERT") == 1
    assert again.server_certificate(late_s).above == ()


def test_interrupted_renewal_leaves_the_former_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    before = ca.fingerprint

    def fail(*_: object) -> None:
        raise KeyFileError("full")

    with monkeypatch.context() as patch:
        patch.setattr(authority, "write_holder", fail)
        with pytest.raises(KeyFileError, match="full"):
            ca.rotate(NOW_S)
    again = HostsCa.open(tmp_path, NOW_S)
    assert ca.fingerprint == again.fingerprint == before
    assert again.roots(NOW_S).count(b"BEGIN CERT") == 1
    assert again.server_certificate(NOW_S).above == ()


def test_damaged_list_of_replaced_roots_is_an_error(tmp_path: Path) -> None:
    HostsCa.open(tmp_path, NOW_S).rotate(NOW_S)
    (tmp_path / "hosts" / "old.pem").write_bytes(b"nonsense")
    with pytest.raises(KeyFileError, match=r"old\.pem: saw .*, expected certificates in PEM"):
        HostsCa.open(tmp_path, NOW_S)


def test_replaced_roots_are_bounded(tmp_path: Path) -> None:
    ca = HostsCa.open(tmp_path, NOW_S)
    for _ in range(MAX_OLD):
        ca.rotate(NOW_S)
    old = (tmp_path / "hosts" / "old.pem").read_bytes()
    assert old.count(b"BEGIN CERT") == MAX_OLD
