"""Throttle: the distance between requests to one server, and the delays before retries."""

from collections.abc import Callable

RETRY_DELAYS: dict[int, tuple[float, ...]] = {
    410: (5, 10, 20, 35),
    429: (1, 2, 4, 8, 16),
    500: (1,),
    503: (1, 2),
}
"""By status, the seconds to wait before each retry.

IMDS is updated for up to 70 seconds (410); a limit is over after a second (S2).
"""
_LONGEST_S = 60.0


class Throttle:
    """Keeps a distance between two requests to one server."""

    def __init__(
        self, per_s: float, now: Callable[[], float], wait: Callable[[float], None]
    ) -> None:
        """Allow `per_s` requests a second, by a monotonic clock and a function that sleeps."""
        self._between_s = 1 / per_s
        self._now, self._wait = now, wait
        self._next_s = now()

    def wait_for_turn(self) -> None:
        """Wait until the next request may be sent."""
        if (left_s := self._next_s - self._now()) > 0:
            self._wait(left_s)
        self._next_s = max(self._next_s, self._now()) + self._between_s

    def wait_to_retry(self, status: int, tries: int, retry_after: str) -> bool:
        """Wait after an answer that means "try again"; return whether to ask again.

        Args:
            status: the status of the answer.
            tries: how often the question was repeated already.
            retry_after: the value of that header in seconds, empty if there was none; at most 60
                seconds of it are waited for.
        """
        delays = RETRY_DELAYS.get(status, ())
        if tries >= len(delays):
            return False
        header_s = float(retry_after) if retry_after.isdecimal() else 0.0
        self._wait(max(delays[tries], min(header_s, _LONGEST_S)))
        return True
