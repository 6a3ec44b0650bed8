"""A store that was there is served as it was, or not at all."""

import errno
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from unittest.mock import patch

import pytest

from openimds.fleet.store import kept, opening, schema, sqlite, sqlite_file
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.opening import open_store
from openimds.fleet.store.port import EventBatch, LogEntry, StoreError, Write
from openimds.fleet.store.salvage import salvaged_path
from openimds.fleet.store.schema import STEPS, upgrade_notice
from openimds.fleet.store.sqlite_file import open_to_read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def opened(path: Path, *, is_recovery: bool = False) -> tuple[KeptStore, list[str]]:
    messages: list[str] = []
    return open_store(path, messages.append, is_recovery=is_recovery), messages


def put(store: KeptStore, name: str, body: bytes = b"{}") -> None:
    store.write([Write(name, body, "api")], "test", "now")


def names(store: KeptStore) -> list[str]:
    return [vm.name for vm in store.page("", 1000)]


def made(path: Path, vms: int = 3) -> None:
    store, messages = opened(path)
    with closing(store):
        for number in range(vms):
            put(store, f"vm-{number:03}", b"x" * 200)
    assert not messages


def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        opened(path)
    return str(caught.value)


WAYS_OUT = (
    "Restore it: openimds state restore FILE --state {folder}. Or go on with what is left: "
    "openimds serve --state-recover"
)


def test_first_start_makes_store_and_marker(path: Path) -> None:
    made(path)
    assert StoreMarker(path).seen() == Progress(change=3)
    store, messages = opened(path)
    with closing(store):
        assert names(store) == ["vm-000", "vm-001", "vm-002"]
    assert not messages


def test_store_from_before_the_marker_is_opened(path: Path) -> None:
    made(path)
    path.with_name("fleet.db.made").unlink()
    store, _ = opened(path)
    with closing(store):
        assert len(names(store)) == 3
    assert StoreMarker(path).seen() == Progress(change=3)


@pytest.mark.parametrize(
    "lose, fault",
    [(Path.unlink, "is missing"), (lambda path: path.write_bytes(b""), "is empty")],
)
def test_lost_store_is_refused_with_the_ways_out(
    path: Path, lose: Callable[[Path], object], fault: str
) -> None:
    made(path)
    lose(path)
    ways = WAYS_OUT.format(folder=path.parent)
    assert refused(path) == f"{path} {fault}, but fleet.db.made tells that it held a fleet. {ways}"
    # The refusal has made no store that the next start would take.
    assert fault in refused(path)


def test_lost_store_is_begun_anew_by_recovery(path: Path) -> None:
    made(path)
    path.unlink()
    store, messages = opened(path, is_recovery=True)
    with closing(store):
        assert names(store) == []
    assert messages == [
        f"{path} is missing: an empty store takes its place, as --state-recover asks"
    ]
    store, messages = opened(path)
    store.close()
    assert not messages


def killed(path: Path) -> None:
    """Leave a store as a killed process does: with a write-ahead log."""
    store, _ = opened(path)
    put(store, "late")
    copies = {file: file.read_bytes() for file in path.parent.iterdir()}
    store.close()
    for file, content in copies.items():
        file.write_bytes(content)


def test_killed_store_is_opened_with_its_log(path: Path) -> None:
    made(path)
    killed(path)
    store, _ = opened(path)
    with closing(store):
        assert names(store)[0] == "late"


def test_store_without_its_log_is_refused(path: Path) -> None:
    made(path)
    killed(path)
    path.with_name("fleet.db-wal").unlink()
    path.with_name("fleet.db-shm").unlink()
    text = refused(path)
    assert "is older than it was (change 3 and log entry 0, after change 4 and log entry 0)" in text
    assert text.endswith(WAYS_OUT.format(folder=path.parent))
    store, messages = opened(path, is_recovery=True)
    with closing(store):
        assert len(names(store)) == 3
    assert messages[0].endswith("It is served as it is, as --state-recover asks")
    opened(path)[0].close()


