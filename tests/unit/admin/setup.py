"""The admin API over a memory store, and a client, without sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from openimds.admin.app import application
from openimds.admin.failed_tokens import FailedTokens
from openimds.admin.metrics import Samples
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices, HostStanding
from openimds.admin.token import AdminToken
from openimds.admin.token_registry import TokenRegistry
from openimds.credentials.hardware.service import HardwareService
from openimds.credentials.keys.keyring import KeyInfo, Keyring
from openimds.credentials.pki.lazy_ca import CaSettings, LazyCa
from openimds.credentials.worker import Worker
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.facts.versions import NEWEST, catalog
from openimds.faults import FaultService
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoreError
from openimds.fleet.store.sqlite import MemoryStore
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import AccessToken, Failed
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.server.local_recording import LocalRecording
from openimds.vm.types import Vm

T = TypeVar("T")
TAKEN = "127.0.0.1:1"

MERGE = {"Content-Type": "application/merge-patch+json"}
JSON = {"Content-Type": "application/json"}


class MetricsStub:
    """A metrics source with a value of each shape."""

    async def samples(self) -> dict[str, Samples]:
        by_status: dict[tuple[str, ...], float] = {
            ("/instance", "200"): 3,
            ("/instance", "400"): 2,
            ("/versions", "400"): 1,
        }
        return {
            "openimds_requests": by_status,
            "openimds_refusals": {"no_metadata": 3},
            "openimds_unknown_callers": 7,
            "openimds_vms": 2,
            "openimds_store_age_seconds": 0.5,
        }


class FailingStore(MemoryStore):
    """Raises at the calls that are named in `fails`."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "fails" and name in self.fails:
            return _fail
        return super().__getattribute__(name)


def _fail(*_: object) -> None:
    raise StoreError("fleet.db: the disk is full")


async def variables(vm: Vm, url: str) -> dict[str, dict[str, str]]:
    endpoint = {"IDENTITY_ENDPOINT": url} if url else {}
    return {"app-service": {**endpoint, "IDENTITY_HEADER": f"secret of {vm.name}"}}


