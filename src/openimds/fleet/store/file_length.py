"""Whether the file of a SQLite store has all its pages.

Beside a write-ahead log SQLite takes the number of pages from there, and reads a page beyond the
end of the file as zeros. Where that is the last page of a long body, no check of SQLite finds it.
The first page has the number of pages; those that a checkpoint has not
written yet are in the write-ahead log. The offsets are those of SQLite's file format
(https://www.sqlite.org/fileformat2.html, sections 1.3 and 4.1).
"""

import os
from pathlib import Path
from struct import Struct

_MAGIC = b"SQLite format 3\0"
_HEAD = Struct(">16sH6xI I 60x I")
"""The head of a file: magic, page size, change counter, pages, version for which that is valid."""
_LOG_HEAD = Struct(">8xI4x8s8x")
"""The head of a log: page size, salts."""
_FRAME = Struct(">II8s8x")
"""The head of a frame: page, pages after a commit or 0, salts."""
_LARGEST = 1 << 16


def cut(path: Path) -> str:
    """Return how many pages the end of a file lacks, in words, or nothing.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
    except FileNotFoundError:
        return ""
    if len(head) < _HEAD.size:
        return ""  # SQLite refuses it, or it is new.
    magic, size, counter, pages, valid_for = _HEAD.unpack(head)
    size = _LARGEST if size == 1 else size
    if magic != _MAGIC or counter != valid_for or not size:
        return ""
    whole = path.stat().st_size // size
    if whole >= pages:
        return ""
    logged = _logged(path.with_name(f"{path.name}-wal"), size)
    lacking = sum(page not in logged for page in range(whole + 1, pages + 1))
    # A checkpoint of a server that uses the file may have written them meanwhile.
    if not lacking or path.stat().st_size // size >= pages:
        return ""
    return f"its end is cut off: {lacking} of {pages} pages are missing"


def _logged(path: Path, size: int) -> set[int]:
    """Return the pages in the committed frames of a log."""
    committed: set[int] = set()
    pending: set[int] = set()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return committed
    with file:
        head = file.read(_LOG_HEAD.size)
        if len(head) < _LOG_HEAD.size:
            return committed
        logged_size, salts = _LOG_HEAD.unpack(head)
        end = os.fstat(file.fileno()).st_size
        while logged_size == size and file.tell() + _FRAME.size + size <= end:
            page, commit, own = _FRAME.unpack(file.read(_FRAME.size))
            if own != salts:  # Of an earlier use of the log.
                break
            pending.add(page)
            if commit:
                committed |= pending
                pending.clear()
            file.seek(size, os.SEEK_CUR)
    return committed
