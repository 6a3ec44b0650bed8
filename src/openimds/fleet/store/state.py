"""The state directory: for one process at a time, and its user's alone."""

import errno
import os
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from openimds.fleet.store.port import StoreError
from openimds.private_files import (
    UntrustedFileError,
    check_tree,
    mode_of,
    open_bits,
    open_file,
    trust_group,
)

STORE_NAME = "fleet.db"
TOKEN_NAME = "admin-token"  # noqa: S105 - the name of a file
ADMIN_PORT = 8170
"""The port of the setting `admin` by default."""
_LOCK_NAME = "lock"
_USUAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})  # noqa: S104 - names
_STORES = "fleet*.db*"
"""The store, its copies from before an upgrade or a salvage, and the files beside each."""


WAIT_S, _LOOK_S = 5.0, 0.02
"""The longest wait for the children of a server that has ended, and the time between two looks."""
_LOCKED_BYTE = 1 << 20
"""On Windows nobody else reads a locked byte: it stands behind the text."""


def default_folder() -> Path:
    """Return the default state directory: `openimds` in the user's state directory.

    That is by XDG; on Windows it is the local application data.
    """
    base = os.environ.get("XDG_STATE_HOME")
    if os.name == "nt":
        base = base or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".local" / "state") / "openimds"


def token_names(host: str, port: int) -> tuple[str, ...]:
    """Return the names of an admin API's token file, the likeliest first.

    Servers without a state directory share the default one, and each has a file of its own: only
    the server at the default port has the plain name.
    """
    is_usual = host.lower() in _USUAL_HOSTS
    names = () if port == ADMIN_PORT else (f"{TOKEN_NAME}-{port}",)
    if not is_usual:
        names = (f"{TOKEN_NAME}-{host.lower().replace(':', '_')}-{port}", *names)
    return (*names, TOKEN_NAME)


def token_path(url: str) -> Path:
    """Return the token file of a server without a state directory."""
    parts = urlsplit(url)
    return default_folder() / token_names(parts.hostname or "", parts.port or 0)[0]


def remove_token(path: Path) -> None:
    """Remove a token file whose server ends, where the disk allows it."""
    with suppress(OSError):
        path.unlink()


class State:
    """A state directory, locked by this process until it closes it or ends."""

    def __init__(self, folder: Path, group: str = "", users: frozenset[int] = frozenset()) -> None:
        """Create the directory if it does not exist, and take its lock.

        Members of `group`, a name or a number, may read and write it too; `users` may own files.

        Raises:
            ConfigError: there is no such group.
            StoreError: another process holds the lock (the message has its pid), or the folder
                cannot be used.
            UntrustedFileError: another user owns or can change the folder or a file in it.
        """
        self.folder = folder
        trust_group(group)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_tree(folder, users)
            self._check_store()
            self._lock = self._take_lock(folder / _LOCK_NAME, users)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreError(f"{folder}: {reason}; choose a writable folder with --state") from None

    def _check_store(self) -> None:
        """Check that nobody else reads a store, or changes one by another name."""
        for path in sorted(self.folder.glob(_STORES)):
            status = path.lstat()
            if open_bits(status):
                raise UntrustedFileError(
                    f"{path}: saw the mode {mode_of(status)}, expected 0600: others can "
                    f"read the secrets of VMs. Type chmod 600 {path}"
                )
            if status.st_nlink > 1:
                raise _linked(path, status.st_nlink)

    @staticmethod
    def _take_lock(path: Path, users: frozenset[int]) -> TextIO:
        is_writable = True
        try:
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT, users=users)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # The store can still be read, and a file that is open to read can be locked.
            descriptor, is_writable = open_file(path, users=users), False
        lock = os.fdopen(descriptor, "r+" if is_writable else "r")
        if (names := os.fstat(descriptor).st_nlink) > 1:
            lock.close()
            raise _linked(path, names)
        try:
            _lock_soon(descriptor, lock)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise StoreError(
                f"{path.parent}: in use by the process with pid {pid}; stop it first, or choose "
                "another --state"
            ) from None
        if is_writable:
            _write_pid(lock)
        return lock

    @property
    def store_path(self) -> Path:
        """The path of the store's file."""
        return self.folder / STORE_NAME

    @property
    def lock_descriptor(self) -> int:
        """The descriptor of the lock: a child that inherits it shares the lock."""
        return self._lock.fileno()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()


def _write_pid(lock: TextIO) -> None:
    """Write the pid of this process, for those that find the lock taken."""
    with suppress(OSError):  # A full disk has no room for it.
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()


def _linked(path: Path, names: int) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path}: saw a file with {names} names (hard links), expected one: a write would change "
        f"the others. Type cp -p {path} {path}.copy && mv {path}.copy {path}"
    )


def _lock_soon(descriptor: int, lock: TextIO) -> None:
    """Lock a file; wait while only the children of an ended process have the lock.

    Raises:
        BlockingIOError: another process has it.
    """
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            _lock(descriptor)
        except BlockingIOError:
            lock.seek(0)
            if _is_alive(lock.read().strip()) or time.monotonic() > until_s:
                raise
            time.sleep(_LOOK_S)
        else:
            lock.seek(0)
            return


def _is_alive(pid: str) -> bool:
    """Tell whether a process with this id runs, as far as this process can see."""
    if os.name == "nt":
        return True  # There the call below would end it, and a lock ends with its process.
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (OSError, ValueError):
        return True  # It is another user's, or its id is unknown.
    return True


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed.

    Raises:
        BlockingIOError: another process has the lock.
    """
    try:
        fcntl: Any = import_module("fcntl")
    except ImportError:  # Windows
        msvcrt: Any = import_module("msvcrt")
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
