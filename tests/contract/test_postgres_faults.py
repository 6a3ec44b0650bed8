"""Faults of PostgreSQL: lost connections, commits without an answer, crashes, restored stores."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openimds.fleet.store.port import FencedError, StoreError, Write
from openimds.fleet.store.postgres import session
from openimds.fleet.store.postgres.lease import Lease
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.store import PostgresStore
from tests.support.postgres import PostgresCluster, connect, run, shared_cluster


@pytest.fixture
def location(tmp_path: Path) -> PostgresLocation:
    return shared_cluster().location(tmp_path)


@pytest.fixture
def store(location: PostgresLocation) -> Iterator[PostgresStore]:
    opened = PostgresStore(location)
    put(opened, "1")
    yield opened
    opened.close()


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """Return the engine, to be ended by the test."""
    made = shared_cluster()
    yield made
    if made.process.poll() is not None:
        made.start()


def put(store: PostgresStore, body: str) -> None:
    store.write([Write("vm", body.encode(), "api")], "tester", "now")


def body(store: PostgresStore) -> str:
    return store.page("", 1)[0].body.decode()


def process(store: PostgresStore) -> int:
    return int(store._session.read("SELECT pg_backend_pid()")[0][0])


def end_connection(store: PostgresStore) -> None:
    run(store.location, "SELECT pg_terminate_backend(%s, 5000)", process(store))


class _Wire:
    """A connection whose commit meets a fault of the way to the engine."""

    def __init__(self, connection: Any, commit: Callable[[Any], None]) -> None:
        self._connection, self._commit = connection, commit

    def execute(self, query: str, *arguments: Any) -> Any:
        if query == "COMMIT":
            self._commit(self._connection)
        return self._connection.execute(query, *arguments)


def spoil_commit(store: PostgresStore, commit: Callable[[Any], None]) -> None:
    """Have the next commit of a store go through a function first."""
    begin = store._session.begin

    def begin_once() -> Any:
        del store._session.begin
        return _Wire(begin(), commit)

    store._session.begin = begin_once  # type: ignore[method-assign]


def test_connection_that_ended_between_calls_is_made_anew(store: PostgresStore) -> None:
    first = process(store)
    end_connection(store)
    assert body(store) == "1"
    end_connection(store)
    put(store, "2")
    assert (body(store), store.problem()) == ("2", "")
    assert process(store) != first


def test_connection_that_ends_inside_a_write_leaves_nothing(store: PostgresStore) -> None:
    def write() -> None:
        with store._transaction() as (connection, _):
            connection.execute("UPDATE vm SET body = '2'")
            run(
                store.location, "SELECT pg_terminate_backend(%s, 5000)", connection.info.backend_pid
            )
            connection.execute("SELECT 1")

    with pytest.raises(StoreError) as caught:
        write()
    assert str(caught.value) == (
        f"{store.location}: terminating connection due to administrator command; the connection "
        "was lost; nothing was changed"
    )
    assert body(store) == "1"
    put(store, "3")


def test_commit_whose_answer_is_lost_is_found_to_be_made(store: PostgresStore) -> None:
    def commit(connection: Any) -> None:
        connection.execute("COMMIT")
        store._session.cut()

    spoil_commit(store, commit)
    put(store, "2")
    assert (body(store), store.revision(), store.problem()) == ("2", 2, "")
    put(store, "3")


def test_commit_that_never_reaches_the_engine_is_an_error(store: PostgresStore) -> None:
    spoil_commit(store, lambda _: store._session.cut())
    with pytest.raises(StoreError, match="lost before the commit; nothing was changed"):
        put(store, "2")
    assert (body(store), store.revision()) == ("1", 1)
    put(store, "3")
    assert store.revision() == 2


def test_commit_that_the_engine_refuses_is_an_error(store: PostgresStore) -> None:
    spoil_commit(store, lambda connection: connection.execute("SELECT 1/0"))
    with pytest.raises(StoreError, match="division by zero; nothing was changed"):
        put(store, "2")
    assert (body(store), store.revision()) == ("1", 1)
    put(store, "3")


def test_interrupted_commit_is_settled_by_the_next_write(store: PostgresStore) -> None:
    def commit(_: Any) -> None:
        raise KeyboardInterrupt

    spoil_commit(store, commit)
    with pytest.raises(KeyboardInterrupt):
        put(store, "2")
    put(store, "3")
    assert (body(store), store.revision()) == ("3", 2)


def end_engine(cluster: PostgresCluster, *, after_commit: bool) -> Callable[[Any], None]:
    def commit(connection: Any) -> None:
        if after_commit:
            connection.execute("COMMIT")
        cluster.stop(signal.SIGQUIT)

    return commit


@pytest.mark.parametrize("is_made", [True, False])
def test_unknown_commit_is_settled_when_the_engine_is_back(
    cluster: PostgresCluster, location: PostgresLocation, is_made: bool
) -> None:
    store = PostgresStore(location)
    put(store, "1")
    spoil_commit(store, end_engine(cluster, after_commit=is_made))
    with pytest.raises(StoreError, match="is found out when the engine answers"):
        put(store, "2")
    cluster.start()
    assert body(store) == ("2" if is_made else "1")
    if is_made:
        with pytest.raises(FencedError) as caught:
            put(store, "3")
        assert str(caught.value) == (
            f"{store.location}: a change that was reported as failed may have been made; the fleet "
            "is loaded anew when the store is opened again"
        )
        assert store.problem() == str(caught.value)
    else:
        put(store, "3")
        assert (body(store), store.problem()) == ("3", "")
    store.close()


def test_write_of_another_hides_an_unknown_commit(store: PostgresStore) -> None:
    other = PostgresStore(store.location)

    def commit(_: Any) -> None:
        store._session.cut()
        end_connection_of_row(store.location)
        put(other, "other")

    spoil_commit(store, commit)
    with pytest.raises(StoreError, match="whether the change was made is found out"):
        put(store, "2")
    with pytest.raises(FencedError, match="reported as failed may have been made"):
        put(store, "3")
    assert body(other) == "other"
    other.close()


@pytest.mark.parametrize("is_made", [True, False])
def test_write_of_another_opening_hides_no_commit(
    location: PostgresLocation, is_made: bool
) -> None:
    store, keys = (PostgresStore(location, writer=writer) for writer in ("fleet", "keys"))
    put(keys, "1")
    put(store, "1")

    def commit(connection: Any) -> None:
        if is_made:
            connection.execute("COMMIT")
        store._session.cut()
        end_connection_of_row(location)
        put(keys, "other")

    spoil_commit(store, commit)
    if is_made:
        put(store, "2")
    else:
        with pytest.raises(StoreError, match="lost before the commit; nothing was changed"):
            put(store, "2")
    assert store.problem() == ("" if is_made else store._reason)
    assert body(store) == "other"
    put(store, "3")
    assert (body(keys), store.revision()) == ("3", 4 if is_made else 3)
    for one in (store, keys):
        one.close()


def end_connection_of_row(location: PostgresLocation) -> None:
    """End the transactions that hold the store's row, as the engine does soon by itself."""
    run(
        location,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE mode = 'RowExclusiveLock' "
        "AND relation = 'store'::regclass AND pid <> pg_backend_pid()",
    )


