"""The SQLite engine: one file in the state directory, or a database in memory.

Write-ahead logging with a sync on every commit: a change that `write` has acknowledged survives a
crash of the process and of the machine. There is one writer, the process that holds the lock of the
state directory. `schema` has the tables, `sqlite_file` opens the file.
"""

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

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
    Write,
    check_revision,
    origin_after,
)
from openimds.fleet.store.schema import bring_up_to_date
from openimds.fleet.store.sqlite_file import IN_MEMORY, explain, open_database

_BATCH_ROWS = 1000
"""A large batch prunes its log after so many rows: SQLite reuses freed pages and keeps them."""

_TABLES = {
    Log.CHANGES: (
        "change",
        "revision",
        "coalesce(length(before), 0) + coalesce(length(after), 0) + 2 * length(name) + length(who)",
    ),
    Log.EVENTS: ("happening", "number", "length(body) + length(who) + 2 * length(event_id)"),
}
"""Table, key, and the bytes of a row's texts and of their copies in indexes, for each log."""
_ROW_BYTES = 120
"""The bytes of a row beside its texts: dates, numbers, and those of SQLite."""


class SqliteStore(Store):
    """One file, one connection, used from one thread at a time."""

    copied_to: Path | None = None
    """The copy of the store that was made before its schema was brought up to date."""
    max_log_rows: int | None = None
    """The bound on changes and on log entries, of which the newest are kept; None for no bound."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, and bring its schema up to date.

        Raises:
            StoreError: the file cannot be opened, is damaged, or is from a later release.
        """
        self.path = path
        self._db = open_database(path)
        try:
            self.copied_to = bring_up_to_date(self._db, path)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise explain(path, error) from error
            raise

    def get(self, name: str) -> StoredVm | None:
        """Return the VM of a name."""
        with self._explained():
            row = self._db.execute(
                "SELECT name, body, revision, origin FROM vm WHERE name = ?", (name,)
            ).fetchone()
            return StoredVm(*row) if row else None

    def get_many(self, names: Sequence[str]) -> list[StoredVm]:
        """Return those of these VMs that exist, in any order."""
        return [vm for vm in map(self.get, names) if vm]

    def page(self, after: str, limit: int) -> list[StoredVm]:
        """Return up to `limit` VMs whose names follow `after` by code points."""
        with self._explained():
            rows = self._db.execute(
                "SELECT name, body, revision, origin FROM vm WHERE name > ? ORDER BY name LIMIT ?",
                (after, limit),
            )
            return [StoredVm(*row) for row in rows]

    def write(
        self, writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
    ) -> list[Change]:
        """Make all the changes or none; they are on the disk when this returns."""
        with self._transaction():
            made = [self._make(write, who, at) for write in writes]
            changes = [change for change in made if change]
            if applied:
                entries = applied.entries.items()
                self._forget(applied.origin, [name for name, body in entries if body is None])
                self._db.executemany(
                    "INSERT OR REPLACE INTO applied_entry VALUES (?, ?, ?)",
                    ((name, applied.origin, body) for name, body in entries if body is not None),
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO applied_file VALUES (?, ?)",
                    (applied.origin, applied.text),
                )
            self._prune("change", "revision", changes[-1].revision if changes else 0)
            return changes

    def _forget(self, origin: str, names: Sequence[str]) -> None:
        """Forget the applied entries of an origin, inside a transaction."""
        self._db.executemany(
            "DELETE FROM applied_entry WHERE name = ? AND origin = ?",
            ((name, origin) for name in names),
        )

    def applied_entry(self, name: str) -> AppliedEntry | None:
        """Return the entry of a VM as last applied by a file."""
        with self._explained():
            row = self._db.execute(
                "SELECT name, origin, body FROM applied_entry WHERE name = ?", (name,)
            ).fetchone()
            return AppliedEntry(*row) if row else None

    def applied_entries(self, after: str, limit: int) -> list[AppliedEntry]:
        """Return up to `limit` applied entries that follow a name."""
        with self._explained():
            rows = self._db.execute(
                "SELECT name, origin, body FROM applied_entry WHERE name > ? ORDER BY name LIMIT ?",
                (after, limit),
            )
            return [AppliedEntry(*row) for row in rows]

    def applied_text(self, origin: str) -> bytes:
        """Return the digest of the text that an origin applied last, or nothing."""
        with self._explained():
            row = self._db.execute(
                "SELECT text FROM applied_file WHERE origin = ?", (origin,)
            ).fetchone()
            return row[0] if row else b""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into a StoreError that names the file and the remedy."""
        try:
            yield
        except sqlite3.Error as error:
            raise explain(self.path, error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _make(self, write: Write, who: str, at: str) -> Change | None:
        """Make one change of a transaction; None if the VM is so already."""
        stored = self.get(write.name)
        check_revision(write.name, write.expected, stored.revision if stored else 0)
        before, origin = None, write.origin
        if stored:
            before = stored.body
            origin = origin_after(stored.origin, origin, write.replaced_origins)
        if write.body == before and (stored is None or origin == stored.origin):
            return None
        cursor = self._db.execute(
            "INSERT INTO change (at, who, name, before, after, origin) VALUES (?, ?, ?, ?, ?, ?)",
            (at, who, write.name, before, write.body, origin),
        )
        revision = cursor.lastrowid or 0
        if revision % _BATCH_ROWS == 0:
            self._prune("change", "revision", revision)
        if write.body is None:
            self._db.execute("DELETE FROM vm WHERE name = ?", (write.name,))
        else:
            self._db.execute(
                "INSERT INTO vm VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "body = excluded.body, revision = excluded.revision, origin = excluded.origin",
                (write.name, write.body, revision, origin),
            )
        return Change(revision, at, who, write.name, before, write.body, origin)

    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes with higher numbers than `since`, oldest first."""
        with self._explained():
            rows = self._db.execute(
                "SELECT revision, at, who, name, before, after, origin FROM change "
                "WHERE revision > ? ORDER BY revision LIMIT ?",
                (since, limit),
            )
            return [Change(*row) for row in rows]

    def revision(self) -> int:
        """Return the number of the last change ever, 0 before the first."""
        return self.span(Log.CHANGES).last

    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order of their creation."""
        with self._explained():
            rows = self._db.execute("SELECT body FROM event ORDER BY position")
            return [body for (body,) in rows]

    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        with self._explained():
            return dict(self._db.execute("SELECT name, incarnation FROM scope"))

    def value(self, key: str) -> bytes | None:
        """Return the value that an event batch wrote under a key."""
        with self._explained():
            row = self._db.execute("SELECT body FROM note WHERE key = ?", (key,)).fetchone()
            return row[0] if row else None

    def values(self, prefix: str) -> dict[str, bytes]:
        """Return the values whose keys begin with a text, by key."""
        with self._explained():
            rows = self._db.execute(
                "SELECT key, body FROM note WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
            )
            return dict(rows)

    def write_events(self, batch: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; it is on the disk when this returns."""
        run = self._db.execute
        with self._transaction():
            for event_id, body in batch.events.items():
                if body is None:
                    run("DELETE FROM event WHERE id = ?", (event_id,))
                else:
                    run(
                        "INSERT INTO event (id, body) VALUES (?, ?) "
                        "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                        (event_id, body),
                    )
            for scope, incarnation in batch.incarnations.items():
                if incarnation is None:
                    run("DELETE FROM scope WHERE name = ?", (scope,))
                else:
                    run("INSERT OR REPLACE INTO scope VALUES (?, ?)", (scope, incarnation))
            for key, value in batch.values.items():
                if value is None:
                    run("DELETE FROM note WHERE key = ?", (key,))
                else:
                    run("INSERT OR REPLACE INTO note VALUES (?, ?)", (key, value))
            log_entries = [self._log(log_entry) for log_entry in batch.log_entries]
            self._prune("happening", "number", log_entries[-1].number if log_entries else 0)
            return log_entries

    def _prune(self, table: str, key: str, last: int) -> None:
        """Delete the rows of a log beyond the newest `max_log_rows`; the highest key is `last`."""
        if self.max_log_rows is not None and last > self.max_log_rows:
            statement = f"DELETE FROM {table} WHERE {key} <= ?"  # noqa: S608 - two constants
            self._db.execute(statement, (last - self.max_log_rows,))

    def _log(self, log_entry: LogEntry) -> LogEntry:
        cursor = self._db.execute(
            "INSERT INTO happening (at, who, event_id, body) VALUES (?, ?, ?, ?)",
            (log_entry.at, log_entry.who, log_entry.event_id, log_entry.body),
        )
        number = cursor.lastrowid or 0
        if number % _BATCH_ROWS == 0:
            self._prune("happening", "number", number)
        return replace(log_entry, number=number)

    def log_entries(self, since: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` log entries with higher numbers than `since`, oldest first."""
        with self._explained():
            rows = self._db.execute(
                "SELECT number, at, who, event_id, body FROM happening "
                "WHERE number > ? ORDER BY number LIMIT ?",
                (since, limit),
            )
            return [LogEntry(*row) for row in rows]

    def last_log_entry(self) -> int:
        """Return the number of the last log entry ever, 0 before the first."""
        return self.span(Log.EVENTS).last

    def span(self, log: Log) -> Span:
        """Return the span of a log."""
        table, key, _ = _TABLES[log]
        # The sequence also knows the rows that were deleted.
        query = (
            f"SELECT (SELECT min({key}) FROM {table}), "  # noqa: S608 - constants
            "(SELECT seq FROM sqlite_sequence WHERE name = ?)"
        )
        with self._explained():
            first, last = self._db.execute(query, (table,)).fetchone()
        return Span(first or (last or 0) + 1, last or 0)

    def row_sizes(self, log: Log, first: int, last: int) -> list[tuple[int, int]]:
        """Return number and bytes of each row from `first` to `last`, oldest first."""
        table, key, size = _TABLES[log]
        query = (
            f"SELECT {key}, {size} + {_ROW_BYTES} FROM {table} "  # noqa: S608 - constants
            f"WHERE {key} BETWEEN ? AND ? ORDER BY {key}"
        )
        with self._explained():
            return self._db.execute(query, (first, last)).fetchall()

    def last_older(self, log: Log, date: str, after: int, until: int) -> int:
        """Return the last number of the older rows that follow `after` without a break."""
        table, key, _ = _TABLES[log]
        query = f"SELECT min({key}) FROM {table} WHERE {key} BETWEEN ? AND ? AND at >= ?"  # noqa: S608 - as above
        with self._explained():
            (younger,) = self._db.execute(query, (after + 1, until, date)).fetchone()
        return until if younger is None else int(younger) - 1

    def prune(self, log: Log, until: int) -> int:
        """Delete the rows of a log up to a number; return how many were there."""
        table, key, _ = _TABLES[log]
        statement = f"DELETE FROM {table} WHERE {key} <= ?"  # noqa: S608 - as above
        with self._transaction():
            return self._db.execute(statement, (until,)).rowcount

    def problem(self) -> str:
        """Return nothing: a failed change tells its reason."""
        return ""

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class MemoryStore(SqliteStore):
    """The same engine on a database in memory, for servers without a state directory."""

    max_log_rows = 10_000

    def __init__(self) -> None:
        """Open an empty database, which ends with this object."""
        super().__init__(Path(IN_MEMORY))
        # A dropped store loses nothing, and Python 3.13 warns of a database that is left open.
        weakref.finalize(self, self._db.close)
