"""A file of the machine, covered by another text in the mounts of this process."""

from pathlib import Path

from openimds.linux import syscalls

_COPY = "/proc/covered"


def hide_mounts() -> None:
    """Hide mounts from here on from the mounts outside of this namespace.

    Raises:
        OSError: this process may not mount.
    """
    syscalls.mount("", "/", "", syscalls.SLAVE | syscalls.RECURSIVE)


def cover(path: Path, text: str) -> None:
    """Show another text in place of a file, in this mount namespace alone.

    The text is on no disk. `hide_mounts` has to come first.

    Raises:
        OSError: it cannot be mounted.
    """
    syscalls.mount("tmpfs", "/proc", "tmpfs", syscalls.NO_SUID | syscalls.NO_DEV)
    try:
        Path(_COPY).write_text(text, "utf-8")
        Path(_COPY).chmod(0o644)
        syscalls.mount(_COPY, str(path), "", syscalls.BIND)
    finally:
        syscalls.unmount("/proc")
