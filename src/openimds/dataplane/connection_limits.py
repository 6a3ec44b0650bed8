"""The bounds on open connections: in all, of one caller, and in time."""

from typing import Protocol


class ManagedConnection(Protocol):
    """The part of a connection that the table of connections uses."""

    deadline_s: float

    def expire(self) -> None:
        """End the connection because its deadline has passed."""

    def drain(self) -> None:
        """End the connection as soon as no request and no response is unfinished."""


class ConnectionTable:
    """All open connections, bounded in all and per caller."""

    def __init__(self, most: int, most_per_caller: int) -> None:
        """Start empty; `most` connections in all, `most_per_caller` of one address or listener."""
        self.most, self.most_per_caller = most, most_per_caller
        self.refused = 0
        self._open: set[ManagedConnection] = set()
        self._by_caller: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: ManagedConnection, caller: str) -> bool:
        """Add a connection and return True, or count it as refused and return False."""
        count = self._by_caller.get(caller, 0)
        if len(self._open) >= self.most or count >= self.most_per_caller:
            self.refused += 1
            return False
        self._open.add(connection)
        self._by_caller[caller] = count + 1
        return True

    def remove(self, connection: ManagedConnection, caller: str) -> None:
        """Remove a connection; one that was refused is not in the table."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        count = self._by_caller[caller] - 1
        if count:
            self._by_caller[caller] = count
        else:
            del self._by_caller[caller]

    def sweep(self, now_s: float) -> None:
        """End every connection whose deadline has passed."""
        for connection in [each for each in self._open if each.deadline_s <= now_s]:
            connection.expire()

    def drain(self) -> None:
        """Ask every connection to end as soon as nothing is unfinished."""
        for connection in list(self._open):
            connection.drain()
