"""What every store engine promises."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openimds.fleet.store.port import Change, ConflictError, Store, StoredVm, Write
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
    return store.write(writes, "somebody", AT)


def everything(store: Store) -> tuple[list[StoredVm], list[Change], int]:
    return store.page("", 10_000), store.changes(0, 10_000), store.revision()


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert store.get("a") is None
    assert everything(store) == ([], [], 0)


def test_what_was_put_is_there_under_its_name_alone(store: Store) -> None:
    (change,) = make(store, put("a", b'{"a":1}', origin="file"))
    assert store.get("a") == StoredVm("a", b'{"a":1}', change.revision, "file")
    assert store.get("A") is None
    assert store.get("") is None


def test_a_change_says_who_when_and_what_was_there_before(store: Store) -> None:
    made = store.write([put("a", b"1", origin="file")], "file fleet.yaml", AT)
    made += store.write([put("a", b"2")], "api 127.0.0.1", LATER)
    made += store.write([remove("a")], "api ::1", LATER)
    first, second, third = (change.revision for change in made)
    assert made == [
        Change(first, AT, "file fleet.yaml", "a", None, b"1", "file"),
        Change(second, LATER, "api 127.0.0.1", "a", b"1", b"2", "api"),
        Change(third, LATER, "api ::1", "a", b"2", None, "api"),
    ]
    assert store.changes(0, 10) == made
    assert store.get("a") is None


def test_pages_follow_the_names_in_code_point_order(store: Store) -> None:
    names = ["b", "a-1", "a", "Z", "a0", "é", "z", "\u4e2d", "\U0001f600", "a%", "a_", "\uffee"]
    make(store, *map(put, names))
    assert [one.name for one in store.page("", 100)] == sorted(names)
    seen: list[str] = []
    while page := store.page(seen[-1] if seen else "", 5):
        assert len(page) <= 5
        seen += [one.name for one in page]
    assert seen == sorted(names)


def test_a_page_begins_after_a_name_that_need_not_be_there(store: Store) -> None:
    make(store, *map(put, "bdf"))
    assert [one.name for one in store.page("c", 1)] == ["d"]
    assert [one.name for one in store.page("d", 5)] == ["f"]
    assert store.page("f", 5) == store.page("zz", 5) == []
    make(store, remove("d"))
    assert [one.name for one in store.page("b", 5)] == ["f"]


def test_revisions_grow_and_never_come_again_even_after_removal(store: Store) -> None:
    seen = [0]
    for write in [put("a"), remove("a"), put("a"), put("b"), remove("b"), remove("a"), put("c")]:
        (change,) = make(store, write)
        assert change.revision > seen[-1]
        assert store.revision() == change.revision
        seen.append(change.revision)


def test_the_revision_of_a_vm_is_that_of_its_last_change(store: Store) -> None:
    made = make(store, put("a"), put("b"))
    made += make(store, put("a", b"2"))
    for name, number in [("a", made[2].revision), ("b", made[1].revision)]:
        stored = store.get(name)
        assert stored
        assert stored.revision == number
    assert [one.revision for one in store.page("", 9)] == [made[2].revision, made[1].revision]


def test_expecting_nothing_in_particular_always_writes(store: Store) -> None:
    assert make(store, put("a", b"1"))
    assert make(store, put("a", b"2"))
    assert make(store, remove("a"))


def test_expecting_none_makes_a_vm_once(store: Store) -> None:
    (change,) = make(store, put("a", expected=0))
    with pytest.raises(ConflictError) as caught:
        make(store, put("a", b"2", expected=0))
    assert (caught.value.name, caught.value.expected, caught.value.met) == ("a", 0, change.revision)
    assert str(caught.value) == f"a is at revision {change.revision}, not 0"
    make(store, remove("a"))
    assert make(store, put("a", expected=0))


def test_expecting_a_revision_replaces_that_one_only(store: Store) -> None:
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


def test_a_revision_is_expected_even_where_nothing_would_change(store: Store) -> None:
    (change,) = make(store, put("a", b"1"))
    with pytest.raises(ConflictError):
        make(store, put("a", b"1", change.revision + 1))
    with pytest.raises(ConflictError):
        make(store, remove("b", 7))
    assert make(store, put("a", b"1", change.revision), remove("b", 0)) == []


def test_a_batch_happens_as_a_whole(store: Store) -> None:
    make(store, put("a", b"1"), put("b", b"1"))
    made = make(store, put("c", b"2"), remove("a"), put("b", b"2"))
    assert [(one.name, one.after) for one in made] == [("c", b"2"), ("a", None), ("b", b"2")]
    assert [one.revision for one in made] == sorted({one.revision for one in made})
    assert [(one.name, one.body) for one in store.page("", 9)] == [("b", b"2"), ("c", b"2")]
    assert store.changes(0, 9)[2:] == made


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_with_one_conflict_does_not_happen_at_all(store: Store, place: int) -> None:
    (first, _) = make(store, put("a", b"1"), put("b", b"1"))
    batch = [put("a", b"2", first.revision), remove("b")]
    batch.insert(place, put("c", b"2", expected=99))
    before = everything(store)
    with pytest.raises(ConflictError) as caught:
        make(store, *batch)
    assert caught.value.name == "c"
    assert everything(store) == before
    assert make(store, *(one for one in batch if one.name != "c"))


def test_writes_of_one_batch_see_those_before_them(store: Store) -> None:
    make(store, put("b", b"1"))
    made = make(store, put("a", b"1"), put("a", b"2"), remove("b"), remove("b"), put("b", b"2"))
    assert [(one.name, one.before, one.after) for one in made] == [
        ("a", None, b"1"),
        ("a", b"1", b"2"),
        ("b", b"1", None),
        ("b", None, b"2"),
    ]
    assert [(one.name, one.body) for one in store.page("", 9)] == [("a", b"2"), ("b", b"2")]
    assert store.changes(1, 9) == made


def test_an_empty_batch_is_no_change(store: Store) -> None:
    make(store, put("a"))
    before = everything(store)
    assert make(store) == []
    assert everything(store) == before


def test_what_changes_nothing_is_not_recorded(store: Store) -> None:
    make(store, put("a", b"1"))
    before = everything(store)
    assert make(store, put("a", b"1"), remove("b")) == []
    assert everything(store) == before


def test_another_origin_is_a_change(store: Store) -> None:
    make(store, put("a", b"1", origin="default"))
    (change,) = make(store, put("a", b"1", origin="file"))
    assert store.get("a") == StoredVm("a", b"1", change.revision, "file")


def test_changes_come_in_order_after_a_revision_and_no_more_than_asked(store: Store) -> None:
    made = [change for number in range(7) for change in make(store, put(f"vm-{number}"))]
    assert store.changes(0, 3) == made[:3]
    assert store.changes(made[2].revision, 3) == made[3:6]
    assert store.changes(made[5].revision, 3) == made[6:]
    assert store.changes(made[6].revision, 3) == store.changes(10**15, 3) == []


@pytest.mark.parametrize(
    "name", ["web 1", "q?a=b&c#d", "%2e%2e", "..", "'; DROP TABLE vm; --", "Ünï-中文-😀", "x" * 256]
)
def test_any_name_is_a_name(store: Store, name: str) -> None:
    (change,) = make(store, put(name, b"1"))
    assert store.get(name) == StoredVm(name, b"1", change.revision, "api")
    assert [one.name for one in store.page("", 9)] == [name]
    assert [one.name for one in store.changes(0, 9)] == [name]
    make(store, remove(name))
    assert store.get(name) is None


def test_a_large_body_comes_back_to_the_byte(store: Store) -> None:
    body = bytes(range(256)) * (1 << 12)
    make(store, put("a", body), put("b", b""))
    assert [one.body for one in store.page("", 9)] == [body, b""]
    assert [one.after for one in store.changes(0, 9)] == [body, b""]


@pytest.fixture(params=LASTING)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: ENGINES[request.param](tmp_path)


def test_a_lasting_store_is_the_same_when_it_is_opened_again(reopen: Callable[[], Store]) -> None:
    store = reopen()
    make(store, put("a", b"1"), put("b", b"2", origin="file"))
    make(store, remove("b"), put("Ü", b"3"))
    before = everything(store)
    store.close()
    store = reopen()
    assert everything(store) == before
    store.close()


def test_revisions_go_on_where_they_were_when_the_last_vm_is_gone(
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
