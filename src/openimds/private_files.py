"""Files of the state folder: opened without following links, checked for owner, mode and kind.

Another user who may write to the folder could plant a link, a pipe, or a token that he knows. So an
opened file belongs to this process's user or to root, and is a plain file; its folder likewise, and
nobody else may write to it. Windows has neither owners by number nor modes: there the access list
of the user's profile counts.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from openimds.errors import ConfigError, Error

MOST_BYTES = 16 << 20
"""No key, list or token is as large."""
IS_POSIX = os.name == "posix"
_OTHERS = 0o077
_WRITE = 0o022
_GROUP = 0o070
_GROUP_READ = 0o040
_NO_WAIT = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FLAGS = _NO_WAIT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_DEEPEST = 4
"""Folders below the state folder are looked through so far; its own are one deep or two."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_OF_DISK = frozenset((errno.ENOSPC, errno.EROFS, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)))
_trusted_groups: set[int] = set()


class UntrustedFileError(Error):
    """A file or folder that another user may have made or changed."""


class MirrorError(Error):
    """A file that its mirror does not take: it is neither written nor removed."""


class Mirror(Protocol):
    """A second place of a folder's files, which has a content before the file does."""

    def save(self, name: str, content: bytes) -> None:
        """Take a file by its path below the folder, if it is to be mirrored.

        Raises:
            MirrorError: it cannot be stored.
        """
        ...

    def remove(self, name: str) -> None:
        """Forget a file.

        Raises:
            MirrorError: it cannot be removed.
        """
        ...

    def keep(self, name: str, content: bytes, reason: OSError) -> bool:
        """Take a file that the disk does not take; return False for another file.

        Raises:
            MirrorError: it cannot be stored.
        """
        ...


_mirrors: dict[str, Mirror] = {}
"""The mirrors by the absolute path of their folder; replaced as a whole."""


def attach_mirror(folder: Path, mirror: Mirror) -> None:
    """Show a mirror the files that are written and removed below a folder."""
    global _mirrors  # noqa: PLW0603 - readers in other threads see the one or the other
    _mirrors = {**_mirrors, os.path.abspath(folder): mirror}  # noqa: PTH100 - resolves no link


def detach_mirror(folder: Path) -> None:
    """Undo `attach_mirror`."""
    global _mirrors  # noqa: PLW0603 - as above
    own = os.path.abspath(folder)  # noqa: PTH100 - as above
    _mirrors = {path: mirror for path, mirror in _mirrors.items() if path != own}


def _mirrored(path: Path) -> tuple[Mirror, str] | None:
    """Return the mirror of a file, and the file's path below the mirrored folder."""
    if not _mirrors:
        return None
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - as above
    for folder, mirror in _mirrors.items():
        if whole.is_relative_to(folder):
            return mirror, whole.relative_to(folder).as_posix()
    return None


def is_of_disk(error: OSError) -> bool:
    """Tell whether a full, read-only or broken disk is at fault."""
    return error.errno in _OF_DISK


def in_memory(reason: object, loss: str) -> str:
    """Return the message on what lives in memory because its file cannot be written."""
    return f"{reason}: {loss} after a restart. Free space on the disk, then restart"


def trust_group(name: str) -> None:
    """Let a group read and write state folders, for the life of this process.

    `name` is a name or a number; an empty one changes nothing.

    Raises:
        ConfigError: there is no such group.
    """
    if not name or not IS_POSIX:
        return
    if name.isdecimal():
        _trusted_groups.add(int(name))
        return
    grp: Any = import_module("grp")  # Windows has none.
    try:
        _trusted_groups.add(grp.getgrnam(name).gr_gid)
    except KeyError:
        seen, expected = f'"{name}"', "a group of this machine, by name or number"
        raise ConfigError("state_group", seen, expected, f"Type getent group {name}") from None


def current_user() -> int:
    """Return the number of the user whose rights this process has; 0 on Windows."""
    return int(getattr(os, "geteuid", lambda: 0)())


def open_bits(status: os.stat_result, bits: int = _OTHERS) -> int:
    """Return those permission bits of a file that give more than its owner access."""
    if not IS_POSIX:
        return 0
    return status.st_mode & (bits & ~_GROUP if status.st_gid in _trusted_groups else bits)


def exposed_bits(status: os.stat_result) -> int:
    """Return those permission bits of an operator's secret that let others read or change it.

    A credential of systemd may have root as its user and its group; then the bits of its group are
    the mask of an access list, which names the user of the service alone.
    """
    is_of_root = status.st_uid == status.st_gid == 0
    return open_bits(status, _OTHERS & ~_GROUP_READ if is_of_root else _OTHERS)


def mode_of(status: os.stat_result) -> str:
    """Return the permission bits of a file as chmod takes them."""
    return f"{stat.S_IMODE(status.st_mode):04o}"


