"""The figures of this process: processor time, memory, files, threads, and its start."""

import os
import threading
import time
from functools import cache
from pathlib import Path

from msgspec import Struct

from openimds.linux.platform import file_limits

_PROC = Path("/proc/self")
_RESIDENT_PAGES = 1
_START_TICKS = 19
"""The place of `starttime` behind the name of the command, which may have spaces (proc(5))."""


class ProcessFigures(Struct, frozen=True):
    """The figures; None for one that this system does not tell.

    `cpu_s` is of user and system; `started_s` is in seconds since 1970.
    """

    cpu_s: float
    resident_bytes: int | None
    open_files: int | None
    most_files: int | None
    threads: int
    started_s: float | None


def process_figures(folder: Path = _PROC) -> ProcessFigures:
    """Read the figures; call it in a thread, for many open files take milliseconds."""
    limits = file_limits()
    return ProcessFigures(
        cpu_s=time.process_time(),
        resident_bytes=_resident_bytes(folder),
        open_files=_open_files(folder),
        most_files=limits.soft if limits else None,
        threads=threading.active_count(),
        started_s=_started_s(folder),
    )


def _resident_bytes(folder: Path) -> int | None:
    try:
        pages = int((folder / "statm").read_text().split()[_RESIDENT_PAGES])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files(folder: Path) -> int | None:
    """Return the number of open files, which newer kernels tell without a walk."""
    try:
        files = folder / "fd"
        return files.stat().st_size or sum(1 for _ in files.iterdir()) - 1
    except OSError:
        return None


@cache
def _started_s(folder: Path) -> float | None:
    """Return the start of the process: it is measured from the start of the machine."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - up_s + int(fields[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
