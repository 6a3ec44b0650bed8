import os
import subprocess
import sys
from pathlib import Path

import pytest

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.state import (
    ADMIN_PORT,
    State,
    default_folder,
    remove_token,
    token_names,
    token_path,
)
from openimds.settings import setting


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_state_directory_is_private_to_its_owner(tmp_path: Path) -> None:
    state = State(tmp_path / "a" / "b")
    assert state.folder == tmp_path / "a" / "b"
    assert state.store_path == tmp_path / "a" / "b" / "fleet.db"
    assert mode(state.folder) == 0o700
    assert mode(state.folder / "lock") == 0o600
    state.close()


def test_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(StoreError) as caught:
        State(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: in use by the process with pid {os.getpid()}; stop it first, or choose "
        "another --state"
    )
    # The refused process has changed nothing.
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state.close()
    State(tmp_path).close()


def test_holder_without_a_pid_is_unknown(tmp_path: Path) -> None:
    state = State(tmp_path)
    os.truncate(tmp_path / "lock", 0)
    with pytest.raises(StoreError, match="with pid unknown; stop it first"):
        State(tmp_path)
    state.close()


def test_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from openimds.fleet.store.state import State\n"
        "state = State(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert (tmp_path / "lock").read_text() != ""
    state = State(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state.close()


def test_longer_previous_pid_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789012345\n")
    state = State(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state.close()


@pytest.mark.parametrize(
    "where, reason",
    [("file", "file exists"), ("file/below", "not a directory"), ("locked", "is a directory")],
)
def test_unusable_folder_is_rejected(tmp_path: Path, where: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "locked" / "lock").mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        State(tmp_path / where)
    assert (
        str(caught.value) == f"{tmp_path / where}: {reason}; choose a writable folder with --state"
    )


def test_default_folder_is_below_the_users_state_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "openimds"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for nothing in ("", None):
        monkeypatch.delenv("XDG_STATE_HOME")
        if nothing is not None:
            monkeypatch.setenv("XDG_STATE_HOME", nothing)
        assert default_folder() == tmp_path / "home" / ".local" / "state" / "openimds"
        monkeypatch.setenv("XDG_STATE_HOME", "x")


@pytest.mark.parametrize(
    "host, port, names",
    [
        ("127.0.0.1", 8170, ("admin-token",)),
        ("localhost", 8170, ("admin-token",)),
        ("0.0.0.0", 9000, ("admin-token-9000", "admin-token")),
        ("::1", 9000, ("admin-token-9000", "admin-token")),
        ("127.0.0.2", 8170, ("admin-token-127.0.0.2-8170", "admin-token")),
        ("Imds.example", 9, ("admin-token-imds.example-9", "admin-token-9", "admin-token")),
        ("fd00::1", 9, ("admin-token-fd00__1-9", "admin-token-9", "admin-token")),
    ],
)
def test_token_file_has_the_name_of_its_port(host: str, port: int, names: tuple[str, ...]) -> None:
    assert token_names(host, port) == names


def test_port_of_the_plain_name_is_that_of_the_setting() -> None:
    assert setting("admin").default == f"127.0.0.1:{ADMIN_PORT}"


def test_token_file_is_found_by_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    folder = default_folder()
    assert token_path("http://127.0.0.1:8170") == folder / "admin-token"
    assert token_path("https://[::1]:9") == folder / "admin-token-9"


def test_token_file_that_cannot_be_removed_stays(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    remove_token(tmp_path / "token")
    assert not (tmp_path / "token").exists()
    remove_token(tmp_path / "token")
