"""The store of a state folder, readable while its disk takes no changes.

A full disk, a read-only file system or a damaged page refuses changes with the reason; everything
that can be read is read. The next change that succeeds ends the refusal.

Where such a disk has no store yet, memory takes the changes of the start, which the fleet file can
repeat, and no other. They are copied to the disk as soon as it takes a store.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TypeVar

from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.port import (
    AppliedFile,
    Change,
    ConflictError,
    EventBatch,
    Log,
    LogEntry,
    StoreError,
    Write,
)
from openimds.fleet.store.schema import STEPS, bring_up_to_date, take_steps
from openimds.fleet.store.sqlite import SqliteStore
from openimds.fleet.store.sqlite_file import (
    DAMAGED,
    IN_MEMORY,
    REMEDY,
    explain,
    name_of,
    open_database,
    open_to_read,
)
from openimds.private_files import current_user, is_of_disk

T = TypeVar("T")

START = "start"
"""The author of the changes that a server makes at its start."""

_PASSING = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")
"""Errors of a disk without space or the right to write: what is there can still be read."""
_LEAST_FREE_BYTES = 64 << 10
"""A change needs a few pages of the write-ahead log."""
_READ_ONLY = getattr(os, "ST_RDONLY", 0)
MOST_COPIED_BYTES = 512 << 20
"""A larger store of an earlier release is not served from memory."""
_INTERRUPT_S, _MOST_INTERRUPTS = 0.02, 100
"""A check is interrupted again until it has ended: one before its query begins is lost."""
_PROBE_S = 1.0
"""The time between two attempts to write, made when readiness is asked for."""


class KeptStore(SqliteStore):
    """A store in a file that knows whether it can be written."""

    def __init__(
        self, path: Path, marker: StoreMarker, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Open or create the file; an existing one for reading alone if need be.

        Raises:
            StoreError: it cannot be opened at all, is damaged, or is from a later release.
        """
        self._marker, self._now = marker, now
        self._reason, self._damage, self._is_read_only = "", "", False
        self._probed_s = -_PROBE_S
        self._ended = Event()
        try:
            super().__init__(path)
        except StoreError as error:
            if not _is_passing(error):
                raise
            self.is_unmade = _is_unmade(path, marker)
            self._db = _empty() if self.is_unmade else _open_to_read(path, error)
            self._is_read_only, self._reason = True, str(error)

    @property
    def refusal(self) -> str:
        """The reason why the last change or the start was refused, or nothing."""
        return self._reason

    def begin(self) -> None:
        """Mark the progress from now on, unless there is no store yet."""
        self._progress = self.progress()
        if not self.is_unmade:
            self._marker.begin(self._progress)

    def progress(self) -> Progress:
        """Return the numbers of the last change and log entry ever, also pruned ones."""
        with self._explained():
            rows = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence"))
        return Progress(rows.get("change", 0), rows.get("happening", 0))

    def quick_check(self) -> str:
        """Return the first damage that SQLite finds in the file, or nothing."""
        return _quick_check(self._db)

    def check_beside(self) -> str:
        """Check a large store while it is used; return the damage found, or nothing.

        Call it in a thread of its own: it has a connection of its own, which is closed at its end,
        so that the last one writes the log back. `close` ends it.
        """
        try:
            beside = open_to_read(self.path)
        except sqlite3.Error as error:
            damage = str(error)
        else:
            with closing(beside):
                # Before the next look at _is_closed: `close` does the reverse.
                self._beside = beside
                damage = "" if self._is_closed else _quick_check(beside)
            self._beside = None
            self._ended.set()
        if self._is_closed:
            return ""
        if damage:
            self._damage = f"{self.path} is damaged ({damage}); {REMEDY}"
        self.is_unchecked = False
        return self._damage

    def write(
        self, writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
    ) -> list[Change]:
        """Make all the changes or none; they are on the disk when this returns."""
        if not writes and applied is None:
            return []
        if self.is_unmade and who == START:
            return super().write(writes, who, at, applied)
        changes = self._writing(lambda: SqliteStore.write(self, writes, who, at, applied))
        if changes:
            self._note(Progress(changes[-1].revision, self._progress.log))
        return changes

    def write_events(self, batch: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; it is on the disk when this returns."""
        log_entries = self._writing(lambda: SqliteStore.write_events(self, batch))
        if log_entries:
            self._note(Progress(self._progress.change, log_entries[-1].number))
        return log_entries

    def prune(self, log: Log, until: int) -> int:
        """Delete the rows of a log up to a number; return how many were there."""
        return self._writing(lambda: SqliteStore.prune(self, log, until))

    on_upgrade: Callable[[Path], None] = staticmethod(lambda _: None)
    """Called with the copy of the store that was made before a late upgrade."""
    on_made: Callable[[], None] = staticmethod(lambda: None)
    """Called when the disk has taken a first store that was in memory."""
    is_unmade = False
    """Whether there is no store yet, as the disk takes none; the changes of the start are kept."""
    is_unchecked = False
    """Whether the store was too large to be checked before it is served."""
    _progress = Progress()
    _beside: sqlite3.Connection | None = None
    _is_closed = False

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        self._marker.note(progress)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Keep the damage that a read or a change meets."""
        try:
            with super()._explained():
                yield
        except StoreError as error:
            if name_of(error).startswith(DAMAGED):
                self._damage = str(error)
            raise

    def _writing(self, call: Callable[[], T]) -> T:
        """Make a change, and keep the reason if the disk refuses it."""
        try:
            if self._is_read_only:
                self._reopen()
            result = call()
        except ConflictError:
            raise
        except StoreError as error:
            self._reason, self._probed_s = str(error), self._now()
            raise
        self._reason = ""
        return result

    def _reopen(self) -> None:
        """Open the file for changes again, and bring its schema up to date.

        Raises:
            StoreError: that is still impossible.
        """
        database = open_database(self.path)
        copy = None
        try:
            if self.is_unmade:
                _check_empty(database, self.path)
                self._db.backup(database)
            else:
                copy = bring_up_to_date(database, self.path)
        except BaseException as error:
            database.close()
            if isinstance(error, sqlite3.Error):
                raise explain(self.path, error) from error
            raise
        if copy:
            self.on_upgrade(copy)
        self._db.close()
        self._db, self._is_read_only = database, False
        was_unmade, self.is_unmade = self.is_unmade, False
        self.begin()
        if was_unmade:
            self.on_made()

    def problem(self) -> str:
        """Return the reason why changes are refused, or nothing.

        While there is one, an attempt to write is made, at most once a second.
        """
        if self._damage:
            return self._damage
        if self._reason:
            if self._now() - self._probed_s >= _PROBE_S:
                self._probe()
            return self._reason
        return _disk_problem(self.path)

    def _probe(self) -> None:
        self._probed_s = self._now()
        batch = EventBatch(values={"probe": str(self._now()).encode()})
        with suppress(StoreError):  # The reason is kept.
            self._writing(lambda: SqliteStore.write_events(self, batch))

    def close(self) -> None:
        """Close the file and its marker, and end a check."""
        self._is_closed = True
        for _ in range(_MOST_INTERRUPTS):
            if (beside := self._beside) is None:
                break
            with suppress(sqlite3.ProgrammingError):  # It was closed meanwhile.
                beside.interrupt()
            self._ended.wait(_INTERRUPT_S)
        super().close()
        self._marker.end()


def _is_passing(error: StoreError) -> bool:
    """Tell whether a disk that takes no change is at fault."""
    cause = error.__cause__
    of_disk = isinstance(cause, OSError) and is_of_disk(cause)
    return of_disk or name_of(error).startswith(_PASSING)


def _disk_problem(path: Path) -> str:
    """Return the reason why the disk of a file takes no changes, or nothing."""
    if not hasattr(os, "statvfs"):  # Windows: the next change shows it.
        return ""
    try:
        status = os.statvfs(path)
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    if status.f_flag & _READ_ONLY:
        return f"{path}: its file system is read-only; mount it for writing"
    free = status.f_bfree if current_user() == 0 else status.f_bavail
    # Network file systems may count no blocks at all.
    if status.f_blocks and free * status.f_frsize < _LEAST_FREE_BYTES:
        return f"{path}: the disk is full; free space on it"
    return ""


def _check_empty(database: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError if a file has tables: it came after a start that found none."""
    if database.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(
            f"{path}: a store has appeared since the start, which found none; restart to serve it"
        )


def _quick_check(database: sqlite3.Connection) -> str:
    """Return the first damage that SQLite finds, or nothing."""
    try:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else " ".join(str(found).rpartition("***")[2].split())


def _is_unmade(path: Path, marker: StoreMarker) -> bool:
    """Tell whether there never was a store: no marker, no table in the file.

    Raises:
        StoreError: the file cannot be read.
    """
    if marker.seen() is not None:
        return False
    if not path.exists() or not path.stat().st_size:
        return True
    try:
        with closing(open_to_read(path)) as database:
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise explain(path, error) from error
    return not tables


def _empty() -> sqlite3.Connection:
    """Return an empty store in memory."""
    database = sqlite3.connect(IN_MEMORY, isolation_level=None, check_same_thread=False)
    take_steps(database, 0)
    return database


def _open_to_read(path: Path, reason: StoreError) -> sqlite3.Connection:
    """Open an existing store for reading; one of an earlier release in memory.

    Raises:
        StoreError: it cannot be read either, or is of an earlier release and too large.
    """
    if not path.exists():
        raise reason
    try:
        database = open_to_read(path)
        (steps,) = database.execute("PRAGMA user_version").fetchone()
        if steps == len(STEPS):
            return database
        with closing(database):
            return _upgraded_copy(path, database, steps, reason)
    except sqlite3.Error as error:
        raise explain(path, error) from reason


def _upgraded_copy(
    path: Path, database: sqlite3.Connection, steps: int, reason: StoreError
) -> sqlite3.Connection:
    """Return an upgraded copy in memory of a store of an earlier release.

    Raises:
        StoreError: the store was never begun, is of a later release, or too large.
    """
    if not 0 < steps < len(STEPS):
        raise reason
    if path.stat().st_size > MOST_COPIED_BYTES:
        raise StoreError(
            f"{reason}. A store of an earlier release of more than {MOST_COPIED_BYTES >> 20} MiB "
            "is not served from memory meanwhile"
        ) from reason
    copy = sqlite3.connect(IN_MEMORY, isolation_level=None, check_same_thread=False)
    try:
        database.backup(copy)
        take_steps(copy, steps)
    except BaseException:
        copy.close()
        raise
    return copy
