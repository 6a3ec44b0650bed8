"""Keys without room on the disk live in memory, with a message."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from openimds import private_files
from openimds.credentials.hardware.amd import AmdAuthority
from openimds.credentials.hardware.intel import IntelAuthority
from openimds.credentials.keys.files import UnwritableFileError
from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.credentials.tokens.caller_secrets import CallerSecrets, SecretFileError
from openimds.credentials.tokens.client_certificates import ClientCertificates
from openimds.facts.confidential import AMD_PRODUCTS

NOW_S = 1_800_000_000.0


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "write", write)
        yield patched


@pytest.mark.usefixtures("full_disk")
def test_first_token_key_is_kept_in_memory(tmp_path: Path) -> None:
    messages: list[str] = []
    ring = Keyring.open(tmp_path / "keys")
    ring.report = messages.append
    signer = ring.signer(NOW_S)
    assert [key.kid for key in ring.public(NOW_S)] == [signer.kid]
    assert ring.signer(NOW_S) is signer
    assert len(messages) == 1
    assert "no space left on device: tokens are signed by a key in memory" in messages[0]


def test_restart_after_a_key_in_memory_makes_a_lasting_one(
    tmp_path: Path, full_disk: pytest.MonkeyPatch
) -> None:
    ring = Keyring.open(tmp_path / "keys")
    ring.report = lambda _: None
    before = ring.signer(NOW_S).kid
    full_disk.undo()
    ring.rotate(NOW_S)  # The ring stays in memory: its list would name a key without a file.
    again = Keyring.open(tmp_path / "keys")
    after = again.signer(NOW_S).kid
    assert after != before
    assert Keyring.open(tmp_path / "keys").signer(NOW_S).kid == after


def test_rotation_on_a_full_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring.open(tmp_path / "keys")
    ring.report = lambda _: None
    before = ring.signer(NOW_S).kid

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableFileError, match="no space left"):
        ring.rotate(NOW_S)
    assert ring.signer(NOW_S).kid == before


@pytest.mark.usefixtures("full_disk")
def test_secrets_of_vms_are_kept_in_memory(tmp_path: Path) -> None:
    messages: list[str] = []
    secrets = CallerSecrets.open(tmp_path, messages.append)
    assert secrets.of("a") == secrets.of("a")
    assert "the secrets of VMs are in memory" in messages[0]
    with pytest.raises(SecretFileError, match="no space left"):
        CallerSecrets.open(tmp_path)


@pytest.mark.usefixtures("full_disk")
def test_first_ca_is_kept_in_memory(tmp_path: Path) -> None:
    messages: list[str] = []
    ca = LazyCa(CaSettings(tmp_path, notify=messages.append))
    assert ca.root_pem(NOW_S).startswith(b"-----BEGIN CERTIFICATE")
    assert ca.root_pem(NOW_S) == ca.root_pem(NOW_S)
    assert len(messages) == 1
    assert "attested documents are signed by a CA in memory" in messages[0]


@pytest.mark.usefixtures("full_disk")
def test_signer_of_client_certificates_is_kept_in_memory(tmp_path: Path) -> None:
    messages: list[str] = []
    clients = ClientCertificates(tmp_path, None, messages.append)
    key = clients._signing_key()
    assert clients._signing_key() is key
    assert "client certificates are signed by a key in memory" in messages[0]
    with pytest.raises(UnwritableFileError):
        ClientCertificates(tmp_path)._signing_key()


@pytest.mark.usefixtures("full_disk")
def test_keys_of_processors_are_kept_in_memory(tmp_path: Path) -> None:
    messages: list[str] = []
    intel = IntelAuthority(tmp_path, messages.append)
    assert intel.chain() is intel.chain()
    AmdAuthority(tmp_path, 2048, messages.append).chain(AMD_PRODUCTS["milan"])
    assert len(messages) == 2
    assert all("signed by keys in memory" in message for message in messages)
    with pytest.raises(UnwritableFileError):
        IntelAuthority(tmp_path).chain()


def test_chain_with_a_root_is_not_begun_anew(tmp_path: Path, full_disk: pytest.MonkeyPatch) -> None:
    full_disk.undo()
    IntelAuthority(tmp_path).chain()
    (tmp_path / "intel-pck.pem").unlink()

    def write(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    full_disk.setattr(private_files, "write", write)
    with pytest.raises(UnwritableFileError, match="read-only file system"):
        IntelAuthority(tmp_path, lambda _: None).chain()
    full_disk.undo()
