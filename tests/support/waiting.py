"""Waiting for a condition that another process brings about."""

import time
from collections.abc import Callable


def until(is_met: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until a condition is met.

    Raises:
        AssertionError: it was not met in time.
    """
    deadline = time.monotonic() + within_s
    while not is_met():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)
