"""A store whose disk takes no changes is still read."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from openimds.fleet.store import kept, schema, sqlite, sqlite_file
from openimds.fleet.store.kept import START, KeptStore
from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.port import (
    AppliedFile,
    ConflictError,
    EventBatch,
    LogEntry,
    StoreError,
    Write,
)
from openimds.fleet.store.schema import STEPS
from openimds.fleet.store.sqlite import SqliteStore


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path, seconds: Seconds) -> Iterator[KeptStore]:
    store = KeptStore(path, StoreMarker(path), seconds)
    store.begin()
    with closing(store):
        yield store


def put(store: KeptStore, name: str, body: bytes = b"{}", expected: int | None = None) -> None:
    store.write([Write(name, body, "api", expected)], "test", "now")


def fill(store: KeptStore) -> None:
    """Give the file no further page, as a full disk does."""
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")


def free(store: KeptStore) -> None:
    store._db.execute("PRAGMA max_page_count = 1000000")


def test_full_disk_refuses_changes_and_is_read(store: KeptStore, seconds: Seconds) -> None:
    put(store, "a")
    assert store.problem() == ""
    fill(store)
    with pytest.raises(StoreError, match="database or disk is full; free space on the disk"):
        put(store, "b", b"x" * 99_999)
    assert store.get("a")
    assert "disk is full" in store.problem()
    free(store)
    seconds.now = 10
    assert store.problem() == ""
    put(store, "b", b"x" * 99_999)


def test_refusal_ends_with_the_next_change(store: KeptStore) -> None:
    fill(store)
    with pytest.raises(StoreError):
        put(store, "b", b"x" * 99_999)
    free(store)
    put(store, "b", b"x" * 99_999)
    assert store._reason == ""


def test_attempts_for_readiness_are_a_second_apart(
    store: KeptStore, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    with pytest.raises(StoreError):
        put(store, "b", b"x" * 99_999)
    attempts: list[float] = []
    probe = store._probe

    def counted() -> None:
        attempts.append(seconds.now)
        fill(store)
        probe()
        store._reason = "full"

    monkeypatch.setattr(store, "_probe", counted)
    for now in (5.0, 5.5, 5.99, 6.0, 6.5, 7.25):
        seconds.now = now
        assert store.problem()
    assert attempts == [5.0, 6.0, 7.25]


def test_conflict_is_no_problem_of_the_disk(store: KeptStore) -> None:
    with pytest.raises(ConflictError):
        put(store, "a", expected=7)
    assert store.problem() == ""


def test_damage_stays_a_problem(store: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise sqlite_error("SQLITE_CORRUPT", "database disk image is malformed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_make", damaged)
        with pytest.raises(StoreError, match="the file is damaged"):
            put(store, "a")
    put(store, "a")
    assert "the file is damaged" in store.problem()


def test_read_of_a_damaged_page_is_a_problem(path: Path, seconds: Seconds) -> None:
    store = KeptStore(path, StoreMarker(path), seconds)
    for number in range(300):
        put(store, f"vm-{number:03}", b"x" * 500)
    store.close()
    data = bytearray(path.read_bytes())
    data[-8192:] = b"\x5a" * 8192
    path.write_bytes(data)
    with closing(KeptStore(path, StoreMarker(path), seconds)) as store:
        assert store.problem() == ""
        with pytest.raises(StoreError, match="the file is damaged"):
            store.page("", 1000)
        assert "the file is damaged" in store.problem()


def test_marker_has_every_acknowledged_number(store: KeptStore, path: Path) -> None:
    put(store, "a")
    put(store, "b")
    store.write_events(EventBatch(log_entries=(LogEntry(0, "now", "test", "e", b"{}"),)))
    put(store, "c")
    seen = StoreMarker(path).seen()
    assert seen
    assert (seen.change, seen.log) == (3, 1)


def sqlite_error(name: str, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = name
    return error


@pytest.fixture
def no_writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let no store be opened for changes."""

    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite_error("SQLITE_IOERR_SHMSIZE", "disk I/O error")
        raise sqlite_file.explain(path, error) from error

    with monkeypatch.context() as patched:
        for module in (sqlite, kept):
            patched.setattr(module, "open_database", refuse)
        yield patched


