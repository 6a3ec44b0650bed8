"""A control for tests that answers, refuses, hangs or is away."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from openimds.credentials.remote.host_tokens import HostTokens
from openimds.errors import Error
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from tests.unit.credentials.tokens.cache_setup import NOW_S, PENDING

DAY_S = 86_400
HALF_S = DAY_S // 2


class AwayError(Error):
    """The fake control is away."""


class FakeControl:
    """Makes tokens of a day; `result` is another result, `is_open` unset lets requests hang."""

    def __init__(self) -> None:
        self.asked: list[PendingToken] = []
        self.is_away = False
        self.result: Failed | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = self.most_under_way = 0

    async def mint(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        self.asked.append(pending)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        if self.is_away:
            raise AwayError("control is away")
        if self.result:
            return self.result
        text, issued_s = f"token-{len(self.asked)}", int(now_s)
        return AccessToken(text, issued_s - 300, issued_s + DAY_S, DAY_S)


class TestHost:
    """The tokens of a host on a clock that the test moves."""

    __test__ = False

    def __init__(self, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.control = FakeControl()
        self.now_s = NOW_S
        self.tokens = HostTokens(self.control.mint, steady=lambda: self.now_s, jitter=jitter)

    async def text(self, pending: PendingToken = PENDING) -> str | Failed:
        """Return the text of a token as a guest gets it, or the refusal."""
        token = self.tokens.cached(pending, self.now_s)
        found = token or await self.tokens.make(pending, self.now_s)
        return found.text if isinstance(found, AccessToken) else found


def token_of(vm: str, resource: str = PENDING.resource) -> PendingToken:
    return replace(PENDING, vm=vm, resource=resource)
