"""The PostgreSQL engine behind the port of a store."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString, TypeAlias

from openimds.fleet.store.port import (
    AppliedEntry,
    AppliedFile,
    Change,
    EventBatch,
    Log,
    LogEntry,
    Span,
    Store,
    StoredVm,
    StoreError,
    Write,
)
from openimds.fleet.store.postgres.fencing import StoreCounters, WriteGuard, check_lease
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import bring_up_to_date
from openimds.fleet.store.postgres.session import LOST, Connection, PostgresSession
from openimds.fleet.store.postgres.statements import write_applied, write_batch, write_vms

_Rows: TypeAlias = list[tuple[Any, ...]]
_PROBE_S = 1.0
"""The time between two attempts to write, made when readiness is asked for."""
_UNKNOWN = (
    "the connection was lost at the commit; whether the change was made is found out when the "
    "engine answers"
)
_ROW_BYTES = 120
"""The bytes of a row beside its texts: dates, numbers, and those of the engine."""


class _LogQueries:
    """The statements about one log."""

    def __init__(self, table: LiteralString, key: LiteralString, size: LiteralString) -> None:
        self.first: LiteralString = (
            f"SELECT (SELECT min({key}) FROM {table}), last_change, last_entry FROM store"  # noqa: S608 - constants
        )
        self.sizes: LiteralString = (
            f"SELECT {key}, {size} FROM {table} WHERE {key} BETWEEN %s AND %s ORDER BY {key}"  # noqa: S608 - constants
        )
        self.younger: LiteralString = (
            f"SELECT min({key}) FROM {table} WHERE {key} BETWEEN %s AND %s AND at >= %s"  # noqa: S608 - constants
        )
        self.prune: LiteralString = f"DELETE FROM {table} WHERE {key} <= %s"  # noqa: S608 - as above


_QUERIES = {
    Log.CHANGES: _LogQueries(
        "change",
        "revision",
        "coalesce(octet_length(before), 0) + coalesce(octet_length(after), 0) "
        "+ octet_length(name) + octet_length(who)",
    ),
    Log.EVENTS: _LogQueries(
        "happening", "number", "octet_length(body) + octet_length(who) + octet_length(event_id)"
    ),
}


class PostgresStore(Store):
    """One connection, used from one thread at a time."""

    def __init__(
        self,
        location: PostgresLocation,
        epoch: int | None = None,
        *,
        writer: str = "tool",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and make or complete the tables.

        With the `epoch` of a lease every write is the leader's; without one a write is refused
        while any control leads. Each of several openings of one process has its `writer`, a word.

        Raises:
            FencedError: the tables are of an earlier release, and another control leads.
            StoreError: the engine cannot be reached, or the store is from a later release.
        """
        self.location, self._epoch, self._now = location, epoch, now
        self._guard = WriteGuard(location, epoch, writer)
        self._session = PostgresSession(location, self._meet)
        self._reason, self._probed_s = "", 0.0
        try:
            self._session.connect()
        except BaseException:
            self._session.close()
            raise

    def _meet(self, connection: Connection) -> None:
        """Compare the store behind a new connection with the one that was opened."""
        if not self._guard.identity:
            bring_up_to_date(
                connection,
                self.location,
                lambda: check_lease(connection, self.location, self._epoch),
            )
        self._guard.meet(connection)

    def identity(self) -> str:
        """Return the store's own name, made with its tables: a copy has the same."""
        return self._guard.identity

    def _read(self, query: LiteralString, arguments: Sequence[object] = ()) -> _Rows:
        try:
            return self._session.read(query, arguments)
        except StoreError as error:
            self._note(error)
            raise

    def _note(self, error: StoreError) -> None:
        self._reason, self._probed_s = str(error), self._now()

    def get(self, name: str) -> StoredVm | None:
        """Return the VM of a name."""
        rows = self._read("SELECT name, body, revision, origin FROM vm WHERE name = %s", (name,))
        return StoredVm(*rows[0]) if rows else None

    def get_many(self, names: Sequence[str]) -> list[StoredVm]:
        """Return those of these VMs that exist, in any order."""
        rows = self._read(
            "SELECT name, body, revision, origin FROM vm WHERE name = ANY(%s)", ([*names],)
        )
        return [StoredVm(*row) for row in rows]

    def page(self, after: str, limit: int) -> list[StoredVm]:
        """Return up to `limit` VMs whose names follow `after` by code points."""
        rows = self._read(
            "SELECT name, body, revision, origin FROM vm WHERE name > %s ORDER BY name LIMIT %s",
            (after, limit),
        )
        return [StoredVm(*row) for row in rows]

    def applied_entry(self, name: str) -> AppliedEntry | None:
        """Return the entry of a VM as last applied by a file."""
        rows = self._read("SELECT name, origin, body FROM applied_entry WHERE name = %s", (name,))
        return AppliedEntry(*rows[0]) if rows else None

    def applied_entries(self, after: str, limit: int) -> list[AppliedEntry]:
        """Return up to `limit` applied entries that follow a name."""
        rows = self._read(
            "SELECT name, origin, body FROM applied_entry WHERE name > %s ORDER BY name LIMIT %s",
            (after, limit),
        )
        return [AppliedEntry(*row) for row in rows]

    def applied_text(self, origin: str) -> bytes:
        """Return the digest of the text that an origin applied last, or nothing."""
        rows = self._read("SELECT text FROM applied_file WHERE origin = %s", (origin,))
        return rows[0][0] if rows else b""

    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes with higher numbers than `since`, oldest first."""
        rows = self._read(
            "SELECT revision, at, who, name, before, after, origin FROM change "
            "WHERE revision > %s ORDER BY revision LIMIT %s",
            (since, limit),
        )
        return [Change(*row) for row in rows]

    def revision(self) -> int:
        """Return the number of the last change ever, 0 before the first."""
        return int(self._read("SELECT last_change FROM store")[0][0])

    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order of their creation."""
        return [body for (body,) in self._read("SELECT body FROM event ORDER BY position")]

    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        return dict(self._read("SELECT name, incarnation FROM scope"))

    def value(self, key: str) -> bytes | None:
        """Return the value that an event batch wrote under a key."""
        rows = self._read("SELECT body FROM note WHERE key = %s", (key,))
        return rows[0][0] if rows else None

    def values(self, prefix: str) -> dict[str, bytes]:
        """Return the values whose keys begin with a text, by key."""
        rows = self._read("SELECT key, body FROM note WHERE starts_with(key, %s)", (prefix,))
        return dict(rows)

    def log_entries(self, since: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` log entries with higher numbers than `since`, oldest first."""
        rows = self._read(
            "SELECT number, at, who, event_id, body FROM happening "
            "WHERE number > %s ORDER BY number LIMIT %s",
            (since, limit),
        )
        return [LogEntry(*row) for row in rows]

    def last_log_entry(self) -> int:
        """Return the number of the last log entry ever, 0 before the first."""
        return int(self._read("SELECT last_entry FROM store")[0][0])

    def span(self, log: Log) -> Span:
        """Return the span of a log."""
        first, last_change, last_entry = self._read(_QUERIES[log].first)[0]
        last = last_change if log is Log.CHANGES else last_entry
        return Span(last + 1 if first is None else first, last)

    def row_sizes(self, log: Log, first: int, last: int) -> list[tuple[int, int]]:
        """Return number and bytes of each row from `first` to `last`, oldest first."""
        rows = self._read(_QUERIES[log].sizes, (first, last))
        return [(number, size + _ROW_BYTES) for number, size in rows]

    def last_older(self, log: Log, date: str, after: int, until: int) -> int:
        """Return the last number of the older rows that follow `after` without a break."""
        ((younger,),) = self._read(_QUERIES[log].younger, (after + 1, until, date))
        return until if younger is None else int(younger) - 1

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, StoreCounters]]:
        """Write inside a transaction that only this opening of the store can make.

        Raises:
            FencedError: this opening may write no longer.
            StoreError: the engine failed.
        """
        try:
            with self._session.call(LOST):
                connection = self._session.begin()
                try:
                    counters = self._guard.enter(connection)
                    yield connection, counters
                    self._guard.leave(connection, counters)
                except BaseException:
                    self._session.roll_back()
                    raise
                self._commit(connection)
        except StoreError as error:
            self._note(error)
            raise
        self._reason = ""

    def _commit(self, connection: Connection) -> None:
        """Commit; after a lost connection find out whether that was done.

        Raises:
            StoreError: it was not done, or that is not known.
        """
        try:
            with self._session.call(_UNKNOWN):
                connection.execute("COMMIT")
        except StoreError as error:
            if self._session.is_connected:
                self._guard.rolled_back()
                self._session.roll_back()
                raise
            with suppress(StoreError):
                self._session.connect()
            was_made = self._guard.outcome()
            if was_made is None:
                raise
            if not was_made:
                raise StoreError(
                    f"{self.location}: the connection was lost before the commit; nothing was "
                    "changed"
                ) from error
        except BaseException:
            self._session.drop()
            self._guard.outcome()
            raise
        self._guard.committed()

    def write(
        self, writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
    ) -> list[Change]:
        """Make all the changes or none; the engine has committed them when this returns."""
        with self._transaction() as (connection, counters):
            changes = write_vms(connection, writes, who, at, counters.last_change)
            counters.last_change += len(changes)
            if applied:
                write_applied(connection, applied)
            return changes

    def write_events(self, batch: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; the engine has committed it when this returns."""
        with self._transaction() as (connection, counters):
            entries = write_batch(connection, batch, counters.last_entry)
            counters.last_entry += len(entries)
            return entries

    def prune(self, log: Log, until: int) -> int:
        """Delete the rows of a log up to a number; return how many were there."""
        with self._transaction() as (connection, _):
            return connection.execute(_QUERIES[log].prune, (until,)).rowcount

    def problem(self) -> str:
        """Return the reason why changes are refused, or nothing.

        While there is one, an attempt to write is made, at most once a second.
        """
        if self._guard.reason:
            return self._guard.reason
        if self._reason and self._now() - self._probed_s >= _PROBE_S:
            with suppress(StoreError), self._transaction():  # The reason is kept.
                pass
        return self._reason

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
