"""Revocation on request: leaves, intermediates and serial numbers, as verifiers see it."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from openimds.credentials.keys.files import KeyFileError, write_file
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.extensions import addresses_in
from openimds.credentials.pki.revocation_register import MAX_ENTRIES, RegisterEntry, serial_of
from openimds.errors import ConfigError
from openimds.facts.revocation import CRL_PATH, REASONS
from tests.unit.credentials.pki.openssl_verify import NOW_S, PUBLIC, URL, certificates
from tests.unit.credentials.pki.test_revocation_lists import leaf_of, listed, openssl


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW_S, public_url=URL)


def standing(
    authority: CertificateAuthority, certificate: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPResponse:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1())
    asked = builder.build().public_bytes(Encoding.DER)
    return ocsp.load_der_ocsp_response(authority.ocsp_response(asked, NOW_S))


def test_revoked_leaf_is_refused_and_replaced(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf, generation = leaf_of(authority), authority.generation
    issuer = certificates(authority.chain_pem())[0]
    assert standing(authority, leaf, issuer).certificate_status == ocsp.OCSPCertStatus.GOOD
    authority.revoke("leaf", "keyCompromise", NOW_S)
    assert "certificate revoked" in openssl(authority, leaf, tmp_path, is_ok=False)
    response = standing(authority, leaf, issuer)
    assert response.certificate_status == ocsp.OCSPCertStatus.REVOKED
    assert response.revocation_reason == x509.ReasonFlags.key_compromise
    assert authority.generation == generation + 1, "cached documents are dropped"
    fresh = leaf_of(authority)
    assert fresh.public_key() != leaf.public_key()
    assert "OK" in openssl(authority, fresh, tmp_path)


@pytest.mark.parametrize("reason", REASONS)
def test_reason_is_in_list_and_response(authority: CertificateAuthority, reason: str) -> None:
    leaf = leaf_of(authority)
    authority.revoke("leaf", reason, NOW_S)
    (entry,) = x509.load_der_x509_crl(listed(authority, addresses_in(leaf).crls[0]))
    got = standing(authority, leaf, certificates(authority.chain_pem())[0]).revocation_reason
    if reason == "unspecified":
        assert not [*entry.extensions]
        assert got is None
        return
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == reason
    assert got is not None
    assert got.value == reason


def test_revoked_intermediate_is_refused_and_replaced(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    leaf, chain = leaf_of(authority), certificates(authority.chain_pem())
    authority.revoke("intermediate", "cACompromise", NOW_S)
    crl = x509.load_der_x509_crl(listed(authority, addresses_in(chain[0]).crls[0]))
    assert [one.serial_number for one in crl] == [chain[0].serial_number]
    status = standing(authority, chain[0], chain[1]).certificate_status
    assert status == ocsp.OCSPCertStatus.REVOKED
    fresh = leaf_of(authority)
    assert fresh.issuer != leaf.issuer
    assert "OK" in openssl(authority, fresh, tmp_path)


def test_serial_number_revokes_one_leaf_of_two(authority: CertificateAuthority) -> None:
    leaf = leaf_of(authority)
    other = authority.leaf("metadata.azure.us", "", NOW_S).certificate
    text = ":".join(serial_of(leaf).lower()[place : place + 2] for place in range(0, 38, 2))
    authority.revoke(text, "superseded", NOW_S)
    issuer = certificates(authority.chain_pem())[0]
    states = [standing(authority, one, issuer).certificate_status for one in (leaf, other)]
    assert states == [ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.GOOD]


def test_revocation_survives_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    before = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    leaf = leaf_of(before)
    before.revoke("leaf", "keyCompromise", NOW_S)
    again = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    assert "certificate revoked" in openssl(again, leaf, tmp_path, is_ok=False)


def test_leaf_of_an_earlier_process_can_be_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    leaf = leaf_of(CertificateAuthority.open(folder, NOW_S, public_url=URL))
    again = CertificateAuthority.open(folder, NOW_S, public_url=URL)
    again.revoke("leaf", "superseded", NOW_S)
    assert "certificate revoked" in openssl(again, leaf, tmp_path, is_ok=False)


def test_revoked_intermediate_without_root_key_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    CertificateAuthority.open(folder, NOW_S, public_url=URL, generation="2023")
    (folder / "root.key").rename(tmp_path / "safe.key")
    authority = CertificateAuthority.open(folder, NOW_S, public_url=URL, generation="2023")
    chain = authority.chain_pem()
    with pytest.raises(ConfigError, match="whose issuer's key is not here"):
        authority.revoke("intermediate", "unspecified", NOW_S)
    assert authority.chain_pem() == chain


def test_full_disk_revokes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = CertificateAuthority.open(tmp_path / "ca", NOW_S, public_url=URL)
    leaf = leaf_of(authority)

    def write(path: Path, text: bytes) -> None:
        if path.name == "revocation.json":
            raise KeyFileError("no space left on device")
        write_file(path, text)

    monkeypatch.setattr("openimds.credentials.pki.revocation_register.write_file", write)
    with pytest.raises(KeyFileError, match="no space"):
        authority.revoke("leaf", "unspecified", NOW_S)
    assert leaf_of(authority) == leaf
    assert "OK" in openssl(authority, leaf, tmp_path)


@pytest.mark.parametrize("target", ["", "trunk", "00", "root", "1" * 40])
def test_unknown_target_is_refused_with_a_remedy(
    authority: CertificateAuthority, target: str
) -> None:
    leaf_of(authority)
    with pytest.raises(ConfigError, match=r"no such certificate.*openimds attest status"):
        authority.revoke(target, "unspecified", NOW_S)


def test_certificate_is_revoked_only_once(authority: CertificateAuthority) -> None:
    serial = serial_of(leaf_of(authority))
    authority.revoke(serial, "unspecified", NOW_S)
    with pytest.raises(ConfigError, match="a certificate that is revoked already"):
        authority.revoke(serial, "unspecified", NOW_S)


def test_tier_in_use_cannot_be_revoked(authority: CertificateAuthority) -> None:
    tier = certificates(authority.chain_pem())[1]
    with pytest.raises(ConfigError, match="only openimds attest rotate root replaces"):
        authority.revoke(serial_of(tier), "unspecified", NOW_S)


def test_leaf_revoked_before_the_disk_was_full_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(tmp_path / "ca", NOW_S, public_url=URL)
    first = leaf_of(authority)
    authority.leaf("metadata.azure.us", "", NOW_S)
    allowed = iter([True])

    def write(path: Path, text: bytes) -> None:
        if not next(allowed, False):
            raise KeyFileError("no space left on device")
        write_file(path, text)

    monkeypatch.setattr("openimds.credentials.pki.revocation_register.write_file", write)
    with pytest.raises(KeyFileError, match="no space"):
        authority.revoke("leaf", "unspecified", NOW_S)
    assert leaf_of(authority) != first
    assert "certificate revoked" in openssl(authority, first, tmp_path, is_ok=False)


def test_leaf_of_a_replaced_issuer_cannot_be_revoked(authority: CertificateAuthority) -> None:
    serial = serial_of(leaf_of(authority))
    authority.rotate("intermediate", NOW_S)
    with pytest.raises(ConfigError, match="whose key is not here"):
        authority.revoke(serial, "unspecified", NOW_S)


def test_without_public_url_nothing_can_be_revoked() -> None:
    authority = CertificateAuthority.open(None, NOW_S)
    authority.leaf(*PUBLIC, NOW_S)
    with pytest.raises(ConfigError, match="Set --public and --public-url"):
        authority.revoke("leaf", "unspecified", NOW_S)
    status = authority.revocation_status(NOW_S)
    assert status.lacks == ["no public URL: certificates name neither lists nor a responder"]


def test_status_has_every_certificate_and_list(authority: CertificateAuthority) -> None:
    leaf, chain = leaf_of(authority), certificates(authority.chain_pem())
    authority.revoke("leaf", "superseded", NOW_S)
    fresh = leaf_of(authority)
    status = authority.revocation_status(NOW_S)
    rows = {row.serial: row for row in status.certificates}
    assert {common_name(one) for one in chain[:-1]} <= {row.subject for row in rows.values()}
    assert rows[serial_of(leaf)].reason == "superseded"
    assert (rows[serial_of(leaf)].in_use, rows[serial_of(fresh)].in_use) == (False, True)
    assert rows[serial_of(fresh)].revoked_at is None
    assert [row.is_leaf for row in status.certificates] == [False, False, True, True]
    assert sum(one.revoked for one in status.lists) == 1
    assert status.lacks == []


def test_list_of_the_most_revoked_certificates_is_small(
    authority: CertificateAuthority,
) -> None:
    tier = certificates(authority.chain_pem())[1]
    url = addresses_in(certificates(authority.chain_pem())[0]).crls[0]
    name = url.partition(f"{CRL_PATH}/")[2]
    for number in range(MAX_ENTRIES):
        entry = RegisterEntry(
            f"{(1 << 150) + number:X}",
            name.removesuffix(".crl"),
            common_name(tier),
            NOW_S,
            is_leaf=False,
        )
        authority._revocation._register.revoke(entry, "superseded", NOW_S)
    octets = listed(authority, url)
    assert len(x509.load_der_x509_crl(octets)) == MAX_ENTRIES
    assert len(octets) < 64 * 1024