def test_crash_of_the_engine_loses_no_acknowledged_change(
    cluster: PostgresCluster, location: PostgresLocation
) -> None:
    store = PostgresStore(location)
    acknowledged: list[int] = []
    many = threading.Event()

    def write() -> None:
        try:
            for number in range(100_000):
                put(store, str(number))
                acknowledged.append(number)
                if number == 50:
                    many.set()
        except StoreError:
            return

    writer = threading.Thread(target=write)
    writer.start()
    assert many.wait(30)
    cluster.stop(signal.SIGQUIT)
    writer.join(30)
    cluster.start()
    again = PostgresStore(location)
    assert int(body(again)) in (acknowledged[-1], acknowledged[-1] + 1)
    assert [int(change.after or b"") for change in again.changes(0, 100_000)] == [
        *range(int(body(again)) + 1)
    ]
    again.close()
    store.close()


def test_absent_engine_is_reported_until_it_is_back(
    cluster: PostgresCluster, location: PostgresLocation
) -> None:
    now = [0.0]
    store = PostgresStore(location, now=lambda: now[0])
    put(store, "1")
    cluster.stop(signal.SIGQUIT)
    for call in (store.revision, lambda: store.get("vm"), lambda: put(store, "2"), store.events):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(caught.value).startswith(f"{store.location}: connection to server on ")
        assert str(caught.value).endswith(
            "failed: No such file or directory; start the engine, or mend the way to it; "
            "nothing was changed"
        )
    assert store.problem() == str(caught.value)
    cluster.start()
    assert store.problem() == str(caught.value)  # The last attempt is less than a second ago.
    now[0] += 1
    assert store.problem() == ""
    assert body(store) == "1"
    store.close()


def test_engine_that_never_answers_ends_a_call(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = process(store)
    monkeypatch.setattr(store._session, "_limit_s", 0.4)
    os.kill(stopped, signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match=r": no answer within 0\.4 s; the connection was"):
            put(store, "2")
    finally:
        os.kill(stopped, signal.SIGCONT)
    monkeypatch.undo()
    put(store, "3")
    assert store.revision() == 2


@pytest.mark.parametrize(
    "damage, reason",
    [
        ("UPDATE store SET serial = 0", "the engine has lost changes that it had acknowledged"),
        ("UPDATE store SET identity = 'x'", "another store stands here now"),
    ],
)
def test_store_that_was_replaced_is_not_written(
    store: PostgresStore, damage: str, reason: str
) -> None:
    run(store.location, damage)
    end_connection(store)
    with pytest.raises(FencedError) as caught:
        put(store, "2")
    assert str(caught.value) == (
        f"{store.location}: {reason}; the fleet is loaded anew when the store is opened again"
    )
    assert body(store) == "1"
    again = PostgresStore(store.location)
    put(again, "2")
    again.close()


def test_leader_whose_store_was_replaced_gives_up_its_lease(location: PostgresLocation) -> None:
    lease = Lease(location)
    store = PostgresStore(location, lease.take("a", "https://a", 600))
    put(store, "1")
    run(location, "UPDATE store SET serial = 0")
    lease.renew(600)
    end_connection(store)
    assert body(store) == "1"
    with pytest.raises(FencedError, match="no control leads"):
        lease.renew(600)
    assert lease.holder() is None
    assert lease.take("b", "https://b", 600)
    store.close()
    lease.close()


def test_lock_of_another_ends_a_write(
    location: PostgresLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_S", 0.1)
    store = PostgresStore(location)
    with connect(location) as connection:
        connection.execute("BEGIN; SELECT * FROM store FOR UPDATE")
        with pytest.raises(StoreError, match="another writer held the store for 5 s; nothing was"):
            put(store, "1")
    put(store, "1")
    store.close()


def test_closed_store_stays_closed(store: PostgresStore) -> None:
    store.close()
    with pytest.raises(StoreError, match=r"the store is closed$"):
        store.revision()
    store.close()


def test_error_of_a_value_leaves_the_connection(store: PostgresStore) -> None:
    first = process(store)
    with pytest.raises(StoreError, match=r"PostgreSQL at .*; nothing was changed$"):
        store.write([Write("a\0b", b"{}", "api")], "tester", "now")
    assert process(store) == first
    put(store, "2")