def open_file(path: Path, flags: int = os.O_RDONLY, users: frozenset[int] = frozenset()) -> int:
    """Open a plain file without waiting for a pipe; return its descriptor.

    Raises:
        OSError: it cannot be opened.
        UntrustedFileError: it is no plain file, or belongs to another user.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS, 0o600)
    except OSError as error:
        # A symbolic link; a pipe without a reader, or a socket.
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:
            check(path, path.lstat())
        raise
    try:
        check(path, os.fstat(descriptor), users)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(
    path: Path, most: int = MOST_BYTES, users: frozenset[int] = frozenset()
) -> tuple[bytes, os.stat_result]:
    """Return the content of a file of the state folder, and its status.

    The caller judges `open_bits` of the status: not every file holds a secret.

    Raises:
        OSError: it cannot be read.
        UntrustedFileError: as `open_file`, or it is larger than `most` bytes.
    """
    with os.fdopen(open_file(path, users=users), "rb") as file:
        content = file.read(most + 1)
        if len(content) > most:
            raise UntrustedFileError(f"{path}: saw more than {most} bytes. Restore or remove it")
        return content, os.fstat(file.fileno())


def check(path: Path, status: os.stat_result, users: frozenset[int] = frozenset()) -> None:
    """Check that a file is plain, and of root, this user or one of `users`.

    Raises:
        UntrustedFileError: it is not.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise UntrustedFileError(
            f"{path}: saw {_KINDS.get(kind, 'another kind of file')}, expected a plain file: "
            "another user may have planted it. Remove it"
        )
    _check_owner(path, status, users)


def check_folder(folder: Path, users: frozenset[int] = frozenset()) -> None:
    """Check that no user but root, this one and `users` can change a folder.

    A link to the folder is followed: systemd makes one.

    Raises:
        OSError: it cannot be read.
        UntrustedFileError: another user owns it, or can write to it.
    """
    status = folder.stat()
    _check_owner(folder, status, users)
    if open_bits(status, _WRITE):
        remedy = f"Type chmod go-w {folder}, or name a new folder below it: --state "
        raise _writable(folder, status, f"{remedy}{folder / 'state'}")


def check_tree(folder: Path, users: frozenset[int] = frozenset(), depth: int = 0) -> None:
    """Check a state folder and all that lies in it; sockets are those of listeners.

    Raises:
        OSError: it cannot be read.
        UntrustedFileError: another user owns it or a file in it, or can write to one.
    """
    check_folder(folder, users)
    for entry in _entries(folder):
        path, status = Path(entry.path), entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if depth < _DEEPEST:
                check_tree(path, users, depth + 1)
        elif stat.S_ISSOCK(status.st_mode):
            _check_owner(path, status, users)
        else:
            check(path, status, users)
            if open_bits(status, _WRITE):
                remedy = f"Type chmod go-w {path} if you trust it, else remove it"
                raise _writable(path, status, remedy)


def _entries(folder: Path) -> Iterator[Any]:
    """Yield the entries of a folder; one of root, as lost+found, may be closed."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except PermissionError:
        if folder.stat().st_uid != 0:
            raise


def _check_owner(path: Path, status: os.stat_result, users: frozenset[int]) -> None:
    if not IS_POSIX:
        return
    user = current_user()
    if status.st_uid not in {0, user, *users}:
        raise UntrustedFileError(
            f"{path}: belongs to user {status.st_uid}, expected user {user} or root: another user "
            f"may have planted it. Type chown {user} {path} if you trust it, else remove it"
        )


def _writable(path: Path, status: os.stat_result, remedy: str) -> UntrustedFileError:
    group = ""
    if IS_POSIX and not open_bits(status, _WRITE & ~_GROUP):
        group = f", or --state-group {status.st_gid} if its group is meant to"
    return UntrustedFileError(
        f"{path}: saw the mode {mode_of(status)}, expected no other user who may "
        f"write to it. {remedy}{group}"
    )


def write(path: Path, content: bytes, *, is_synced: bool = True) -> None:
    """Write a file, mode 0600, that is whole or absent even after a power cut.

    Its folder is opened once: an exchange of folders meanwhile changes nothing. Where the disk is
    full, read-only or broken, a mirrored file counts as written once its mirror has it. Without
    `is_synced` it does not wait for the disk, and a power cut may leave it damaged.

    Raises:
        OSError: it cannot be written.
        MirrorError: the mirror of its folder does not take it.
    """
    try:
        _write_whole(path, content, is_synced=is_synced)
    except OSError as error:
        found = _mirrored(path) if is_of_disk(error) else None
        if not (found and found[0].keep(found[1], content, error)):
            raise


def _write_whole(path: Path, content: bytes, *, is_synced: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not IS_POSIX:  # Windows does not open folders.
        new, save = path.with_name(f".{path.name}.new"), _saving(path, content)
        _write(new, path, content, None, save, is_synced=is_synced)
        return
    folder = os.open(path.parent, os.O_RDONLY | _FOLDER)
    try:
        new = Path(f".{path.name}.new")
        save = _saving(path, content)
        _write(new, Path(path.name), content, folder, save, is_synced=is_synced)
        if is_synced:
            os.fsync(folder)
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove a file if it is there, from the mirror of its folder first.

    Raises:
        OSError: it cannot be removed.
        MirrorError: the mirror does not forget it.
    """
    if found := _mirrored(path):
        mirror, name = found
        mirror.remove(name)
    path.unlink(missing_ok=True)


def _saving(path: Path, content: bytes) -> Callable[[], None] | None:
    """Return the call that gives a content to the mirror, or None without one."""
    found = _mirrored(path)
    return (lambda: found[0].save(found[1], content)) if found else None


def sync(path: Path) -> None:
    """Write a file or folder to the disk; Windows does not open folders."""
    if os.name == "posix" or path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(  # noqa: PLR0913 - a file, its folder, its mirror, and the disk
    new: Path,
    path: Path,
    content: bytes,
    folder: int | None,
    save: Callable[[], None] | None,
    *,
    is_synced: bool,
) -> None:
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
    try:
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        if save:  # A full disk has failed before, and a rename seldom does.
            save()
        os.replace(new, path, src_dir_fd=folder, dst_dir_fd=folder)
    except (OSError, MirrorError):
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
