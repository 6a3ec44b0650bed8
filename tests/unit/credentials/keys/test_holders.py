"""Files with a key and its certificate."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from openimds.credentials.hardware.intel import IntelAuthority
from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.keys.holders import open_holder

Spoil = Callable[[Path, bytes, bytes], None]


def _other_key(path: Path, key: bytes, _certificate: bytes) -> None:
    other = IntelAuthority(None).chain().root.certificate.public_bytes(Encoding.PEM)
    path.write_bytes(key + other)


def _other_kind(path: Path, _key: bytes, certificate: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text + certificate)


def _empty(path: Path, _key: bytes, _certificate: bytes) -> None:
    path.write_bytes(b"")


def _key_alone(path: Path, key: bytes, _certificate: bytes) -> None:
    path.write_bytes(key)


def _readable(path: Path, _key: bytes, _certificate: bytes) -> None:
    path.chmod(0o644)


def _folder(path: Path, _key: bytes, _certificate: bytes) -> None:
    path.unlink()
    path.mkdir()


SPOILT: dict[str, tuple[Spoil, str]] = {
    "empty": (_empty, "saw "),
    "no certificate": (_key_alone, "saw "),
    "another key": (_other_key, "saw the certificate of another key"),
    "another kind": (_other_kind, "saw a key of another kind"),
    "readable": (_readable, "saw the mode 0644, expected 0600"),
    "a folder": (_folder, "saw a folder, expected a plain file"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_unfit_file_is_an_error_that_names_it(tmp_path: Path, case: str) -> None:
    IntelAuthority(tmp_path).chain()
    path = tmp_path / "intel-root.pem"
    text = path.read_bytes()
    at = text.index(b"-----BEGIN CERT")
    spoil, message = SPOILT[case]
    spoil(path, text[:at], text[at:])
    with pytest.raises(KeyFileError) as caught:
        IntelAuthority(tmp_path).chain()
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    made = IntelAuthority(None).chain().root
    assert open_holder(None, "x", lambda: made) is made
    assert [*tmp_path.iterdir()] == []
