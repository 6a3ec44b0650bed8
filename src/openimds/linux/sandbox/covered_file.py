"""A file of the machine, covered by another text in the mounts of a sandbox."""

from pathlib import Path

from openimds.linux import syscalls

_COPY = "/proc/covered"


def cover(path: Path, text: str) -> None:
    """Show another text in place of a file, in this sandbox alone.

    The text is on no disk.

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
