"""Quiet guests: VMs that ask within their limits, and the waits for their responses.

A guest of one kind asks at fixed times. A response that comes late delays the requests that were
due meanwhile; those count with the time from then until that response, as if another guest had sent
them: a server that stands still for a second makes many guests wait, not one. A request without a
good response failed; it counts as if its wait had ended then.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from math import ceil

from msgspec import Struct, field

from bench.fleets import address
from bench.http_client import HttpClient
from bench.servers import Address
from bench.targets import INSTANCE, METADATA, NEW_TOKEN, request

PER_KIND = 10
"""The VMs of a kind."""
_EACH_PER_S = 4
"""Requests a second of each VM, whose limit is 5."""
_TIME_OUT_S = 5.0
_OK = 200


class Kind(Struct, frozen=True):
    """Guests with one target; a kept connection serves all requests of a VM."""

    name: str
    target: str
    is_kept: bool


KEPT = Kind("kept connection", INSTANCE, is_kept=True)
NEW = Kind("new connection for each request", INSTANCE, is_kept=False)
TOKENS = Kind("new token", NEW_TOKEN, is_kept=True)
KINDS = (KEPT, NEW, TOKENS)


class Waits(Struct):
    """The seconds until each response, and the number of failed requests among them."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


class Guests:
    """The VMs of one kind."""

    def __init__(self, server: Address, kind: Kind, sources: list[str]) -> None:
        """Connect those that keep their connections; `sources` are the addresses of the VMs."""
        self._server, self._kind, self._sources = server, kind, sources
        self._kept: dict[str, HttpClient] = {}
        self._request = request(kind.target, *METADATA)
        if kind.is_kept:
            for source in self._sources:
                self._connect(source)

    def ask(self, seconds: float) -> Waits:
        """Send the requests that are due in some seconds; return their waits."""
        waits = Waits()
        per_s = _EACH_PER_S * PER_KIND
        start_s, number = time.time(), 0
        while (due_s := start_s + number / per_s) < start_s + seconds:
            time.sleep(max(0.0, due_s - time.time()))
            sent_s = time.time()
            arrival_s = self._send(self._sources[number % PER_KIND], waits)
            waits.seconds.append(arrival_s - sent_s)
            # Those that were due meanwhile; the client's own delays are none of the server's.
            first, past = ceil((sent_s - start_s) * per_s), (arrival_s - start_s) * per_s
            late = range(max(first, number + 1), ceil(past))
            waits.seconds += [arrival_s - start_s - slot / per_s for slot in late]
            number = max(number + 1, ceil((time.time() - start_s) * per_s))
        return waits

    def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.popitem()[1].close()

    def _send(self, source: str, waits: Waits) -> float:
        """Send a request; return the time of its response, or of its failure."""
        try:
            client = self._kept.get(source) or self._connect(source)
            status, _ = client.send(self._request)
        except (OSError, RuntimeError):
            self._drop(source)
            waits.failed += 1
            return time.time()
        if not self._kind.is_kept:
            self._drop(source)
        waits.failed += status != _OK
        return client.arrival_s

    def _connect(self, source: str) -> HttpClient:
        client = self._kept[source] = HttpClient(self._server, source, _TIME_OUT_S)
        return client

    def _drop(self, source: str) -> None:
        client = self._kept.pop(source, None)
        if client:
            client.close()


class Groups:
    """Quiet guests of several kinds, which ask at the same time."""

    def __init__(self, groups: dict[str, Guests]) -> None:
        """Hold the guests by the name of their kind."""
        self._groups = groups

    def ask(self, seconds: float) -> dict[str, Waits]:
        """Return the waits by kind."""
        with ThreadPoolExecutor(len(self._groups)) as pool:
            found = {name: pool.submit(one.ask, seconds) for name, one in self._groups.items()}
        return {name: waits.result() for name, waits in found.items()}


@contextmanager
def quiet_guests(
    server: Address, kinds: Sequence[Kind], first: int, at: Callable[[int], str] = address
) -> Iterator[Groups]:
    """Connect guests of each kind, the first of which has this number in the fleet.

    `at` returns the address of the VM of a number.
    """
    with ExitStack() as stack:
        groups: dict[str, Guests] = {}
        for number, kind in enumerate(kinds):
            numbers = range(first + number * PER_KIND, first + (number + 1) * PER_KIND)
            groups[kind.name] = Guests(server, kind, list(map(at, numbers)))
            stack.callback(groups[kind.name].close)
        yield Groups(groups)
