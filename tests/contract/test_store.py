"""The contract of every store engine: VMs and changes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openimds.fleet.store.port import (
    AppliedEntry,
    AppliedFile,
    Change,
    ConflictError,
    Store,
    StoredVm,
    Write,
)
from tests.contract.engines import ENGINES, LASTING

AT, LATER = "2026-11-22T19:54:46.000+00:00", "2026-11-22T19:54:47.000+00:00"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = ENGINES[request.param](tmp_path)
    yield opened
    opened.close()


def put(name: str, body: bytes = b"{}", expected: int | None = None, origin: str = "api") -> Write:
    return Write(name, body, origin, expected)


def remove(name: str, expected: int | None = None) -> Write:
    return Write(name, None, "api", expected)


def make(store: Store, *writes: Write) -> list[Change]:
    return store.write(writes, "tester", AT)


def everything(store: Store) -> tuple[list[StoredVm], list[Change], int]:
    return store.page("", 10_000), store.changes(0, 10_000), store.revision()


def test_empty_store_holds_nothing(store: Store) -> None:
    assert store.get("a") is None
    assert everything(store) == ([], [], 0)


def test_vm_is_found_under_its_exact_name(store: Store) -> None:
    (change,) = make(store, put("a", b'{"a":1}', origin="file"))
    assert store.get("a") == StoredVm("a", b'{"a":1}', change.revision, "file")
    assert store.get("A") is None
    assert store.get("") is None


def test_many_vms_are_read_at_once(store: Store) -> None:
    make(store, put("a", b"1"), put("b", b"2"))
    found = {vm.name: vm for vm in store.get_many(["b", "missing", "a", "A"])}
    assert found == {"a": store.get("a"), "b": store.get("b")}
    assert store.get_many([]) == []


def test_change_records_author_time_and_previous_body(store: Store) -> None:
    changes = store.write([put("a", b"1", origin="file")], "file fleet.yaml", AT)
    changes += store.write([put("a", b"2")], "api 127.0.0.1", LATER)
    changes += store.write([remove("a")], "api ::1", LATER)
    first, second, third = (change.revision for change in changes)
    assert changes == [
        Change(first, AT, "file fleet.yaml", "a", None, b"1", "file"),
        Change(second, LATER, "api 127.0.0.1", "a", b"1", b"2", "api"),
        Change(third, LATER, "api ::1", "a", b"2", None, "api"),
    ]
    assert store.changes(0, 10) == changes
    assert store.get("a") is None


def test_pages_follow_code_point_order(store: Store) -> None:
    names = ["b", "a-1", "a", "Z", "a0", "é", "z", "\u4e2d", "\U0001f600", "a%", "a_", "\uffee"]
    make(store, *map(put, names))
    assert [vm.name for vm in store.page("", 100)] == sorted(names)
    seen: list[str] = []
    while page := store.page(seen[-1] if seen else "", 5):
        assert len(page) <= 5
        seen += [vm.name for vm in page]
    assert seen == sorted(names)


def test_page_may_start_after_a_missing_name(store: Store) -> None:
    make(store, *map(put, "bdf"))
    assert [vm.name for vm in store.page("c", 1)] == ["d"]
    assert [vm.name for vm in store.page("d", 5)] == ["f"]
    assert store.page("f", 5) == store.page("zz", 5) == []
    make(store, remove("d"))
    assert [vm.name for vm in store.page("b", 5)] == ["f"]


def test_revisions_grow_and_are_never_reused(store: Store) -> None:
    seen = [0]
    for write in [put("a"), remove("a"), put("a"), put("b"), remove("b"), remove("a"), put("c")]:
        (change,) = make(store, write)
        assert change.revision > seen[-1]
        assert store.revision() == change.revision
        seen.append(change.revision)


def test_vm_revision_is_that_of_its_last_change(store: Store) -> None:
    changes = make(store, put("a"), put("b"))
    changes += make(store, put("a", b"2"))
    for name, number in [("a", changes[2].revision), ("b", changes[1].revision)]:
        stored = store.get(name)
        assert stored
        assert stored.revision == number
    assert [vm.revision for vm in store.page("", 9)] == [changes[2].revision, changes[1].revision]


def test_write_without_expectation_always_succeeds(store: Store) -> None:
    assert make(store, put("a", b"1"))
    assert make(store, put("a", b"2"))
    assert make(store, remove("a"))


def test_expected_zero_creates_a_vm_once(store: Store) -> None:
    (change,) = make(store, put("a", expected=0))
    with pytest.raises(ConflictError) as caught:
        make(store, put("a", b"2", expected=0))
    assert (caught.value.name, caught.value.expected, caught.value.met) == ("a", 0, change.revision)
    assert str(caught.value) == f"a is at revision {change.revision}, not 0"
    make(store, remove("a"))
    assert make(store, put("a", expected=0))


def test_expected_revision_replaces_only_that_one(store: Store) -> None:
    (first,) = make(store, put("a", b"1"))
    (second,) = make(store, put("a", b"2", expected=first.revision))
    for stale in (put("a", b"3", first.revision), remove("a", first.revision), remove("a", 0)):
        before = everything(store)
        with pytest.raises(ConflictError):
            make(store, stale)
        assert everything(store) == before
    assert make(store, remove("a", second.revision))
    with pytest.raises(ConflictError) as caught:
        make(store, put("a", b"4", second.revision))
    assert caught.value.met == 0


def test_expectation_is_checked_even_without_a_change(store: Store) -> None:
    (change,) = make(store, put("a", b"1"))
    with pytest.raises(ConflictError):
        make(store, put("a", b"1", change.revision + 1))
    with pytest.raises(ConflictError):
        make(store, remove("b", 7))
    assert make(store, put("a", b"1", change.revision), remove("b", 0)) == []


def test_batch_is_written_as_a_whole(store: Store) -> None:
    make(store, put("a", b"1"), put("b", b"1"))
    changes = make(store, put("c", b"2"), remove("a"), put("b", b"2"))
    assert [(change.name, change.after) for change in changes] == [
        ("c", b"2"),
        ("a", None),
        ("b", b"2"),
    ]
    assert [change.revision for change in changes] == sorted(
        {change.revision for change in changes}
    )
    assert [(vm.name, vm.body) for vm in store.page("", 9)] == [("b", b"2"), ("c", b"2")]
    assert store.changes(0, 9)[2:] == changes


@pytest.mark.parametrize("place", [0, 1, 2])
def test_batch_with_one_conflict_is_not_written(store: Store, place: int) -> None:
    (first, _) = make(store, put("a", b"1"), put("b", b"1"))
    batch = [put("a", b"2", first.revision), remove("b")]
    batch.insert(place, put("c", b"2", expected=99))
    before = everything(store)
    with pytest.raises(ConflictError) as caught:
        make(store, *batch)
    assert caught.value.name == "c"
    assert everything(store) == before
    assert make(store, *(write for write in batch if write.name != "c"))


def test_writes_of_a_batch_see_earlier_ones(store: Store) -> None:
    make(store, put("b", b"1"))
    changes = make(store, put("a", b"1"), put("a", b"2"), remove("b"), remove("b"), put("b", b"2"))
    assert [(change.name, change.before, change.after) for change in changes] == [
        ("a", None, b"1"),
        ("a", b"1", b"2"),
        ("b", b"1", None),
        ("b", None, b"2"),
    ]
    assert [(vm.name, vm.body) for vm in store.page("", 9)] == [("a", b"2"), ("b", b"2")]
    assert store.changes(1, 9) == changes


def test_empty_batch_is_no_change(store: Store) -> None:
    make(store, put("a"))
    before = everything(store)
    assert make(store) == []
    assert everything(store) == before


def test_write_without_effect_is_not_recorded(store: Store) -> None:
    make(store, put("a", b"1"))
    before = everything(store)
    assert make(store, put("a", b"1"), remove("b")) == []
    assert everything(store) == before


def test_new_origin_is_a_change(store: Store) -> None:
    make(store, put("a", b"1", origin="default"))
    (change,) = make(store, put("a", b"1", origin="file"))
    assert store.get("a") == StoredVm("a", b"1", change.revision, "file")


@pytest.mark.parametrize("origin, kept", [("file", "file"), ("default", "api"), (None, "api")])
def test_only_a_replaced_origin_changes(store: Store, origin: str | None, kept: str) -> None:
    if origin:
        make(store, put("a", b"1", origin=origin))
    write = Write("a", b"2", "api", None, frozenset({"default"}))
    (change,) = make(store, write)
    assert change.origin == kept
    assert store.get("a") == StoredVm("a", b"2", change.revision, kept)
    assert make(store, write) == []


def test_changes_are_paged_in_order(store: Store) -> None:
    changes = [change for number in range(7) for change in make(store, put(f"vm-{number}"))]
    assert store.changes(0, 3) == changes[:3]
    assert store.changes(changes[2].revision, 3) == changes[3:6]
    assert store.changes(changes[5].revision, 3) == changes[6:]
    assert store.changes(changes[6].revision, 3) == store.changes(10**15, 3) == []


@pytest.mark.parametrize(
    "name", ["web 1", "q?a=b&c#d", "%2e%2e", "..", "'; DROP TABLE vm; --", "Ünï-中文-😀", "x" * 256]
)
def test_any_text_is_a_valid_name(store: Store, name: str) -> None:
    (change,) = make(store, put(name, b"1"))
    assert store.get(name) == StoredVm(name, b"1", change.revision, "api")
    assert [vm.name for vm in store.page("", 9)] == [name]
    assert [change.name for change in store.changes(0, 9)] == [name]
    make(store, remove(name))
    assert store.get(name) is None


def test_large_body_is_stored_byte_for_byte(store: Store) -> None:
    body = bytes(range(256)) * (1 << 12)
    make(store, put("a", body), put("b", b""))
    assert [vm.body for vm in store.page("", 9)] == [body, b""]
    assert [change.after for change in store.changes(0, 9)] == [body, b""]


def apply(store: Store, text: bytes, **entries: bytes | None) -> None:
    store.write([], "tester", AT, AppliedFile("file", text, entries))


def test_store_without_an_applied_file_has_no_entries(store: Store) -> None:
    make(store, put("a", origin="file"))
    assert (store.applied_entries("", 9), store.applied_entry("a")) == ([], None)
    assert store.applied_text("file") == b""


def test_applied_entries_are_replaced_and_forgotten(store: Store) -> None:
    apply(store, b"1", a=b"{}", b=b"1", c=b"2")
    apply(store, b"2", b=b"3", c=None, d=None)
    entries = [AppliedEntry("a", "file", b"{}"), AppliedEntry("b", "file", b"3")]
    assert store.applied_entries("", 9) == entries
    assert store.applied_entries("", 1) == entries[:1]
    assert store.applied_entries("a", 9) == entries[1:]
    assert (store.applied_entry("b"), store.applied_entry("c")) == (entries[1], None)
    assert (store.applied_text("file"), store.applied_text("document")) == (b"2", b"")


def test_entry_belongs_to_the_file_that_applied_it_last(store: Store) -> None:
    apply(store, b"1", a=b"{}")
    store.write([], "tester", AT, AppliedFile("document", b"", {"a": b"2"}))
    apply(store, b"3", a=None)
    assert store.applied_entries("", 9) == [AppliedEntry("a", "document", b"2")]


def test_applied_entries_do_not_touch_vms_and_changes(store: Store) -> None:
    make(store, put("a", b"1"))
    before = everything(store)
    apply(store, b"1", a=b"{}", b=b"{}")
    assert everything(store) == before
    make(store, remove("a"))
    assert store.applied_entry("a") == AppliedEntry("a", "file", b"{}")


def test_conflict_writes_no_applied_entry(store: Store) -> None:
    apply(store, b"1", a=b"{}")
    with pytest.raises(ConflictError):
        store.write([put("b", expected=7)], "tester", AT, AppliedFile("file", b"2", {"b": b"{}"}))
    assert store.applied_entries("", 9) == [AppliedEntry("a", "file", b"{}")]
    assert store.applied_text("file") == b"1"


@pytest.fixture(params=LASTING)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: ENGINES[request.param](tmp_path)


def test_lasting_store_is_equal_after_reopening(reopen: Callable[[], Store]) -> None:
    store = reopen()
    make(store, put("a", b"1"), put("b", b"2", origin="file"))
    make(store, remove("b"), put("Ü", b"3"))
    apply(store, b"1", b=b"2")
    before = everything(store), store.applied_entries("", 9), store.applied_text("file")
    store.close()
    store = reopen()
    assert (everything(store), store.applied_entries("", 9), store.applied_text("file")) == before
    store.close()


def test_revisions_continue_after_reopening(
    reopen: Callable[[], Store],
) -> None:
    store = reopen()
    make(store, put("a"))
    (last,) = make(store, remove("a"))
    store.close()
    store = reopen()
    (change,) = make(store, put("a", expected=0))
    assert change.revision > last.revision
    store.close()
