"""Steps of the wall clock, noticed beside a steady one."""

import pytest

from openimds.server.clock_watch import STEP_S, ClockWatch, step_notice


class Clocks:
    """A wall clock and a steady clock that run together until one is set."""

    def __init__(self) -> None:
        self.steady_s, self.set_s, self.look_s = 500.0, 1.7e9, 0.0
        self.watch = ClockWatch(lambda: self.steady_s + self.set_s, self.steady)

    def steady(self) -> float:
        """Return the steady time; each reading takes `look_s`."""
        self.steady_s += self.look_s
        return self.steady_s


def test_clocks_that_run_together_have_no_step() -> None:
    clocks = Clocks()
    clocks.steady_s += 86_400
    assert clocks.watch.look() == 0
    assert clocks.watch.steps == {"back": 0, "forward": 0}


@pytest.mark.parametrize("step_s, direction", [(-7200.0, "back"), (STEP_S, "forward")])
def test_step_is_noticed_and_counted_once(step_s: float, direction: str) -> None:
    clocks = Clocks()
    clocks.set_s += step_s
    assert clocks.watch.look() == step_s
    assert clocks.watch.look() == 0
    assert clocks.watch.steps[direction] == 1
    assert clocks.watch.steps.total() == 1


def test_corrections_of_a_second_are_no_steps() -> None:
    clocks = Clocks()
    for _ in range(10):
        clocks.set_s += 1.0
        assert clocks.watch.look() == 0


def test_look_that_is_interrupted_is_repeated() -> None:
    clocks = Clocks()
    clocks.set_s -= 7200
    clocks.look_s = 5.0
    assert clocks.watch.look() == 0
    clocks.look_s = 0.0
    assert clocks.watch.look() == -7200


def test_step_is_reported_in_one_sentence() -> None:
    assert step_notice(-7200.4) == (
        "the wall clock was set back by 7200 s: tokens, documents and lists of the later time are "
        "made anew"
    )
    assert step_notice(60.0) == (
        "the wall clock went forward by 60 s (it was set, or the machine slept): outdated "
        "responses are made anew"
    )