def test_log_that_another_program_has_written_back_is_no_loss(path: Path) -> None:
    made(path)
    killed(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.with_name("fleet.db-wal").unlink(missing_ok=True)
    store, _ = opened(path)
    with closing(store):
        assert names(store)[0] == "late"


def test_store_that_lacks_a_log_entry_is_refused(path: Path) -> None:
    store, _ = opened(path)
    content = None
    with closing(store):
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = path.read_bytes()
        store.write_events(EventBatch(log_entries=(LogEntry(0, "now", "test", "a", b"{}"),)))
    assert StoreMarker(path).seen() == Progress(0, 1)
    path.write_bytes(content)
    assert "change 0 and log entry 0, after change 0 and log entry 1" in refused(path)


@pytest.mark.parametrize("text", [b"", b"change 1", b"\x00" * 54])
def test_torn_marker_still_tells_that_there_was_a_store(path: Path, text: bytes) -> None:
    made(path)
    path.with_name("fleet.db.made").write_bytes(text)
    opened(path)[0].close()
    path.with_name("fleet.db.made").write_bytes(text)
    path.unlink()
    assert "is missing" in refused(path)


def test_cut_store_is_refused_or_the_same(path: Path) -> None:
    made(path, 300)
    whole, chance = path.read_bytes(), random.Random(20261130)
    for _ in range(40):
        path.write_bytes(whole[: chance.randrange(len(whole))])
        text = refused(path)
        assert "is damaged" in text or "is empty" in text, text
        assert "openimds state restore FILE" in text
        assert "openimds serve --state-recover" in text
    path.write_bytes(whole)
    opened(path)[0].close()


def test_recovery_keeps_readable_rows_and_raises_revisions(path: Path) -> None:
    made(path, 300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 8192 * 4096
    data[middle : middle + 4096] = b"\x5a" * 4096
    path.write_bytes(data)
    assert "is damaged" in refused(path)
    store, messages = opened(path, is_recovery=True)
    with closing(store):
        kept = names(store)
        assert len(kept) > 100
        assert {vm.body for vm in store.page("", 1000)} == {b"x" * 200}
        put(store, "new")
        new = store.get("new")
        assert new
        assert new.revision == 301
    assert f"{len(kept)} VMs could be read" in messages[0]
    moved = [file.name for file in path.parent.glob("fleet.db.2*")]
    assert messages[0].endswith(f"The damaged file is {moved[0]}")


def test_interrupted_recovery_is_begun_anew_by_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path, 300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 8192 * 4096
    data[middle : middle + 4096] = b"\x5a" * 4096
    path.write_bytes(data)

    def ended(damaged: Path, into: Path) -> int:
        into.write_bytes(b"")  # As far as a killed process may have come.
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "salvage", ended)
    with pytest.raises(KeyboardInterrupt):
        opened(path, is_recovery=True)
    monkeypatch.undo()
    store, messages = opened(path, is_recovery=True)
    with closing(store):
        assert len(names(store)) > 100
    assert "VMs could be read and are served" in messages[0]


def test_recovery_that_ends_before_its_last_step_is_completed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path, 300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 8192 * 4096
    data[middle : middle + 4096] = b"\x5a" * 4096
    path.write_bytes(data)
    ending = opening._end_recovery

    def ended(store: Path, marker: StoreMarker) -> None:
        if not store.exists():
            raise KeyboardInterrupt  # The damaged file was moved away, and the process killed.
        ending(store, marker)

    monkeypatch.setattr(opening, "_end_recovery", ended)
    with pytest.raises(KeyboardInterrupt):
        opened(path, is_recovery=True)
    monkeypatch.undo()
    assert not path.exists()
    store, _ = opened(path)
    with closing(store):
        assert len(names(store)) > 100


def test_salvage_in_an_unwritable_folder_is_an_error(path: Path) -> None:
    path.with_name("fleet-salvaged.db").write_bytes(b"")
    with patch.object(Path, "rename", side_effect=OSError(errno.EROFS, "Read-only file system")):
        assert refused(path) == f"{path}: read-only file system"


def test_other_file_is_refused_and_kept_by_recovery(path: Path) -> None:
    made(path)
    path.write_bytes(b"This is no database. " * 999)
    assert "is damaged (file is not a database)" in refused(path)
    store, messages = opened(path, is_recovery=True)
    with closing(store):
        assert names(store) == []
    assert "0 VMs could be read" in messages[0]
    assert any(b"no database" in file.read_bytes() for file in path.parent.glob("fleet.db.2*"))


def test_large_store_is_checked_beside_its_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path, 300)
    monkeypatch.setattr(opening, "MOST_CHECKED_BYTES", 1)
    store, _ = opened(path)
    assert [store.is_unchecked, store.check_beside(), store.is_unchecked] == [True, "", False]
    store.close()
    data = bytearray(path.read_bytes())
    data[-4096:] = b"\x5a" * 4096
    path.write_bytes(data)
    store, _ = opened(path)
    with closing(store):
        assert store.problem() == ""
        damage = store.check_beside()
        assert damage.startswith(f"{path} is damaged (")
        assert store.problem() == damage


