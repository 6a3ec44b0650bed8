"""The budget of open files: a reserve for the server itself, the rest for guests.

Each connection is an open file, and so is everything else that a server opens. With the reserve, a
guest that opens connections until none is left takes nothing from the store, the keys, the fleet
file, the admin API and the listeners.
"""

import selectors
import sys

from msgspec import Struct

from openimds.linux.platform import file_limits, raise_file_limit

OWN_FILES = 48
"""Set aside for the store, keys, logs, the event loop, webhooks, and code that is loaded on use.

An idle server with a state folder and a fleet file has 16 files open, beside guests' listeners.
"""
MOST_PORT_CONNECTIONS = 256
"""The most connections of the admin port, and of the public port."""
_FEWEST_PORT_CONNECTIONS = 4
_PORT_PART = 16
"""Each of the two ports has at most this part of the limit of open files."""
_MOST_BY_SELECT = 512
"""On Windows, where the poll set is that of `select`, it holds so many sockets."""


class FileBudget(Struct, frozen=True):
    """The uses of a number of open files; `sys.maxsize` is no limit."""

    limit: int

    @property
    def port_connections(self) -> int:
        """The bound on the connections of the admin port, and of the public port."""
        part = self.limit // _PORT_PART
        return max(_FEWEST_PORT_CONNECTIONS, min(MOST_PORT_CONNECTIONS, part))

    @property
    def reserve(self) -> int:
        """The number of files that are set aside for all but guests."""
        return OWN_FILES + 2 * self.port_connections

    def connections(self, wanted: int, listeners: int = 1) -> int:
        """Return the bound on guests' connections, beside open listeners; it is at least 1."""
        return max(1, min(wanted, self.limit - self.reserve - listeners))


def file_budget() -> FileBudget:
    """Return the budget of this process, which its poll set may bound, too."""
    limits = file_limits()
    limit = limits.soft if limits else sys.maxsize
    return FileBudget(limit if hasattr(selectors, "PollSelector") else min(limit, _MOST_BY_SELECT))


def raise_limit(wanted: int) -> str:
    """Raise the soft limit of open files; return a notice if it stays below `wanted`.

    `wanted` is the setting `max_connections`.
    """
    before = file_limits()
    raise_file_limit()
    after = file_limits()
    if before is None or after is None or after.soft >= wanted:
        return ""
    most = FileBudget(after.soft).connections(wanted)
    return (
        f"the limit of open files is {after.soft} (at the start {before}): guests have at most "
        f"{most} connections at a time, not {wanted}. Raise it by ulimit -Hn or LimitNOFILE= of "
        f"systemd, or set --max-connections {most}"
    )
