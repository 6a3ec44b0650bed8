"""The open connections: how many, whose, and which have been quiet for too long."""

from typing import Protocol


class ManagedConnection(Protocol):
    """What a connection lets others do to it."""

    deadline_s: float

    def expire(self) -> None:
        """End it: its time is up."""

    def drain(self) -> None:
        """End it as soon as nothing is half done."""


class ConnectionTable:
    """All open connections, at most so many in all and from one caller."""

    def __init__(self, most: int, most_per_caller: int) -> None:
        """Begin with none."""
        self.most, self.most_per_caller = most, most_per_caller
        self.refused = 0
        self._open: set[ManagedConnection] = set()
        self._by_caller: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def add(self, connection: ManagedConnection, caller: str) -> bool:
        """Take a connection, or count it as turned away."""
        held = self._by_caller.get(caller, 0)
        if len(self._open) >= self.most or held >= self.most_per_caller:
            self.refused += 1
            return False
        self._open.add(connection)
        self._by_caller[caller] = held + 1
        return True

    def remove(self, connection: ManagedConnection, caller: str) -> None:
        """Forget a connection; one that was turned away was never there."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        left = self._by_caller[caller] - 1
        if left:
            self._by_caller[caller] = left
        else:
            del self._by_caller[caller]

    def sweep(self, now_s: float) -> None:
        """End every connection whose deadline has passed."""
        for connection in [one for one in self._open if one.deadline_s <= now_s]:
            connection.expire()

    def drain(self) -> None:
        """Let every connection end as soon as nothing is half done."""
        for connection in list(self._open):
            connection.drain()
