"""The state directory: one process at a time, its files for its owner alone."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from openimds.fleet.store.port import StoreError

STORE_NAME = "fleet.db"
TOKEN_NAME = "admin-token"  # noqa: S105 - the name of a file
_LOCK_NAME = "lock"


def default_folder() -> Path:
    """Return the folder of servers that were told none: the user's state folder (XDG)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "openimds"


class State:
    """A state directory that this process holds until it closes it or ends."""

    def __init__(self, folder: Path) -> None:
        """Make the directory if there is none, and take its lock.

        Raises:
            StoreError: another process holds it (its pid is said), or it cannot be used.
        """
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._hold(folder / _LOCK_NAME)
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise StoreError(f"{folder}: {said}; name a folder that can be written") from None

    @staticmethod
    def _hold(path: Path) -> TextIO:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        lock = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise StoreError(
                f"{path.parent}: in use by the process with pid {pid}; end it first, or name "
                "another --state"
            ) from None
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    @property
    def store_path(self) -> Path:
        """Where the store's file is."""
        return self.folder / STORE_NAME

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()
