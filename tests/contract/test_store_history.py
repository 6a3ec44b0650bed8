"""The contract of every store engine: its logs are pruned from their oldest row on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openimds.fleet.store.history import STEP_ROWS, History, HistoryBounds
from openimds.fleet.store.port import AppliedFile, EventBatch, Log, LogEntry, Span, Store, Write
from tests.contract.engines import ENGINES

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
OLD, NEW, FUTURE = "2026-12-01T00:00:00.000+00:00", "2027-01-14T00:00:00.000Z", "2029-01-01T00:00"
LARGE = 1 << 30


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = ENGINES[request.param](tmp_path)
    yield opened
    opened.close()


def put(store: Store, count: int, at: str, size: int = 2) -> None:
    last = store.revision()
    writes = [Write("a", b"%d" % (last + n) + b" " * size, "api") for n in range(count)]
    store.write(writes, "tester", at)


def log(store: Store, count: int, at: str, size: int = 2) -> None:
    entries = tuple(LogEntry(0, at, "me", f"id-{n}", b" " * size) for n in range(count))
    store.write_events(EventBatch(log_entries=entries))


def pruned(store: Store, days: int = 30, size: int = LARGE, share: float = 1.0) -> dict[Log, int]:
    history = History(store, HistoryBounds(days, size))
    for _ in history.plan(NOW_S, share):
        pass
    removed = dict.fromkeys(Log, 0)
    for one, rows in history.prune():
        assert rows <= STEP_ROWS
        removed[one] += rows
    assert removed == history.rows
    return removed


@pytest.mark.parametrize("write, one", [(put, Log.CHANGES), (log, Log.EVENTS)])
def test_rows_older_than_the_bound_are_pruned(
    store: Store, write: Callable[[Store, int, str], None], one: Log
) -> None:
    write(store, 1203, OLD)
    write(store, 4, NEW)
    assert pruned(store)[one] == 1203
    assert store.span(one) == Span(1204, 1207)
    assert store.span(one).pruned == 1203
    assert pruned(store)[one] == 0


@pytest.mark.parametrize("one", Log)
def test_span_of_an_empty_log_begins_at_one(store: Store, one: Log) -> None:
    assert store.span(one) == Span(1, 0)
    assert pruned(store)[one] == 0


def test_numbers_go_on_after_all_rows_are_pruned(store: Store) -> None:
    put(store, 3, OLD)
    log(store, 2, OLD)
    pruned(store)
    assert (store.revision(), store.last_log_entry()) == (3, 2)
    assert store.span(Log.CHANGES) == Span(4, 3)
    assert (store.changes(0, 10), store.log_entries(0, 10)) == ([], [])
    put(store, 1, NEW)
    log(store, 1, NEW)
    assert store.span(Log.CHANGES) == Span(4, 4)
    assert store.span(Log.EVENTS) == Span(3, 3)


def test_pruning_leaves_vms_and_applied_records(store: Store) -> None:
    applied = AppliedFile("file", b"digest", {"a": b"{}"})
    store.write([Write("a", b"{}", "file")], "file", OLD, applied)
    before = store.page("", 9), store.applied_entries("", 9), store.applied_text("file")
    assert pruned(store)[Log.CHANGES] == 1
    assert (store.page("", 9), store.applied_entries("", 9), store.applied_text("file")) == before


def test_zero_days_keep_rows_of_any_age(store: Store) -> None:
    put(store, 3, OLD)
    assert pruned(store, days=0)[Log.CHANGES] == 0


def test_row_of_the_future_keeps_the_rows_after_it(store: Store) -> None:
    put(store, 2, OLD)
    put(store, 1, FUTURE)
    put(store, 2, OLD)
    assert pruned(store)[Log.CHANGES] == 2
    assert store.span(Log.CHANGES).first == 3


def test_share_bounds_the_rows_that_a_wrong_clock_prunes(store: Store) -> None:
    put(store, 1001, OLD)
    assert pruned(store, share=0.1)[Log.CHANGES] == 101
    assert pruned(store, share=0.1)[Log.CHANGES] == 90


def test_newest_rows_within_the_size_are_kept(store: Store) -> None:
    put(store, 1300, NEW, size=200)
    sizes = store.row_sizes(Log.CHANGES, 1, 1300)
    assert [number for number, _ in sizes] == [*range(1, 1301)]
    assert all(400 < size < 700 for _, size in sizes[1:])
    kept = sum(size for _, size in sizes[-700:])
    assert pruned(store, size=kept)[Log.CHANGES] == 600
    assert pruned(store, size=kept)[Log.CHANGES] == 0
    assert pruned(store, size=kept - 1)[Log.CHANGES] == 1


def test_events_have_a_quarter_of_the_size_and_changes_the_rest(store: Store) -> None:
    put(store, 100, NEW, size=1000)
    log(store, 100, NEW, size=1000)
    sizes = store.row_sizes(Log.EVENTS, 1, 100)
    removed = pruned(store, size=4 * sum(size for _, size in sizes[-10:]))
    assert removed[Log.EVENTS] == 90
    # A change has the bodies of before and after: of 30 such parts 15 changes remain.
    assert removed[Log.CHANGES] == 85


def test_size_of_full_steps_is_read_once(store: Store) -> None:
    put(store, 2 * STEP_ROWS + 1, NEW)
    history = History(store, HistoryBounds(30, LARGE))
    steps = len([*history.plan(NOW_S)])
    assert {key[1] for key in history._sizes} == {STEP_ROWS, 2 * STEP_ROWS}
    assert len([*history.plan(NOW_S)]) == steps - 2
    put(store, 1, NEW)
    [*history.plan(NOW_S + 60 * DAY_S)]
    assert not history._sizes


def test_interrupted_run_is_taken_up_by_the_next(store: Store) -> None:
    put(store, 1200, OLD)
    history = History(store, HistoryBounds(30, LARGE))
    [*history.plan(NOW_S)]
    assert next(history.prune()) == (Log.CHANGES, STEP_ROWS)
    assert store.span(Log.CHANGES).first == STEP_ROWS + 1
    assert pruned(store)[Log.CHANGES] == 1200 - STEP_ROWS


def test_older_rows_are_looked_for_after_a_number_alone(store: Store) -> None:
    put(store, 1, NEW)
    put(store, 3, OLD)
    put(store, 1, NEW)
    date = "2026-12-31"
    assert store.last_older(Log.CHANGES, date, 0, 3) == 0
    assert store.last_older(Log.CHANGES, date, 1, 3) == 3
    assert store.last_older(Log.CHANGES, date, 1, 5) == 4
