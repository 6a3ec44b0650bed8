"""A fake Entra directory: azure-identity's own client over responses written by the test."""

import asyncio
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from openimds.credentials.entra.client import EntraClient
from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens.jwt import sign
from openimds.protocol.pending import PendingToken
from openimds.vm.identities import Principal

T = TypeVar("T")
TOO_LONG_S = 30
JSON = {"Content-Type": "application/json; charset=utf-8"}
NOW_S = 1_709_809_597.5
TENANT, CLIENT, OBJECT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
ISSUER = "https://id.example.org"
IDENTITY = Principal(CLIENT, OBJECT, TENANT, "/app", "/vm", "entra")
PENDING = PendingToken("web-1", "AzurePublicCloud", IDENTITY, "https://vault.azure.net")
RING = Keyring()


def a_token(**claims: object) -> str:
    """Return a token in Entra's form, with a signature that no key made."""
    parts = ({"typ": "JWT", "alg": "RS256"}, claims)
    texts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


class Directory(HTTPAdapter):
    """Answers every token request with `status`, `body` and `headers`.

    `before_answer` is called before any answer, in the thread that asks. Requests of a tenant in
    `hanging` get theirs when the event there is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body: object
        self.turn(200)
        self.before_answer: Callable[[], object] = lambda: None
        self.hanging: dict[str, threading.Event] = {}
        self.running = 0
        self.most_running = 0
        self._changed = threading.Condition()
        self.requests: list[tuple[str, dict[str, str]]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        assert request.url
        text = request.body or ""
        assert isinstance(text, str)
        with self._changed:
            self.requests.append((request.url, dict(parse_qsl(text))))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self._changed.notify_all()
        try:
            self.before_answer()
            for tenant, event in [*self.hanging.items()]:
                assert f"/{tenant}/" not in request.url or event.wait(TOO_LONG_S)
        finally:
            with self._changed:
                self.running -= 1
        status, body = 200, _about(request.url)
        if request.method == "POST":
            status, body = self.status, self.body
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = JSON | (self.headers if request.method == "POST" else {})
        response = HTTPResponse(BytesIO(encoded), headers, status, preload_content=False)
        return self.build_response(request, response)

    def wait_for(self, count: int) -> None:
        """Return once at least as many requests wait for their answers."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.running >= count, TOO_LONG_S)

    def turn(self, status: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Answer with tokens (200), or with empty errors of a status, from now on."""
        self.status, self.headers = status, dict(headers)
        self.body = {"token_type": "Bearer", "expires_in": 3599, "access_token": a_token()}
        if status != 200:
            self.body = {}

    @property
    def posts(self) -> list[tuple[str, dict[str, str]]]:
        """The token requests: URL and form."""
        return [(url, form) for url, form in self.requests if form]


def _about(url: str) -> object:
    tenant = url.partition("/v2.0/.well-known/openid-configuration")[0]
    return {
        "issuer": f"{tenant}/v2.0",
        "token_endpoint": f"{tenant}/oauth2/v2.0/token",
        "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
    }


class EntraSetup:
    """An `EntraClient`, the fake directory behind it, and the reports to the operator.

    `steady_s` is its clock for memory and reports.
    """

    def __init__(self, method: str, **more: Any) -> None:
        self.directory = Directory()
        self.reports: list[str] = []
        self.steady_s = 0.0
        session = requests.Session()
        session.mount("https://", self.directory)
        transport = RequestsTransport(session=session, session_owner=False)
        self.entra = EntraClient(
            method,
            issuer=ISSUER,
            sign=more.pop("sign", signed),
            notify=self.reports.append,
            options={"transport": transport},
            steady=lambda: self.steady_s,
            **more,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for event in self.directory.hanging.values():
            event.set()
        self.entra.close()


def signed(claims: Mapping[str, object], now_s: float) -> str:
    """Sign as the credentials service does."""
    return sign(claims, RING.signer(now_s))


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())
