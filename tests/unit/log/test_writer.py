"""The bounded queue of lines: a reader that is slow, blocked or gone stops nobody."""

import os
import threading

import pytest

from openimds.log.journal import write_all
from openimds.log.writer import LineWriter


def test_lines_are_written_in_their_order() -> None:
    data = bytearray()
    writer = LineWriter(data.extend)
    for number in range(1000):
        assert writer.put(b"%d\n" % number)
    writer.close(10)
    assert data.decode().split() == [*map(str, range(1000))]


def test_blocked_writer_drops_and_counts() -> None:
    begun, go_on, data = threading.Event(), threading.Event(), bytearray()

    def write(some: bytes) -> None:
        begun.set()
        go_on.wait(10)
        data.extend(some)

    writer = LineWriter(write, most=3)
    assert writer.put(b"0\n")
    assert begun.wait(10)
    assert [writer.put(b"x\n") for _ in range(5)] == [True, True, True, False, False]
    assert (writer.dropped, writer.has_room) == (2, False)
    go_on.set()
    assert writer.flush(10)
    assert (bytes(data), writer.has_room) == (b"0\nx\nx\nx\n", True)
    writer.close(10)


def test_pipe_that_nobody_reads_does_not_hold_up_its_end() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(lambda data: write_all(data, writing))
    line = b"x" * 4000 + b"\n"
    # More than a pipe and the queue take: the rest is dropped, at once.
    results = [writer.put(line) for _ in range(3000)]
    assert not results[-1]
    assert writer.dropped == results.count(False) >= 900
    assert not writer.flush(0.0)
    writer.close(0.0)
    os.close(reading)  # The thread ends with EPIPE.


def test_lines_that_cannot_be_written_are_counted() -> None:
    def write(_: bytes) -> None:
        raise BrokenPipeError

    writer = LineWriter(write)
    writer.put(b"x\n")
    assert writer.flush(10)
    assert writer.dropped == 1
    writer.close(10)


def test_lack_of_a_thread_drops_a_line_and_the_next_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = bytearray()
    writer = LineWriter(data.extend)
    with monkeypatch.context() as patch:

        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr("threading.Thread.start", fail)
        assert not writer.put(b"lost\n")
        writer.wake()
        assert writer.flush(0.0)
    assert writer.put(b"kept\n")
    writer.close(10)
    assert (bytes(data), writer.dropped) == (b"kept\n", 1)


def test_maker_of_a_line_is_called_by_the_thread() -> None:
    data, names = bytearray(), list[str]()

    def made() -> bytes:
        names.append(threading.current_thread().name)
        return b"made\n"

    writer = LineWriter(data.extend)
    writer.put(made)
    writer.close(10)
    assert (bytes(data), names) == (b"made\n", ["log"])


def test_failure_of_a_maker_drops_its_line_alone() -> None:
    data = bytearray()

    def fail() -> bytes:
        raise LookupError

    writer = LineWriter(data.extend)
    for line in (b"1\n", fail, b"2\n"):
        assert writer.put(line)
    assert writer.flush(10)
    writer.close(10)
    assert (bytes(data), writer.dropped) == (b"1\n2\n", 1)


def test_failure_while_idle_does_not_end_the_thread() -> None:
    data = bytearray()

    def fail() -> float | None:
        raise LookupError

    writer = LineWriter(data.extend)
    writer.on_idle = fail
    writer.put(b"1\n")
    assert writer.flush(10)
    assert bytes(data) == b"1\n"
    assert writer.dropped >= 1
    writer.close(10)


def test_many_bytes_are_written_in_parts_of_a_pipe() -> None:
    sizes: list[int] = []
    begun = threading.Event()

    def write(data: bytes) -> None:
        begun.wait(10)
        sizes.append(len(data))

    writer = LineWriter(write)
    for _ in range(10):
        writer.put(b"x" * 999 + b"\n")
    begun.set()
    writer.close(10)
    assert sum(sizes) == 10_000
    assert max(sizes) <= 4096


def test_descriptor_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = b"y" * 200_000
    thread = threading.Thread(target=write_all, args=(data, writing))
    thread.start()
    got = b""
    while len(got) < len(data):
        got += os.read(reading, 65536)
    thread.join(10)
    os.close(reading)
    os.close(writing)
    assert got == data
