"""The SQLite engine: one file in the state directory, or a database in memory.

Write-ahead logging with a sync on every commit: what `write` has acknowledged survives the end of
the process and of the machine. There is one writer, the process that holds the lock of the state
directory. The schema is a list of steps; the file remembers how many of them it has seen.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from msgspec.structs import replace

from openimds.fleet.store.port import (
    Change,
    EventBatch,
    LogEntry,
    Store,
    StoredVm,
    StoreError,
    Write,
    check,
)

P = ParamSpec("P")
T = TypeVar("T")

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE vm (
        name TEXT PRIMARY KEY,
        body BLOB NOT NULL,
        revision INTEGER NOT NULL,
        origin TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE change (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        name TEXT NOT NULL,
        before BLOB,
        after BLOB,
        origin TEXT NOT NULL
    ) STRICT;
    CREATE INDEX change_by_name ON change (name, revision);
    """,
    """
    CREATE TABLE event (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE scope (
        name TEXT PRIMARY KEY,
        incarnation INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE note (
        key TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE happening (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        event_id TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    """,
)
"""The schema, step by step. A step that was released is never changed: a new one is added."""


def _told(function: "Callable[Concatenate[SqliteStore, P], T]") -> "Callable[..., T]":
    """Turn SQLite's errors into one that says which file and what to do."""

    @wraps(function)
    def wrapped(self: "SqliteStore", *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error

    return wrapped


def _explained(path: Path, error: sqlite3.Error) -> StoreError:
    hints = {
        "SQLITE_FULL": "make room on the disk; nothing was lost and nothing was changed",
        "SQLITE_READONLY": "the file or its folder is read-only; nothing was changed",
        "SQLITE_CORRUPT": "the file is damaged: put a copy back, or move it away to begin anew",
        "SQLITE_NOTADB": "this is no store of ours: put a copy back, or move it away to begin anew",
        "SQLITE_CANTOPEN": "the folder must exist and be writable",
    }
    name = getattr(error, "sqlite_errorname", "") or ""
    hint = next(
        (text for key, text in hints.items() if name.startswith(key)), "nothing was changed"
    )
    return StoreError(f"{path}: {error}; {hint}")


class SqliteStore(Store):
    """One file, one connection, used from one thread at a time."""

    most_logged: int | None = None
    """How many changes and log entries are kept; None keeps all of them."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it, and bring its schema up to date.

        Raises:
            StoreError: it cannot be opened, is damaged, or was written by a later release.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise _explained(path, error) from error
        try:
            self._prepare()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise _explained(path, error) from error
            raise

    def _prepare(self) -> None:
        run = self._db.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        (known,) = run("PRAGMA user_version").fetchone()
        if known > len(STEPS):
            raise StoreError(
                f"{self.path}: written by a later release (schema {known}, this one knows "
                f"{len(STEPS)}); use that release"
            )
        for number in range(known, len(STEPS)):
            script = f"BEGIN IMMEDIATE; {STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            self._db.executescript(script)

    @_told
    def get(self, name: str) -> StoredVm | None:
        """Return what is kept under a name."""
        row = self._db.execute(
            "SELECT name, body, revision, origin FROM vm WHERE name = ?", (name,)
        ).fetchone()
        return StoredVm(*row) if row else None

    @_told
    def page(self, after: str, limit: int) -> list[StoredVm]:
        """Return up to `limit` VMs whose names come after `after`."""
        rows = self._db.execute(
            "SELECT name, body, revision, origin FROM vm WHERE name > ? ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [StoredVm(*row) for row in rows]

    @_told
    def write(self, writes: Sequence[Write], who: str, at: str) -> list[Change]:
        """Make all the changes, or none; they are on the disk when this returns."""
        with self._transaction():
            made = [
                self._make(write, met, who, at)
                for write in writes
                for met in (self.get(write.name),)
                if check(write, met)
            ]
            self._prune("change", "revision", made[-1].revision if made else 0)
            return made

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _make(self, write: Write, met: StoredVm | None, who: str, at: str) -> Change:
        before = met.body if met else None
        done = self._db.execute(
            "INSERT INTO change (at, who, name, before, after, origin) VALUES (?, ?, ?, ?, ?, ?)",
            (at, who, write.name, before, write.body, write.origin),
        )
        revision = done.lastrowid or 0
        if write.body is None:
            self._db.execute("DELETE FROM vm WHERE name = ?", (write.name,))
        else:
            self._db.execute(
                "INSERT INTO vm VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "body = excluded.body, revision = excluded.revision, origin = excluded.origin",
                (write.name, write.body, revision, write.origin),
            )
        return Change(revision, at, who, write.name, before, write.body, write.origin)

    @_told
    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes after `since`, oldest first."""
        rows = self._db.execute(
            "SELECT revision, at, who, name, before, after, origin FROM change "
            "WHERE revision > ? ORDER BY revision LIMIT ?",
            (since, limit),
        )
        return [Change(*row) for row in rows]

    @_told
    def revision(self) -> int:
        """Return the number of the last change."""
        (number,) = self._db.execute("SELECT coalesce(max(revision), 0) FROM change").fetchone()
        return int(number)

    @_told
    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order in which they first came."""
        rows = self._db.execute("SELECT body FROM event ORDER BY position")
        return [body for (body,) in rows]

    @_told
    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        return dict(self._db.execute("SELECT name, incarnation FROM scope"))

    @_told
    def value(self, key: str) -> bytes | None:
        """Return what was noted under a key."""
        row = self._db.execute("SELECT body FROM note WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    @_told
    def write_events(self, moves: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; it is on the disk when this returns."""
        run = self._db.execute
        with self._transaction():
            for event_id, body in moves.events.items():
                if body is None:
                    run("DELETE FROM event WHERE id = ?", (event_id,))
                else:
                    run(
                        "INSERT INTO event (id, body) VALUES (?, ?) "
                        "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                        (event_id, body),
                    )
            self._db.executemany(
                "INSERT OR REPLACE INTO scope VALUES (?, ?)", moves.incarnations.items()
            )
            for key, text in moves.values.items():
                if text is None:
                    run("DELETE FROM note WHERE key = ?", (key,))
                else:
                    run("INSERT OR REPLACE INTO note VALUES (?, ?)", (key, text))
            made = [self._happen(one) for one in moves.log_entries]
            self._prune("happening", "number", made[-1].number if made else 0)
            return made

    def _prune(self, table: str, key: str, last: int) -> None:
        """Delete the oldest rows of a log beyond the newest `most_logged`."""
        if self.most_logged is not None and last > self.most_logged:
            oldest = last - self.most_logged
            self._db.execute(f"DELETE FROM {table} WHERE {key} <= ?", (oldest,))  # noqa: S608 - two constants

    def _happen(self, one: LogEntry) -> LogEntry:
        done = self._db.execute(
            "INSERT INTO happening (at, who, event_id, body) VALUES (?, ?, ?, ?)",
            (one.at, one.who, one.event_id, one.body),
        )
        return replace(one, number=done.lastrowid or 0)

    @_told
    def log_entries(self, since: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` happenings after `since`, oldest first."""
        rows = self._db.execute(
            "SELECT number, at, who, event_id, body FROM happening "
            "WHERE number > ? ORDER BY number LIMIT ?",
            (since, limit),
        )
        return [LogEntry(*row) for row in rows]

    @_told
    def last_log_entry(self) -> int:
        """Return the number of the last happening."""
        (number,) = self._db.execute("SELECT coalesce(max(number), 0) FROM happening").fetchone()
        return int(number)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class MemoryStore(SqliteStore):
    """The same engine on a database in memory: for servers without a state directory."""

    most_logged = 10_000

    def __init__(self) -> None:
        """Open an empty database that ends with this object."""
        super().__init__(Path(":memory:"))
