"""The memory engine is bounded: a server without a state directory may run for months."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from openimds.fleet.store.port import EventBatch, LogEntry, Write
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore

BOUND = 3


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    monkeypatch.setattr(MemoryStore, "max_log_rows", BOUND)
    with closing(MemoryStore()) as opened:
        yield opened


def write(store: SqliteStore, count: int) -> None:
    for number in range(count):
        store.write([Write("a", b"%d" % number, "api")], "tester", "now")


def log(store: SqliteStore, count: int) -> None:
    for _ in range(count):
        store.write_events(EventBatch(log_entries=(LogEntry(0, "now", "tester", "A", b"{}"),)))


def test_changes_beyond_the_bound_are_dropped(store: MemoryStore) -> None:
    write(store, 5)
    assert [change.revision for change in store.changes(0, 10)] == [3, 4, 5]
    assert store.revision() == 5


def test_log_entries_beyond_the_bound_are_dropped(store: MemoryStore) -> None:
    log(store, 5)
    assert [entry.number for entry in store.log_entries(0, 10)] == [3, 4, 5]
    assert store.last_log_entry() == 5


def test_batch_beyond_the_bound_keeps_its_newest_changes(store: MemoryStore) -> None:
    batch = [Write(f"vm-{number}", b"{}", "api") for number in range(7)]
    assert len(store.write(batch, "tester", "now")) == 7
    assert [change.name for change in store.changes(0, 10)] == ["vm-4", "vm-5", "vm-6"]
    assert len(store.page("", 10)) == 7


@pytest.mark.parametrize("log_of", ["changes", "events"])
def test_large_batch_does_not_grow_for_its_dropped_log(store: MemoryStore, log_of: str) -> None:
    count, body = 5000, b"x" * 400
    if log_of == "changes":
        store.write([Write("a", body + b"%d" % at, "api") for at in range(count)], "tester", "now")
    else:
        entry = LogEntry(0, "now", "tester", "A", body)
        store.write_events(EventBatch(log_entries=(entry,) * count))
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    (size,) = store._db.execute("PRAGMA page_size").fetchone()
    bodies = 2 if log_of == "changes" else 1  # A change has two: before and after.
    assert pages * size < count * bodies * len(body) / 2


def test_bound_keeps_vms_events_and_values(store: MemoryStore) -> None:
    store.write([Write("old", b"{}", "api")], "tester", "now")
    store.write_events(EventBatch({"A": b"a"}, {"vm:old": 1}, {"k": b"v"}))
    write(store, 2 * BOUND)
    log(store, 2 * BOUND)
    assert [vm.name for vm in store.page("", 10)] == ["a", "old"]
    assert (store.events(), store.incarnations(), store.value("k")) == (
        [b"a"],
        {"vm:old": 1},
        b"v",
    )


def test_two_memory_stores_share_nothing(store: MemoryStore) -> None:
    write(store, 1)
    with closing(MemoryStore()) as other:
        assert other.page("", 10) == []


def test_only_the_memory_engine_is_bounded(tmp_path: Path) -> None:
    assert (MemoryStore.max_log_rows, SqliteStore.max_log_rows) == (10_000, None)
    with closing(SqliteStore(tmp_path / "fleet.db")) as store:
        write(store, 2 * BOUND)
        assert len(store.changes(0, 100)) == 2 * BOUND
