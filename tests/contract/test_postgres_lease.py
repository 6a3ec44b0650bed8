"""The lease of a store in PostgreSQL, and the writes of a replaced control."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openimds.fleet.store.port import EventBatch, FencedError, Log, LogEntry, StoreError, Write
from openimds.fleet.store.postgres import session
from openimds.fleet.store.postgres.lease import Lease, LeaseHolder
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.store import PostgresStore
from tests.support.postgres import run, shared_cluster
from tests.support.waiting import until

A, B = "https://a.example:8171", "https://b.example:8171"
LONG_S = 600.0


@pytest.fixture
def location(tmp_path: Path) -> PostgresLocation:
    return shared_cluster().location(tmp_path)


@pytest.fixture
def other(location: PostgresLocation, lease: Lease) -> Iterator[Lease]:
    opened = Lease(location)
    yield opened
    opened.close()


@pytest.fixture
def store(location: PostgresLocation, lease: Lease) -> Iterator[PostgresStore]:
    opened = PostgresStore(location, lease.take("a", A, LONG_S))
    put(opened, b"1")
    yield opened
    opened.close()


def taken(lease: Lease, holder: str, url: str = B) -> int:
    """Take a lease that has to be free; return its epoch."""
    epoch = lease.take(holder, url, LONG_S)
    assert epoch is not None
    return epoch


def put(store: PostgresStore, body: bytes) -> None:
    store.write([Write("vm", body, "api")], "tester", "now")


def expire(location: PostgresLocation) -> None:
    run(location, "UPDATE lease SET until = clock_timestamp() - interval '1 ms'")


def contents(store: PostgresStore) -> object:
    return store.page("", 9), store.changes(0, 9), store.events(), store.log_entries(0, 9)


def test_free_lease_is_taken_by_the_first(lease: Lease, other: Lease) -> None:
    assert lease.holder() is None
    epoch = lease.take("a", A, LONG_S)
    assert epoch
    assert other.take("b", B, LONG_S) is None
    found = other.holder()
    assert found
    assert found == LeaseHolder("a", A, epoch, found.left_s)
    assert LONG_S - 60 < found.left_s <= LONG_S


def test_ended_lease_is_taken_with_a_new_epoch(
    location: PostgresLocation, lease: Lease, other: Lease
) -> None:
    first = taken(lease, "a")
    expire(location)
    assert other.holder() is None
    assert taken(other, "b") > first
    with pytest.raises(FencedError) as caught:
        lease.renew(LONG_S)
    assert str(caught.value) == f"{location}: epoch {first} of the lease has ended; b at {B} leads"


def test_lease_of_a_silent_holder_ends_by_itself(lease: Lease, other: Lease) -> None:
    lease.take("a", A, 0.2)
    lease.close()
    until(lambda: other.take("b", B, LONG_S) is not None)
    found = other.holder()
    assert found
    assert found.holder == "b"


def test_holder_of_the_same_name_takes_its_lease_again(lease: Lease, other: Lease) -> None:
    assert taken(lease, "a", A) < taken(other, "a", B)
    found = lease.holder()
    assert found
    assert found.url == B


def test_engine_that_lost_a_take_over_gives_its_epoch_once(
    location: PostgresLocation, lease: Lease, other: Lease
) -> None:
    lost = taken(lease, "a")
    run(location, "UPDATE lease SET holder = '', epoch = 0, until = '-infinity'")
    assert taken(other, "b") > lost


def test_epochs_grow_though_the_clock_of_the_engine_went_back(
    location: PostgresLocation, lease: Lease
) -> None:
    run(location, f"UPDATE lease SET epoch = {1 << 60}")
    assert taken(lease, "a") == (1 << 60) + 1


def test_renewed_lease_lasts_from_the_renewal(
    location: PostgresLocation, lease: Lease, other: Lease
) -> None:
    lease.take("a", A, LONG_S)
    expire(location)
    lease.renew(LONG_S)  # Nobody took it meanwhile.
    assert other.take("b", B, LONG_S) is None


def test_released_lease_is_free_and_its_epoch_ends(
    store: PostgresStore, lease: Lease, other: Lease
) -> None:
    lease.release()
    with pytest.raises(FencedError, match=r"epoch \d+ of the lease has ended \(no control leads"):
        put(store, b"2")
    with pytest.raises(FencedError, match=r"epoch \d+ of the lease has ended; no control leads"):
        lease.renew(LONG_S)
    lease.release()
    assert taken(other, "b")


def test_lease_that_was_never_taken_is_not_renewed(lease: Lease, other: Lease) -> None:
    lease.release()
    with pytest.raises(FencedError):
        lease.renew(LONG_S)
    assert taken(other, "b")


@pytest.mark.parametrize(
    "change",
    [
        lambda store: put(store, b"2"),
        lambda store: store.write_events(EventBatch({"e": b"e"}, {"s": 1}, {"k": b"v"})),
        lambda store: store.write_events(
            EventBatch(log_entries=(LogEntry(0, "now", "me", "e", b""),))
        ),
        lambda store: store.prune(Log.CHANGES, 1),
    ],
)
def test_replaced_leader_changes_no_row(
    location: PostgresLocation,
    store: PostgresStore,
    other: Lease,
    change: Callable[[PostgresStore], object],
) -> None:
    expire(location)
    put(store, b"0")  # Nobody took the lease yet.
    epoch = taken(other, "b")
    successor = PostgresStore(location, epoch)
    before = contents(successor)
    with pytest.raises(FencedError) as caught:
        change(store)
    assert str(caught.value) == (
        f"{location}: epoch {store._epoch} of the lease has ended (b at {B} leads, epoch {epoch}); "
        "nothing was changed"
    )
    assert contents(successor) == before == contents(store)
    assert store.problem() == str(caught.value)
    put(successor, b"3")
    successor.close()


def test_tool_without_an_epoch_writes_while_nobody_leads(
    location: PostgresLocation, store: PostgresStore
) -> None:
    tool = PostgresStore(location)
    with pytest.raises(FencedError) as caught:
        put(tool, b"2")
    assert str(caught.value) == (
        f"{location}: a at {A} leads; nothing was changed. Send the change there"
    )
    assert [vm.body for vm in tool.page("", 9)] == [b"1"]
    expire(location)
    put(tool, b"2")
    assert [vm.body for vm in store.page("", 9)] == [b"2"]
    tool.close()


def waits(location: PostgresLocation) -> bool:
    """Tell whether a session of the store waits for a lock."""
    return bool(
        run(
            location,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND query LIKE '%%FOR UPDATE%%'",
        )
    )


def test_take_over_waits_for_a_write_under_way(
    location: PostgresLocation, store: PostgresStore, other: Lease
) -> None:
    epochs: list[int] = []
    thread = threading.Thread(target=lambda: epochs.append(taken(other, "b")))
    with store._transaction() as (connection, counters):
        connection.execute("UPDATE vm SET body = '2'")
        counters.last_change += 1
        expire(location)
        thread.start()
        until(lambda: waits(location))
        assert not epochs
    thread.join()
    assert len(epochs) == 1
    assert store.revision() == 2
    with pytest.raises(FencedError):
        put(store, b"3")


def test_write_under_way_does_not_delay_a_renewal(
    location: PostgresLocation, store: PostgresStore, lease: Lease
) -> None:
    with store._transaction():
        expire(location)
        lease.renew(LONG_S)
        assert lease.holder()


def test_stopped_leader_does_not_hold_the_lease_for_long(
    location: PostgresLocation, other: Lease, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_S", 0.2)
    store = PostgresStore(location, lease.take("a", A, LONG_S))

    def write_slowly() -> None:
        with store._transaction() as (connection, _):
            connection.execute("INSERT INTO note VALUES ('k', 'v')")
            expire(location)
            assert taken(other, "b")

    with pytest.raises(StoreError, match="idle-in-transaction timeout"):
        write_slowly()
    assert store.value("k") is None
    store.close()


def test_lease_of_a_later_release_is_not_taken(location: PostgresLocation, lease: Lease) -> None:
    run(location, "UPDATE store SET steps = 9, min_reader = 8")
    with pytest.raises(StoreError, match="written by a later release"):
        lease.take("a", A, LONG_S)
    assert lease.holder() is None
    with pytest.raises(StoreError, match="written by a later release"):
        Lease(location)


def test_two_controls_make_the_tables_of_a_store_once(tmp_path: Path) -> None:
    location = shared_cluster().location(tmp_path / "new")
    gate, opened = threading.Barrier(6), list[Lease]()

    def open_lease() -> None:
        gate.wait()
        opened.append(Lease(location))

    threads = [threading.Thread(target=open_lease) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    assert run(location, "SELECT steps FROM store") == 1
    for one in opened:
        one.close()
