"""The certificate of the admin port: its files, their mistakes, and their replacement."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from openimds.admin import tls_files
from openimds.admin.tls_files import MOST_BYTES, AdminTls, TlsFiles
from openimds.errors import ConfigError
from tests.support.certificates import TestCa

TRUNCATED = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class AdminFiles:
    """A CA, a pair of files, and the messages about them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, TestCa(folder)
        self.certificate, self.key = self.ca.issue("server", "localhost")
        self.client_ca: Path | None = None
        self.messages: list[str] = []

    def open(self) -> AdminTls:
        client_ca = str(self.client_ca or "")
        files = TlsFiles(str(self.certificate), str(self.key), client_ca)
        return AdminTls(files, self.messages.append)

    def replace(self, file: str) -> None:
        """Put another pair into the place of the present one, by renaming."""
        certificate, key = self.ca.issue(file, "localhost")
        certificate.rename(self.certificate)
        key.rename(self.key)


@pytest.fixture
def files(tmp_path: Path) -> AdminFiles:
    return AdminFiles(tmp_path)


def test_context_has_tls_1_2_and_asks_for_no_client(files: AdminFiles) -> None:
    context = files.open().context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert files.messages == []


def test_context_with_a_client_ca_demands_a_certificate(files: AdminFiles) -> None:
    files.client_ca = files.ca.path
    context = files.open().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def _absent(files: AdminFiles) -> None:
    files.certificate.unlink()


def _swapped(files: AdminFiles) -> None:
    files.certificate, files.key = files.key, files.certificate


def _without_key(files: AdminFiles) -> None:
    files.key.write_bytes(files.certificate.read_bytes())


def _of_another(files: AdminFiles) -> None:
    files.key = files.ca.issue("other", "localhost")[1]


def _encrypted(files: AdminFiles) -> None:
    files.certificate, files.key = files.ca.issue("locked", "localhost", password=b"secret")


def _truncated(files: AdminFiles) -> None:
    files.certificate.write_bytes(TRUNCATED)


def _large(files: AdminFiles) -> None:
    files.key.write_bytes(b"x" * (MOST_BYTES + 1))


def _no_client_ca(files: AdminFiles) -> None:
    files.client_ca = files.key


def _bad_client_ca(files: AdminFiles) -> None:
    files.client_ca = files.folder / "clients.pem"
    files.client_ca.write_bytes(TRUNCATED)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (_absent, "admin_cert: saw {0}/server.pem (no such file or directory), expected a file"),
        (_swapped, "admin_cert: saw {0}/server.key, which has no certificate, expected"),
        (_without_key, "admin_key: saw {0}/server.key, which has no private key, expected"),
        (_of_another, "admin_key: saw {0}/other.key, which is not the key of {0}/server.pem"),
        (_encrypted, "admin_key: saw {0}/locked.key (it is encrypted), expected a key without"),
        (_truncated, "admin_cert: saw {0}/server.pem with {0}/server.key ("),
        (_large, "admin_key: saw {0}/server.key of more than 1048576 bytes, expected a smaller"),
        (_no_client_ca, "admin_client_ca: saw {0}/server.key, which has no certificate"),
        (_bad_client_ca, "admin_client_ca: saw {0}/clients.pem ("),
    ],
)
def test_file_that_does_not_fit_is_named(
    files: AdminFiles, spoil: Callable[[AdminFiles], None], says: str
) -> None:
    spoil(files)
    with pytest.raises(ConfigError) as raised:
        files.open()
    assert str(raised.value).startswith(says.format(files.folder))


def test_renamed_pair_replaces_the_context(files: AdminFiles) -> None:
    tls = files.open()
    before = tls.context()
    tls.look()
    assert tls.context() is before, "the files are the same"
    files.replace("next")
    tls.look()
    assert tls.context() is not before
    message = f"the admin API uses the new certificate in {files.certificate}"
    assert files.messages == [message]


def test_swapped_folder_link_replaces_the_context(files: AdminFiles) -> None:
    """Kubernetes mounts secrets so: `tls.crt` leads to `..data/tls.crt`, `..data` to a folder."""
    for folder in ("one", "two"):
        (files.folder / folder).mkdir()
        certificate, key = files.ca.issue(f"{folder}-pair", "localhost")
        certificate.rename(files.folder / folder / "tls.crt")
        key.rename(files.folder / folder / "tls.key")
    data = files.folder / "..data"
    data.symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (files.folder / name).symlink_to(f"..data/{name}")
    files.certificate, files.key = files.folder / "tls.crt", files.folder / "tls.key"
    tls = files.open()
    before = tls.context()
    (files.folder / "..new").symlink_to("two")
    (files.folder / "..new").replace(data)
    tls.look()
    assert tls.context() is not before


def test_bad_pair_keeps_the_context_and_is_reported_once(files: AdminFiles) -> None:
    tls = files.open()
    before = tls.context()
    files.certificate.write_bytes(files.ca.issue("next", "localhost")[0].read_bytes())
    tls.look()
    tls.look()
    assert tls.context() is before
    (message,) = files.messages
    assert message.startswith(f"admin_key: saw {files.key}, which is not the key of")
    assert message.endswith("; the admin API goes on with the certificate from before")
    files.key.write_bytes((files.folder / "next.key").read_bytes())
    tls.look()
    assert tls.context() is not before
    assert len(files.messages) == 2
    files.key.unlink()
    tls.look()
    assert len(files.messages) == 3, "a later mistake is reported again"


def test_files_that_change_while_they_are_read_wait(
    files: AdminFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = files.open()
    before = tls.context()
    files.replace("next")
    reads: list[str] = []

    def read(setting: str, path: str) -> bytes:
        reads.append(setting)
        return Path(path).read_bytes() + b"\n" * len(reads)

    with monkeypatch.context() as patched:
        patched.setattr(tls_files, "_read", read)
        tls.look()
    assert tls.context() is before
    tls.look()
    assert tls.context() is not before


def test_key_that_others_may_read_is_reported(files: AdminFiles) -> None:
    files.key.chmod(0o644)
    tls = files.open()
    (message,) = files.messages
    assert message.startswith(f"admin_key: {files.key} has the mode 0644, which lets others read")
    assert message.endswith(f". Type chmod go= {files.key}")
    files.key.unlink()
    tls._report_mode()
    assert len(files.messages) == 1
