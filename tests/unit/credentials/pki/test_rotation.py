"""Interrupted rotations, automatic renewals, and the certificates that they drop."""

from pathlib import Path

import pytest

from openimds.credentials.keys.files import KeyFileError, new_key, write_file
from openimds.credentials.pki.authority import CertificateAuthority
from tests.unit.credentials.pki.openssl_verify import (
    DAY_S,
    NOW_S,
    PUBLIC,
    certificates,
    common_names,
    verify,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "attest"


def test_running_server_completes_an_interrupted_rotation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    leaf, generation = authority.leaf(*PUBLIC, NOW_S).certificate, authority.generation
    full = [True, True]

    def write(path: Path, text: bytes) -> None:
        if path.name == "intermediate.key" and full and full.pop():
            raise KeyFileError("no space left on device")
        write_file(path, text)

    monkeypatch.setattr("openimds.credentials.keys.files.write_file", write)
    for _ in range(2):  # The second attempt starts from the folder that the first one left.
        with pytest.raises(KeyFileError, match="no space"):
            authority.rotate("root", NOW_S)
        assert CertificateAuthority.open(folder, NOW_S).bundle() == authority.bundle()
        assert "OK" in verify(leaf, authority.bundle(), tmp_path)
        fresh = authority.leaf(*PUBLIC, NOW_S).certificate
        assert "OK" in verify(fresh, authority.bundle(), tmp_path)
    assert authority.generation > generation
    authority.rotate("root", NOW_S)
    assert CertificateAuthority.open(folder, NOW_S).root_pem() == authority.root_pem()


def test_next_rotation_completes_one_that_a_full_disk_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    leaf = authority.leaf(*PUBLIC, NOW_S).certificate

    def write(path: Path, text: bytes) -> None:
        if path.name.startswith("intermediate"):
            raise KeyFileError("no space left on device")
        write_file(path, text)

    with monkeypatch.context() as patch:
        patch.setattr("openimds.credentials.keys.files.write_file", write)
        patch.setattr("openimds.credentials.pki.chain_files.write_file", write)
        for _ in range(2):
            with pytest.raises(KeyFileError, match="no space"):
                authority.rotate("root", NOW_S)
            assert authority.leaf(*PUBLIC, NOW_S).certificate == leaf
        authority.rotate("leaf", NOW_S)  # Needs no file.
    authority.rotate("intermediate", NOW_S)
    again = CertificateAuthority.open(folder, NOW_S)
    assert again.chain_pem() == authority.chain_pem()
    for item in (leaf, authority.leaf(*PUBLIC, NOW_S).certificate):
        assert "OK" in verify(item, again.bundle(), tmp_path)


def test_failed_renewal_keeps_the_intermediate_until_it_expires(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    ends_s = certificates(authority.chain_pem())[0].not_valid_after_utc.timestamp()
    attempts: list[str] = []

    def write(path: Path, _: bytes) -> None:
        attempts.append(path.name)
        raise KeyFileError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("openimds.credentials.pki.chain_files.write_file", write)
        for late_s in (100 * DAY_S, 100 * DAY_S - 3599, 100 * DAY_S - 3600):
            authority.leaf(*PUBLIC, ends_s - late_s)
        assert len(attempts) == 2, "there is at most one attempt an hour"
        with pytest.raises(KeyFileError, match="no space"):
            authority.leaf(*PUBLIC, ends_s + 1)
    generation = authority.generation
    authority.leaf(*PUBLIC, ends_s - DAY_S)
    assert authority.generation == generation + 1, "an automatic renewal counts too"


def test_rotation_drops_expired_and_oldest_certificates(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fixed = new_key()
        patch.setattr("openimds.credentials.pki.chain.new_key", lambda: fixed)
        authority = CertificateAuthority.open(folder, NOW_S)
        for _ in range(34):
            authority.rotate("intermediate", NOW_S)
    names = common_names(authority.bundle())
    assert len(names) == 3 + 32
    assert "OpenIMDS TLS G2 RSA CA OCSP 02" not in names
    assert {"OpenIMDS TLS G2 RSA CA OCSP 03", "OpenIMDS TLS G2 RSA CA OCSP 35"} <= set(names)
    assert len(list((folder / "old").iterdir())) == 32
    assert CertificateAuthority.open(folder, NOW_S).published() == authority.published()
    assert authority.published() is authority.published()
    authority.rotate("intermediate", NOW_S + 11 * 365 * DAY_S)
    assert len(authority.published()) == 4, "the expired ones are dropped"
    assert len(list((folder / "old").iterdir())) == 1
