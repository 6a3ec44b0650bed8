"""The file of a SQLite store: opened to write or read, its errors explained.

SQLite's own errors name neither the file nor a remedy. Here each gets both, by its kind: a full or
read-only disk, a damaged file, a file of another program.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from openimds.fleet.store.port import StoreError

IN_MEMORY = ":memory:"
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
"""The first words of SQLite's names for errors of a damaged file."""
REMEDY = (
    "restore a backup (openimds state restore FILE), or keep what can be read (openimds serve "
    "--state-recover)"
)


def explain(path: Path, error: sqlite3.Error) -> StoreError:
    """Return SQLite's error with the file and the remedy."""
    hints = {
        "SQLITE_FULL": "free space on the disk; nothing was lost and nothing was changed",
        "SQLITE_READONLY": "make the file and its folder writable; nothing was changed",
        "SQLITE_CORRUPT": f"the file is damaged: {REMEDY}",
        "SQLITE_NOTADB": f"this is not a store of OpenIMDS: {REMEDY}",
        "SQLITE_IOERR": "free space on the disk, or mend it; nothing was changed",
        "SQLITE_CANTOPEN": "the folder must exist and be writable",
    }
    name = getattr(error, "sqlite_errorname", "") or ""
    hint = next(
        (text for key, text in hints.items() if name.startswith(key)), "nothing was changed"
    )
    return StoreError(f"{path}: {error}; {hint}")


def name_of(error: BaseException) -> str:
    """Return SQLite's name of an error, or of the one behind a StoreError, or nothing."""
    return str(getattr(error.__cause__ or error, "sqlite_errorname", None) or "")


def _make_private(path: Path) -> None:
    """Make a missing file for its owner alone; SQLite copies the mode to the others."""
    if path.name == IN_MEMORY:
        return
    with suppress(OSError):  # SQLite gives the reason.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file of a store for changes.

    Raises:
        StoreError: it cannot be opened.
    """
    _make_private(path)
    database = None
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        if database:
            database.close()
        raise explain(path, error) from error
    return database


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a store for reading alone, also on a file system that takes no changes.

    Such a connection never removes the write-ahead log of a server that was killed. Without a log
    the file holds everything, and SQLite needs no other file beside it.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    log = path.with_name(f"{path.name}-wal")
    is_whole = not log.exists() or not log.stat().st_size
    for way in ("mode=ro", "immutable=1"):
        uri = f"file:{quote(str(path.absolute()))}?{way}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            database.close()
            if way == "immutable=1" or not is_whole or name_of(error).startswith(DAMAGED):
                raise
        else:
            return database
    raise AssertionError("unreachable: the last way returns or raises")
