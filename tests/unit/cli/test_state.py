"""`openimds state`: check, backup and restore."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from openimds.cli.state import command
from openimds.errors import Error
from openimds.fleet.store.history import PENDING
from openimds.fleet.store.opening import open_store
from openimds.fleet.store.port import EventBatch, StoreError, Write
from openimds.fleet.store.sqlite import SqliteStore
from openimds.fleet.store.state import State
from openimds.private_files import UntrustedFileError
from tests.unit.cli.runner import CliRunner


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENIMDS_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lab"
    put(folder, "a", b"{}")
    return folder


def put(folder: Path, name: str, body: bytes) -> None:
    state = State(folder)
    with closing(open_store(state.store_path, lambda _: None)) as store:
        store.write([Write(name, body, "api")], "test", "now")
    state.close()


def state(*words: str, code: int = 0) -> tuple[str, str]:
    ran = CliRunner().invoke(command, words)
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == code, ran.output
    return ran.stdout, ran.stderr


def test_check_of_a_sound_folder_tells_its_content(folder: Path) -> None:
    out, _ = state("check", "--state", "lab")
    assert out == f"{folder}/fleet.db: 1 VMs, change 1, log entry 0\n"
    out, _ = state("check", "--state", "lab", "--json")
    assert json.loads(out) == {"faults": [], "vms": 1, "change": 1, "logEntry": 0}


def test_check_lists_faults_and_fails(folder: Path) -> None:
    put(folder, "b", b"\xff")
    (folder / "fleet.db.made").write_text(f"change {9:020}\nlog {0:020}\n")
    out, _ = state("check", "--state", "lab", code=1)
    assert out.splitlines() == [
        "b cannot be read: put it again",
        f"{folder}/fleet.db has change 2 and log entry 0, expected 9 and 0: changes are missing",
    ]


def test_check_sees_lost_log_entries_behind_later_changes(folder: Path) -> None:
    put(folder, "b", b"{}")
    (folder / "fleet.db.made").write_text(f"change {1:020}\nlog {4:020}\n")
    out, _ = state("check", "--state", "lab", code=1)
    assert out.endswith("has change 2 and log entry 0, expected 1 and 4: changes are missing\n")


def test_backup_beside_a_server_is_restored_without_it(folder: Path) -> None:
    running = State(folder)
    _, err = state("backup", "copy", "--state", "lab")
    assert err == f"{folder.parent}/copy: 1 VMs, change 1, log entry 0\n"
    with pytest.raises(StoreError, match=f"in use by the process with pid {os.getpid()}; stop it"):
        state("restore", "copy", "--state", "lab")
    running.close()
    put(folder, "b", b"{}")
    _, err = state("restore", "copy", "--state", "lab")
    assert err == (
        f"{folder}/fleet.db: 1 VMs, change 1, log entry 0; the store of before is "
        f"{folder}/fleet.db.replaced\n"
    )
    out, _ = state("check", "--state", "lab")
    assert "1 VMs" in out


def test_restore_makes_a_missing_folder(folder: Path) -> None:
    state("backup", "copy", "--state", "lab")
    state("restore", "copy", "--state", "new")
    assert (folder.parent / "new").stat().st_mode & 0o777 == 0o700
    assert "1 VMs" in state("check", "--state", "new")[0]


@pytest.mark.parametrize("words", [("check",), ("backup", "copy"), ("restore", "copy")])
@pytest.mark.usefixtures("folder")
def test_commands_need_a_state_folder(words: tuple[str, ...]) -> None:
    with pytest.raises(Error, match="state: saw no folder, expected the one of the server"):
        state(*words)


@pytest.mark.parametrize("words", [("check",), ("backup", "copy")])
@pytest.mark.usefixtures("folder")
def test_missing_folder_is_an_error(words: tuple[str, ...]) -> None:
    with pytest.raises(Error, match="none: no such file or directory"):
        state(*words, "--state", "none")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lambda folder: folder.chmod(0o777), "saw the mode 0777"),
        (lambda folder: (folder / "a").symlink_to("b"), "saw a symbolic link"),
    ],
)
def test_folder_that_others_may_change_is_refused(
    folder: Path, spoil: Callable[[Path], object], fault: str
) -> None:
    spoil(folder)
    for words in (("check",), ("backup", "copy")):
        with pytest.raises(UntrustedFileError, match=fault):
            state(*words, "--state", "lab")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root has others' files")
def test_root_restores_for_the_owner_of_the_folder(folder: Path) -> None:
    state("backup", "copy", "--state", "lab")
    for path in (folder, *folder.iterdir()):
        os.chown(path, 54321, 54321)
    state("check", "--state", "lab")
    state("restore", "copy", "--state", "lab")
    assert {path.stat().st_uid for path in folder.iterdir()} == {54321}


def rows(folder: Path) -> tuple[int, bytes | None]:
    """Return the number of kept changes, and the mark of a store that waits."""
    with closing(SqliteStore(folder / "fleet.db")) as store:
        return len(store.changes(0, 100)), store.value(PENDING)


def age(folder: Path) -> None:
    """Make the changes old, as those of an earlier release."""
    with closing(SqliteStore(folder / "fleet.db")) as store:
        store._db.execute("UPDATE change SET at = '2020-01-01T00:00:00.000+00:00'")
        store.write_events(EventBatch(values={PENDING: b""}))


def test_prune_deletes_old_changes_at_once(folder: Path) -> None:
    put(folder, "b", b"{}")
    age(folder)
    put(folder, "c", b"{}")
    out, _ = state("prune", "--dry-run", "--state", "lab")
    assert out == f"{folder}/fleet.db: 2 changes and 0 event log entries to delete\n"
    assert rows(folder) == (3, b"")
    out, _ = state("prune", "--json", "--state", "lab")
    assert json.loads(out) == {"changes": 2, "events": 0, "dryRun": False}
    assert rows(folder) == (1, None)
    out, _ = state("check", "--state", "lab")
    assert out == f"{folder}/fleet.db: 3 VMs, change 3, log entry 0\n"


def test_prune_runs_beside_a_server(folder: Path) -> None:
    age(folder)
    locked = State(folder)
    with closing(open_store(locked.store_path, lambda _: None)) as store:
        state("prune", "--state", "lab")
        assert store.changes(0, 9) == []
        assert store.write([Write("b", b"{}", "api")], "test", "now")[0].revision == 2
    locked.close()


def test_prune_of_an_earlier_store_names_the_remedy(folder: Path) -> None:
    with closing(SqliteStore(folder / "fleet.db")) as store:
        store._db.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreError, match=r"saw schema 4, .* start a server of this release"):
        state("prune", "--state", "lab")


def test_backup_ends_the_wait_of_an_earlier_history(folder: Path) -> None:
    age(folder)
    assert rows(folder) == (1, b"")
    state("backup", "copy.db", "--state", "lab")
    assert rows(folder) == (1, None)
