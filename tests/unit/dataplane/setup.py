"""A dispatcher whose pending work is finished by the test."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.phase import Phase, Step
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.dataplane.turns import Turns
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
IDENTITY = {"identities": {"system": True}}
VERSIONS = "/metadata/versions"
METADATA = {"Metadata": "true"}
GET = request(VERSIONS, headers=METADATA)


def only(data: bytes) -> Reply:
    """Return the one response in the bytes that a connection wrote."""
    (reply,) = replies(data)
    return reply


class ManualProvider:
    """A provider whose work ends when the test calls `finish`."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[Result]] = []
        self.token: AccessToken | None = None
        self.signature: Signature | None = None

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if isinstance(need, PendingDocument):
            return self.signature
        return None if need.is_once else self.token

    async def make(self, need: Pending, now_s: float) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        result = await future
        if isinstance(result, AccessToken):
            self.token = result
        return result

    async def finish(self, number: int = 0, text: str = "jwt") -> None:
        now_s = int(UTC_S)
        self.futures[number].set_result(AccessToken(text, now_s - 300, now_s + 86400, 86400))
        await settle()


async def settle() -> None:
    """Let the loop run until its tasks wait."""
    for _ in range(5):
        await asyncio.sleep(0)


class TracedConnection(Connection):
    """A connection that keeps its transitions, each as `(before, step, after)`."""

    def __init__(
        self, turns: Turns, accepted: socket.SocketType, peer: str, listener: str = ""
    ) -> None:
        self.trace: list[tuple[Phase, Step, Phase]] = []
        super().__init__(turns, accepted, peer, listener)

    def _move(self, step: Step) -> None:
        before = self.phase
        super()._move(step)
        self.trace.append((before, step, self.phase))


class TracedTalk(Talk):
    """One traced connection to a dispatcher."""

    connection_type = TracedConnection
    connection: TracedConnection


class Stage:
    """A dispatcher with its provider and clocks, and one connection to it.

    `vm` has further members of the VM.
    """

    def __init__(
        self, talk: type[Talk] = Talk, vm: dict[str, Any] | None = None, **dispatcher: Any
    ) -> None:
        self.provider, self.now, self.utc_s = ManualProvider(), FakeClock(), UTC_S
        vms = a_fleet(**{"vm-1": IDENTITY | (vm or {})})
        self.dispatcher: Dispatcher = a_dispatcher(
            an_index(*vms), provider=self.provider, now=self.now, **dispatcher
        )
        self.dispatcher.utc = lambda: self.utc_s
        self.talk = talk(self.dispatcher)

    def send(self, *targets: str, **headers: str) -> bytes:
        head = {"Metadata": "true", **headers}
        return self.talk.send(b"".join(request(target, headers=head) for target in targets))

    def cached(self) -> list[PreparedResponse]:
        return list(self.dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values())

    def is_paused(self) -> bool:
        return self.talk.is_paused

    def replies(self) -> list[Reply]:
        """Return the responses written since the last call."""
        self.talk.reactor.pump()
        return replies(self.talk.socket.take())


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def run(play: Play, **stage: Any) -> None:
    """Run a test on a new loop; the keywords are those of its stage."""

    async def both() -> None:
        await play(Stage(**stage))

    asyncio.run(both())
