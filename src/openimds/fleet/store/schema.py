"""The schema of the SQLite engine, step by step.

The file records how many steps it has taken. Before a file of an earlier release takes further
steps, it is copied beside itself, under the number of its steps: an earlier release opens the copy,
and not the file.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from openimds.fleet.scope_names import WholeNames
from openimds.fleet.store.port import StoreError
from openimds.private_files import sync


def _name_scopes_whole(database: sqlite3.Connection) -> None:
    """Rename the scopes of sets, and split their events, inside the caller's transaction."""
    run = database.execute
    incarnations = dict(run("SELECT name, incarnation FROM scope"))
    if not incarnations:  # Every event has raised the incarnation of its scope.
        return

    def bodies(name: str) -> Iterator[bytes]:
        query = "SELECT after FROM change WHERE name = ? AND after IS NOT NULL ORDER BY revision"
        return (body for (body,) in run(f"{query} DESC", (name,)))

    names = WholeNames(run("SELECT name, body FROM vm"), bodies)
    events = names.renamed_events(run("SELECT id, body FROM event ORDER BY position").fetchall())
    run("DELETE FROM event")
    database.executemany("INSERT INTO event (id, body) VALUES (?, ?)", events)
    run("DELETE FROM scope")
    database.executemany(
        "INSERT INTO scope VALUES (?, ?)", names.renamed_incarnations(incarnations).items()
    )


STEPS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
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
    _name_scopes_whole,
    # A store of before has no records of its file: its VMs stay as they are, and one that the API
    # removed from the file's stays removed, until the file is edited.
    """
    CREATE TABLE applied_entry (
        name TEXT PRIMARY KEY,
        origin TEXT NOT NULL,
        body BLOB
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE applied_file (
        origin TEXT PRIMARY KEY,
        text BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO applied_entry (name, origin)
        SELECT name, origin FROM vm WHERE origin IN ('file', 'document');
    INSERT INTO applied_entry (name, origin)
        SELECT removal.name, had.origin
        FROM change AS removal JOIN change AS had ON had.revision = (
            SELECT max(revision) FROM change
            WHERE name = removal.name AND revision < removal.revision
        )
        WHERE removal.after IS NULL AND removal.origin = 'api'
            AND had.origin IN ('file', 'document')
            AND NOT EXISTS (
                SELECT 1 FROM change
                WHERE name = removal.name AND revision > removal.revision
            );
    """,
    # The history of a store of before is not pruned at once: see `history.PENDING`.
    """
    INSERT OR REPLACE INTO note (key, body)
        SELECT 'history', x''
        WHERE EXISTS (SELECT 1 FROM change) OR EXISTS (SELECT 1 FROM happening);
    """,
)
"""The schema, step by step: SQL, or a function that runs inside a transaction.

A step that was released is never changed: a new one is added.
"""


def bring_up_to_date(database: sqlite3.Connection, path: Path) -> Path | None:
    """Take the steps that a file lacks; return the path of the copy made before.

    Raises:
        StoreError: the file is from a later release, or cannot be copied.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise StoreError(
            f"{path}: written by a later release (schema {version}, this one supports "
            f"{len(STEPS)}); use that release"
        )
    copy = _copy(database, path, version) if 0 < version < len(STEPS) else None
    take_steps(database, version)
    return copy


def take_steps(database: sqlite3.Connection, version: int) -> None:
    """Take the steps that follow those of a version."""
    for number in range(version, len(STEPS)):
        take_step(database, number)


def upgrade_notice(path: Path, copy: Path) -> str:
    """Return the message about an upgraded store, with the way back."""
    return (
        f"{path} was brought up to date for this release; {copy.name} beside it is the store from "
        f"before. To go back to the release that wrote it, stop the server, remove {path.name}-wal "
        f"and {path.name}-shm, and rename the copy to {path.name}; later changes are lost then"
    )


def _copy(database: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the file of an earlier release; return the path, which names its schema."""
    copy = path.with_name(f"{path.stem}-schema-{version}{path.suffix}")
    unfinished = copy.with_name(f"{copy.name}.new")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(unfinished)) as target:
            database.backup(target)
        unfinished.replace(copy)
        sync(copy.parent)  # Before the step: it must not outlive the way back.
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):  # A full disk keeps no half of it.
            unfinished.unlink()
        if isinstance(error, sqlite3.Error):
            raise
        raise StoreError(
            f"{unfinished}: {error.strerror}; the store of an earlier release is copied before it "
            "is brought up to date: make its folder writable. Nothing was changed"
        ) from error
    return copy


def take_step(database: sqlite3.Connection, number: int) -> None:
    """Take a step and count it, or do neither."""
    step, counted = STEPS[number], f"PRAGMA user_version = {number + 1}"
    if isinstance(step, str):
        database.executescript(f"BEGIN IMMEDIATE; {step} {counted}; COMMIT;")
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        step(database)
        database.execute(counted)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
