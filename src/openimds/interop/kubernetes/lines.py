"""Cut a stream of bytes into lines of a bounded length."""

from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1 << 16


class LongLineError(Exception):
    """A line has more bytes than the bound."""


class CutLineError(Exception):
    """The stream ended within a line."""


def lines(read: Callable[[int], bytes], most_bytes: int) -> Iterator[bytes]:
    """Yield each line that is not blank, as soon as it is whole.

    `read` returns at most so many bytes, as soon as it has some, and none at the end.

    Raises:
        CutLineError: the stream ended within a line.
        LongLineError: a line is longer than `most_bytes`.
    """
    begun: list[bytes] = []
    length = 0
    while chunk := read(_CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        length += len(first)
        for part in others:
            if length > most_bytes:
                raise LongLineError
            if line := b"".join(begun).strip():
                yield line
            begun, length = [part], len(part)
        if length > most_bytes:
            raise LongLineError
    if b"".join(begun).strip():
        raise CutLineError
