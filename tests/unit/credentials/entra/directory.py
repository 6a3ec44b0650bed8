"""A directory that is no network: azure-identity's own client over answers that a test wrote."""

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
ONE = Principal(CLIENT, OBJECT, TENANT, "/app", "/vm", "entra")
NEED = PendingToken("web-1", "AzurePublicCloud", ONE, "https://vault.azure.net")
RING = Keyring()


def a_token(**claims: object) -> str:
    """Return a token as Entra writes it, signed by nobody."""
    parts = ({"typ": "JWT", "alg": "RS256"}, claims)
    texts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


class Directory(HTTPAdapter):
    """Answers every request for a token with `status` and `body`, or does what `falls` says."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.body: object = {"token_type": "Bearer", "expires_in": 3599, "access_token": a_token()}
        self.falls: Callable[[], object] = lambda: None
        self.asked: list[tuple[str, dict[str, str]]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        assert request.url
        text = request.body or ""
        assert isinstance(text, str)
        self.asked.append((request.url, dict(parse_qsl(text))))
        self.falls()
        status, body = 200, _about(request.url)
        if request.method == "POST":
            status, body = self.status, self.body
        text_back = body if isinstance(body, bytes) else json.dumps(body).encode()
        got = HTTPResponse(BytesIO(text_back), JSON, status, preload_content=False)
        return self.build_response(request, got)

    @property
    def posts(self) -> list[tuple[str, dict[str, str]]]:
        """The requests for a token: where they went, and what they said."""
        return [(url, form) for url, form in self.asked if form]


def _about(url: str) -> object:
    tenant = url.partition("/v2.0/.well-known/openid-configuration")[0]
    return {
        "issuer": f"{tenant}/v2.0",
        "token_endpoint": f"{tenant}/oauth2/v2.0/token",
        "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
    }


class Scene:
    """Entra as we ask it, the directory behind it, and what the operator was told."""

    def __init__(self, way: str, **more: Any) -> None:
        self.directory = Directory()
        self.told: list[str] = []
        session = requests.Session()
        session.mount("https://", self.directory)
        transport = RequestsTransport(session=session, session_owner=False)
        self.entra = EntraClient(
            way,
            issuer=ISSUER,
            sign=more.pop("sign", signed),
            notify=self.told.append,
            options={"transport": transport},
            **more,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entra.close()


def signed(claims: Mapping[str, object], now_s: float) -> str:
    """Sign as the office does."""
    return sign(claims, RING.signer(now_s))


def at_work(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())
