"""A fake Entra directory: azure-identity's own client over responses written by the test."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
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
    """Answers every token request with `status` and `body`, after calling `before_answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.body: object = {"token_type": "Bearer", "expires_in": 3599, "access_token": a_token()}
        self.before_answer: Callable[[], object] = lambda: None
        self.requests: list[tuple[str, dict[str, str]]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        assert request.url
        text = request.body or ""
        assert isinstance(text, str)
        self.requests.append((request.url, dict(parse_qsl(text))))
        self.before_answer()
        status, body = 200, _about(request.url)
        if request.method == "POST":
            status, body = self.status, self.body
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = HTTPResponse(BytesIO(encoded), JSON, status, preload_content=False)
        return self.build_response(request, response)

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
    """An `EntraClient`, the fake directory behind it, and the reports to the operator."""

    def __init__(self, method: str, **more: Any) -> None:
        self.directory = Directory()
        self.reports: list[str] = []
        session = requests.Session()
        session.mount("https://", self.directory)
        transport = RequestsTransport(session=session, session_owner=False)
        self.entra = EntraClient(
            method,
            issuer=ISSUER,
            sign=more.pop("sign", signed),
            notify=self.reports.append,
            options={"transport": transport},
            **more,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entra.close()


def signed(claims: Mapping[str, object], now_s: float) -> str:
    """Sign as the credentials service does."""
    return sign(claims, RING.signer(now_s))


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())
