"""A plane whose answers wait until the test says so."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from openimds.dataplane.dispatcher import Plane
from openimds.dataplane.response_bytes import Reply as WireReply
from openimds.protocol.pending import Made, Need, NeedsDocument, Signature, Token
from tests.support.talk import (
    UTC_S,
    Reply,
    Talk,
    Time,
    a_fleet,
    a_picture,
    a_plane,
    replies,
    request,
)

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
INSTANCE = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
HELD = {"identities": {"system": True}}


class Bench:
    """A maker whose work ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Made]] = []
        self.shelf: Token | None = None
        self.signature: Signature | None = None

    def held(self, need: Need, now_s: float) -> Made | None:
        if isinstance(need, NeedsDocument):
            return self.signature
        return None if need.is_once else self.shelf

    async def make(self, need: Need, now_s: float) -> Made:
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        made = await future
        if isinstance(made, Token):
            self.shelf = made
        return made

    async def end(self, which: int = 0, text: str = "jwt") -> None:
        made_s = int(UTC_S)
        self.asked[which].set_result(Token(text, made_s - 300, made_s + 86400, 86400))
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Stage:
    """A plane, its maker, its clock, and a connection to it."""

    def __init__(self, **plane: Any) -> None:
        self.bench, self.now, self.utc_s = Bench(), Time(), UTC_S
        vms = a_fleet(**{"vm-1": HELD})
        self.plane: Plane = a_plane(a_picture(*vms), maker=self.bench, now=self.now, **plane)
        self.plane.utc = lambda: self.utc_s
        self.talk = Talk(self.plane)

    def send(self, *targets: str, **headers: str) -> bytes:
        head = {"Metadata": "true", **headers}
        return self.talk.send(b"".join(request(target, headers=head) for target in targets))

    def kept(self) -> list[WireReply]:
        return list(self.plane.picture.by_name["vm-1"].replies.by_request.values())

    def is_paused(self) -> bool:
        return self.talk.transport.is_paused

    def said(self) -> list[Reply]:
        return replies(self.talk.transport.take())


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def run(play: Play, **plane: Any) -> None:
    async def both() -> None:
        await play(Stage(**plane))

    asyncio.run(both())
