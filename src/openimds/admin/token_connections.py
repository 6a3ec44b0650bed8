"""The open connections that showed a secret, which end when the secret does."""

from collections.abc import Callable
from functools import partial
from weakref import WeakMethod

from openimds.admin.lazy_server import CallLater

LONGEST_TIMER_S = 86_400.0
"""The longest wait before the end of a secret is looked at again: clocks are set."""

EndConnection = Callable[[], None]
"""Ends a connection at once; a method of the connection."""


class TokenConnections:
    """The connections of each secret, by its hash."""

    def __init__(self, left_s: Callable[[str], float | None], call_later: CallLater) -> None:
        """Begin without one; `left_s` returns the seconds until the end of a secret, or None."""
        self._left_s, self._call_later = left_s, call_later
        self._ends: dict[str, set[WeakMethod[EndConnection]]] = {}
        self._timed: set[str] = set()

    def note(self, key: str, end: EndConnection) -> None:
        """Note that a secret came on a connection."""
        uses = self._ends.setdefault(key, set())
        uses.add(WeakMethod(end, uses.discard))
        self.watch(key)

    def watch(self, key: str) -> None:
        """Set a timer for the end of a secret with open connections."""
        left_s = self._left_s(key)
        if left_s is None or key in self._timed or not self._ends.get(key):
            return
        self._timed.add(key)
        self._call_later(min(max(left_s, 0.0), LONGEST_TIMER_S), partial(self._look, key))

    def _look(self, key: str) -> None:
        self._timed.discard(key)
        left_s = self._left_s(key)
        if left_s is not None and left_s <= 0:
            self.end(key)
        self.watch(key)

    def forget(self, end: EndConnection) -> None:
        """Forget a connection, which no end of a secret ends."""
        for uses in self._ends.values():
            uses.discard(WeakMethod(end))

    def end_others(self, key: str) -> None:
        """End the connections of all other secrets."""
        for other in self._ends.keys() - {key}:
            self.end(other)

    def end(self, key: str, own: EndConnection | None = None) -> None:
        """End the connections of a secret, but for the caller's own."""
        for reference in self._ends.pop(key, set()):
            end = reference()
            if end is not None and end != own:
                end()
