"""A file that lacks its last pages, which SQLite would read as zeros."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from openimds.fleet.store.backup import back_up, check_store, restore
from openimds.fleet.store.file_length import cut
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.opening import open_store
from openimds.fleet.store.port import StoredVm, StoreError, Write

PAGE = 4096
LONG = b"x" * 5 * PAGE


def opened(path: Path) -> KeptStore:
    return open_store(path, lambda _: None)


def put(store: KeptStore, name: str, body: bytes) -> None:
    store.write([Write(name, body, "api")], "test", "now")


def copied(path: Path, into: Path) -> Path:
    shutil.copytree(path.parent, into)
    return into / path.name


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Return a store: its last pages are in the file, a change in its log."""
    path = tmp_path / "live" / "fleet.db"
    path.parent.mkdir()
    with closing(opened(path)) as store:
        put(store, "long", LONG)
    store = opened(path)
    put(store, "late", b"{}")
    copy = copied(path, tmp_path / "killed")
    store.close()
    return copy


def everything(path: Path) -> list[StoredVm]:
    with closing(opened(path)) as store:
        return store.page("", 99)


def test_whole_file_is_not_cut(killed: Path) -> None:
    assert cut(killed) == ""
    assert [vm.name for vm in everything(killed)] == ["late", "long"]


@pytest.mark.parametrize("octets", [1, PAGE - 1, PAGE, PAGE + 100])
def test_cut_end_of_a_body_is_refused(killed: Path, tmp_path: Path, octets: int) -> None:
    os.truncate(killed, killed.stat().st_size - octets)
    with closing(sqlite3.connect(copied(killed, tmp_path / "other"))) as database:
        assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    with pytest.raises(StoreError, match=r"its end is cut off: \d of \d+ pages are missing"):
        opened(killed)
    assert any("cut off" in one for one in check_store(killed).damage)
    for act in (lambda: back_up(killed, tmp_path / "b"), lambda: restore(killed, tmp_path / "c")):
        with pytest.raises(StoreError, match="cut off"):
            act()


def test_checkpoint_that_was_ended_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "live" / "fleet.db"
    path.parent.mkdir()
    with closing(opened(path)) as store:
        put(store, "a", b"{}")
    before = path.stat().st_size
    store = opened(path)
    put(store, "long", LONG)
    copy = copied(path, tmp_path / "killed")
    store.close()
    # The checkpoint had written the first page, and not yet those beyond the end.
    content = path.read_bytes()
    assert len(content) > before
    copy.write_bytes(content[:PAGE] + copy.read_bytes()[PAGE:before])
    assert copy.stat().st_size == before
    assert cut(copy) == ""
    assert [vm.body for vm in everything(copy)] == [b"{}", LONG]


def test_pages_of_a_broken_log_are_missing(killed: Path) -> None:
    log = killed.with_name("fleet.db-wal")
    whole = log.read_bytes()
    size = killed.stat().st_size
    os.truncate(killed, size - PAGE)
    for content in (b"", whole[:20], whole[:40], whole[:16] + b"otherone" + whole[24:]):
        log.write_bytes(content)
        assert "1 of" in cut(killed)
    log.unlink()
    assert "1 of" in cut(killed)


def test_file_that_a_checkpoint_completes_meanwhile_is_whole(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = killed.stat().st_size
    os.truncate(killed, size - PAGE)
    usual, looks = Path.stat, 0

    def stat(path: Path, **more: bool) -> os.stat_result:
        nonlocal looks
        if path == killed:
            looks += 1
            if looks == 2:
                os.truncate(killed, size)
        return usual(path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    assert cut(killed) == ""
    assert looks == 2


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"x" * 200])
def test_other_file_is_left_to_sqlite(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fleet.db"
    assert cut(path) == ""
    path.write_bytes(content)
    assert cut(path) == ""


def test_file_that_cannot_be_read_is_an_error(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("openimds.fleet.store.file_length._logged", fail)
    os.truncate(killed, killed.stat().st_size - PAGE)
    with pytest.raises(StoreError, match="permission denied"):
        opened(killed)
    assert "permission denied" in check_store(killed).damage
