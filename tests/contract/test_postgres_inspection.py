"""The facts of an engine that `openimds doctor --store` judges."""

import time
from pathlib import Path

import pytest
from psycopg import sql

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.postgres.inspection import inspect
from openimds.fleet.store.postgres.lease import Lease
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import STEPS
from openimds.fleet.store.postgres.store import PostgresStore
from tests.support.postgres import run, shared_cluster

LONG_S = 600.0
GUEST = "onlooker"


@pytest.fixture
def location(tmp_path: Path) -> PostgresLocation:
    return shared_cluster().location(tmp_path)


def count_of_schemas(location: PostgresLocation) -> int:
    query = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
    found = run(location, query, location.schema)
    assert isinstance(found, int)
    return found


def test_engine_without_a_store_stays_without_one(location: PostgresLocation) -> None:
    report = inspect(location)
    assert (report.steps, report.leader, report.closed, report.may_make) == (None, None, (), True)
    assert (report.user, report.standbys, report.settings["fsync"]) == ("openimds", 0, "off")
    assert report.version.startswith(f"{report.major}")
    assert abs(report.ahead_s) < 5
    assert count_of_schemas(location) == 0


def test_leader_and_schema_are_found(location: PostgresLocation, lease: Lease) -> None:
    report = inspect(location)
    assert (report.steps, report.min_reader) == (len(STEPS), STEPS[-1].min_reader)
    assert report.leader is None
    epoch = lease.take("c1/7", "http://c1:8170", LONG_S)
    leader = inspect(location).leader
    assert leader
    assert (leader.holder, leader.url, leader.epoch) == ("c1/7", "http://c1:8170", epoch)


def test_clock_that_differs_is_measured(location: PostgresLocation) -> None:
    assert 95 < inspect(location, lambda: time.time() - 100).ahead_s < 105


def test_user_without_rights_is_found(location: PostgresLocation) -> None:
    PostgresStore(location).close()
    schema, user = sql.Identifier(location.schema), sql.Identifier(GUEST)
    run(location, "DROP ROLE IF EXISTS onlooker")
    run(location, sql.SQL("CREATE ROLE {} LOGIN").format(user))
    try:
        guest = PostgresLocation(
            location.host, location.port, location.database, GUEST, schema=location.schema
        )
        report = inspect(guest)
        assert (report.may_make, report.steps) == (False, None)
        assert "vm" in report.closed
        run(location, sql.SQL("GRANT ALL ON SCHEMA {} TO {}").format(schema, user))
        run(location, sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA {} TO {}").format(schema, user))
        report = inspect(guest)
        assert (report.may_make, report.closed, report.steps) == (True, (), len(STEPS))
    finally:
        run(location, sql.SQL("DROP OWNED BY {}").format(user))
        run(location, sql.SQL("DROP ROLE {}").format(user))


def test_engine_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start the engine, or mend the way to it"):
        inspect(PostgresLocation(str(tmp_path), "5432", "postgres"))


def test_closed_table_of_another_program_is_not_judged(location: PostgresLocation) -> None:
    PostgresStore(location).close()
    schema, user = sql.Identifier(location.schema), sql.Identifier(GUEST)
    run(location, "DROP ROLE IF EXISTS onlooker")
    run(location, sql.SQL("CREATE ROLE {} LOGIN").format(user))
    try:
        run(location, sql.SQL("GRANT ALL ON SCHEMA {} TO {}").format(schema, user))
        run(location, sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA {} TO {}").format(schema, user))
        run(location, sql.SQL("CREATE TABLE {}.notes_of_another ()").format(schema))
        guest = PostgresLocation(
            location.host, location.port, location.database, GUEST, schema=location.schema
        )
        report = inspect(guest)
        assert (report.closed, report.steps) == ((), len(STEPS))
    finally:
        run(location, sql.SQL("DROP OWNED BY {}").format(user))
        run(location, sql.SQL("DROP ROLE {}").format(user))
