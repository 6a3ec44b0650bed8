"""The system under this process: whether it is Linux, and its limits of open files."""

import os
import signal
import sys

from msgspec import Struct

from openimds.errors import Error

IS_LINUX = sys.platform == "linux" and hasattr(os, "fork") and hasattr(os, "memfd_create")
"""Whether this is Linux, with the calls of its kernel that Python has elsewhere, too."""

_MOST_FILES = 1 << 20
"""The soft limit to ask for where there is no hard one."""


class NotLinuxError(Error):
    """A command that needs Linux, on another system."""


def require_linux(subject: str, alternative: str) -> None:
    """Refuse to go on elsewhere than on Linux.

    Args:
        subject: the command that needs it.
        alternative: a sentence's end: the way to reach the same on this system.

    Raises:
        NotLinuxError: this is another system.
    """
    if not IS_LINUX:
        raise NotLinuxError(f"{subject} needs a Linux kernel: {alternative}")


class FileLimits(Struct, frozen=True):
    """The limits of open files of a process; `sys.maxsize` is no limit."""

    soft: int
    hard: int

    def __str__(self) -> str:
        """Return both limits as a part of a sentence."""
        soft, hard = ("none" if one == sys.maxsize else one for one in (self.soft, self.hard))
        return f"soft limit {soft}, hard limit {hard}"


def file_limits() -> FileLimits | None:
    """Return the limits of open files of this process, None on Windows."""
    if sys.platform == "win32":
        return None
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    soft, hard = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return FileLimits(soft, hard)


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, where it can."""
    if IS_LINUX:
        from openimds.linux.syscalls import end_with_parent  # noqa: PLC0415 - others have none

        end_with_parent(signal.SIGKILL)


def raise_file_limit() -> None:
    """Raise the soft limit of open files as far as the system allows.

    MacOS has no hard limit by default, and refuses a soft one above a maximum of its own.
    """
    limits = file_limits()
    if limits is None or sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - as above

    has_limit = limits.hard != sys.maxsize
    wanted = limits.hard if has_limit else _MOST_FILES
    hard = limits.hard if has_limit else resource.RLIM_INFINITY
    while wanted > limits.soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            wanted //= 2
        else:
            return
