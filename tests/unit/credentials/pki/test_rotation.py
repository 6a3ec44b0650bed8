"""Rotations that the disk breaks off, that come by themselves, and what they drop."""

from pathlib import Path

import pytest

from openimds.credentials.keys.files import KeyFileError, new_key, write_file
from openimds.credentials.pki.authority import CertificateAuthority
from tests.unit.credentials.pki.trust import (
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


def test_a_rotation_that_the_disk_broke_off_is_carried_on_by_the_running_server(
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
    for _ in range(2):  # The second begins where the first left the folder.
        with pytest.raises(KeyFileError, match="no space"):
            authority.rotate("root", NOW_S)
        assert CertificateAuthority.open(folder, NOW_S).bundle() == authority.bundle()
        assert "OK" in verify(leaf, authority.bundle(), tmp_path)
        fresh = authority.leaf(*PUBLIC, NOW_S).certificate
        assert "OK" in verify(fresh, authority.bundle(), tmp_path)
    assert authority.generation > generation
    authority.rotate("root", NOW_S)
    assert CertificateAuthority.open(folder, NOW_S).root_pem() == authority.root_pem()


def test_a_folder_that_stays_full_is_carried_on_by_the_next_rotation(
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
    for one in (leaf, authority.leaf(*PUBLIC, NOW_S).certificate):
        assert "OK" in verify(one, again.bundle(), tmp_path)


def test_a_renewal_that_fails_leaves_what_is_there_until_it_has_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.open(folder, NOW_S)
    ends_s = certificates(authority.chain_pem())[0].not_valid_after_utc.timestamp()
    tried: list[str] = []

    def write(path: Path, _: bytes) -> None:
        tried.append(path.name)
        raise KeyFileError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("openimds.credentials.pki.chain_files.write_file", write)
        for late_s in (100 * DAY_S, 100 * DAY_S - 3599, 100 * DAY_S - 3600):
            authority.leaf(*PUBLIC, ends_s - late_s)
        assert len(tried) == 2, "within an hour it is not tried again"
        with pytest.raises(KeyFileError, match="no space"):
            authority.leaf(*PUBLIC, ends_s + 1)
    generation = authority.generation
    authority.leaf(*PUBLIC, ends_s - DAY_S)
    assert authority.generation == generation + 1, "a renewal by itself counts too"


def test_what_has_ended_or_is_long_replaced_is_dropped(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fixed = new_key()
        patch.setattr("openimds.credentials.pki.chain_files.new_key", lambda: fixed)
        authority = CertificateAuthority.open(folder, NOW_S)
        for _ in range(34):
            authority.rotate("intermediate", NOW_S)
    names = common_names(authority.bundle())
    assert len(names) == 2 + 32
    assert "OpenIMDS TLS Issuing CA 02" not in names
    assert {"OpenIMDS TLS Issuing CA 03", "OpenIMDS TLS Issuing CA 35"} <= set(names)
    assert len(list((folder / "old").iterdir())) == 32
    assert CertificateAuthority.open(folder, NOW_S).published() == authority.published()
    assert authority.published() is authority.published()
    authority.rotate("intermediate", NOW_S + 11 * 365 * DAY_S)
    assert len(authority.published()) == 3, "all but the one that was in use"
    assert len(list((folder / "old").iterdir())) == 1
