from math import inf

import pytest

from openimds.errors import ConfigError
from openimds.events.clock import Clock, ClockState

NOW_S = 1_795_377_286.0


class Wall:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def test_clock_is_the_wall_clock_by_default() -> None:
    wall = Wall()
    clock = Clock(wall, ClockState(0, NOW_S, 7))
    wall.now_s += 5
    assert clock() == NOW_S + 5
    assert clock.offset_s == 0


def test_virtual_clock_is_set_advanced_paced_and_stopped() -> None:
    wall = Wall()
    clock = Clock(wall, is_virtual=True)
    assert clock() == NOW_S
    clock.take(clock.planned(offset_s=100, advance_s=20))
    assert (clock(), clock.offset_s) == (NOW_S + 120, 120)
    clock.take(clock.planned(rate=60))
    wall.now_s += 2
    assert clock() == NOW_S + 240
    clock.take(clock.planned(now_s=1000.0, rate=0))
    wall.now_s += 50
    assert clock() == 1000
    clock.take(clock.planned(advance_s=-1))
    assert (clock(), clock.rate) == (999, 0)


def test_clock_resumes_from_its_state() -> None:
    wall = Wall()
    clock = Clock(wall, is_virtual=True)
    clock.take(clock.planned(offset_s=500, rate=2))
    again = Clock(wall, clock.state, is_virtual=True)
    wall.now_s += 10
    assert again() == clock() == NOW_S + 520


def test_wait_is_in_seconds_of_the_wall_clock() -> None:
    wall = Wall()
    clock = Clock(wall, is_virtual=True)
    assert clock.wait_s(NOW_S + 30) == 30
    assert clock.wait_s(NOW_S - 1) == 0
    clock.take(clock.planned(rate=60))
    assert clock.wait_s(NOW_S + 30) == 0.5
    clock.take(clock.planned(rate=0))
    assert clock.wait_s(NOW_S + 30) == inf
    assert clock.wait_s(NOW_S) == 0


@pytest.mark.parametrize(
    "change, where",
    [
        ({"now_s": 1.0, "offset_s": 1.0}, "now"),
        ({"now_s": -1.0}, "now"),
        ({"offset_s": 1e15}, "now"),
        ({"rate": -1.0}, "rate"),
        ({"rate": 10_001.0}, "rate"),
    ],
)
def test_change_out_of_range_is_refused(change: dict[str, float], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Clock(Wall(), is_virtual=True).planned(**change)
    assert caught.value.where == where
