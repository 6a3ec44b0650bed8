"""Apply edits of the fleet file, or folder of them, to a running server.

The file is looked at by name twice a second, with every link of its path followed anew, so that no
way of replacing it is missed: renames, links, folders, mounted volumes, files of other machines.
A look costs one `stat`; the text is read when that has changed, and now and then.

A mistake in the file waits for the next edit. An edit that fails because the system has no file
descriptor or thread left, or because the store fails, is tried again until it is applied.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from heapq import nsmallest
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TypeVar

from openimds.errors import ConfigError, Error, shortage
from openimds.fleet.fleet_files import (
    FILE_ENDINGS,
    FleetFileContents,
    fingerprint,
    gc_paused,
    read_fleet,
)
from openimds.fleet.store.port import Change, StoreError
from openimds.log.event import LogMessage
from openimds.log.events import FLEET_APPLIED, FLEET_REJECTED, FLEET_UNREAD, FLEET_WARNING
from openimds.server.reload_record import ReloadRecord
from openimds.vm.file_entries import EntryDigests

T = TypeVar("T")

Apply = Callable[[FleetFileContents, str], Awaitable[list[Change]]]
"""Applies the contents of a fleet file in the name of an author."""
LOOK_S = 0.5
"""The time between two looks: no replaced file is missed for longer."""
SETTLE_S = 0.1
"""An edit is read when two looks, this time apart, find the same."""
SETTLE_LOOKS = 20
"""So many times at most; then a file that is written all the time is read as it is."""
RETRY_S = 5.0
"""The time until an edit that failed for a while is tried again."""
CONTENT_S = 30.0
"""The time between two reads of the text of a file that looks unchanged."""
COARSE_S = 2.0
"""The coarsest time stamps of files (FAT): an edit may share its stamp with the one before."""
SILENT_S = 10.0
"""A file that takes longer to read is reported."""
MOST_NAMES = 10
"""So many VMs of each kind of change are logged by name."""


class FileGlance(NamedTuple):
    """The identity of one file, or the number of the error (`errno`) in its place."""

    name: str
    identity: tuple[int, ...]
    """Device, inode, size, and the times of the last changes (ns) of text and inode."""
    changed_s: float
    """The later of the two times, in seconds since 1970; 0 for an error."""


Glance = tuple[FileGlance, ...]
"""The files that a path leads to, with all links followed."""


def glance(path: str) -> Glance:
    """Look at a fleet file, or at those of a folder, without reading them.

    Raises:
        OSError: the system has no descriptor for the folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        return (_glance_at(folder),)  # Needs no descriptor.
    try:
        files = sorted(filter(_is_fleet_file, folder.iterdir()))
    except OSError as error:
        if shortage(error):
            raise
        return (_absent(folder, error),)
    return tuple(map(_glance_at, files))


def _is_fleet_file(file: Path) -> bool:
    return file.suffix in FILE_ENDINGS and not file.name.startswith(".")


def _glance_at(file: Path) -> FileGlance:
    try:
        stat = file.stat()
    except OSError as error:
        return _absent(file, error)
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return FileGlance(str(file), identity, max(stat.st_mtime, stat.st_ctime))


def _absent(path: Path, error: OSError) -> FileGlance:
    return FileGlance(str(path), (error.errno or 0,), 0.0)


