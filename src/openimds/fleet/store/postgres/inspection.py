"""The facts of an engine by which an operator judges it; nothing is changed."""

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from openimds.fleet.store.postgres.fencing import CONTROL
from openimds.fleet.store.postgres.lease import LeaseHolder
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import TABLES
from openimds.fleet.store.postgres.session import PostgresSession

OLDEST_VERSION = 13
"""The first PostgreSQL that makes the store's name without an extension."""
LIMIT_S = 10.0
"""The most time of a look at an engine after the connection."""
_SETTINGS = ["fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"]
_FACTS = """
    SELECT current_setting('server_version'),
        current_setting('server_version_num')::integer / 10000, current_user::text,
        (SELECT count(*) FROM pg_stat_replication),
        has_database_privilege(current_database(), 'CREATE'),
        (SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')
            FROM pg_namespace WHERE nspname = %s)
"""
_TABLES = """
    SELECT relname::text, has_table_privilege(c.oid, 'SELECT')
        AND has_table_privilege(c.oid, 'INSERT')
        AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = %s AND relkind = 'r' AND relname = ANY(%s) ORDER BY relname
"""
_LEADER = (
    "SELECT holder, url, epoch, extract(epoch FROM until - clock_timestamp())::float8 "
    "FROM lease WHERE name = %s AND until > clock_timestamp()"
)


class EngineReport(Struct, frozen=True):
    """An engine that takes writes, in UTF-8 and without a pooler in transaction mode.

    `settings` are those that decide which acknowledged changes outlive a crash, as they are for new
    sessions. `ahead_s` is the engine's clock minus that of this machine. `may_make` tells whether
    the user may make the schema, or tables in it; `closed` are the store's tables that the user may
    not read and write. `steps` and `min_reader` are those of the schema: None without tables, with
    closed ones, or where the user may not make tables.
    """

    version: str
    major: int
    user: str
    standbys: int
    settings: dict[str, str]
    ahead_s: float
    may_make: bool
    closed: tuple[str, ...]
    steps: int | None = None
    min_reader: int | None = None
    leader: LeaseHolder | None = None


def inspect(location: PostgresLocation, utc: Callable[[], float] = time.time) -> EngineReport:
    """Connect as a control does, and look.

    Raises:
        StoreError: the engine cannot be reached, takes no writes, has another encoding than UTF-8,
            or is behind a pooler in transaction mode.
    """
    session = PostgresSession(location, lambda _: None, LIMIT_S)
    try:
        session.connect()
        return _report(session, location.schema, utc)
    finally:
        session.close()


def _report(session: PostgresSession, schema: str, utc: Callable[[], float]) -> EngineReport:
    before_s = utc()
    ((engine_s,),) = session.read("SELECT extract(epoch FROM clock_timestamp())::float8")
    ahead_s = engine_s - (before_s + utc()) / 2
    query = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(%s)"
    settings = dict(session.read(query, (_SETTINGS,)))
    ((*facts, may_make_schema, may_make_tables),) = session.read(_FACTS, (schema,))
    tables = dict(session.read(_TABLES, (schema, [*TABLES])))
    may_make = may_make_schema if may_make_tables is None else may_make_tables
    closed = tuple(name for name, is_open in tables.items() if not is_open)
    version, major, user, standbys = facts
    report = EngineReport(version, major, user, standbys, settings, ahead_s, may_make, closed)
    if "store" not in tables or closed or not may_make:
        return report
    ((steps, min_reader),) = session.read("SELECT steps, min_reader FROM store")
    held = session.read(_LEADER, (CONTROL,))
    leader = LeaseHolder(*held[0]) if held else None
    return replace(report, steps=steps, min_reader=min_reader, leader=leader)
