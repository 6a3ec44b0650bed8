"""Scheduled events in a store: the contract of every engine."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from openimds.fleet.store import schema
from openimds.fleet.store.port import EventBatch, LogEntry, Store, StoreError, Write
from openimds.fleet.store.sqlite import SqliteStore
from tests.contract.engines import ENGINES, LASTING

AT = "2026-11-22T19:54:46.000Z"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = ENGINES[request.param](tmp_path)
    yield opened
    opened.close()


def log_entry(event_id: str, body: bytes = b"{}") -> LogEntry:
    return LogEntry(0, AT, "ops", event_id, body)


def contents(store: Store) -> object:
    return store.events(), store.incarnations(), store.value("k"), store.log_entries(0, 99)


def test_empty_store_has_no_event(store: Store) -> None:
    assert contents(store) == ([], {}, None, [])
    assert store.last_log_entry() == 0


def test_events_keep_the_order_of_their_first_write(store: Store) -> None:
    store.write_events(EventBatch({"B": b"b", "A": b"a"}))
    store.write_events(EventBatch({"C": b"c"}))
    store.write_events(EventBatch({"B": b"b2", "A": None, "gone": None}))
    assert store.events() == [b"b2", b"c"]
    store.write_events(EventBatch({"A": b"again"}))
    assert store.events() == [b"b2", b"c", b"again"]


def test_incarnations_and_values_are_replaced(store: Store) -> None:
    store.write_events(
        EventBatch(incarnations={"vm:a": 1, "vm:b": 7}, values={"k": b"1", "l": b"2"})
    )
    store.write_events(EventBatch(incarnations={"vm:a": 2}, values={"k": None, "l": b"3"}))
    assert store.incarnations() == {"vm:a": 2, "vm:b": 7}
    store.write_events(EventBatch(incarnations={"vm:a": None, "vm:c": None}))
    assert store.incarnations() == {"vm:b": 7}
    assert (store.value("k"), store.value("l")) == (None, b"3")


def test_log_entries_are_numbered_and_read_by_pages(store: Store) -> None:
    first = store.write_events(EventBatch(log_entries=(log_entry("A", b"1"), log_entry("B", b"2"))))
    second = store.write_events(EventBatch(log_entries=(log_entry("A", b"3"),)))
    entries = [*first, *second]
    assert [(entry.event_id, entry.body, entry.who, entry.at) for entry in entries] == [
        ("A", b"1", "ops", AT),
        ("B", b"2", "ops", AT),
        ("A", b"3", "ops", AT),
    ]
    numbers = [entry.number for entry in entries]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0
    assert store.log_entries(0, 2) == entries[:2]
    assert store.log_entries(numbers[1], 9) == entries[2:]
    assert store.last_log_entry() == numbers[-1]


def test_values_are_found_by_the_beginning_of_their_keys(store: Store) -> None:
    given = {"leaf/a": b"1", "leaf/\u00e9": b"2", "leaf": b"3", "LEAF/b": b"4", "le%/c": b"5"}
    store.write_events(EventBatch(values={**given}))
    assert store.values("leaf/") == {"leaf/a": b"1", "leaf/\u00e9": b"2"}
    assert store.values("le%") == {"le%/c": b"5"}
    store.write_events(EventBatch(values={"leaf/a": None}))
    assert store.values("leaf/") == {"leaf/\u00e9": b"2"}
    assert store.values("x") == {}


def test_events_and_vms_do_not_touch_each_other(store: Store) -> None:
    store.write([Write("a", b"{}", "api")], "ops", AT)
    before = store.page("", 9), store.changes(0, 9), store.revision()
    store.write_events(EventBatch({"A": b"a"}, {"vm:a": 1}, {}, (log_entry("A"),)))
    assert (store.page("", 9), store.changes(0, 9), store.revision()) == before


@pytest.mark.parametrize("engine", LASTING)
def test_reopened_store_has_the_same_contents(engine: str, tmp_path: Path) -> None:
    store = ENGINES[engine](tmp_path)
    store.write_events(EventBatch({"A": b"a"}, {"vm:a": 1}, {"k": b"v"}, (log_entry("A"),)))
    before = contents(store), store.last_log_entry()
    store.close()
    again = ENGINES[engine](tmp_path)
    assert (contents(again), again.last_log_entry()) == before
    (next_one,) = again.write_events(EventBatch(log_entries=(log_entry("B"),)))
    assert next_one.number > before[1]
    again.close()


def test_full_disk_writes_no_part_of_a_batch(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "fleet.db")
    store.write_events(EventBatch({"A": b"a"}, {"vm:a": 1}, {"k": b"v"}, (log_entry("A"),)))
    before = contents(store)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    large = EventBatch({"A": None, "B": b"x"}, {"vm:a": 2}, {}, (log_entry("A", b"x" * 100_000),))
    with pytest.raises(StoreError, match="full"):
        store.write_events(large)
    assert contents(store) == before
    store.close()


def test_store_of_an_earlier_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with patch.object(schema, "STEPS", schema.STEPS[:1]):
        old = SqliteStore(path)
        old.write([Write("a", b"{}", "api")], "ops", AT)
        old.close()
    store = SqliteStore(path)
    store.write_events(EventBatch({"A": b"a"}))
    assert store.events() == [b"a"]
    assert store.revision() == 1
    store.close()
