import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from openimds.fleet.store import schema
from openimds.fleet.store.history import PENDING
from openimds.fleet.store.port import AppliedEntry, ConflictError, Log, StoreError, Write
from openimds.fleet.store.schema import STEPS, upgrade_notice
from openimds.fleet.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path)) as opened:
        put(opened, "a", b"1")
        yield opened


def put(store: SqliteStore, name: str, body: bytes | None) -> None:
    store.write([Write(name, body, "api")], "tester", "now")


def state(store: SqliteStore) -> object:
    return store.page("", 99), store.changes(0, 99), store.revision()


def test_every_commit_is_synced_to_disk(store: SqliteStore) -> None:
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    full = 2
    assert store._db.execute("PRAGMA synchronous").fetchone() == (full,)


def test_file_records_its_schema_steps(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (len(STEPS),)


def test_later_schema_is_rejected_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert str(caught.value) == (
        f"{path}: written by a later release (schema {len(STEPS) + 1}, this one supports "
        f"{len(STEPS)}); use that release"
    )
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_other_file_is_rejected_and_left_alone(path: Path) -> None:
    text = b"This is no database at all. " * 100
    path.write_bytes(text)
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    assert str(caught.value) == (
        f"{path}: file is not a database; this is not a store of OpenIMDS: restore a backup "
        "(openimds state restore FILE), or keep what can be read (openimds serve --state-recover)"
    )
    assert path.read_bytes() == text


def test_damaged_file_is_reported(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        for number in range(500):
            put(store, f"vm-{number:03}", b"x" * 200)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught, closing(SqliteStore(path)) as store:
        state(store)
    assert str(caught.value) == (
        f"{path}: database disk image is malformed; the file is damaged: restore a backup "
        "(openimds state restore FILE), or keep what can be read (openimds serve --state-recover)"
    )


@pytest.mark.parametrize("where", ["none/fleet.db", "file/fleet.db", "folder"])
def test_unopenable_path_is_rejected(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / where)
    assert str(caught.value) == (
        f"{tmp_path / where}: unable to open database file; the folder must exist and be writable"
    )


def test_full_disk_loses_and_changes_nothing(store: SqliteStore, path: Path) -> None:
    before = state(store)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    batch = [Write("a", None, "api"), Write("b", b"x" * 100_000, "api")]
    with pytest.raises(StoreError) as caught:
        store.write(batch, "tester", "now")
    assert str(caught.value) == (
        f"{path}: database or disk is full; free space on the disk; nothing was lost and nothing "
        "was changed"
    )
    assert state(store) == before
    store._db.execute("PRAGMA max_page_count = 100000")
    store.write(batch, "tester", "now")
    assert [vm.name for vm in store.page("", 9)] == ["b"]


def test_read_only_file_is_not_changed(store: SqliteStore, path: Path) -> None:
    before = state(store)
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError) as caught:
        put(store, "b", b"1")
    assert str(caught.value) == (
        f"{path}: attempt to write a readonly database; make the file and its folder writable; "
        "nothing was changed"
    )
    assert state(store) == before
    store._db.execute("PRAGMA query_only = OFF")
    put(store, "b", b"1")


def test_locked_file_is_not_changed(store: SqliteStore, path: Path) -> None:
    before = state(store)
    store._db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            put(store, "b", b"1")
        assert str(caught.value) == f"{path}: database is locked; nothing was changed"
        assert state(store) == before
    put(store, "b", b"1")


@pytest.mark.parametrize("call", ["get", "page", "changes", "revision"])
def test_failed_read_names_the_file(store: SqliteStore, path: Path, call: str) -> None:
    arguments = {"get": ("a",), "page": ("", 1), "changes": (0, 1), "revision": ()}[call]
    assert getattr(store, call)(*arguments)
    store._db.executescript("DROP TABLE vm; DROP TABLE change")
    with pytest.raises(StoreError) as caught:
        getattr(store, call)(*arguments)
    assert str(caught.value).startswith(f"{path}: no such table: ")


def test_refused_write_leaves_no_open_transaction(store: SqliteStore, path: Path) -> None:
    with pytest.raises(ConflictError):
        store.write([Write("b", b"1", "api"), Write("a", b"2", "api", 0)], "tester", "now")
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT name FROM vm").fetchall() == [("a",)]


def test_closed_store_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        store.get("a")


@pytest.fixture
def older(path: Path) -> Path:
    """Return the path of a store with the first three steps of the schema."""
    with patch.object(schema, "STEPS", STEPS[:3]), closing(SqliteStore(path)) as store:
        names = ("kept", "patched", "removed", "mended", "by-hand", "left-the-file")
        store.write([Write(name, b"1", "file") for name in names], "start", "now")
        store.write([Write("by-hand", b"1", "api"), Write("shown", b"1", "document")], "me", "now")
        store.write([Write("patched", b"2", "api", None, frozenset())], "me", "now")
        store.write([Write(name, None, "api") for name in ("removed", "mended")], "me", "now")
        store.write([Write("mended", b"3", "api"), Write("own", b"1", "api")], "me", "now")
        store.write([Write("own", None, "api")], "me", "now")
        store.write([Write("left-the-file", None, "file")], "file fleet.yaml", "now")
    return path


def test_older_store_knows_the_vms_of_its_file(older: Path) -> None:
    """Those that the API removed, too."""
    with closing(SqliteStore(older)) as store:
        assert store.applied_entries("", 9) == [
            AppliedEntry("kept", "file", None),
            AppliedEntry("patched", "file", None),
            AppliedEntry("removed", "file", None),
            AppliedEntry("shown", "document", None),
        ]


def test_older_store_is_copied_before_its_upgrade(older: Path) -> None:
    with patch.object(schema, "STEPS", STEPS[:3]), closing(SqliteStore(older)) as store:
        before = state(store)
        assert store.copied_to is None
    with closing(SqliteStore(older)) as store:
        copy = store.copied_to
        put(store, "later", b"1")
    assert copy == older.with_name("fleet-schema-3.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    with patch.object(schema, "STEPS", STEPS[:3]):
        with pytest.raises(StoreError, match="written by a later release"):
            SqliteStore(older)
        with closing(SqliteStore(copy)) as store:
            assert state(store) == before


def test_store_of_this_release_is_not_copied(path: Path) -> None:
    for _ in range(2):
        with closing(SqliteStore(path)) as store:
            assert store.copied_to is None
    assert [file.name for file in path.parent.iterdir()] == ["fleet.db"]


def test_failed_copy_leaves_an_older_store_alone(older: Path) -> None:
    (older.parent / "fleet-schema-3.db").mkdir()
    with pytest.raises(StoreError, match=r"fleet-schema-3\.db\.new: .*; the store of an earlier"):
        SqliteStore(older)
    with closing(sqlite3.connect(older)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,)


def test_notice_of_an_upgrade_names_the_way_back(tmp_path: Path) -> None:
    notice = upgrade_notice(tmp_path / "fleet.db", tmp_path / "fleet-schema-3.db")
    assert "rename the copy to fleet.db" in notice
    assert "fleet-schema-3.db beside it is the store from before" in notice


@pytest.mark.parametrize("has_history", [True, False])
def test_history_of_an_earlier_store_waits_to_be_pruned(tmp_path: Path, has_history: bool) -> None:
    path = tmp_path / "fleet.db"
    with patch.object(schema, "STEPS", STEPS[:4]), closing(SqliteStore(path)) as store:
        if has_history:
            store.write([Write("a", b"{}", "api")], "tester", "2026")
    with closing(SqliteStore(path)) as store:
        assert store.value(PENDING) == (b"" if has_history else None)
    with closing(SqliteStore(tmp_path / "new.db")) as store:
        assert store.value(PENDING) is None


def test_deleted_rows_make_room_for_new_ones(tmp_path: Path) -> None:
    def grow(store: SqliteStore) -> None:
        for _ in range(20):
            store.write(
                [Write("a", b"%d" % n + b" " * 400, "api") for n in range(100)], "t", "2026"
            )

    file = tmp_path / "fleet.db"

    def pages() -> int:
        with closing(sqlite3.connect(file)) as other:
            return int(other.execute("PRAGMA page_count").fetchone()[0])

    with closing(SqliteStore(file)) as store:
        grow(store)
        most = pages()
        for _ in range(5):
            store.prune(Log.CHANGES, store.revision() - 100)
            grow(store)
    assert pages() < most * 1.1
