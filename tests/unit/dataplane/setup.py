"""A plane whose answers wait until the test says so."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.response_bytes import PreparedResponse as WireReply
from openimds.protocol.pending import AccessToken, Pending, PendingDocument, Result, Signature
from tests.support.talk import (
    UTC_S,
    FakeClock,
    Reply,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    replies,
    request,
)

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
INSTANCE = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
HELD = {"identities": {"system": True}}


class Bench:
    """A provider whose work ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Result]] = []
        self.response_cache: AccessToken | None = None
        self.signature: Signature | None = None

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if isinstance(need, PendingDocument):
            return self.signature
        return None if need.is_once else self.response_cache

    async def make(self, need: Pending, now_s: float) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        made = await future
        if isinstance(made, AccessToken):
            self.response_cache = made
        return made

    async def end(self, which: int = 0, text: str = "jwt") -> None:
        made_s = int(UTC_S)
        self.asked[which].set_result(AccessToken(text, made_s - 300, made_s + 86400, 86400))
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Stage:
    """A plane, its provider, its clock, and a connection to it."""

    def __init__(self, **dispatcher: Any) -> None:
        self.bench, self.now, self.utc_s = Bench(), FakeClock(), UTC_S
        vms = a_fleet(**{"vm-1": HELD})
        self.dispatcher: Dispatcher = a_dispatcher(
            an_index(*vms), provider=self.bench, now=self.now, **dispatcher
        )
        self.dispatcher.utc = lambda: self.utc_s
        self.talk = Talk(self.dispatcher)

    def send(self, *targets: str, **headers: str) -> bytes:
        head = {"Metadata": "true", **headers}
        return self.talk.send(b"".join(request(target, headers=head) for target in targets))

    def kept(self) -> list[WireReply]:
        return list(self.dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values())

    def is_paused(self) -> bool:
        return self.talk.transport.is_paused

    def said(self) -> list[Reply]:
        return replies(self.talk.transport.take())


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def run(play: Play, **dispatcher: Any) -> None:
    async def both() -> None:
        await play(Stage(**dispatcher))

    asyncio.run(both())
