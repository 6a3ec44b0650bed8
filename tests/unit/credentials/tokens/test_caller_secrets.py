"""The secret of each VM."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from openimds.credentials.tokens.caller_secrets import FILE_NAME, CallerSecrets
from openimds.errors import Error


def test_a_secret_is_the_hmac_of_the_name() -> None:
    expected = hmac.new(b"seed", b"web-1", hashlib.sha256).hexdigest()
    assert CallerSecrets(b"seed").of("web-1") == expected


def test_every_vm_and_every_server_has_its_own() -> None:
    one, other = CallerSecrets.open(None), CallerSecrets.open(None)
    assert len({one.of("a"), one.of("b"), other.of("a")}) == 3


def test_with_a_state_it_stays(tmp_path: Path) -> None:
    first = CallerSecrets.open(tmp_path).of("a")
    assert CallerSecrets.open(tmp_path).of("a") == first
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "ab" * 31, "x" * 64, "\xe9" * 64])
def test_a_file_that_was_cut_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(Error, match=r"expected 64 hexadecimal digits"):
        CallerSecrets.open(tmp_path)


def test_a_file_that_others_read_is_refused(tmp_path: Path) -> None:
    CallerSecrets.open(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o640)
    with pytest.raises(Error, match=r"saw the mode 0640, expected 0600.*chmod 600"):
        CallerSecrets.open(tmp_path)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(Error, match="is a directory"):
        CallerSecrets.open(tmp_path)
