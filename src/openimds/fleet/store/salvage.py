"""Salvage of the readable rows of a damaged store, into a new file."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.schema import STEPS, bring_up_to_date, take_step
from openimds.fleet.store.sqlite_file import explain

_SEQUENCE = "sqlite_sequence"
"""SQLite's own table of the highest number that each log ever had."""


def salvaged_path(path: Path) -> Path:
    """Return the path of the salvage of a store, until it takes the store's place."""
    return path.with_name(f"{path.stem}-salvaged{path.suffix}")


def salvage(damaged: Path, into: Path) -> int:
    """Copy the readable rows of a damaged store into a new one.

    Return the number of VMs. Each table is read from both ends up to the damage. New changes get
    higher numbers than any row that could be read.

    Raises:
        StoreError: the new store cannot be written.
    """
    try:
        os.close(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(damaged, isolation_level=None)) as source,
            closing(sqlite3.connect(into, isolation_level=None)) as target,
        ):
            for number in range(_steps(source)):
                take_step(target, number)
            tables = target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            target.execute("BEGIN")
            for (table,) in sorted(tables.fetchall(), key=lambda row: row[0] == _SEQUENCE):
                _copy(source, target, table)
            _raise_sequence(target)
            target.execute("COMMIT")
            bring_up_to_date(target, into)
            return int(target.execute("SELECT count(*) FROM vm").fetchone()[0])
    except sqlite3.Error as error:
        raise explain(into, error) from error
    except OSError as error:
        raise StoreError(f"{into}: {(error.strerror or str(error)).lower()}") from error


def _steps(source: sqlite3.Connection) -> int:
    """Return the number of schema steps that a damaged store has taken; all if unreadable."""
    with suppress(sqlite3.Error):
        (version,) = source.execute("PRAGMA user_version").fetchone()
        if 0 < version <= len(STEPS):
            return int(version)
    return len(STEPS)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Copy the rows of a table that can be read."""
    columns = target.execute(f"PRAGMA table_info({table})").fetchall()
    # A table in WITHOUT ROWID form has its key first; the order of other tables is the rowid's.
    keys = ", ".join(f"{name} DESC" for _, name, *_, position in columns if position)
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 - names of the schema
    names = ", ".join(name for _, name, *_ in columns)
    query = f"SELECT {names} FROM {table}"  # noqa: S608 - as above
    for order in ("", f" ORDER BY {keys}" if keys else ""):
        with suppress(sqlite3.Error):
            for row in source.execute(query + order):
                target.execute(insert, row)


def _raise_sequence(target: sqlite3.Connection) -> None:
    """Let the next change get a higher number than any readable row has."""
    queries = {
        "change": "SELECT max((SELECT coalesce(max(revision), 0) FROM vm), "
        "(SELECT coalesce(max(revision), 0) FROM change))",
        "happening": "SELECT coalesce(max(number), 0) FROM happening",
    }
    for table, query in queries.items():
        (highest,) = target.execute(query).fetchone()
        (known,) = target.execute(
            f"SELECT coalesce(max(seq), 0) FROM {_SEQUENCE} WHERE name = ?",  # noqa: S608
            (table,),
        ).fetchone()
        target.execute(f"DELETE FROM {_SEQUENCE} WHERE name = ?", (table,))  # noqa: S608
        target.execute(f"INSERT INTO {_SEQUENCE} VALUES (?, ?)", (table, max(highest, known)))  # noqa: S608
