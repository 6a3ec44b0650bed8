"""The recorded requests of a few VMs, counted for a table."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from math import inf

from msgspec import Struct

from openimds.admin.services import RequestRecording
from openimds.events.log_format import date_of
from openimds.protocol.lint import Record

MOST_NEW = 100
"""The new requests of which the VMs are looked up."""
FRESH_S = 3.0
"""The age of counts from which they are read again after more requests."""
_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS


class VmTraffic(Struct, frozen=True):
    """The last request of a VM, and the numbers of its recorded requests.

    `last` is its time on the guests' clock, empty without one. A throttled request is refused, too.
    """

    last: str = ""
    requests: int = 0
    refused: int = 0
    throttled: int = 0


def traffic_of(records: tuple[Record, ...]) -> VmTraffic:
    """Count the records of a VM, which are oldest first."""
    if not records:
        return VmTraffic()
    return VmTraffic(
        date_of(records[-1].utc_s),
        len(records),
        sum(bool(record.reason) for record in records),
        sum(record.status == _TOO_MANY for record in records),
    )


def lack_of_traffic(recording: RequestRecording) -> str:
    """Return why a table of VMs has no requests; nothing if it has."""
    if recording.is_of_hosts:
        return "Each host keeps the requests of its own VMs; the page of a VM asks its host."
    if not recording.per_vm:
        return "Requests are not recorded. Start with openimds serve --record 1000 to count them."
    return ""


class TrafficReader:
    """Counts the requests of VMs again when there are new ones.

    After a few new requests only their VMs are read again. After many, all are, but not before the
    counts have an age: the host of the guests sends the records, and ten readers shall not cost it
    ten times as much. One reads at a time, as all share the counts.
    """

    def __init__(
        self, recording: RequestRecording, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Read from a recording; `now` is a steady clock."""
        self._recording, self._now = recording, now
        self._number, self._read_s = 0, -inf
        self._clears, self._rounds = recording.clears, 0
        self._known: dict[str, VmTraffic] = {}
        self._turn = asyncio.Lock()

    async def read(self, names: list[str]) -> dict[str, VmTraffic]:
        """Return the traffic of VMs by name; empty if `lack_of_traffic` has a reason."""
        if lack_of_traffic(self._recording):
            return {}
        async with self._turn:
            await self._forget_old()
            known = self._known
            for name in names:
                if name not in known:
                    known[name] = traffic_of(await self._recording.records(name))
            return {name: known[name] for name in names}

    async def version(self) -> str:
        """Return a text that changes when `read` returns other counts; empty without any."""
        if lack_of_traffic(self._recording):
            return ""
        async with self._turn:
            await self._forget_old()
            return f"{self._number}.{self._rounds}"

    async def _forget_old(self) -> None:
        """Forget the counts of the VMs that have new requests; of all after a clear."""
        clears = self._recording.clears
        number = await self._recording.last_number()
        if clears != self._clears:
            self._clears = clears
            self._forget_all()
        elif 0 <= number - self._number <= MOST_NEW:
            if number > self._number:
                for record in await self._recording.records(None, self._number):
                    self._known.pop(record.vm, None)
        elif self._now() - self._read_s >= FRESH_S:
            self._forget_all()
        else:
            return
        self._number = number

    def _forget_all(self) -> None:
        self._known.clear()
        self._read_s = self._now()
        self._rounds += 1
