"""OutputMultiplexer of several commands, through real pipes."""

import os
from collections.abc import Iterator

import pytest

from openimds.linux.sandbox import output_multiplexer as room
from openimds.linux.sandbox.output_multiplexer import OutputMultiplexer


class Pipes:
    """OutputMultiplexer of web-1, with the ends of a writer and of a reader."""

    def __init__(self) -> None:
        self.hears, speaks = os.pipe()
        self.speaks = speaks
        os.set_blocking(self.hears, False)
        self.lines = OutputMultiplexer("web-1", speaks)

    def write(self, text: bytes) -> bool:
        os.write(self.lines.into, text)
        return self.lines.forward()

    def read(self) -> bytes:
        try:
            return os.read(self.hears, 1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.lines.let_go()
    for descriptor in (made.hears, made.speaks, made.lines.into):
        if descriptor >= 0:
            os.close(descriptor)


def test_a_line_waits_for_its_end(pipes: Pipes) -> None:
    assert pipes.write(b"one\ntw")
    assert pipes.read() == b"web-1| one\n"
    assert pipes.write(b"o\n\nthree")
    assert pipes.read() == b"web-1| two\nweb-1| \n"
    assert pipes.lines.forward()
    assert pipes.read() == b""


def test_what_is_left_at_the_end_becomes_a_line(pipes: Pipes) -> None:
    os.write(pipes.lines.into, b"one\nrest")
    pipes.lines.close()
    assert pipes.read() == b"web-1| one\n"
    os.close(pipes.lines.into)
    pipes.lines.into = -1
    pipes.lines.close()
    assert pipes.read() == b""


def test_an_end_is_seen(pipes: Pipes) -> None:
    assert pipes.write(b"rest")
    os.close(pipes.lines.into)
    pipes.lines.into = -1
    assert not pipes.lines.forward()
    assert pipes.read() == b"web-1| rest\n"


def test_a_line_without_an_end_does_not_fill_the_memory(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LONGEST", 8)
    assert pipes.write(b"12345678")
    assert pipes.read() == b""
    assert pipes.write(b"9")
    assert pipes.read() == b"web-1| 123456789\n"


def test_a_writer_is_told_when_nobody_reads(pipes: Pipes) -> None:
    os.close(pipes.hears)
    pipes.hears = -1
    assert not pipes.write(b"one\n")
    with pytest.raises(BrokenPipeError):
        os.write(pipes.lines.into, b"two\n")
