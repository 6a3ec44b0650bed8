"""The memory of failures: its times, and its bound."""

from openimds.credentials.entra.failures import FailureMemory
from openimds.protocol.pending import Failed

THROTTLED, ERROR = Failed("throttled"), Failed("server_error")


class Clock:
    """A steady clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_failure_is_remembered_until_its_time_is_over() -> None:
    clock = Clock()
    memory = FailureMemory(clock)
    memory.put("a", ERROR, 5)
    clock.now_s = 104.9
    assert (memory.get("a"), memory.get("b")) == (ERROR, None)
    clock.now_s = 105
    assert memory.get("a") is None
    assert len(memory) == 0


def test_later_failure_replaces_the_earlier_one() -> None:
    clock = Clock()
    memory = FailureMemory(clock)
    memory.put("a", ERROR, 5)
    memory.put("a", THROTTLED, 1)
    assert memory.get("a") == THROTTLED
    clock.now_s = 101
    assert memory.get("a") is None


def test_forgotten_failure_is_not_returned() -> None:
    memory = FailureMemory(Clock())
    memory.put("a", ERROR, 5)
    memory.forget("a")
    memory.forget("b")
    assert memory.get("a") is None


def test_memory_drops_its_oldest_failure_beyond_the_bound() -> None:
    memory = FailureMemory(Clock(), most=2)
    memory.put("a", ERROR, 5)
    memory.put("b", ERROR, 5)
    memory.put("a", ERROR, 5)
    memory.put("c", ERROR, 5)
    assert len(memory) == 2
    assert [memory.get(key) for key in "abc"] == [ERROR, None, ERROR]
