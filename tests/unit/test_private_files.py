"""Files of the state folder: owner, mode, kind and links."""

import os
import re
import socket
import threading
from pathlib import Path

import pytest

from openimds import private_files
from openimds.admin.token import AdminToken, TokenError
from openimds.credentials.keys.files import KeyFileError, new_key, read_key, write_key
from openimds.credentials.tokens.caller_secrets import CallerSecrets, SecretFileError
from openimds.errors import ConfigError
from openimds.fleet.store.sqlite import SqliteStore
from openimds.fleet.store.state import State
from openimds.private_files import UntrustedFileError, exposed_bits

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no owners by number")
OTHER = 54321


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    trusted: set[int] = set()
    monkeypatch.setattr(private_files, "_trusted_groups", trusted)
    return trusted


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make a path look as one of another user; return the user's number."""
    if os.geteuid() == 0:
        os.chown(path, OTHER, -1, follow_symlinks=False)
        return OTHER
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    return owner


def test_planted_lock_link_truncates_no_file(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "state"
    victim.write_text("precious")
    folder.mkdir(mode=0o700)
    (folder / "lock").symlink_to(victim)
    with pytest.raises(UntrustedFileError, match="lock: saw a symbolic link, expected a plain"):
        State(folder)
    assert victim.read_text() == "precious"


def test_hard_link_as_lock_truncates_no_file(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "state"
    victim.write_text("precious")
    victim.chmod(0o600)
    folder.mkdir(mode=0o700)
    (folder / "lock").hardlink_to(victim)
    with pytest.raises(UntrustedFileError, match="lock: saw a file with 2 names"):
        State(folder)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", [".", "lock", "admin-token", "fleet.db", "keys/a.pem", "keys"])
def test_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "state"
    (folder / "keys").mkdir(parents=True, mode=0o700)
    for file in ("lock", "admin-token", "fleet.db", "keys/a.pem"):
        (folder / file).touch(mode=0o600)
    owner = give_away(folder / name, monkeypatch)
    with pytest.raises(UntrustedFileError) as caught:
        State(folder)
    text = str(caught.value)
    assert f"belongs to user {owner}, expected user {os.geteuid()} or root" in text
    assert f"Type chown {os.geteuid()} " in text


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_folder_that_others_may_write_is_refused(
    tmp_path: Path, groups: set[int], mode: int
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UntrustedFileError) as caught:
        State(folder)
    text = str(caught.value)
    assert text.startswith(f"{folder}: saw the mode {mode:04o}, expected no other user who may")
    assert f"Type chmod go-w {folder}, or name a new folder below it: --state {folder}/st" in text
    assert ("--state-group" in text) is (mode == 0o770)


def test_state_group_gives_its_group_access(tmp_path: Path, groups: set[int]) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o2770)
    (folder / "fleet.db").touch()
    (folder / "fleet.db").chmod(0o660)
    with pytest.raises(UntrustedFileError):
        State(folder)
    State(folder, str(folder.stat().st_gid)).close()
    folder.chmod(0o2772)
    with pytest.raises(UntrustedFileError, match="saw the mode 2772"):
        State(folder)


def test_unknown_state_group_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='state_group: saw "no-such-group", expected a group'):
        State(tmp_path, "no-such-group")


@pytest.mark.parametrize("name", ["fleet.db", "fleet-schema-2.db", "fleet-salvaged.db-wal"])
def test_store_that_others_can_read_is_refused(tmp_path: Path, name: str) -> None:
    State(tmp_path).close()
    SqliteStore(tmp_path / name).close()
    (tmp_path / name).chmod(0o640)
    with pytest.raises(UntrustedFileError, match=rf"{name}: saw the mode 0640, expected 0600"):
        State(tmp_path)


def test_copy_of_a_store_with_two_names_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "fleet-schema-2.db").close()
    (tmp_path / "other").hardlink_to(tmp_path / "fleet-schema-2.db")
    with pytest.raises(UntrustedFileError, match=r"fleet-schema-2\.db: saw a file with 2 names"):
        State(tmp_path)


def test_store_and_files_beside_it_are_its_owners(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = SqliteStore(tmp_path / "fleet.db")
        files = [tmp_path / f"fleet.db{ending}" for ending in ("", "-wal", "-shm")]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
        store.close()
    finally:
        os.umask(before)


def test_plain_files_and_sockets_in_the_folder_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {}")
    (tmp_path / "fleet.yaml").chmod(0o644)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "web.sock"))
        State(tmp_path).close()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_other_kinds_of_files_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "state"
    AdminToken(folder / "admin-token")
    (folder / "admin-token").unlink()
    if kind == "link":
        (tmp_path / "known").write_text("known")
        (folder / "admin-token").symlink_to(tmp_path / "known")
    elif kind == "pipe":
        os.mkfifo(folder / "admin-token", 0o600)
    else:
        (folder / "admin-token").mkdir()
    with pytest.raises((TokenError, UntrustedFileError), match="admin-token"):
        AdminToken(folder / "admin-token")


def test_token_planted_while_running_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = AdminToken(tmp_path / "admin-token")
    (tmp_path / "known").write_text("known")
    (tmp_path / "known").chmod(0o600)
    give_away(tmp_path / "known", monkeypatch)
    (tmp_path / "known").replace(tmp_path / "admin-token")
    with pytest.raises(TokenError, match="belongs to user"):
        token.fits("known")


def test_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "own.pem", new_key())
    read_key(tmp_path / "own.pem")
    (tmp_path / "a.pem").symlink_to(tmp_path / "own.pem")
    with pytest.raises(KeyFileError, match="a symbolic link, expected a plain file"):
        read_key(tmp_path / "a.pem")


def test_secret_in_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "caller-secret", 0o600)
    found: list[BaseException] = []

    def read() -> None:
        try:
            CallerSecrets.open(tmp_path)
        except SecretFileError as error:
            found.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert re.search("a named pipe, expected a plain file", str(found[0]))


def test_file_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert private_files.read(tmp_path / "a", 5)[0] == b"12345"
    with pytest.raises(UntrustedFileError, match="saw more than 4 bytes"):
        private_files.read(tmp_path / "a", 4)


def test_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_files.write(tmp_path / "a", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        private_files.write(tmp_path / "a", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize(
    "owner, group, mode, bits",
    [
        (0, 0, 0o440, 0),
        (0, 0, 0o460, 0o020),
        (0, 0, 0o444, 0o004),
        (0, 7, 0o440, 0o040),
        (7, 0, 0o440, 0o040),
        (7, 7, 0o400, 0),
    ],
)
def test_credential_of_systemd_is_no_exposed_secret(
    owner: int, group: int, mode: int, bits: int
) -> None:
    status = os.stat_result((0o100000 | mode, 1, 1, 1, owner, group, 64, 0, 0, 0))
    assert exposed_bits(status) == bits
