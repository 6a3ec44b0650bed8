"""The system under this process: whether it is Linux, and its limit of open files."""

import os
import sys
from contextlib import suppress

from openimds.errors import Error

IS_LINUX = sys.platform == "linux" and hasattr(os, "fork") and hasattr(os, "memfd_create")
"""Whether this is Linux, with the calls of its kernel that Python has elsewhere, too."""


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


def file_limit(*, is_raised: bool = False) -> int | None:
    """Return the hard limit of open files, None on Windows.

    With `is_raised`, the soft limit becomes the hard one.
    """
    if sys.platform == "win32":
        return None
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if is_raised:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
