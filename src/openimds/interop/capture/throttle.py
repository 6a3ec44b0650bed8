"""How often one may ask."""

from collections.abc import Callable

AGAIN: dict[int, tuple[float, ...]] = {
    410: (5, 10, 20, 35),
    429: (1, 2, 4, 8, 16),
    500: (1,),
    503: (1, 2),
}
"""How many seconds to wait after a status before each time that one asks again.

IMDS is updated for up to 70 seconds (410); a limit is over after a second (S2).
"""
_LONGEST_S = 60.0


class Throttle:
    """Keeps a distance between two requests to one server."""

    def __init__(
        self, per_s: float, now: Callable[[], float], wait: Callable[[float], None]
    ) -> None:
        """Allow so many requests a second, by a steady clock and a way to wait."""
        self._between_s = 1 / per_s
        self._now, self._wait = now, wait
        self._next_s = now()

    def turn(self) -> None:
        """Wait until one may ask."""
        if (left_s := self._next_s - self._now()) > 0:
            self._wait(left_s)
        self._next_s = max(self._next_s, self._now()) + self._between_s

    def rest(self, status: int, tries: int, retry_after: str) -> bool:
        """Wait after an answer that says to come back; return whether to ask again.

        Args:
            status: that of the answer.
            tries: how often it was asked again already.
            retry_after: the value of that header, empty if there was none.
        """
        pauses = AGAIN.get(status, ())
        if tries >= len(pauses):
            return False
        said_s = float(retry_after) if retry_after.isdecimal() else 0.0
        self._wait(max(pauses[tries], min(said_s, _LONGEST_S)))
        return True