def test_log_of_a_store_checked_beside_is_written_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path)
    monkeypatch.setattr(opening, "MOST_CHECKED_BYTES", 1)
    store, _ = opened(path)
    assert store.check_beside() == ""
    store.write([Write("later", b"{}", "api")], "test", "now")
    store.close()
    assert not path.with_name("fleet.db-wal").exists()


def test_check_beside_ends_with_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    begun, damages = Event(), list[str]()

    def endless(database: sqlite3.Connection) -> str:
        begun.set()
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            database.execute(f"{numbers} SELECT count(*) FROM n")
        return "interrupted"

    store, _ = opened(path)
    monkeypatch.setattr(kept, "_quick_check", endless)
    thread = Thread(target=lambda: damages.append(store.check_beside()))
    thread.start()
    assert begun.wait(30)
    store.close()
    thread.join(30)
    assert damages == [""]
    assert not path.with_name("fleet.db-wal").exists()


def test_check_of_a_closed_store_finds_nothing(path: Path) -> None:
    made(path)
    store, _ = opened(path)
    store.close()
    assert store.check_beside() == ""


def test_check_that_has_just_ended_is_not_interrupted(path: Path) -> None:
    made(path)
    store, _ = opened(path)
    store._beside = open_to_read(path)
    store._beside.close()
    store._ended.set()
    store.close()


def test_store_that_cannot_be_opened_beside_is_a_problem(path: Path) -> None:
    made(path)
    store, _ = opened(path)
    with closing(store):
        path.rename(path.with_name("moved"))
        assert "unable to open database file" in store.check_beside()
        path.with_name("moved").rename(path)


def test_refusing_disk_is_reported_at_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path)

    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise sqlite_file.explain(path, error) from error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "open_database", refuse)
        store, messages = opened(path)
    with closing(store):
        (message,) = messages
        assert message == (
            f"the stored fleet is served, but changes are refused: {path}: database or disk is "
            "full; free space on the disk; nothing was lost and nothing was changed"
        )
        store.write([Write("later", b"{}", "api")], "test", "now")
        assert not store.refusal


def test_first_start_on_a_full_disk_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise sqlite_file.explain(path, error) from error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "open_database", refuse)
        store, messages = opened(path)
    with closing(store):
        (message,) = messages
        assert message == (
            f"there is no store yet, and none can be made: {path}: database or disk is full; free "
            "space on the disk; nothing was lost and nothing was changed. The VMs of the start are "
            "served from memory, and changes are refused, until the disk takes a store"
        )
        put(store, "later")
        assert messages[1:] == [f"{path} is made, and changes are taken"]


def test_late_upgrade_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with patch.object(schema, "STEPS", STEPS[:-1]):
        made(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "sync", full)
        store, messages = opened(path)
        assert len(messages) == 1
    with closing(store):
        store.write([Write("later", b"{}", "api")], "test", "now")
    assert messages[1] == upgrade_notice(path, path.with_name(f"fleet-schema-{len(STEPS) - 1}.db"))


def test_salvage_of_before_takes_no_later_stores_place(path: Path) -> None:
    made(path)
    old = salvaged_path(path)
    old.write_bytes(path.read_bytes())
    store, _ = opened(path)
    with closing(store):
        put(store, "new")
    assert not old.exists()
    path.unlink()
    assert "is missing" in refused(path)
