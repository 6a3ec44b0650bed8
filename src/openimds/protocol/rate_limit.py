"""The rate limit of one VM, counted exactly.

Azure's window is unknown; this one slides, so it never grants more than `burst` requests in any
`burst / rate` seconds, wherever the window begins. With the default burst (one second's worth) that
is the documented limit to the letter: at most so many requests in any second. A token bucket would
let twice as many through just after it has refilled.
"""

from openimds.facts.limits import LIMITS


class Window:
    """The times of the last grants to one VM in one limiter class."""

    __slots__ = ("_next", "_span_s", "_times")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        """Grant at most `burst` requests in any `burst / rate_per_s` seconds of a steady clock."""
        self._times = [float("-inf")] * burst
        self._span_s = burst / rate_per_s
        self._next = 0

    def grants(self, now_s: float) -> bool:
        """Tell whether a request at this time is within the limit; count it if so."""
        at = self._next
        if now_s - self._times[at] < self._span_s:
            return False
        self._times[at] = now_s
        at += 1
        self._next = at if at < len(self._times) else 0
        return True

    def refund(self) -> None:
        """Take the last grant back."""
        self._next = (self._next or len(self._times)) - 1
        self._times[self._next] = float("-inf")


def window(limit: str, rate_per_s: float = 0, burst: int = 0) -> Window:
    """Return a fresh window of a limiter class.

    Zeros mean the rate of the class's row, and a burst of one second's worth.
    """
    rate_per_s = rate_per_s or LIMITS[limit].per_s
    return Window(rate_per_s, burst or max(1, round(rate_per_s)))
