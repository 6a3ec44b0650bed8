"""The data plane without sockets: real dispatchers and connections, a fake transport."""

import asyncio
import gc
import time

from openimds.credentials.pki.lazy_ca import CaSettings
from openimds.credentials.service import CredentialsService
from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher, PendingProvider, ResponseIndex
from openimds.facts.limits import LIMITS
from openimds.facts.tokens import LIFE_S
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import Allowance, Allowances, FleetIndex
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import Pending, PendingDocument, PendingToken, Result
from openimds.protocol.request import parse_query
from openimds.vm.types import Vm

INSTANCE = "/metadata/instance?api-version=2021-02-01"
TOKEN = (
    "/metadata/identity/oauth2/token?api-version=2018-02-01"
    "&resource=https%3A%2F%2Fmanagement.azure.com%2F"
)
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
METADATA = ("Metadata: true",)
_HEADERS = ("Host: 169.254.169.254", "User-Agent: curl/8.14.1", "Accept: */*")

NO_METADATA = "400 without the Metadata header"
NO_PATH = "404 no such path"
TOO_SOON = "429 over the limit of 5/s"
"""The refusals that are measured both with and without sockets."""

GENEROUS: Allowances = {key: Allowance(row.per_s * 2e6, row.per_s) for key, row in LIMITS.items()}
"""Limits as on Azure, but over so short a time that no request is refused."""

_CACHE_BYTES = 256 << 20
"""The default of --cache-mib."""


class Transport(asyncio.Transport):
    """Has a peer and stores the last write."""

    def __init__(self, peer: str) -> None:
        """Connect from an address."""
        super().__init__()
        self.peer = peer
        self.last: bytes | bytearray | memoryview = b""

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return the peer; other information is unknown."""
        return (self.peer, 40000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Store the data."""
        self.last = data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: there is no buffer."""

    def is_closing(self) -> bool:
        """Return false: see `close`."""
        return False

    def close(self) -> None:
        """Raise: after a close, later requests would get no response."""
        raise RuntimeError(f"closed after {bytes(self.last)!r}")

    abort = close


class Caller:
    """One connection from one address."""

    def __init__(self, dispatcher: Dispatcher, peer: str) -> None:
        """Connect."""
        self.transport = Transport(peer)
        self.connection = Connection(dispatcher)
        self.connection.connection_made(self.transport)

    def status(self, chunk: bytes) -> int:
        """Send a chunk and return the status of the response."""
        drive(self.connection, [chunk])
        return int(bytes(self.transport.last)[9:12])


def drive(connection: asyncio.BufferedProtocol, chunks: list[bytes]) -> float:
    """Deliver chunks as an event loop does and return the CPU seconds of that."""
    receive, updated = connection.get_buffer, connection.buffer_updated
    start = time.process_time()
    for chunk in chunks:
        size = len(chunk)
        memoryview(receive(-1))[:size] = chunk
        updated(size)
    return time.process_time() - start


def drive_all(callers: list[Caller], chunk: bytes) -> float:
    """Deliver one chunk to each caller in turn and return the CPU seconds of that."""
    size = len(chunk)
    start = time.process_time()
    for caller in callers:
        connection = caller.connection
        memoryview(connection.get_buffer(-1))[:size] = chunk
        connection.buffer_updated(size)
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


def request(target: str, *headers: str) -> bytes:
    """Return the bytes of a GET as curl sends it."""
    return "\r\n".join((f"GET {target} HTTP/1.1", *_HEADERS, *headers, "", "")).encode()
