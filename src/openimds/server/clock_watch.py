"""Notice that the wall clock was set, or that the machine has slept."""

from collections import Counter
from collections.abc import Callable

STEP_S = 3.0
"""The least step that counts; daily corrections (NTP) stay far below it."""
_LATE_S = 1.0
"""A look that takes longer compares two different moments."""
BACK, FORWARD = "back", "forward"


class ClockWatch:
    """Compares the wall clock with a steady one."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        """Take both clocks, in seconds; `steady` has any origin."""
        self._wall, self._steady = wall, steady
        self._ahead_s = wall() - steady()
        self.steps: Counter[str] = Counter({BACK: 0, FORWARD: 0})
        """The steps so far by their direction."""

    def look(self) -> float:
        """Return the step since the last look in seconds, 0 for none."""
        before_s = self._steady()
        ahead_s = self._wall() - before_s
        if self._steady() - before_s > _LATE_S:
            return 0.0  # The next look tells.
        step_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(step_s) < STEP_S:
            return 0.0
        self.steps[BACK if step_s < 0 else FORWARD] += 1
        return step_s


def step_notice(step_s: float) -> str:
    """Return the message to the operator about a step."""
    if step_s < 0:
        return (
            f"the wall clock was set back by {-step_s:.0f} s: tokens, documents and lists of the "
            "later time are made anew"
        )
    return (
        f"the wall clock went forward by {step_s:.0f} s (it was set, or the machine slept): "
        "outdated responses are made anew"
    )