class CredentialsStub:
    """The keys and certificates, as the admin API sees them."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self.ca = LazyCa(CaSettings(public_url="http://127.0.0.1:8171"))
        self.hardware = HardwareService(None, Worker(), bits=2048)

    def key_infos(self, now_s: float) -> tuple[KeyInfo, ...]:
        return self._keys.key_infos(now_s)

    def rotate(self, now_s: float) -> None:
        self._keys.rotate(now_s)


class HostsStub:
    """The hosts of a fleet of hosts, of which one is joined."""

    def __init__(self) -> None:
        self.invited: list[tuple[str, bool]] = []
        self.revoked: list[str] = []
        self.shown = [standing("host-1"), standing("host-2")]

    async def invite(self, name: str, *, is_admin: bool) -> str:
        self.invited.append((name, is_admin))
        return f"openimds-join-1.{name}.secret" if is_admin else "refused"

    async def revoke(self, name: str) -> None:
        if name != "host-1":
            raise ConfigError("hosts", f'"{name}"', "the name of a host")
        self.revoked.append(name)

    def standings(self) -> list[HostStanding]:
        return self.shown

    def lacking(self, vm: str) -> list[str]:
        return [f"lacking {vm}"]

    def samples(self) -> dict[str, Samples]:
        return {}


def standing(name: str, **more: Any) -> HostStanding:
    """Return the standing of a connected host with the given differences."""
    facts = {
        "state": "joined",
        "vms": 2,
        "is_connected": True,
        "is_settled": True,
        "revision": 7,
        "release": "0.1.0",
        "silent_s": 1.0,
        "unshown_vms": 0,
        "unshown_scopes": 0,
        "unshown_age_s": 0.0,
        "sent_vms": 1,
        "refused": {},
        "leaf_failure": "",
        "join_token_reuses": 0,
        "invited_s": 1.0,
        "joined_s": 2.0,
        "certificate_ends_s": 3.0,
    }
    return HostStanding(name=name, **(facts | more))  # type: ignore[arg-type]


class AdminServer:
    """The services behind the admin port, its application, and a client."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 1_795_377_286.0
        self.token_result: AccessToken | Failed = AccessToken(
            "eyJ.eyJ.sig", 1_795_376_986, 1_795_463_686, 86_400
        )
        self.targets: list[str] = []
        self.host_error: Error | None = None
        self.store = FailingStore()
        self.fleet_index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.opened: list[dict[str, str]] = []
        self.notices: list[str] = []
        self.is_opening = asyncio.Event()
        self.lack: OSError | None = None
        self.fleet_service = FleetService(
            self.store,
            self.fleet_index,
            lambda: self.now_s,
            self._open,
            notify=self.notices.append,
        )
        self.token = AdminToken(folder / "admin-token")
        self.messages: list[str] = []
        self.events_service = EventsService(
            self.fleet_service, Clock(lambda: self.now_s), self.messages.append
        )
        self.keys = Keyring()
        self.credentials = CredentialsStub(self.keys)
        self.recorder = Recorder(100)
        self.faults = FaultService(self.fleet_service, lambda: self.now_s)
        # Long enough between two failures that no answer waits.
        unhurried = count(0.0, 10.0)
        self.hosts = HostsStub()
        self.tokens = TokenRegistry(self.fleet_service, lambda: self.now_s)
        self.services = AdminServices(
            hosts=self.hosts,
            fleet_service=self.fleet_service,
            events_service=self.events_service,
            faults=self.faults,
            recording=LocalRecording(self.recorder),
            credentials=self.credentials,
            endpoint_variables=variables,
            get_as=self._get_as,
            check_host=self._check_host,
            metrics=MetricsStub(),
            token=self.token,
            tokens=self.tokens,
            failed_tokens=FailedTokens(unhurried.__next__, self.notices.append),
        )
        self.use(self.services)

    def use(self, services: AdminServices) -> None:
        """Answer with these services from now on."""
        self.services = services
        self.application = application(services, frozenset({"host"}))
        self.api = self.client()

    async def _check_host(self) -> None:
        if self.host_error:
            raise self.host_error

    async def _get_as(self, vm: Vm, target: str) -> Response | Refusal:
        self.targets.append(target)
        query = parse_query("GET", target.encode(), has_metadata_header=True)
        outcome = handle(query, Subject(vm, catalog()), self.now_s)
        if isinstance(outcome, Response | Refusal):
            return outcome
        return resume(query, outcome, self.token_result, self.now_s)

    async def _open(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        held = self.opened[-1] if self.opened else {}
        self.opened.append({**{text: held[text] for text in held.keys() & keep}, **wanted})
        self.is_opening.set()
        if TAKEN in wanted:
            where = f"vms.{wanted[TAKEN]}.reach.listen"
            raise ConfigError(where, TAKEN, "an address that is free here") from self.lack

    def client(self, **headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.application, raise_app_exceptions=False)
        text = self.token.path.read_text().strip()
        return httpx2.AsyncClient(
            base_url="http://localhost:8170",
            transport=transport,
            headers={"Authorization": f"Bearer {text}", **headers},
        )

    async def client_of(self, role: Role, name: str = "") -> httpx2.AsyncClient:
        """Return a client with a new token of a role."""
        _, text = await self.tokens.add(name or f"a-{role}", role, "test")
        return self.client(Authorization=f"Bearer {text}")

    @asynccontextmanager
    async def follow(
        self, query: str = "", path: str = "/v1/changes", **headers: str
    ) -> AsyncIterator["Feed"]:
        feed = Feed(self, path, query, headers)
        task = asyncio.create_task(feed.run())
        try:
            yield feed
        finally:
            feed.is_closed.set()
            await task


class Feed:
    """A reader of a feed, called as the web server calls the application."""

    def __init__(self, server: AdminServer, path: str, query: str, headers: dict[str, str]) -> None:
        self.server, self.path, self.query = server, path, query
        self.headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.is_closed = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def run(self) -> None:
        text = self.server.token.path.read_text().strip()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": "GET",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "headers": [
                (b"host", b"localhost"),
                *self.headers,
                (b"authorization", f"Bearer {text}".encode()),
            ],
        }
        await self.server.application(scope, self._receive, self._send)
        self.messages.put_nowait({"type": "end"})

    async def _receive(self) -> dict[str, Any]:
        await self.is_closed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.may_send.wait()
        self.messages.put_nowait(message)

    async def next(self) -> dict[str, str]:
        """Wait for the next event; an empty one is the end of the answer."""
        while True:
            message = await self.messages.get()
            if message["type"] == "end":
                return {}
            for event in message.get("body", b"").decode().split("\r\n\r\n"):
                lines = [line.partition(": ") for line in event.splitlines() if line]
                if lines:
                    return {key: value for key, _, value in lines}


async def ask(
    application: Any, method: str, path: str, hosts: tuple[str, ...], version: str = "1.1"
) -> tuple[int, bytes]:
    """Return status and body of a request with these Host headers."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", host.encode()) for host in hosts],
    }
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await application(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages)


def with_server(folder: Path, work: Callable[[AdminServer], Awaitable[T]]) -> T:
    """Run `work` with a server, and close it."""

    async def whole() -> T:
        server = AdminServer(folder)
        try:
            return await work(server)
        finally:
            await server.api.aclose()
            server.store.fails.clear()
            server.fleet_service.close()

    return asyncio.run(whole())
