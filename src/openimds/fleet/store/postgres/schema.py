"""The schema of the PostgreSQL engine, step by step.

The row of `store` has the number of steps that were taken, and the lowest number that a release
must know to use the store. A later release may take steps that an earlier one does not notice, and
both use the store while machines are upgraded one by one.
"""

import re
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from msgspec import Struct
from psycopg import sql

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.postgres.location import PostgresLocation

_LOCK = 0x6F70656E696D6473
"""The key of the advisory lock under which steps are taken: "openimds" in ASCII."""


class SchemaStep(Struct, frozen=True):
    """A step, and the least number of steps that a release must know after it.

    It is the step's own number where an earlier release would misread or damage the store.
    """

    statements: LiteralString
    min_reader: int


STEPS = (
    SchemaStep(
        """
        CREATE TABLE store (
            only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            identity text NOT NULL,
            steps integer NOT NULL,
            min_reader integer NOT NULL,
            last_change bigint NOT NULL DEFAULT 0,
            last_entry bigint NOT NULL DEFAULT 0,
            serial bigint NOT NULL DEFAULT 0,
            mark text NOT NULL DEFAULT ''
        ) WITH (fillfactor = 10);
        INSERT INTO store (identity, steps, min_reader) VALUES (gen_random_uuid()::text, 0, 0);
        CREATE TABLE lease (
            name text COLLATE "C" PRIMARY KEY,
            holder text NOT NULL,
            url text NOT NULL,
            epoch bigint NOT NULL,
            until timestamptz NOT NULL
        ) WITH (fillfactor = 10);
        INSERT INTO lease VALUES ('control', '', '', 0, '-infinity');
        CREATE TABLE vm (
            name text COLLATE "C" PRIMARY KEY,
            body bytea NOT NULL,
            revision bigint NOT NULL,
            origin text NOT NULL
        );
        CREATE TABLE change (
            revision bigint PRIMARY KEY,
            at text COLLATE "C" NOT NULL,
            who text NOT NULL,
            name text COLLATE "C" NOT NULL,
            before bytea,
            after bytea,
            origin text NOT NULL
        );
        CREATE TABLE event (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            body bytea NOT NULL
        );
        CREATE TABLE scope (
            name text COLLATE "C" PRIMARY KEY,
            incarnation bigint NOT NULL
        );
        CREATE TABLE note (
            key text COLLATE "C" PRIMARY KEY,
            body bytea NOT NULL
        );
        CREATE TABLE happening (
            number bigint PRIMARY KEY,
            at text COLLATE "C" NOT NULL,
            who text NOT NULL,
            event_id text NOT NULL,
            body bytea NOT NULL
        );
        CREATE TABLE applied_entry (
            name text COLLATE "C" PRIMARY KEY,
            origin text NOT NULL,
            body bytea
        );
        CREATE TABLE applied_file (
            origin text COLLATE "C" PRIMARY KEY,
            text bytea NOT NULL
        );
        """,
        1,
    ),
)
"""The steps. One that was released is never changed: a new one is added."""
TABLES = frozenset(
    name for step in STEPS for name in re.findall(r"CREATE TABLE (\w+)", step.statements)
)
"""The names of the tables; a schema may have others, which are not of the store."""


def bring_up_to_date(
    connection: psycopg.Connection[tuple[Any, ...]],
    location: PostgresLocation,
    check: Callable[[], None] | None,
) -> None:
    """Make the tables, or take the steps that they lack, all or none.

    `check` is called before the steps of a store that was there already, and raises if this
    release must not take them now. Without it such a store is left as it is.

    Raises:
        psycopg.Error: the engine failed.
        StoreError: the store needs a later release, or `check` refused.
    """
    if not _lacks(connection, location):
        return
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0")  # The statement's own limit is left.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        lacking = _lacks(connection, location)
        if lacking and lacking != STEPS:
            if check is None:
                return
            check()
        if lacking == STEPS:
            _make_schema(connection, location)
        for step in lacking:
            connection.execute(step.statements)
            connection.execute(
                "UPDATE store SET steps = steps + 1, min_reader = greatest(min_reader, %s)",
                (step.min_reader,),
            )


def _lacks(
    connection: psycopg.Connection[tuple[Any, ...]], location: PostgresLocation
) -> tuple[SchemaStep, ...]:
    """Return the steps that a store lacks."""
    # A look-up by name (to_regclass) may miss a table that another session has just made.
    found = connection.execute(
        "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'store'", (location.schema,)
    ).fetchone()
    if found is None:
        return STEPS
    return STEPS[check_steps(connection, location) :]


def check_steps(connection: psycopg.Connection[tuple[Any, ...]], location: PostgresLocation) -> int:
    """Return the number of steps that a store has taken.

    Raises:
        psycopg.Error: the engine failed.
        StoreError: it needs a later release.
    """
    row = connection.execute("SELECT steps, min_reader FROM store").fetchone()
    assert row, "the row is made with the table"
    check_reader(location, *row)
    return int(row[0])


def check_reader(location: PostgresLocation, steps: int, min_reader: int) -> None:
    """Check that this release may use a store of so many steps.

    Raises:
        StoreError: it needs a later release.
    """
    if min_reader > len(STEPS):
        raise StoreError(
            f"{location}: written by a later release (schema {steps}, which needs {min_reader}; "
            f"this one supports {len(STEPS)}); use that release"
        )


def _make_schema(
    connection: psycopg.Connection[tuple[Any, ...]], location: PostgresLocation
) -> None:
    """Make the schema, unless it is there: only then is the right needed."""
    found = connection.execute(
        "SELECT FROM pg_namespace WHERE nspname = %s", (location.schema,)
    ).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(location.schema)))
