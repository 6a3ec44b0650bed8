"""Ports to the data plane: a request observer, and a source of injected faults.

While an observer is set, every request is parsed instead of being found in the response cache by
its bytes; without one, observation costs nothing.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from msgspec import Struct

from openimds.dataplane.response_bytes import CountKey, PreparedResponse, RequestCount
from openimds.protocol.faults.fault import Fault
from openimds.protocol.request import Query


class ObservedRequest(Struct, frozen=True):
    """A request as it arrived: its time, its caller and all of its headers.

    Names of headers are in lower case. `vm` is empty for an unknown caller, `target` for bytes that
    are not an acceptable request. `now_s` is on the steady clock of limits, `utc_s` in seconds
    since 1970. `fault` is the injected effect (a key of `facts.faults.EFFECTS`), or empty.
    """

    utc_s: float
    now_s: float
    vm: str
    peer: str
    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    fault: str = ""


class RequestObserver(Protocol):
    """Receives every request once its response is known."""

    def observe(self, observed: ObservedRequest, response: PreparedResponse, data: bytes) -> None:
        """Take note of a request, its response and the bytes that go out.

        Where a fault replaces the response, `data` holds the bytes sent instead (often none), and
        `response` is a `NoResponse`, which counts as status 0.
        """
        ...


CallLater = Callable[[float, Callable[[], None]], Any]
"""Schedules a call after a delay in seconds; the value it returns has a `cancel`."""


class FaultSource(Protocol):
    """Decides which faults are injected. Each query is counted: one a request, one a connection."""

    def fault(self, vm: str, asked: Query, utc_s: float) -> Fault | None:
        """Return the fault to inject into a request of a VM, or None."""
        ...

    def refuses(self, vm: str, utc_s: float) -> bool:
        """Tell whether a new connection of a VM is refused."""
        ...


def loop_later(delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    """Schedule a call on the running loop, `delay_s` seconds from now."""
    return asyncio.get_running_loop().call_later(delay_s, call)


class NoResponse(PreparedResponse):
    """Stands for a response that a fault suppresses.

    No counter counts it: its count has status 0 and names the effect as its reason.
    """

    __slots__ = ()

    def __init__(self, endpoint: str, fault: Fault) -> None:
        """Stand for the missing response to a request for an endpoint."""
        self.family, self.extra_headers, self.has_body = "", (), False
        self.before = self.between = self.after = b""
        self.count = RequestCount(CountKey(endpoint, 0, fault.spec.effect))
        self.limit, self.since_s, self.until_s = "", -inf, inf
        self.closes, self.throttled = False, None
        self.pending = self.result = self.query = None
