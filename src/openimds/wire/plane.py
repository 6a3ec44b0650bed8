"""What all connections share: the picture, the limits, the counters, the clock."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from openimds.core.answer import Answer, Refusal, answer, throttled
from openimds.core.request import Query, query
from openimds.spec.refusals import problem
from openimds.view.picture import Allowances, Entry, Picture
from openimds.view.shelf import Replies
from openimds.wire.connections import Connections
from openimds.wire.reply import CLOSE, Count, Reply, Stamps

WireEntry: TypeAlias = Entry[Reply]
WirePicture: TypeAlias = Picture[Reply]

_OTHER = "other"
"""The counter of paths that no endpoint row has."""
_NOBODY = query("GET", b"/")
"""What strangers are taken to ask: they get the same words wherever they go."""


class Bounds(Struct, frozen=True):
    """What a guest may cost. Sizes are bytes, times are seconds."""

    target_bytes: int = 4096
    head_bytes: int = 16384
    header_count: int = 64
    body_bytes: int = 65536
    head_s: float = 10.0
    body_s: float = 10.0
    idle_s: float = 120.0
    close_s: float = 5.0
    connections: int = 20000
    connections_per_caller: int = 1024
    strangers: int = 1024
    write_high_bytes: int = 65536


class Counted(NamedTuple):
    """What a counter counts: answers of one endpoint and status, refusals by their row."""

    endpoint: str
    status: int
    reason: str


class Request(Struct, frozen=True):
    """What a connection learned of one request; the key of its prepared reply."""

    method: str
    target: bytes
    has_metadata_header: bool
    is_forwarded: bool
    connection: str

    def key(self) -> str:
        """Return text that differs wherever the reply may differ.

        It is text so that no bytes of a guest, which are looked up in the same place, can equal it.
        """
        flags = f"{self.method} {self.has_metadata_header:d}{self.is_forwarded:d}{self.connection} "
        return flags + self.target.decode("latin-1")

    def query(self) -> Query:
        """Return what the request asks."""
        return query(
            self.method,
            self.target,
            has_metadata_header=self.has_metadata_header,
            is_forwarded=self.is_forwarded,
        )


class Plane:
    """The data plane without its sockets.

    `now` is a steady clock for limits and time-outs, `utc` the clock of the wall for dates. A
    step of the picture changes what every connection answers from its next request on.
    """

    def __init__(
        self,
        picture: WirePicture,
        *,
        now: Callable[[], float],
        utc: Callable[[], float],
        allowances: Allowances,
        bounds: Bounds = Bounds(),  # noqa: B008 - a frozen value
    ) -> None:
        """Serve a picture under limits."""
        self.picture = picture
        self.now, self.utc = now, utc
        self.allowances = allowances
        self.bounds = bounds
        self.stamps = Stamps()
        self.connections = Connections(bounds.connections, bounds.connections_per_caller)
        self.counts: dict[Counted, Count] = {}
        self.throttled: dict[str, int] = {}
        self.strangers: dict[str, int] = {}
        self.on_mistake: Callable[[BaseException], None] = lambda _: None
        self.said_to_strangers: Replies[Reply] = Replies()
        self.on_stranger: Callable[[str], None] = lambda _: None

    def reply(self, entry: WireEntry, request: Request, raw: bytes) -> Reply:
        """Return the reply to a request, prepared before or now; limits are asked first.

        `raw` is the request to the byte if it is certain that the same bytes mean the same again;
        the reply is then found by them the next time, without parsing.
        """
        key = request.key()
        known = entry.replies.by_request.get(key)
        if known is None:
            asked = request.query()
            if not entry.grants(asked.category.limit, self.allowances, self.now()):
                return self._too_soon(asked, request)
            known = self._prepare(
                answer(asked, entry.subject(self.picture.catalog)), asked, request
            )
            known.limit = asked.category.limit
            known.instead = self._too_soon(asked, request, counts=False)
            self.picture.shelf.keep(entry.replies, key, known, known.size_bytes + len(key))
        elif not entry.grants(known.limit, self.allowances, self.now()):
            return self.refused(known)
        if raw:
            self.picture.shelf.keep(entry.replies, raw, known, len(raw))
        return known

    def refused(self, reply: Reply) -> Reply:
        """Return what is said instead of a reply when its limiter class says no, and count that."""
        self._count_throttled(reply.limit)
        assert reply.instead is not None  # Every kept reply has one.
        return reply.instead

    def meet(self, address: str) -> None:
        """Remember a caller who is no VM, as long as there are not too many."""
        seen = self.strangers
        if address in seen:
            seen[address] += 1
        elif len(seen) < self.bounds.strangers:
            seen[address] = 1
            self.on_stranger(address)

    def stranger(self, request: Request, raw: bytes) -> Reply:
        """Return the reply to a caller who is no VM; `raw` as in `reply`."""
        row = problem("unknown_caller", "")
        said = Refusal(row, row.body.encode())
        reply = self._prepare(said, _NOBODY, request, "stranger")
        if raw:
            self.picture.shelf.keep(self.said_to_strangers, raw, reply, reply.size_bytes + len(raw))
        return reply

    def broken(self, key: str) -> bytes:
        """Return the last words to a connection whose bytes are no request we take."""
        row = problem(key, "http")
        said = Refusal(row, row.body.encode())
        reply = Reply(said, "general", self._count("http", row.status, key), connection=CLOSE)
        return self.send(reply)

    def send(self, reply: Reply) -> bytes:
        """Count a reply and return its bytes."""
        reply.count.requests += 1
        return self.stamps.stamp(reply, self.utc())

    def _too_soon(self, asked: Query, request: Request, *, counts: bool = True) -> Reply:
        if counts:
            self._count_throttled(asked.category.limit)
        return self._prepare(throttled(asked), asked, request)

    def _count_throttled(self, limit: str) -> None:
        self.throttled[limit] = self.throttled.get(limit, 0) + 1

    def _prepare(
        self, said: Answer | Refusal, asked: Query, request: Request, counter: str = ""
    ) -> Reply:
        name = counter or (asked.endpoint.key if asked.endpoint else _OTHER)
        return Reply(
            said,
            asked.category.headers,
            self._count(name, said.status, reason_of(said)),
            connection=request.connection,
            has_body=request.method != "HEAD",
        )

    def _count(self, endpoint: str, status: int, reason: str) -> Count:
        return self.counts.setdefault(Counted(endpoint, status, reason), Count())


def reason_of(said: Answer | Refusal) -> str:
    """Return the key of a refusal's row, or nothing for an answer."""
    return said.problem.key if isinstance(said, Refusal) else ""