@pytest.fixture
def stored(path: Path) -> None:
    store = KeptStore(path, StoreMarker(path))
    store.begin()
    put(store, "a")
    store.close()


@pytest.mark.usefixtures("stored", "no_writing")
def test_store_that_cannot_be_written_is_opened_to_read(path: Path) -> None:
    with closing(KeptStore(path, StoreMarker(path))) as store:
        assert store.get("a")
        assert "disk I/O error" in store.problem()
        with pytest.raises(StoreError, match="disk I/O error"):
            put(store, "b")


def test_store_opened_to_read_is_written_once_it_can_be(
    path: Path, stored: None, no_writing: pytest.MonkeyPatch
) -> None:
    with closing(KeptStore(path, StoreMarker(path))) as store:
        no_writing.undo()
        put(store, "b")
        assert store.problem() == ""
        assert [vm.name for vm in store.page("", 9)] == ["a", "b"]


@pytest.mark.usefixtures("no_writing")
def test_lost_store_cannot_be_opened_to_read(path: Path) -> None:
    StoreMarker(path).replace(Progress(3))
    with pytest.raises(StoreError, match="disk I/O error"):
        KeptStore(path, StoreMarker(path))


def start(store: KeptStore, name: str) -> None:
    """Write a change as the start of a server does."""
    store.write([Write(name, b"{}", "file")], START, "now", AppliedFile("file", b"text", {}))


@pytest.mark.parametrize("content", ["missing", "empty", "no table"])
def test_first_store_is_in_memory_until_the_disk_takes_it(
    path: Path, no_writing: pytest.MonkeyPatch, content: str
) -> None:
    if content == "empty":
        path.touch()
    if content == "no table":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size
    with closing(KeptStore(path, StoreMarker(path))) as store:
        made: list[bool] = []
        store.on_made = lambda: made.append(store.is_unmade)
        store.begin()
        start(store, "a")
        assert store.refusal == store.problem() != ""
        with pytest.raises(StoreError, match="disk I/O error"):
            put(store, "b")
        assert (store.revision(), store.is_unmade) == (1, True)
        assert StoreMarker(path).seen() is None, "the next start is a first one, too"
        no_writing.undo()
        put(store, "b")
        assert (store.problem(), made) == ("", [False])
    assert StoreMarker(path).seen() == Progress(2)
    with closing(KeptStore(path, StoreMarker(path))) as store:
        assert [(vm.name, vm.revision) for vm in store.page("", 9)] == [("a", 1), ("b", 2)]
        assert store.applied_text("file") == b"text"


