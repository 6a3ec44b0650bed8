"""How often one may ask; time is passed in."""

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
    pace = Throttle(4, clock, clock.wait)
    for _ in range(5):
        pace.turn()
    assert (clock.waits, clock.now_s) == ([0.25] * 4, 101.0)


def test_time_that_went_by_is_not_waited_for_again_nor_saved_up(clock: Clock) -> None:
    pace = Throttle(4, clock, clock.wait)
    pace.turn()
    clock.now_s += 10
    pace.turn()
    pace.turn()
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
def test_one_comes_back_as_often_as_the_status_allows(
    clock: Clock, status: int, waits: list[float]
) -> None:
    pace = Throttle(4, clock, clock.wait)
    tries = 0
    while pace.rest(status, tries, ""):
        tries += 1
    assert clock.waits == waits


@pytest.mark.parametrize(
    "said,waited", [("3", 3), ("0", 1), ("3600", 60), ("soon", 1), ("", 1), ("-5", 1)]
)
def test_what_the_server_says_is_waited_for_within_reason(
    clock: Clock, said: str, waited: float
) -> None:
    assert Throttle(4, clock, clock.wait).rest(429, 0, said)
    assert clock.waits == [waited]
