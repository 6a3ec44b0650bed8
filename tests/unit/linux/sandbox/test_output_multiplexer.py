"""Labelled lines of several commands, through real pipes."""

import os
from collections.abc import Iterator

import pytest

from openimds.linux.sandbox import output_multiplexer as room
from openimds.linux.sandbox.output_multiplexer import OutputMultiplexer


class Pipes:
    """The output multiplexer of web-1, with a pipe as its target."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.output = OutputMultiplexer("web-1", self.writer)

    def write(self, text: bytes) -> bool:
        os.write(self.output.write_end, text)
        return self.output.forward()

    def read(self) -> bytes:
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pair = Pipes()
    yield pair
    pair.output.close_read_end()
    for descriptor in (pair.reader, pair.writer, pair.output.write_end):
        if descriptor >= 0:
            os.close(descriptor)


def test_line_is_forwarded_at_its_newline(pipes: Pipes) -> None:
    assert pipes.write(b"one\ntw")
    assert pipes.read() == b"web-1| one\n"
    assert pipes.write(b"o\n\nthree")
    assert pipes.read() == b"web-1| two\nweb-1| \n"
    assert pipes.output.forward()
    assert pipes.read() == b""


def test_close_forwards_available_lines(pipes: Pipes) -> None:
    os.write(pipes.output.write_end, b"one\nrest")
    pipes.output.close()
    assert pipes.read() == b"web-1| one\n"
    os.close(pipes.output.write_end)
    pipes.output.write_end = -1
    pipes.output.close()
    assert pipes.read() == b""


def test_end_of_output_forwards_the_rest_as_a_line(pipes: Pipes) -> None:
    assert pipes.write(b"rest")
    os.close(pipes.output.write_end)
    pipes.output.write_end = -1
    assert not pipes.output.forward()
    assert pipes.read() == b"web-1| rest\n"


def test_overlong_line_is_forwarded_in_parts(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MAX_LINE", 8)
    assert pipes.write(b"12345678")
    assert pipes.read() == b""
    assert pipes.write(b"9")
    assert pipes.read() == b"web-1| 123456789\n"


def test_writer_gets_epipe_when_the_target_is_closed(pipes: Pipes) -> None:
    os.close(pipes.reader)
    pipes.reader = -1
    assert not pipes.write(b"one\n")
    with pytest.raises(BrokenPipeError):
        os.write(pipes.output.write_end, b"two\n")
