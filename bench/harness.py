"""The data plane without sockets: real dispatchers and connections, a fake socket."""

import asyncio
import gc
import socket
import time
from collections.abc import Callable
from typing import Protocol, cast

from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher, PendingProvider, ResponseIndex
from openimds.dataplane.poll_set import PollSet
from openimds.dataplane.shares import Share
from openimds.dataplane.turns import TurnTaker
from openimds.facts.limits import LIMITS
from openimds.facts.tokens import LIFE_S
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.vm_entry import Allowance, Allowances
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import Pending, PendingDocument, PendingToken, Result
from openimds.protocol.request import parse_query
from openimds.vm.types import Vm

NO_METADATA = "400 without the Metadata header"
NO_PATH = "404 no such path"
TOO_SOON = "429 over the limit of 5/s"
"""The refusals that are measured both with and without sockets."""

GENEROUS: Allowances = {key: Allowance(row.per_s * 2e6, row.per_s) for key, row in LIMITS.items()}
"""Limits as on Azure, but over so short a time that no request is refused."""

_CACHE_BYTES = 256 << 20
"""The default of --cache-mib."""


class PeerSocket:
    """The socket of a connection: gives one chunk, and stores the last response."""

    def __init__(self) -> None:
        """Start without a chunk."""
        self.chunk = self.last = b""

    def fileno(self) -> int:
        """Return a descriptor, which is not used."""
        return 0

    def recv(self, _size: int, _flags: int) -> bytes:
        """Return the chunk."""
        return self.chunk

    def send(self, data: bytes, _flags: int) -> int:
        """Store the data."""
        self.last = data
        return len(data)

    def close(self) -> None:
        """Raise: after a close, later requests would get no response."""
        raise RuntimeError(f"closed after {self.last!r}")


class NoPollSet:
    """Awaits nothing: the harness itself says when a connection is ready."""

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Do nothing."""

    def turn_soon(self) -> None:
        """Do nothing."""

    def register(self, descriptor: int, events: int) -> None:
        """Do nothing."""

    modify = register

    def unregister(self, descriptor: int) -> None:
        """Do nothing."""

    forget = unregister

    def poll(self) -> list[tuple[int, int]]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Do nothing."""


class EndlessTurns:
    """Turns for one connection after the other, each as soon as it asks for one."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        """Serve the connections of a dispatcher."""
        self.dispatcher = dispatcher
        self.poll_set: PollSet = NoPollSet()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.turn_number = 0
        self.shares_served = 0
        self.is_lone = False
        self.is_parked = False
        self.began_s = 0.0

    def park(self, _connection: TurnTaker, _share: Share) -> None:
        """Note that the connection has more to do."""
        self.is_parked = True

    def delay(self, _connection: TurnTaker, _delay_s: float) -> None:
        """Note the same: no refusal is delayed here."""
        self.is_parked = True

    def forget(self, _connection: TurnTaker, _share: Share) -> None:
        """Do nothing."""


class Caller:
    """One connection from one address."""

    def __init__(self, dispatcher: Dispatcher, peer: str) -> None:
        """Connect."""
        self.socket, self.turns = PeerSocket(), EndlessTurns(dispatcher)
        accepted = cast("socket.SocketType", self.socket)
        self.connection = Connection(self.turns, accepted, peer)

    def status(self, chunk: bytes) -> int:
        """Send a chunk and return the status of the response."""
        drive(self, [chunk])
        return int(self.socket.last[9:12])


class Resumed(Protocol):
    """The part of a connection that the harness uses."""

    @property
    def has_rest(self) -> bool:
        """Whether bytes that have been read wait for a turn."""
        ...

    def resume(self) -> None:
        """Read and answer."""


class Driven(Protocol):
    """The part of a caller that `drive` uses."""

    socket: PeerSocket
    turns: EndlessTurns

    @property
    def connection(self) -> Resumed:
        """The connection."""
        ...


def drive(caller: Driven, chunks: list[bytes]) -> float:
    """Deliver chunks as the reactor does and return the CPU seconds of that."""
    end, turns, resume = caller.socket, caller.turns, caller.connection.resume
    start = time.process_time()
    for chunk in chunks:
        end.chunk = chunk
        turns.began_s = turns.dispatcher.now()  # As a turn of the reactor.
        turns.turn_number += 1
        turns.is_parked = False
        resume()
        while turns.is_parked and caller.connection.has_rest:
            turns.turn_number += 1
            turns.is_parked = False
            resume()
    return time.process_time() - start


def drive_all(callers: list[Caller], chunk: bytes) -> float:
    """Deliver one chunk to each caller in turn and return the CPU seconds of that."""
    start = time.process_time()
    for caller in callers:
        caller.socket.chunk = chunk
        caller.turns.began_s = caller.turns.dispatcher.now()
        caller.turns.turn_number += 1
        caller.connection.resume()
    return time.process_time() - start


class NoProvider:
    """The provider of dispatchers whose guests need no pending work."""

    def cached(self, need: Pending, _now_s: float) -> Result | None:
        """Raise: no request here has pending work."""
        raise AssertionError(need)

    async def make(self, need: Pending, _now_s: float) -> Result:
        """Raise: no request here has pending work."""
        raise AssertionError(need)


def dispatcher(
    vms: list[Vm], allowances: Allowances, provider: PendingProvider | None = None
) -> Dispatcher:
    """Return a dispatcher with real clocks, and settle memory as the server does."""
    fleet_index: ResponseIndex = FleetIndex(catalog(NEWEST), _CACHE_BYTES)
    fleet_index.apply(fleet_index.plan(vms))
    plane = Dispatcher(
        fleet_index,
        now=time.monotonic,
        utc=time.time,
        allowances=allowances,
        provider=provider or NoProvider(),
    )
    gc.collect()
    gc.freeze()
    return plane


def signed(vms: list[Vm], targets: tuple[str, ...], utc_s: float) -> CredentialsService:
    """Return a provider with the results of these VMs and targets in its cache."""
    service = CredentialsService(CaSettings(), TokenSettings(LIFE_S))

    async def make() -> None:
        for vm in vms:
            for target in targets:
                await service.make(pending(vm, target, utc_s), utc_s)

    asyncio.run(make())
    service.close()
    return service


def pending(vm: Vm, target: str, utc_s: float) -> PendingToken | PendingDocument:
    """Return the pending work of a request of a VM."""
    query = parse_query("GET", target.encode(), has_metadata_header=True)
    result = handle(query, Subject(vm, catalog(NEWEST)), utc_s)
    assert isinstance(result, PendingToken | PendingDocument), result
    return result
