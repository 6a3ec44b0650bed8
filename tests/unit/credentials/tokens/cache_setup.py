"""A token cache for tests: with a keyring, a worker and a fake Entra."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens.cache import TokenCache, TokenSource
from openimds.credentials.worker import Worker
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from openimds.vm.identities import Principal

T = TypeVar("T")
NOW_S = 1_709_809_597.5
"""The issue time of the recorded token (S29): not_before 1709809297, expires_on 1709895997."""
EXPIRES_S = 1_709_895_997
TOO_LONG_S = 30
APP = Principal("app-client", "app-object", "tenant", "/app", "/vm")
PENDING = PendingToken("web-1", "AzurePublicCloud", APP, "https://vault.azure.net")
REAL = replace(PENDING, identity=replace(APP, source="entra"))


class FakeEntra:
    """Returns a token of an hour for each fetch once `open` is set."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.fetches = 0
        self.has_begun = True
        self.withdrawn: list[PendingToken] = []
        self.open = asyncio.Event()
        self.result: Failed | Exception | None = None
        if is_open:
            self.open.set()

    async def token(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        self.fetches += 1
        number = self.fetches
        await self.open.wait()
        if isinstance(self.result, Exception):
            raise self.result
        if self.result:
            return self.result
        return AccessToken(f"real-{number}", int(now_s) - 300, int(now_s) + 3600, 3600)

    def withdraw(self, pending: PendingToken) -> bool:
        self.withdrawn.append(pending)
        return not self.has_begun


class CacheSetup:
    """A token cache, its worker and its source of real tokens."""

    def __init__(self, ring: Keyring, entra: TokenSource | None = None, **more: Any) -> None:
        self.worker = more.pop("worker", None) or Worker()
        self.tokens = TokenCache(lambda: ring, self.worker, TokenSettings(86_400), entra, **more)

    async def text(self, pending: PendingToken, now_s: float = NOW_S) -> str:
        """Return the cached token, else a new one, as the data plane does."""
        token = self.tokens.cached(pending, now_s) or await self.tokens.make(pending, now_s)
        assert isinstance(token, AccessToken), token
        return token.text


def run_async(scenario: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await scenario()

    return asyncio.run(main())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
