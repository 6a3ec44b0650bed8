import errno
import os
import secrets
from pathlib import Path

import pytest

from openimds import private_files
from openimds.admin.token import AdminToken, TokenError, token_digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "admin-token"


def text(path: Path) -> str:
    return path.read_text().strip()


def test_token_is_made_once_for_its_owner_alone(path: Path) -> None:
    token = AdminToken(path)
    made = text(path)
    assert len(made) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert token.fits(made)
    assert AdminToken(path).fits(made)
    assert text(path) == made


@pytest.mark.parametrize("offered", ["", "x", "Ünicode", "token ", "TOKEN", "token\n"])
def test_other_text_does_not_fit(path: Path, offered: str) -> None:
    token = AdminToken(path)
    path.write_text("token\n")
    assert token.fits("token")
    assert not token.fits(offered)


def test_tokens_are_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    token = AdminToken(path)
    monkeypatch.setattr(secrets, "compare_digest", compare)
    assert not token.fits(text(path))
    assert compared == [(token_digest(text(path)),) * 2]


def test_replaced_file_rotates_the_token(path: Path) -> None:
    token = AdminToken(path)
    old = text(path)
    new = path.with_name("new")
    new.write_text("mine")
    new.chmod(0o600)
    new.replace(path)
    assert token.fits("mine")
    assert not token.fits(old)


def test_rotation_makes_another_token(path: Path) -> None:
    token = AdminToken(path)
    old = text(path)
    # What a rotation that was cut short has left is in nobody's way.
    path.with_name(f"admin-token.{os.getpid()}").write_text("left")
    token.rotate()
    assert text(path) != old
    assert token.fits(text(path))
    assert not token.fits(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["admin-token"]


def test_failed_rotation_leaves_the_old_token(path: Path) -> None:
    token = AdminToken(path)
    old = text(path)
    path.with_name(f"admin-token.{os.getpid()}").mkdir()
    with pytest.raises(TokenError, match="is a directory; remove the file and restart"):
        token.rotate()
    assert token.fits(old)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_token_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    AdminToken(path)
    path.chmod(mode)
    with pytest.raises(TokenError) as caught:
        AdminToken(path)
    assert str(caught.value) == (
        f"admin token {path}: mode {mode:o} lets others read it; remove the file and restart to "
        "get a new token"
    )


@pytest.mark.parametrize(
    "content, fault", [(b"", "it is empty"), (b" \n", "it is empty"), (b"\xff", "codec can't")]
)
def test_token_file_without_a_token_is_refused(path: Path, content: bytes, fault: str) -> None:
    token = AdminToken(path)
    path.write_bytes(content)
    for use in (lambda: AdminToken(path), lambda: token.fits("")):
        with pytest.raises(TokenError, match=fault):
            use()


def test_missing_token_file_is_an_error(path: Path) -> None:
    token = AdminToken(path)
    path.unlink()
    with pytest.raises(TokenError, match="no such file"):
        token.fits("x")


@pytest.mark.parametrize("call", ["open", "fdopen", "mkdir", "link"])
def test_full_disk_leaves_no_token_until_it_has_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        token = AdminToken(path)
        assert token.look() == (
            f"admin token {path}: no space left on device; guests are served, but requests that "
            "need a token are refused until the disk takes the file: free space on it, or mount "
            "it for writing"
        )
        assert not token.fits("")
        assert not path.parent.exists() or not [*path.parent.iterdir()]
        assert token.is_lacking
    assert token.look() == ""
    assert token.fits(text(path))
    assert not token.fits("")
    assert token.is_lacking is False


def test_file_planted_for_a_lacking_token_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        token = AdminToken(path)
    path.write_text("planted")
    path.chmod(0o644)
    assert "mode 644 lets others read it; remove the file" in token.look()
    assert not token.fits("planted")
    path.unlink()
    assert token.look() == ""
    assert token.fits(text(path))


def test_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in ("file", "file/below"):
        with pytest.raises(TokenError, match=r"(not a|a plain file instead of its) directory"):
            AdminToken(tmp_path / where / "admin-token")


def test_token_of_a_quicker_server_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AdminToken(path)
    made = text(path)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    assert AdminToken(path).fits(made)
    assert text(path) == made


def test_unchanged_token_file_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = AdminToken(path)
    made = text(path)

    def read(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(private_files, "read", read)
    assert token.fits(made)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        token.fits(made)


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_token_that_others_may_read_is_reported_and_still_fits(tmp_path: Path) -> None:
    token = AdminToken(tmp_path / "admin-token")
    text = token.path.read_text().strip()
    assert token.look() == ""
    token.path.chmod(0o644)
    assert token.look() == (
        f"admin token {token.path}: mode 644 lets others read it. Type chmod 600 {token.path}, "
        "then openimds token rotate"
    )
    assert token.fits(text)
    token.path.chmod(0o600)
    assert token.look() == ""
    token.path.unlink()
    assert token.look() == ""
