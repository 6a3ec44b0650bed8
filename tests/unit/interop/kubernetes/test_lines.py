"""Lines of a stream: whole, in pieces, blank, cut and too long."""

from collections.abc import Callable

import pytest

from openimds.interop.kubernetes.lines import CutLineError, LongLineError, lines


def reader(*chunks: bytes) -> Callable[[int], bytes]:
    """Return a `read` that has these chunks, one for each call."""
    left = [*chunks]
    return lambda _: left.pop(0) if left else b""


@pytest.mark.parametrize(
    "chunks",
    [
        (b"one\ntwo\nthree\n",),
        (b"o", b"ne\ntw", b"o\n", b"three", b"\n"),
        (b"\none\r\n\n", b"two\n  \nthree\n", b" "),
    ],
    ids=["whole", "in pieces", "with blank lines"],
)
def test_lines_are_the_same_for_every_cut(chunks: tuple[bytes, ...]) -> None:
    assert [*lines(reader(*chunks), 5)] == [b"one", b"two", b"three"]


def test_line_comes_before_the_stream_goes_on() -> None:
    def read(_: int) -> bytes:
        if begun:
            raise AssertionError("read on before the line was taken")
        begun.append(True)
        return b"one\ntw"

    begun: list[bool] = []
    assert next(lines(read, 5)) == b"one"


def test_stream_that_ends_within_a_line_is_an_error() -> None:
    found = lines(reader(b"one\ntw"), 5)
    assert next(found) == b"one"
    with pytest.raises(CutLineError):
        next(found)


@pytest.mark.parametrize("chunks", [(b"123456\n",), (b"123", b"456"), (b"1\n23", b"4567\n")])
def test_line_beyond_the_bound_is_an_error(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(LongLineError):
        [*lines(reader(*chunks), 5)]


def test_line_without_end_is_not_read_further() -> None:
    reads: list[int] = []

    def read(count: int) -> bytes:
        reads.append(count)
        return b"x"

    with pytest.raises(LongLineError):
        [*lines(read, 5)]
    assert len(reads) == 6
