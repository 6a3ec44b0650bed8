"""Remembered failures: what failed a moment ago is not fetched again at once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from openimds.protocol.pending import Failed

MOST_REMEMBERED = 4096
"""The most remembered failures; each weighs about 1 kB, with the text of a refusal up to 5 kB."""


class FailureMemory:
    """Results of failed fetches, each remembered for some seconds of a steady clock."""

    def __init__(self, steady: Callable[[], float], most: int = MOST_REMEMBERED) -> None:
        """Begin empty."""
        self._steady, self._most = steady, most
        self._failures: OrderedDict[Hashable, tuple[float, Failed]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of remembered failures, including those that are over."""
        return len(self._failures)

    def put(self, key: Hashable, failed: Failed, for_s: float) -> None:
        """Remember a failure for some seconds, instead of an earlier one of the same key."""
        self._failures[key] = self._steady() + for_s, failed
        self._failures.move_to_end(key)
        if len(self._failures) > self._most:
            self._failures.popitem(last=False)

    def get(self, key: Hashable) -> Failed | None:
        """Return the remembered failure of a key, or None."""
        until_s, failed = self._failures.get(key, (0.0, None))
        if failed is None or self._steady() < until_s:
            return failed
        del self._failures[key]
        return None

    def forget(self, key: Hashable) -> None:
        """Forget the failure of a key."""
        self._failures.pop(key, None)
