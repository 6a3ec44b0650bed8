"""Checks, backups and pruning of a store, while it is used or not."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec.json
from msgspec import Struct

from openimds.errors import BAD_JSON
from openimds.fleet.store.file_length import cut
from openimds.fleet.store.history import PENDING, History, HistoryBounds
from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.port import EventBatch, Log, StoreError
from openimds.fleet.store.salvage import salvaged_path
from openimds.fleet.store.schema import STEPS
from openimds.fleet.store.sqlite import SqliteStore
from openimds.fleet.store.sqlite_file import explain, open_to_read
from openimds.private_files import sync

MOST_FINDINGS = 20
"""So many faults of a file are listed."""


class StoreReport(Struct, frozen=True):
    """The content of a store, and its faults.

    `unreadable` names the VMs whose body is no JSON; the server quarantines them.
    """

    vms: int
    change: int
    log: int
    schema: int
    damage: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def check_store(path: Path) -> StoreReport:
    """Check every page, index and body of a store; it may be in use.

    Raises:
        StoreError: it is missing, or is no store at all.
    """
    with _opened(path) as database:
        rows = database.execute(f"PRAGMA integrity_check({MOST_FINDINGS})").fetchall()
        damage = tuple(" ".join(str(row).split()) for (row,) in rows if row != "ok")
        damage += _cut(path)
        with suppress(sqlite3.Error):
            return _report(database, damage)
        return StoreReport(0, 0, 0, 0, damage or ("its tables cannot be read",))


def back_up(path: Path, into: Path) -> StoreReport:
    """Copy a store, which may be in use, into a new file of mode 0600.

    Raises:
        StoreError: the store is missing or damaged, or the copy exists or cannot be written.
    """
    if os.path.lexists(into):
        raise StoreError(f"{into}: exists already; name a new file")
    new = into.with_name(f".{into.name}.new")
    with _opened(path) as database, _written(new):
        with closing(sqlite3.connect(new)) as copy:
            # In one step: a writer of the log is not held up by it, and steps would begin anew
            # after each change.
            database.backup(copy)
            # A copy in this form is one file, which a reader needs no right to write beside.
            copy.execute("PRAGMA journal_mode = DELETE")
            report = _report(copy, _cut(path) or _damage(copy))
        if report.damage:
            raise StoreError(f"{path}: is damaged ({report.damage[0]}); nothing was written")
        new.rename(into)
        sync(into.parent)
    with suppress(StoreError):  # The copy is whole. The history is pruned after its seven days.
        _end_wait(path)
    return report


def _end_wait(path: Path) -> None:
    """Let the history of a store of an earlier release be pruned."""
    with _opened(path) as database:
        if _schema(database) != len(STEPS):
            return
        query = "SELECT 1 FROM note WHERE key = ?"
        waits = database.execute(query, (PENDING,)).fetchone() is not None
    if waits:
        with closing(SqliteStore(path)) as store:
            store.write_events(EventBatch(values={PENDING: None}))


def prune(
    path: Path,
    bounds: HistoryBounds,
    now_s: float,
    *,
    is_dry: bool,
    pause: Callable[[], None] = lambda: None,
) -> dict[Log, int]:
    """Delete the history of a store, which may be in use, beyond its bounds.

    Return the number of rows by log; a dry run deletes none of them. `pause` runs between two
    steps. A store of an earlier release does not wait for a backup any longer.

    Raises:
        StoreError: the store is missing, of another release, or cannot be written.
    """
    with _opened(path) as database:
        schema = _schema(database)
    if schema != len(STEPS):
        raise StoreError(
            f"{path}: saw schema {schema}, expected {len(STEPS)}; start a server of this release "
            "on it first"
        )
    with closing(SqliteStore(path)) as store:
        history = History(store, bounds)
        for _ in history.plan(now_s):
            pause()
        if is_dry:
            return history.rows
        removed = dict.fromkeys(Log, 0)
        for log, rows in history.prune():
            removed[log] += rows
            pause()
        if store.value(PENDING) is not None:
            store.write_events(EventBatch(values={PENDING: None}))
        return removed


def _schema(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def restore(backup: Path, path: Path) -> tuple[StoreReport, Path | None]:
    """Put a backup in the place of a store that nobody uses.

    Return the report on it, and the new path of the old store.

    An interruption leaves the old store, the new one, or an error at the next start. Then restore
    again.

    Raises:
        StoreError: the backup is missing, damaged or from a later release, or cannot be copied.
    """
    new = path.with_name(f".{path.name}.new")
    with _opened(backup) as database, _written(new):
        report = _report(database, _cut(backup) or _damage(database))
        if report.damage:
            raise StoreError(f"{backup}: is damaged ({report.damage[0]}); nothing was changed")
        if not 0 < report.schema <= len(STEPS):
            raise StoreError(
                f"{backup}: saw schema {report.schema}, expected 1 to {len(STEPS)}; restore it "
                "with the release that wrote it"
            )
        with closing(sqlite3.connect(new)) as copy:
            database.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        sync(new)
        salvaged_path(path).unlink(missing_ok=True)
        replaced = _set_aside(path)
        # Until the marker is written, the store is older than it tells: the start refuses it.
        new.rename(path)
        sync(path.parent)
        StoreMarker(path).replace(Progress(report.change, report.log))
    return report, replaced


def _set_aside(path: Path) -> Path | None:
    """Rename a store and the files beside it; return its new path.

    Its log of changes goes first: beside another store it would be applied to that.
    """
    replaced = path.with_name(f"{path.name}.replaced")
    for ending in ("-wal", "-shm", ""):
        old, away = (one.with_name(f"{one.name}{ending}") for one in (path, replaced))
        away.unlink(missing_ok=True)
        if old.exists():
            old.rename(away)
    sync(path.parent)
    return replaced if replaced.exists() else None


def _report(database: sqlite3.Connection, damage: tuple[str, ...]) -> StoreReport:
    schema = _schema(database)
    numbers = dict(database.execute("SELECT name, seq FROM sqlite_sequence"))
    vms = 0
    unreadable: list[str] = []
    for name, body in database.execute("SELECT name, body FROM vm"):
        vms += 1
        try:
            msgspec.json.decode(body)
        except BAD_JSON:
            if len(unreadable) < MOST_FINDINGS:
                unreadable.append(name)
    return StoreReport(
        vms, numbers.get("change", 0), numbers.get("happening", 0), schema, damage, (*unreadable,)
    )


def _cut(path: Path) -> tuple[str, ...]:
    try:
        found = cut(path)
    except OSError as error:
        found = (error.strerror or str(error)).lower()
    return (found,) if found else ()


def _damage(database: sqlite3.Connection) -> tuple[str, ...]:
    (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    return () if found == "ok" else (" ".join(str(found).split()),)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store for reading alone; turn SQLite's errors into one that names it."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    try:
        with closing(open_to_read(path)) as database:
            yield database
    except sqlite3.Error as error:
        raise explain(path, error) from error


@contextmanager
def _written(new: Path) -> Iterator[None]:
    """Make an empty file for its owner alone; remove it unless it was renamed inside."""
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            yield
        finally:
            for ending in ("", "-journal"):
                new.with_name(f"{new.name}{ending}").unlink(missing_ok=True)
    except OSError as error:
        where = error.filename or new
        raise StoreError(f"{where}: {(error.strerror or str(error)).lower()}") from error
