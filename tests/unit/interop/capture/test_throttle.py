"""The throttle, with a clock that is passed in."""

import pytest

from openimds.interop.capture.throttle import Throttle


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_requests_keep_their_distance(clock: Clock) -> None:
    throttle = Throttle(4, clock, clock.wait)
    for _ in range(5):
        throttle.wait_for_turn()
    assert (clock.waits, clock.now_s) == ([0.25] * 4, 101.0)


def test_elapsed_time_counts_once_and_is_not_saved_up(clock: Clock) -> None:
    throttle = Throttle(4, clock, clock.wait)
    throttle.wait_for_turn()
    clock.now_s += 10
    throttle.wait_for_turn()
    throttle.wait_for_turn()
    assert clock.waits == [0.25]


@pytest.mark.parametrize(
    "status,waits",
    [
        (429, [1, 2, 4, 8, 16]),
        (410, [5, 10, 20, 35]),
        (503, [1, 2]),
        (500, [1]),
        (200, []),
        (404, []),
    ],
)
def test_retries_are_bounded_by_the_status(clock: Clock, status: int, waits: list[float]) -> None:
    throttle = Throttle(4, clock, clock.wait)
    tries = 0
    while throttle.wait_to_retry(status, tries, ""):
        tries += 1
    assert clock.waits == waits


@pytest.mark.parametrize(
    "header,wait", [("3", 3), ("0", 1), ("3600", 60), ("soon", 1), ("", 1), ("-5", 1)]
)
def test_retry_after_is_waited_for_up_to_a_minute(clock: Clock, header: str, wait: float) -> None:
    assert Throttle(4, clock, clock.wait).wait_to_retry(429, 0, header)
    assert clock.waits == [wait]
