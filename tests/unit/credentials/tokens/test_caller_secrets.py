"""The secret of each VM."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from openimds.credentials.tokens.caller_secrets import FILE_NAME, CallerSecrets
from openimds.errors import Error


def test_secret_is_the_hmac_of_the_vm_name() -> None:
    expected = hmac.new(b"seed", b"web-1", hashlib.sha256).hexdigest()
    assert CallerSecrets(b"seed").of("web-1") == expected


def test_secrets_differ_by_vm_and_by_server() -> None:
    first, second = CallerSecrets.open(None), CallerSecrets.open(None)
    assert len({first.of("a"), first.of("b"), second.of("a")}) == 3


def test_secret_survives_a_restart_with_a_state_folder(tmp_path: Path) -> None:
    first = CallerSecrets.open(tmp_path).of("a")
    assert CallerSecrets.open(tmp_path).of("a") == first
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "ab" * 31, "x" * 64, "\xe9" * 64])
def test_truncated_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(Error, match=r"expected 64 hexadecimal digits"):
        CallerSecrets.open(tmp_path)


def test_file_readable_by_others_is_refused(tmp_path: Path) -> None:
    CallerSecrets.open(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o640)
    with pytest.raises(Error, match=r"saw the mode 0640, expected 0600.*chmod 600"):
        CallerSecrets.open(tmp_path)


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(Error, match="saw a folder, expected a plain file"):
        CallerSecrets.open(tmp_path)
