"""Prepared replies: the bytes of an answer but for its date and its request id."""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from random import SystemRandom
from typing import NamedTuple

from openimds.facts.headers import HEADER_ORDERS
from openimds.protocol.pending import Pending, Result
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, Response

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_REQUEST_ID = "x-ms-request-id"
_OVERHEAD_BYTES = 600
"""What a reply weighs beyond its body, about: its head, its keys, the objects that hold them."""

CLOSE = "close"


class CountKey(NamedTuple):
    """What a counter counts: answers of one endpoint and status, refusals by their row."""

    endpoint: str
    status: int
    reason: str


class RequestCount:
    """A counter that replies of one endpoint and status move."""

    __slots__ = ("of", "requests")

    def __init__(self, of: CountKey) -> None:
        """Begin at nothing."""
        self.of = of
        self.requests = 0


class _Head(NamedTuple):
    """A head without what changes: the pieces around request id, date and length."""

    before: bytes
    between: bytes
    after: bytes
    end: bytes


@lru_cache(maxsize=256)
def _head(family: str, status: int, media: str, more: tuple[tuple[str, str], ...]) -> _Head:
    """Return the head of all replies of a kind, in the recorded order of its family."""
    row = HEADER_ORDERS[family]
    fixed, names = {"Content-Type": media, "Server": row.server}, row.names
    text = "".join(f"{name}: {fixed.get(name, _BLANK)}\r\n" for name in names)
    *pieces, after, end = text.split(_BLANK)
    end += "".join(f"{name}: {value}\r\n" for name, value in more) + "\r\n"
    before = _STATUS_LINES[status] + pieces[0]
    between = pieces[1] if _REQUEST_ID in names else ""
    return _Head(before.encode(), between.encode(), after.encode(), end.encode())


class PreparedResponse:
    """An answer ready to be written.

    `before`, `between` and `after` stand around the request id and the date; where the family has
    no request id, `between` is empty. `limit` is the limiter class to ask first, and `instead` the
    reply when that says no. From `until_s` on the reply is out of date; if it was made of a `need`
    that `asked` had, it can be brought up to date in its place; `made` is what it was made of.
    """

    __slots__ = (
        "after",
        "asked",
        "before",
        "between",
        "closes",
        "count",
        "has_body",
        "headers",
        "instead",
        "limit",
        "made",
        "need",
        "tail",
        "until_s",
    )

    def __init__(
        self,
        said: Response | Refusal,
        headers: str,
        count: RequestCount,
        *,
        connection: str = "",
        has_body: bool = True,
    ) -> None:
        """Lay out the head in the recorded order of the family `headers`.

        `connection` is the value of the Connection header, empty for none.
        """
        self.headers, self.has_body = headers, has_body
        self.tail = (("Connection", connection),) if connection else ()
        self.count = count
        self.closes = connection == CLOSE
        self.limit = ""
        self.instead: PreparedResponse | None = None
        self.need: Pending | None = None
        self.made: Result | None = None
        self.asked: Query | None = None
        self.say(said)

    def say(self, said: Response | Refusal) -> None:
        """Say this from now on, until its time is over."""
        more = (*said.headers, *self.tail)
        head = _head(self.headers, said.status, said.media, more)
        self.before, self.between = head.before, head.between
        body = said.body if self.has_body else b""
        self.after = b"%b%d%b%b" % (head.after, len(said.body), head.end, body)
        self.until_s = said.until_s

    @property
    def size_bytes(self) -> int:
        """About what the reply weighs in memory."""
        instead = self.instead.size_bytes if self.instead else 0
        return _OVERHEAD_BYTES + len(self.after) + instead


_BLANK = "\0"


class ResponseStamps:
    """The date and the request ids of replies. The date is worked out once a second."""

    def __init__(self) -> None:
        """Draw the fixed part of the request ids."""
        draw = SystemRandom().getrandbits
        text = f"{draw(32):08x}-{draw(16):04x}-4{draw(12):03x}-{8 + draw(2):x}{draw(12):03x}-"
        self._fixed = text.encode()
        self._number = draw(48)
        # An odd step visits every 48-bit number once. The ids are unique, not secret: whoever sees
        # two of them can tell how many answers went out in between.
        self._step = draw(48) | 1
        self._date = b""
        self._date_s = -1

    def date(self, utc_s: float) -> bytes:
        """Return the value of the Date header."""
        second = int(utc_s)
        if second != self._date_s:
            self._date_s = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def request_id(self) -> bytes:
        """Return a new GUID."""
        self._number = (self._number + self._step) & 0xFFFFFFFFFFFF
        return b"%s%012x" % (self._fixed, self._number)

    def stamp(self, reply: PreparedResponse, utc_s: float) -> bytes:
        """Return the bytes of a reply as they go out now."""
        date = self.date(utc_s)
        if reply.between:
            return b"".join((reply.before, self.request_id(), reply.between, date, reply.after))
        return b"".join((reply.before, date, reply.after))
