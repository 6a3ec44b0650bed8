"""PostgreSQL as an engine: its tables, releases side by side, refusals with their remedy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from openimds.fleet.store.port import FencedError, StoreError, Write
from openimds.fleet.store.postgres import schema
from openimds.fleet.store.postgres.lease import Lease
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import STEPS, SchemaStep
from openimds.fleet.store.postgres.store import PostgresStore
from tests.support.postgres import KEEPER, run, shared_cluster

ADDED = SchemaStep("CREATE TABLE added (one int)", 1)
"""A step that an earlier release does not notice."""
BREAKING = SchemaStep("CREATE TABLE breaking (one int)", 3)


@pytest.fixture
def location(tmp_path: Path) -> PostgresLocation:
    return shared_cluster().location(tmp_path)


@pytest.fixture
def store(location: PostgresLocation) -> Iterator[PostgresStore]:
    opened = PostgresStore(location)
    yield opened
    opened.close()


def put(store: PostgresStore, body: str) -> None:
    store.write([Write("vm", body.encode(), "api")], "tester", "now")


def tables(location: PostgresLocation) -> set[str]:
    query = "SELECT array_agg(tablename) FROM pg_tables WHERE schemaname = '%s'"
    return set(run(location, query % location.schema) or ())


def test_identity_is_that_of_the_tables(store: PostgresStore, tmp_path: Path) -> None:
    again = PostgresStore(store.location)
    other = PostgresStore(shared_cluster().location(tmp_path / "other"))
    assert len(store.identity()) == 36
    assert again.identity() == store.identity() != other.identity()
    for one in (again, other):
        one.close()


def test_schemas_of_one_database_are_two_stores(store: PostgresStore, tmp_path: Path) -> None:
    put(store, "1")
    other = PostgresStore(shared_cluster().location(tmp_path / "other"))
    assert other.page("", 9) == []
    other.close()


def test_existing_schema_of_the_operator_is_used(location: PostgresLocation) -> None:
    run(location, f"CREATE SCHEMA {location.schema}")
    store = PostgresStore(location)
    put(store, "1")
    assert "vm" in tables(location)
    store.close()


def test_store_of_a_later_release_is_refused_with_both_numbers(store: PostgresStore) -> None:
    put(store, "1")
    with patch.object(schema, "STEPS", (*STEPS, ADDED, BREAKING)):
        PostgresStore(store.location).close()
    with pytest.raises(StoreError) as caught:
        PostgresStore(store.location)
    assert str(caught.value) == (
        f"{store.location}: written by a later release (schema 3, which needs 3; this one supports "
        "1); use that release"
    )
    # A server that had opened it before the step stops writing.
    with pytest.raises(StoreError, match="schema 3, which needs 3; this one supports 1"):
        put(store, "2")


def test_earlier_release_goes_on_after_a_step_that_it_may_ignore(store: PostgresStore) -> None:
    put(store, "1")
    with patch.object(schema, "STEPS", (*STEPS, ADDED)):
        later = PostgresStore(store.location)
        put(later, "2")
        later.close()
    assert "added" in tables(store.location)
    put(store, "3")
    again = PostgresStore(store.location)
    put(again, "4")
    assert again.revision() == 4
    again.close()


def test_step_that_fails_leaves_the_tables_as_they_were(store: PostgresStore) -> None:
    before = tables(store.location)
    steps = (*STEPS, ADDED, SchemaStep("SELECT 1/0", 3))
    with patch.object(schema, "STEPS", steps), pytest.raises(StoreError, match="division by zero"):
        PostgresStore(store.location)
    assert tables(store.location) == before
    put(store, "1")


def test_steps_are_taken_by_the_leader_alone(store: PostgresStore) -> None:
    lease = Lease(store.location)
    epoch = lease.take("a", "https://a", 600)
    before = tables(store.location)
    with patch.object(schema, "STEPS", (*STEPS, ADDED)):
        with pytest.raises(FencedError, match="a at https://a leads"):
            PostgresStore(store.location)
        standby = Lease(store.location)  # It reads the lease, and leaves the tables.
        assert standby.holder()
        assert tables(store.location) == before
        PostgresStore(store.location, epoch).close()
    assert tables(store.location) == before | {"added"}
    for one in (lease, standby):
        one.close()


def test_commits_are_on_the_disk_though_the_database_has_it_off(location: PostgresLocation) -> None:
    run(location, "ALTER DATABASE postgres SET synchronous_commit = off")
    try:
        store = PostgresStore(location)
        shown = store._session.read("SHOW synchronous_commit")
    finally:
        run(location, "ALTER DATABASE postgres RESET synchronous_commit")
    assert shown == [("on",)]
    store.close()


@pytest.fixture
def kept(location: PostgresLocation) -> PostgresLocation:
    """Return a location whose user needs the password `right`."""
    run(location, f"CREATE SCHEMA {location.schema}")
    run(
        location,
        "DO $$ BEGIN IF to_regrole('keeper') IS NULL THEN CREATE ROLE keeper LOGIN PASSWORD "
        "'right'; END IF; END $$",
    )
    run(location, f"GRANT ALL ON SCHEMA {location.schema} TO keeper")
    return changed(location, user=KEEPER)


def test_password_comes_from_the_url_or_the_environment(
    kept: PostgresLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PostgresStore(changed(kept, password="right")).close()
    file = tmp_path / "passwords"
    file.write_text("*:*:*:keeper:right\n")
    file.chmod(0o600)
    PostgresStore(changed(kept, parameters={"passfile": str(file)})).close()
    monkeypatch.setenv("PGPASSWORD", "right")
    PostgresStore(kept).close()


@pytest.mark.parametrize(
    "password, reason",
    [
        ("s3cret", 'password authentication failed for user "keeper"; mend the user or its pas'),
        ("", "fe_sendauth: no password supplied; mend the user or its password (in the URL, PG"),
    ],
)
def test_wrong_password_is_refused_and_not_repeated(
    kept: PostgresLocation, password: str, reason: str
) -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore(changed(kept, password=password))
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def changed(location: PostgresLocation, **members: Any) -> PostgresLocation:
    fields = {name: getattr(location, name) for name in location.__struct_fields__}
    return PostgresLocation(**(fields | members))


@pytest.mark.parametrize(
    "members, reason",
    [
        ({"database": "none"}, 'database "none" does not exist; make the database: createdb'),
        ({"user": "none"}, 'role "none" does not exist; mend the user or its password (in the'),
        ({"user": "guest"}, "permission denied for database postgres; let the user of the URL"),
        ({"database": "latin"}, "its encoding is LATIN1, expected UTF8; make another database"),
        ({"database": "replica"}, "session is read-only; connect to the engine that takes writes"),
        ({"port": "1"}, "failed: No such file or directory; start the engine, or mend the way"),
        (
            {"host": "127.0.0.1", "port": "1"},
            "failed: Connection refused; start the engine, or mend the way to it; nothing was",
        ),
        ({"parameters": {"sslmode": "x"}}, 'invalid sslmode value: "x"; start the engine, or'),
    ],
)
def test_engine_that_refuses_is_named_with_the_remedy(
    location: PostgresLocation, members: dict[str, Any], reason: str
) -> None:
    with psycopg.connect(
        host=location.host, dbname="postgres", user="openimds", autocommit=True
    ) as connection:
        names = connection.execute("SELECT array_agg(datname) FROM pg_database").fetchone()
        if names and "latin" not in names[0]:
            connection.execute("CREATE ROLE guest LOGIN")
            connection.execute(
                "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
            )
            connection.execute("CREATE DATABASE replica")
            connection.execute("ALTER DATABASE replica SET default_transaction_read_only = on")
    refused = changed(location, password="s3cret", **members)
    for opening in (PostgresStore, Lease):
        with pytest.raises(StoreError) as caught:
            opening(refused)
        assert str(caught.value).startswith(f"{refused}: ")
        assert reason in str(caught.value)
        assert "s3cret" not in str(caught.value)
