import os
import secrets
from pathlib import Path

import pytest

from openimds.admin.token import AdminToken, TokenError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "admin-token"


def text(path: Path) -> str:
    return path.read_text().strip()


def test_it_is_made_once_for_its_owner_alone(path: Path) -> None:
    token = AdminToken(path)
    made = text(path)
    assert len(made) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert token.fits(made)
    assert AdminToken(path).fits(made)
    assert text(path) == made


@pytest.mark.parametrize("offered", ["", "x", "Ünicode", "token ", "TOKEN", "token\n"])
def test_only_the_token_fits(path: Path, offered: str) -> None:
    token = AdminToken(path)
    path.write_text("token\n")
    assert token.fits("token")
    assert not token.fits(offered)


def test_tokens_are_compared_in_a_time_that_tells_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    token = AdminToken(path)
    monkeypatch.setattr(secrets, "compare_digest", compare)
    assert not token.fits(text(path))
    assert compared == [(text(path).encode(),) * 2]


def test_whoever_replaces_the_file_has_rotated_the_token(path: Path) -> None:
    token = AdminToken(path)
    old = text(path)
    new = path.with_name("new")
    new.write_text("mine")
    new.chmod(0o600)
    new.replace(path)
    assert token.fits("mine")
    assert not token.fits(old)


def test_rotating_makes_another_one(path: Path) -> None:
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


def test_a_rotation_that_fails_leaves_the_old_token(path: Path) -> None:
    token = AdminToken(path)
    old = text(path)
    path.with_name(f"admin-token.{os.getpid()}").mkdir()
    with pytest.raises(TokenError, match="is a directory; remove it and start again"):
        token.rotate()
    assert token.fits(old)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    AdminToken(path)
    path.chmod(mode)
    with pytest.raises(TokenError) as caught:
        AdminToken(path)
    assert str(caught.value) == (
        f"{path}: mode {mode:o} lets others read it; remove it and start again, and a new token "
        "is made"
    )


@pytest.mark.parametrize(
    "content, said", [(b"", "it is empty"), (b" \n", "it is empty"), (b"\xff", "codec can't")]
)
def test_a_file_without_a_token_is_refused(path: Path, content: bytes, said: str) -> None:
    token = AdminToken(path)
    path.write_bytes(content)
    for use in (lambda: AdminToken(path), lambda: token.fits("")):
        with pytest.raises(TokenError, match=said):
            use()


def test_a_file_that_has_gone_is_said(path: Path) -> None:
    token = AdminToken(path)
    path.unlink()
    with pytest.raises(TokenError, match="no such file"):
        token.fits("x")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in ("file", "file/below"):
        with pytest.raises(TokenError, match=r"(not a|a plain file instead of its) directory"):
            AdminToken(tmp_path / where / "admin-token")


def test_another_server_that_was_quicker_has_made_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AdminToken(path)
    made = text(path)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self != path and exists(self))
    assert AdminToken(path).fits(made)
    assert text(path) == made


def test_looking_costs_no_reading_while_the_file_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = AdminToken(path)
    made = text(path)

    def read(*_: object) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(Path, "read_text", read)
    assert token.fits(made)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        token.fits(made)
