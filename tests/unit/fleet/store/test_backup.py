"""Backups of a store, and their way back."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from openimds.fleet.store.backup import back_up, check_store, restore
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.opening import open_store
from openimds.fleet.store.port import StoreError, Write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[KeptStore]:
    path.parent.mkdir()
    store = opened(path)
    put(store, "a")
    with closing(store):
        yield store


def opened(path: Path) -> KeptStore:
    return open_store(path, lambda _: None)


def put(store: KeptStore, name: str, body: bytes = b"{}") -> None:
    store.write([Write(name, body, "api")], "test", "now")


def names(store: KeptStore) -> list[str]:
    return [vm.name for vm in store.page("", 1000)]


def test_backup_of_a_store_in_use_is_whole(store: KeptStore, path: Path, tmp_path: Path) -> None:
    report = back_up(path, tmp_path / "copy")
    assert (report.vms, report.change) == (1, 1)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    put(store, "b")
    assert check_store(tmp_path / "copy").vms == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy", "state"]


def test_backup_beside_changes_has_one_moment(store: KeptStore, path: Path, tmp_path: Path) -> None:
    """Pairs of VMs change together: a backup never has one without the other."""
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            body = b"%d" % number
            pair = [Write("a", body, "api"), Write("b", body, "api")]
            store.write(pair, "test", "now")

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for number in range(20):
            back_up(path, tmp_path / f"copy-{number}")
    finally:
        done.set()
        writer.join()
    for number in range(20):
        with closing(sqlite3.connect(tmp_path / f"copy-{number}")) as copy:
            bodies = dict(copy.execute("SELECT name, body FROM vm"))
            assert bodies["a"] == bodies.get("b", bodies["a"])


def test_backup_replaces_no_file(store: KeptStore, path: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(StoreError, match="copy: exists already; name a new file"):
        back_up(path, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


@pytest.mark.parametrize("where", ["none/copy", "state/fleet.db/copy"])
@pytest.mark.usefixtures("store")
def test_backup_into_no_folder_is_an_error(path: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(StoreError, match=r"(no such file|not a) "):
        back_up(path, tmp_path / where)


def test_missing_store_cannot_be_backed_up(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"fleet\.db: no such file"):
        back_up(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_damaged_store_cannot_be_backed_up(store: KeptStore, path: Path, tmp_path: Path) -> None:
    for number in range(300):
        put(store, f"vm-{number}", b"x" * 500)
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\x5a" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"(is damaged|malformed)"):
        back_up(path, tmp_path / "copy")
    assert not [*tmp_path.glob("*copy*")]
    assert check_store(path).damage


def test_restored_store_is_the_one_of_the_backup(
    store: KeptStore, path: Path, tmp_path: Path
) -> None:
    back_up(path, tmp_path / "copy")
    put(store, "b")
    store.close()
    report, replaced = restore(tmp_path / "copy", path)
    assert report.vms == 1
    assert replaced == path.with_name("fleet.db.replaced")
    with closing(opened(path)) as again:
        assert names(again) == ["a"]
    assert StoreMarker(path).seen() == Progress(change=1)
    assert check_store(replaced).vms == 2
    # Restoring again replaces the one that was kept.
    restore(tmp_path / "copy", path)
    assert check_store(replaced).vms == 1


def test_log_of_a_killed_store_is_not_applied_to_the_restored(
    store: KeptStore, path: Path, tmp_path: Path
) -> None:
    back_up(path, tmp_path / "copy")
    put(store, "b")
    log = path.with_name("fleet.db-wal")
    content = log.read_bytes()
    store.close()
    log.write_bytes(content)
    restore(tmp_path / "copy", path)
    assert not log.exists()
    with closing(opened(path)) as again:
        assert names(again) == ["a"]


def test_lost_store_is_restored(store: KeptStore, path: Path, tmp_path: Path) -> None:
    back_up(path, tmp_path / "copy")
    store.close()
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        opened(path)
    assert restore(tmp_path / "copy", path)[1] is None
    opened(path).close()


@pytest.mark.parametrize("content", [b"no database" * 999, b""])
def test_bad_backup_changes_nothing(
    store: KeptStore, path: Path, tmp_path: Path, content: bytes
) -> None:
    store.close()
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(StoreError, match="copy"):
        restore(tmp_path / "copy", path)
    with closing(opened(path)) as again:
        assert names(again) == ["a"]
    assert not [*path.parent.glob(".*")]


def test_backup_of_a_later_release_is_refused(store: KeptStore, path: Path, tmp_path: Path) -> None:
    back_up(path, tmp_path / "copy")
    store.close()
    with closing(sqlite3.connect(tmp_path / "copy")) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreError, match="saw schema 999, expected 1 to"):
        restore(tmp_path / "copy", path)


def test_interrupted_restore_is_refused_by_the_next_start(
    store: KeptStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(path, tmp_path / "copy")
    put(store, "b")
    store.close()

    def cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(StoreMarker, "replace", cut)
        with pytest.raises(StoreError, match="input/output error"):
            restore(tmp_path / "copy", path)
    with pytest.raises(StoreError, match="is older than it was"):
        opened(path)
    restore(tmp_path / "copy", path)
    opened(path).close()


def test_check_names_vms_that_cannot_be_read(store: KeptStore, path: Path) -> None:
    put(store, "b", b"\xff{")
    report = check_store(path)
    assert (report.vms, report.damage, report.unreadable) == (2, (), ("b",))
