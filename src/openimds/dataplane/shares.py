"""Shares: the part of each VM in turns and in open connections.

All unknown callers together have one share, as if they were one VM, so that many addresses get as
much as one. A share remembers its refusals for some seconds: a VM that asks far beyond its limits
is read less and less often, and its excess waits in its own sockets.
"""

from collections import deque
from math import inf
from typing import Protocol

from openimds.dataplane.busiest import BusiestVms
from openimds.dataplane.wheel import Timed, Wheel

TURN_UNITS = 8
"""Units of one turn of a share: each connection that is served is one, and so is each request."""
LONE_UNITS = 64
"""Units of a turn while one share alone has something to say; a newcomer waits for one of them."""
FREE_REFUSALS = 100
"""Refusals of a burst that are not delayed."""
_FORGIVEN_PER_S = 20.0
"""Refusals that a share is forgiven each second: a client that retries so often is not delayed."""
_FORGIVEN_S = 1 / _FORGIVEN_PER_S
_FREE_S = FREE_REFUSALS / _FORGIVEN_PER_S
_ROUNDING_S = 1e-6
_MOST_S = 2 * _FREE_S
"""The longest time until all refusals of a share are forgiven, in seconds."""
LONGEST_DELAY_S = 1.0
UNKNOWN = ""
"""The name of the share of all unknown callers; no VM has an empty name."""
_NEWCOMERS = 16
"""Shares that are compared for each newcomer, on average."""
_DEADLINE_GRAIN_S = 0.5
_LOOKED_AT = 64
"""Connections among which the oldest idle one is looked for."""


class SharedConnection(Timed, Protocol):
    """The part of a connection that its share and the table use."""

    deadline_s: float

    @property
    def is_idle(self) -> bool:
        """Whether no request is half read and no response is owed."""
        ...

    def expire(self) -> None:
        """End the connection because its deadline has passed."""

    def drain(self) -> None:
        """End the connection as soon as no request and no response is unfinished."""

    def give_way(self) -> None:
        """End the connection at once, for a newcomer."""

    def resume(self) -> None:
        """Go on in a turn of the share."""


class Share:
    """The part of one VM, or of all unknown callers.

    `open` has its connections, the oldest first; `parked` those that wait for a turn. `left` is the
    number of units left in the turn number `turn`. `has_excess` tells that there may be a delay.
    `requests` and `refusals` count since the last sweep.
    """

    __slots__ = (
        "_forgiven_s",
        "has_excess",
        "is_queued",
        "left",
        "name",
        "open",
        "parked",
        "refusals",
        "requests",
        "turn",
    )

    def __init__(self, name: str) -> None:
        """Start without connections."""
        self.name = name
        self.open: dict[SharedConnection, None] = {}
        self.parked: deque[SharedConnection] = deque()
        self.is_queued = False
        self.turn = -1
        self.left = self.requests = self.refusals = 0
        self._forgiven_s = -inf
        self.has_excess = False

    def refused(self, now_s: float) -> None:
        """Count a refused request: the share is forgiven all a little later."""
        self.refusals += 1
        forgiven_s = self._forgiven_s
        wait_s = (forgiven_s - now_s if forgiven_s > now_s else 0.0) + _FORGIVEN_S
        self._forgiven_s = now_s + (min(_MOST_S, wait_s))
        if wait_s - _FREE_S > _ROUNDING_S:
            self.has_excess = True

    def is_forgiven(self, now_s: float) -> bool:
        """Tell whether no refusal has to be remembered."""
        return self._forgiven_s <= now_s

    def delay_s(self, now_s: float) -> float:
        """Return the seconds until a connection is read again; 0 for a share without excess."""
        excess_s = self._forgiven_s - now_s - _FREE_S
        self.has_excess = excess_s > _ROUNDING_S
        return excess_s / (_MOST_S - _FREE_S) * LONGEST_DELAY_S if self.has_excess else 0.0

    def oldest_idle(self) -> SharedConnection | None:
        """Return the first idle one among the oldest connections."""
        for _, connection in zip(range(_LOOKED_AT), self.open, strict=False):
            if connection.is_idle:
                return connection
        return None


