"""Who says that requests go wrong, as the data plane wants to be told.

Nobody says so unless asked to. While somebody does, requests are parsed one by one, as while
somebody looks on: what is known by its bytes cannot be counted apart. Limits are asked first.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from openimds.core.faults.plan import Fault
from openimds.core.request import Query
from openimds.wire.reply import Count, Counted, Reply

Later = Callable[[float, Callable[[], None]], Any]
"""Calls something after so many seconds; what it returns has a `cancel`."""


class Faults(Protocol):
    """Says what goes wrong. To ask is to count: once for each request and each connection."""

    def fault(self, vm: str, asked: Query, utc_s: float) -> Fault | None:
        """Return the fault that is played on a request of a VM, if any is."""
        ...

    def refuses(self, vm: str, utc_s: float) -> bool:
        """Tell whether a new connection of a VM meets nobody."""
        ...


def loop_later(delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    """Call something later, by the clock of the running loop."""
    return asyncio.get_running_loop().call_later(delay_s, call)


class Silence(Reply):
    """The reply that is none. Nothing counts it; as its status it names 0, as its reason itself."""

    __slots__ = ()

    def __init__(self, endpoint: str, fault: Fault) -> None:
        """Say nothing to a request for an endpoint."""
        self.headers, self.tail, self.has_body = "", (), False
        self.before = self.between = self.after = b""
        self.count = Count(Counted(endpoint, 0, fault.plan.effect))
        self.limit, self.until_s = "", inf
        self.closes, self.instead = False, None
        self.need = self.made = self.asked = None