class FleetFileWatcher:
    """Applies edits of a fleet file, or of a folder of them."""

    def __init__(  # noqa: PLR0913 - the file, its server, and the world of a test
        self,
        fleet: str,
        seen: bytes,
        apply: Apply,
        notify: Callable[[str], None],
        *,
        entries: EntryDigests | None = None,
        look: Callable[[str], Glance] = glance,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        utc: Callable[[], float] = time.time,
        silent_s: float = SILENT_S,
    ) -> None:
        """Start from `seen`, the fingerprint of the text that is served already.

        `entries` are those of that text: of an edit, only other entries are parsed.
        `look`, `sleep` (for seconds) and `utc` (the clock of file stamps) are the system's. A read
        that takes longer than `silent_s` is reported.
        """
        self._fleet, self._seen, self._apply, self._notify = fleet, seen, apply, notify
        self._entries = entries
        self._look, self._sleep, self._utc, self._silent_s = look, sleep, utc, silent_s
        self._path = Path(fleet).absolute()
        self.record = ReloadRecord(is_served=bool(seen), served_s=utc() if seen else 0.0)
        self._lock = asyncio.Lock()
        self._failure = ""
        self._refused = b""
        """The fingerprint of a text with a mistake, which waits for the next edit."""
        self._failed: bytes | None = None
        """The fingerprint of the last edit that failed; empty if it could not be read."""
        self._glance: Glance | None = None
        self._is_traced = False
        """An edit since the text was read shows in a look."""
        self._unread_s = 0.0
        """The time since the text was last read."""
        self._must_retry = False

    async def follow(self) -> None:
        """Look after edits for ever."""
        while True:
            try:
                await self._follow()
            except (OSError, RuntimeError) as error:
                if shortage(error) is None:
                    raise
                # No descriptor or thread to look with; the next look finds the edit.
            await self._sleep(LOOK_S)
            self._unread_s += LOOK_S

    async def _follow(self) -> None:
        """Look once, and apply an edit that is complete."""
        seen = await self._off_loop(self._look, self._fleet)
        is_edit = seen != self._glance
        due_s = RETRY_S if self._must_retry else CONTENT_S
        if not is_edit and self._is_traced and self._unread_s < due_s:
            return
        if is_edit:
            seen = await self._settled(seen)
        now_s = self._utc()
        self._is_traced = all(abs(now_s - file.changed_s) > COARSE_S for file in seen)
        self._glance = seen
        await self.apply_edits(is_retry=not is_edit)

    async def _settled(self, seen: Glance) -> Glance:
        """Wait until a file that is being written stays as it is."""
        for _ in range(SETTLE_LOOKS):
            await self._sleep(SETTLE_S)
            before, seen = seen, await self._off_loop(self._look, self._fleet)
            if seen == before:
                break
        return seen

    async def apply_edits(self, *, is_retry: bool = False) -> None:
        """Apply the file's present text; a bad edit changes nothing and is reported.

        With `is_retry` the same failure is not reported again.
        """
        async with self._lock:
            self._unread_s, self._must_retry, now = 0.0, False, b""
            try:
                now = await self._off_loop(fingerprint, self._fleet)
                if now == self._seen:  # Touched without an edit: changes by the API stay.
                    if not self.record.is_served:  # The edit was taken back.
                        self._failure, self._refused, self._failed = "", b"", None
                        self.record.note_served(self._utc(), is_edit=False)
                    return
                if is_retry and now == self._refused:
                    return
                # The scenario in the file is not begun again: it goes on as it was.
                with gc_paused():
                    read = partial(read_fleet, known=self._entries)
                    contents = await self._off_loop(read, self._fleet)
                    changes = await self._apply(contents, f"file {self._path.name}")
            except (Error, OSError, ImportError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and shortage(error) is None:
                    raise
                self.record.note_refused(self._utc(), is_retry=now == self._failed)
                self._failed = now
                self._report(error, is_retry=is_retry)
                self._refused = b"" if self._must_retry else now
                return
            self._seen, self._failure, self._refused, self._failed = now, "", b"", None
            self._entries = contents.entries
            self.record.note_served(self._utc(), is_edit=True)
        if changes:
            self._notify(_applied(self._path, changes))
        if contents.notice:
            self._notify(FLEET_WARNING.message(contents.notice))

    def _report(self, error: Exception, *, is_retry: bool) -> None:
        passes = isinstance(error, StoreError) or shortage(error) is not None
        self._must_retry = passes
        before, self._failure = self._failure, str(error)
        if not is_retry or self._failure != before:
            again = f", and the edit is tried again every {RETRY_S:g} s" if passes else ""
            self._notify(
                FLEET_REJECTED.message(
                    f"fleet file not applied: {error}; the previous fleet is still served{again}",
                    file=str(self._path),
                    place=error.where if isinstance(error, ConfigError) else "",
                    reason=str(error),
                )
            )

    async def _off_loop(self, call: Callable[[str], T], path: str) -> T:
        """Read in a daemon thread: a file system that hangs keeps no process from ending."""
        loop = asyncio.get_running_loop()
        result: Future[T] = loop.create_future()

        def work() -> None:
            try:
                value = call(path)
            except Exception as error:  # noqa: BLE001 - it belongs to the caller
                post(_fail, result, error)
            else:
                post(_settle, result, value)

        def post(how: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):  # The loop is closed: the server has ended.
                loop.call_soon_threadsafe(how, *arguments)

        Thread(target=work, name="fleet file", daemon=True).start()
        alarm = loop.call_later(
            self._silent_s,
            self._notify,
            FLEET_UNREAD.message(
                f"{self._path}: not read after {self._silent_s:g} s, as if its file system hangs; "
                "the previous fleet is still served",
                file=str(self._path),
                seconds=self._silent_s,
            ),
        )
        try:
            return await result
        finally:
            alarm.cancel()


def _applied(path: Path, changes: list[Change]) -> LogMessage:
    """Return the message of applied changes, with the first names of each kind."""
    kinds: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    for change in changes:
        kind = "removed" if change.after is None else "changed" if change.before else "added"
        kinds[kind].append(change.name)
    shown = [
        f"{kind}:{name}" for kind, names in kinds.items() for name in nsmallest(MOST_NAMES, names)
    ]
    return FLEET_APPLIED.message(
        f"{path}: {len(changes)} changes applied",
        file=str(path),
        changes=len(changes),
        **{kind: len(names) for kind, names in kinds.items()},
        names=tuple(shown),
    )


def _settle(result: Future[T], value: T) -> None:
    if not result.done():
        result.set_result(value)


def _fail(result: Future[T], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