class ConnectionTable:
    """All open connections, bounded in all, per share, and in time.

    When the table is full, a connection of the largest holder ends for a newcomer of another share;
    so no share keeps more than its part while others want one. If nobody has two, an idle one ends
    for a share without any.
    """

    def __init__(self, most: int, most_per_share: int) -> None:
        """Start empty; `most` connections in all, `most_per_share` of one VM."""
        self.most, self.most_per_share = most, most_per_share
        self.refused = self.evicted = self.parked = self.delayed = 0
        self.busiest = BusiestVms()
        self.penalised = 0
        """The VMs whose requests are delayed, at the last sweep."""
        self.deadlines: Wheel[SharedConnection] = Wheel(_DEADLINE_GRAIN_S)
        self._count = 0
        self._shares: dict[str, Share] = {}
        self._largest: Share | None = None
        self._since = 0

    def __len__(self) -> int:
        """Return the number of open connections."""
        return self._count

    def share(self, name: str) -> Share:
        """Return the share of a VM, or of `UNKNOWN`."""
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = Share(name)
        return share

    def add(self, connection: SharedConnection, share: Share) -> bool:
        """Add a connection and return True, or count it as refused and return False."""
        if (len(share.open) >= self.most_per_share or self._count >= self.most) and (
            not self._make_room(share)
        ):
            self.refused += 1
            return False
        share.open[connection] = None
        self._count += 1
        return True

    def resize(self, most: int) -> None:
        """Change the bound in all; of connections above it, those of the largest holders end."""
        self.most = most
        newcomer = Share(UNKNOWN)
        while self._count > most and self._make_room(newcomer):
            pass

    def remove(self, connection: SharedConnection, share: Share) -> None:
        """Remove a connection that was added."""
        del share.open[connection]
        self._count -= 1
        self.deadlines.drop(connection)

    def move(self, connection: SharedConnection, old: Share, new: Share) -> None:
        """Move a connection to the share of another VM, after a change of the fleet."""
        if connection in old.open:
            del old.open[connection]
            new.open[connection] = None

    def sweep(self, now_s: float) -> None:
        """Expire every connection whose deadline has passed; call it once a second."""
        if now_s == inf:
            for connection in self._everything():
                connection.expire()
        for connection in self.deadlines.due(now_s):
            if connection.deadline_s <= now_s:
                connection.expire()
            else:
                self.deadlines.file(connection, connection.deadline_s)
        # A share without connections is kept as long as it has refusals to remember.
        self.penalised, add = 0, self.busiest.add
        for name, share in list(self._shares.items()):
            if share.requests or share.refusals:
                if name != UNKNOWN:
                    add(name, share.requests, share.refusals)
                share.requests = share.refusals = 0
            if share.has_excess and share.delay_s(now_s) > 0:
                self.penalised += 1
            if not share.open and share.is_forgiven(now_s):
                del self._shares[name]
        self.busiest.compare(now_s)

    def drain(self) -> None:
        """Ask every connection to end as soon as nothing is unfinished."""
        for connection in self._everything():
            connection.drain()

    def _everything(self) -> list[SharedConnection]:
        return [connection for share in self._shares.values() for connection in share.open]

    def _make_room(self, share: Share) -> bool:
        """End a connection for a newcomer of a share; return whether there is room."""
        if len(share.open) >= self.most_per_share:
            victim = share.oldest_idle()
        else:
            largest = self._largest_holder(len(share.open) + 1)
            if len(largest.open) <= len(share.open) + 1:
                largest = share
            victim = largest.oldest_idle()
            if victim is None and largest is not share:
                victim = next(iter(largest.open))
            if victim is None and not share.open:
                victim = self._idle_of_another()
        if victim is None:
            return False
        victim.give_way()
        self.evicted += 1
        return True

    def _idle_of_another(self) -> SharedConnection | None:
        """Return an idle connection of one of the first shares."""
        for _, share in zip(range(_LOOKED_AT), self._shares.values(), strict=False):
            if (found := share.oldest_idle()) is not None:
                return found
        return None

    def _largest_holder(self, enough: int) -> Share:
        """Return the share with the most connections, now or recently.

        Shares are compared again only if that one has `enough` or fewer, and once for every few
        newcomers, so that a full table costs no newcomer a walk over all shares.
        """
        self._since += 1
        largest = self._largest
        if largest is None or (
            len(largest.open) <= enough and self._since * _NEWCOMERS >= len(self._shares)
        ):
            largest = max(self._shares.values(), key=lambda share: len(share.open))
            self._largest, self._since = largest, 0
        return largest