def test_first_store_that_does_not_fit_leaves_no_part(
    path: Path, no_writing: pytest.MonkeyPatch
) -> None:
    with closing(KeptStore(path, StoreMarker(path))) as store:
        store.begin()
        start(store, "a")
        no_writing.undo()

        def small(path: Path) -> sqlite3.Connection:
            database = sqlite_file.open_database(path)
            database.execute("PRAGMA max_page_count = 2")
            return database

        with no_writing.context() as patched:
            patched.setattr(kept, "open_database", small)
            with pytest.raises(StoreError, match="disk is full"):
                put(store, "b")
        assert store.get("a")
        assert store.is_unmade
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_unreadable_file_is_no_first_store(path: Path, no_writing: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"This is no database at all. " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        KeptStore(path, StoreMarker(path))


@pytest.mark.usefixtures("stored", "no_writing")
@pytest.mark.parametrize("steps", [0, len(STEPS) + 1])
def test_store_of_another_program_is_not_opened_to_read(path: Path, steps: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {steps}")
    with pytest.raises(StoreError, match="disk I/O error"):
        KeptStore(path, StoreMarker(path))


@pytest.fixture
def older(path: Path) -> None:
    """Make a store with all but the last two steps of the schema."""
    with patch.object(schema, "STEPS", STEPS[:-2]), closing(SqliteStore(path)) as store:
        store.write([Write("a", b"{}", "file")], "test", "now")


def served_from_memory(path: Path, heal: Callable[[], None]) -> None:
    """Serve an older store on a disk that refuses its copy until it is healed."""
    with closing(KeptStore(path, StoreMarker(path))) as store:
        copies: list[Path] = []
        store.on_upgrade = copies.append
        store.begin()
        assert store.get("a")
        assert store.applied_entry("a"), "the schema is that of this release"
        assert store.refusal == store.problem() != ""
        with pytest.raises(StoreError):
            put(store, "b")
        assert store.revision() == 1
        assert not path.with_name(f"fleet-schema-{len(STEPS) - 2}.db.new").is_file()
        heal()
        put(store, "b")
        assert store.problem() == ""
        assert copies == [path.with_name(f"fleet-schema-{len(STEPS) - 2}.db")]
    with closing(KeptStore(path, StoreMarker(path))) as store:
        assert [vm.name for vm in store.page("", 9)] == ["a", "b"]
        assert store.copied_to is None


@pytest.mark.usefixtures("older")
def test_older_store_is_served_while_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "sync", full)
        served_from_memory(path, patched.undo)


@pytest.mark.usefixtures("older")
def test_older_store_is_served_while_sqlite_finds_no_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = schema._copy

    def full(*arguments: Any) -> Path:
        real(*arguments).unlink()
        raise sqlite_error("SQLITE_FULL", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "_copy", full)
        served_from_memory(path, patched.undo)


@pytest.mark.usefixtures("older")
def test_copy_of_an_older_store_is_removed_on_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise sqlite_error("SQLITE_FULL", "database or disk is full")

    with monkeypatch.context() as patched, closing(sqlite3.connect(path)) as database:
        patched.setattr("openimds.fleet.store.schema.sqlite3.connect", connect)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            schema.bring_up_to_date(database, path)
    assert [file.name for file in path.parent.iterdir()] == ["fleet.db"]


@pytest.mark.usefixtures("older")
def test_large_older_store_is_not_read_into_memory(
    path: Path, no_writing: pytest.MonkeyPatch
) -> None:
    no_writing.setattr(kept, "MOST_COPIED_BYTES", 4096)
    with pytest.raises(StoreError, match=r"disk I/O error.* of more than 0 MiB is not served"):
        KeptStore(path, StoreMarker(path))


@pytest.mark.usefixtures("older")
def test_damaged_older_store_is_not_served(path: Path, no_writing: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise sqlite_error("SQLITE_CORRUPT", "database disk image is malformed")

    no_writing.setattr(kept, "take_steps", damaged)
    with pytest.raises(StoreError, match="the file is damaged"):
        KeptStore(path, StoreMarker(path))


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="this system has no statvfs")
@pytest.mark.parametrize(
    "status, reason",
    [
        ({}, ""),
        ({"f_flag": 1}, "its file system is read-only"),
        ({"f_bavail": 3, "f_bfree": 3}, "the disk is full"),
        ({"f_blocks": 0, "f_bavail": 0, "f_bfree": 0}, ""),
    ],
)
def test_disk_is_looked_at_before_a_change_fails(
    store: KeptStore, monkeypatch: pytest.MonkeyPatch, status: dict[str, int], reason: str
) -> None:
    usual: dict[str, Any] = {
        "f_flag": 0,
        "f_blocks": 999,
        "f_bavail": 99,
        "f_bfree": 99,
        "f_frsize": 4096,
    }
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**{**usual, **status}))
    assert (reason in store.problem()) is True
    assert bool(reason) is bool(store.problem())


def test_store_that_appears_after_the_start_is_kept(
    path: Path, no_writing: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(KeptStore(path, StoreMarker(path))) as store:
        store.begin()
        start(store, "a")
        no_writing.undo()
        other = tmp_path / "other.db"
        with closing(KeptStore(other, StoreMarker(other))) as restored:
            restored.begin()
            put(restored, "restored")
        path.write_bytes(other.read_bytes())
        with pytest.raises(StoreError, match="a store has appeared"):
            put(store, "b")
    with closing(KeptStore(path, StoreMarker(path))) as store:
        assert [vm.name for vm in store.page("", 9)] == ["restored"]
