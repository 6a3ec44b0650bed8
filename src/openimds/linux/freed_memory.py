"""Give memory that a process has freed back to the system.

The C library keeps freed memory for later, and raises the size from which a block is a mapping of
its own with the largest block that was freed (mallopt(3)). A process that was busy once would stay
large for good. Other C libraries than glibc have neither call, and keep less.
"""

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache

_M_MMAP_THRESHOLD = -3
_OWN_MAPPING_BYTES = 256 << 10
"""From this size on a block is a mapping of its own, and goes back when it is freed."""
_GROWTH_BYTES = 16 << 20
"""After a growth by so much it is worth the time to look for freed pages: about 5 ms."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows has no such handle.
        return None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def keep_large_blocks_apart() -> None:
    """Have large blocks go back to the system as soon as they are freed."""
    if library := _library():
        library.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)


def _trim() -> None:
    if library := _library():
        library.malloc_trim(0)


def resident_bytes() -> int:
    """Return the resident size of this process, 0 where the system does not tell it."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - once a few seconds
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class FreedMemory:
    """Gives freed memory back each time that the process has grown much."""

    def __init__(
        self,
        trim: Callable[[], None] = _trim,
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        """Begin at the present size; `look` compares with the smallest so far."""
        self._trim, self._resident = trim, resident
        self._least_bytes = resident()

    def look(self) -> None:
        """Give back what is free, if the process has grown by 16 MiB."""
        size = self._resident()
        if size > self._least_bytes + _GROWTH_BYTES:
            self._trim()
            size = self._resident()
            # What is in use stays: the next look compares with it.
            self._least_bytes = size
        self._least_bytes = min(self._least_bytes, size)
