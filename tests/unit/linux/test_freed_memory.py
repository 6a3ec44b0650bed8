"""Memory that a process has freed goes back to the system."""

import ctypes
from mmap import mmap

import pytest

from openimds.linux import freed_memory
from openimds.linux.freed_memory import FreedMemory, keep_large_blocks_apart, resident_bytes

MIB = 1 << 20


class Process:
    """A process whose size the test sets, with what a trim leaves of it."""

    def __init__(self) -> None:
        self.size, self.in_use, self.trims = 50 * MIB, 50 * MIB, 0

    def trim(self) -> None:
        self.trims += 1
        self.size = self.in_use

    def resident(self) -> int:
        return self.size


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def freed(process: Process) -> FreedMemory:
    return FreedMemory(process.trim, process.resident)


def test_growth_of_16_mib_is_trimmed(process: Process, freed: FreedMemory) -> None:
    process.size += 16 * MIB
    freed.look()
    assert process.trims == 0
    process.size += 1
    freed.look()
    assert (process.trims, process.size) == (1, 50 * MIB)


def test_memory_in_use_is_not_trimmed_again(process: Process, freed: FreedMemory) -> None:
    process.size = process.in_use = 150 * MIB
    freed.look()
    freed.look()
    assert process.trims == 1


def test_growth_counts_from_the_smallest_size(process: Process, freed: FreedMemory) -> None:
    process.size = 20 * MIB
    freed.look()
    process.size = 40 * MIB
    freed.look()
    assert process.trims == 1


def test_resident_size_grows_with_this_process() -> None:
    with mmap(-1, 32 * MIB) as pages:  # A block of the C library may reuse what it has freed.
        before = resident_bytes()
        for place in range(0, len(pages), 1 << 12):
            pages[place] = 1
        assert resident_bytes() - before > 16 * MIB


def test_size_without_proc_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert resident_bytes() == 0


@pytest.mark.parametrize("handle", [OSError, TypeError, object])
def test_other_c_libraries_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, handle: type[object]
) -> None:
    def load(_: None) -> object:
        if issubclass(handle, Exception):
            raise handle
        return handle()

    freed_memory._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", load)
    keep_large_blocks_apart()
    assert freed_memory._library() is None
    freed_memory._trim()
    freed_memory._library.cache_clear()


def test_glibc_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    class Library:
        def mallopt(self, *numbers: int) -> None:
            asked.append(("mallopt", numbers))

        def malloc_trim(self, *numbers: int) -> None:
            asked.append(("malloc_trim", numbers))

    freed_memory._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    keep_large_blocks_apart()
    freed_memory._trim()
    freed_memory._library.cache_clear()
    assert asked == [("mallopt", (-3, 256 << 10)), ("malloc_trim", (0,))]
