"""The open connections of a web server, bounded, and shared among the addresses of callers."""

from collections import Counter
from typing import Protocol


class SharingConnection(Protocol):
    """The part of a connection that the shares use."""

    @property
    def caller(self) -> str:
        """The address of the caller."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way that needs the place; half a head is none."""
        ...

    def give_way(self) -> None:
        """End the connection at once, for a newcomer."""


class ConnectionShares:
    """Open connections, the one that was used least recently first.

    When all places are taken, a newcomer gets that of an idle connection, of the address that has
    most. So idle connections lock nobody out, and no address keeps more than its part while others
    want one. A part of the places is kept for connections that have shown a right token: others
    never take it, and while at most these are proven, none of them ends for a newcomer.
    """

    def __init__(self, most: int, kept: int = 0) -> None:
        """Start empty; `most` is the bound, of which `kept` are for proven connections."""
        self.most, self.kept, self.refused = most, kept, 0
        self._proven: set[SharingConnection] = set()
        self._open: dict[SharingConnection, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, newcomer: SharingConnection) -> bool:
        """Add a connection, for which another may end; return False if there is no place."""
        caller = newcomer.caller
        unproven = len(self._open) - len(self._proven)
        if len(self._open) >= self.most or (self.kept and unproven >= self.most - self.kept):
            victim = self._victim(caller)
            if victim is None:
                self.refused += 1
                return False
            self.remove(victim)
            victim.give_way()
        self._open[newcomer] = caller
        self._counts[caller] += 1
        return True

    def use(self, connection: SharingConnection) -> None:
        """Put a connection behind the others, for it begins a request."""
        if (caller := self._open.pop(connection, None)) is not None:
            self._open[connection] = caller

    def prove(self, connection: SharingConnection) -> None:
        """Note that a right token came on a connection."""
        if connection in self._open:
            self._proven.add(connection)

    def remove(self, connection: SharingConnection) -> None:
        """Remove a connection, if it has a place."""
        self._proven.discard(connection)
        if (caller := self._open.pop(connection, None)) is not None:
            self._counts[caller] -= 1
            if not self._counts[caller]:
                del self._counts[caller]

    def _victim(self, caller: str) -> SharingConnection | None:
        """Return the connection that ends for a newcomer, or None.

        It is an idle one of the caller, or of an address that has more than the caller. If there is
        none, it is a busy one of an address that has more even after the exchange.
        """
        counts = self._counts
        is_safe = len(self._proven) <= self.kept
        held = [one for one in self._open if not (is_safe and one in self._proven)]
        if len(self._open) < self.most:  # Only the places without a token are taken.
            held = [one for one in held if one not in self._proven]
        own = counts[caller]
        candidates = [
            one
            for one in held
            if one.is_idle and (self._open[one] == caller or counts[self._open[one]] > own)
        ] or [one for one in held if counts[self._open[one]] > own + 1]
        return max(candidates, key=lambda one: counts[self._open[one]], default=None)
