"""TokenCache with everything around them, for tests: keys, a workshop, a directory elsewhere."""

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
"""When the recorded token (S29) was made: not_before 1709809297, expires_on 1709895997."""
EXPIRES_S = 1_709_895_997
TOO_LONG_S = 30
APP = Principal("app-client", "app-object", "tenant", "/app", "/vm")
NEED = PendingToken("web-1", "AzurePublicCloud", APP, "https://vault.azure.net")
REAL = replace(NEED, identity=replace(APP, source="entra"))


class Directory:
    """Answers with a token an hour long for each fetch, when it is let; counts the fetches."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.fetches = 0
        self.open = asyncio.Event()
        self.fails: Failed | Exception | None = None
        if is_open:
            self.open.set()

    async def token(self, need: PendingToken, now_s: float) -> AccessToken | Failed:
        self.fetches += 1
        number = self.fetches
        await self.open.wait()
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails:
            return self.fails
        return AccessToken(f"real-{number}", int(now_s) - 300, int(now_s) + 3600, 3600)


class Shop:
    """TokenCache with everything around them."""

    def __init__(self, ring: Keyring, elsewhere: TokenSource | None = None, **more: Any) -> None:
        self.worker = more.pop("worker", None) or Worker()
        self.tokens = TokenCache(
            lambda: ring, self.worker, TokenSettings(86_400), elsewhere, **more
        )

    async def text(self, need: PendingToken, now_s: float = NOW_S) -> str:
        """Ask as the data plane does: what is held, else a new one."""
        got = self.tokens.cached(need, now_s) or await self.tokens.make(need, now_s)
        assert isinstance(got, AccessToken), got
        return got.text


def at_work(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
