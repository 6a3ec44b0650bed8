"""The marker beside a store: that it was made, and its last acknowledged changes.

SQLite opens a missing file as an empty store, and a file without its write-ahead log as an older
one, without a word. The marker tells such a store from a new one. It is overwritten in place after
each commit, without a sync, so that it never knows a change that the disk does not have.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from openimds.private_files import open_file, read, write

_TEXT = "change {change:020d}\nlog {log:020d}\n"
_FORM = re.compile(rb"change (\d{20})\nlog (\d{20})\n")


class Progress(Struct, frozen=True):
    """The numbers of the last change and log entry that a store ever had."""

    change: int = 0
    log: int = 0

    def is_behind(self, other: "Progress") -> bool:
        """Tell whether a number is lower than that of another progress."""
        return self.change < other.change or self.log < other.log


class StoreMarker:
    """The file `fleet.db.made` beside the store `fleet.db`."""

    def __init__(self, store: Path) -> None:
        """Find the marker of a store; nothing is opened yet."""
        self.path = store.with_name(f"{store.name}.made")
        self._descriptor = -1

    def seen(self, users: frozenset[int] = frozenset()) -> Progress | None:
        """Return the last acknowledged progress, or None if there never was a store.

        A marker that a power cut has torn tells only that there was one. Beside root and this
        process's user, it may belong to `users`.

        Raises:
            OSError: it cannot be read.
            UntrustedFileError: another user may have made it.
        """
        try:
            text, _ = read(self.path, 1 << 10, users)
        except FileNotFoundError:
            return None
        found = _FORM.fullmatch(text)
        return Progress(int(found[1]), int(found[2])) if found else Progress()

    def begin(self, progress: Progress) -> None:
        """Write the progress of a store that was opened, and keep the file open.

        A disk that is full or read-only has the marker of before.
        """
        self.end()
        with suppress(OSError):
            if self.seen() is None:
                write(self.path, _content(progress))
            self._descriptor = open_file(self.path, os.O_WRONLY)
        self.note(progress)

    def note(self, progress: Progress) -> None:
        """Overwrite the progress, which a full disk has room for, too."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, _content(progress))

    def replace(self, progress: Progress) -> None:
        """Write the progress of a restored store, on the disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        write(self.path, _content(progress))

    def end(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _content(progress: Progress) -> bytes:
    return _TEXT.format(change=progress.change, log=progress.log).encode()
