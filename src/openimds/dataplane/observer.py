"""Who looks on: what was asked and what was said, for those who want to know.

Nobody looks on unless asked to. While somebody does, requests are parsed one by one instead of
being known by their bytes, so that not looking costs nothing.
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
    """A request as it came: when, from whom, and every header with its name in lower case.

    `vm` is empty for a caller who is no VM, `target` for bytes that were no request we take.
    `now_s` is the steady clock of limits, `utc_s` that of dates. `fault` is the effect that was
    played on it (a key of `spec.faults.EFFECTS`), empty where nothing went wrong on request.
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
    """Is told of every request once its answer is known."""

    def observe(self, heard: ObservedRequest, reply: PreparedResponse, said: bytes) -> None:
        """Take note; `said` are the bytes that go out.

        Where a fault leaves a request without an answer, `said` is what it sends instead (often
        nothing), and the status that `reply` counts as is 0.
        """
        ...


Later = Callable[[float, Callable[[], None]], Any]
"""Calls something after so many seconds; what it returns has a `cancel`."""


class FaultSource(Protocol):
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


class NoResponse(PreparedResponse):
    """The reply that is none. Nothing counts it; as its status it names 0, as its reason itself."""

    __slots__ = ()

    def __init__(self, endpoint: str, fault: Fault) -> None:
        """Say nothing to a request for an endpoint."""
        self.headers, self.tail, self.has_body = "", (), False
        self.before = self.between = self.after = b""
        self.count = RequestCount(CountKey(endpoint, 0, fault.spec.effect))
        self.limit, self.until_s = "", inf
        self.closes, self.instead = False, None
        self.need = self.made = self.asked = None
