"""Prepared responses: all bytes of a response except its date and its request id."""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from random import Random, SystemRandom
from typing import NamedTuple

from openimds.facts.headers import HEADER_ORDERS
from openimds.protocol.pending import Pending, Result
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, Response

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_REQUEST_ID, _LENGTH = "x-ms-request-id", "Content-Length"
_OVERHEAD_BYTES = 600
"""The approximate weight of a response beside its body: its head, its keys, its objects."""

CONNECTION_CLOSE = "close"


class CountKey(NamedTuple):
    """The labels of a counter; `reason` is the key of a refusal, else empty."""

    endpoint: str
    status: int
    reason: str


class RequestCount:
    """The counter of all responses that share a key."""

    __slots__ = ("key", "requests")

    def __init__(self, key: CountKey) -> None:
        """Start at zero."""
        self.key = key
        self.requests = 0


class _Head(NamedTuple):
    """A head without its variable parts: the pieces around request id, date and length.

    `lead` comes before a length that precedes the other two; else it is empty. Without a length
    `end` is empty, too.
    """

    lead: bytes
    before: bytes
    between: bytes
    after: bytes
    end: bytes


@lru_cache(maxsize=256)
def _head(
    family: str, status: int, reason: str, media: str, extra: tuple[tuple[str, str], ...]
) -> _Head:
    """Return the head that a kind of responses shares, in its family's recorded order."""
    row = HEADER_ORDERS[family]
    fixed = {"Content-Type": media, "Server": row.server}
    left_out = {"" if media else "Content-Type", _LENGTH if status == HTTPStatus.NO_CONTENT else ""}
    names = [name for name in row.names if name not in left_out]
    text = "".join(f"{name}: {fixed.get(name, _BLANK)}\r\n" for name in names)
    text += "".join(f"{name}: {value}\r\n" for name, value in extra) + "\r\n"
    blanks = len(names) - sum(name in fixed for name in names)
    line = f"HTTP/1.1 {status} {reason or _PHRASES.get(status, '')}\r\n"
    pieces = (line + text).split(_BLANK, blanks)
    lead = pieces.pop(0) if names[0] == _LENGTH else ""
    end = pieces.pop() if _LENGTH in names and not lead else ""
    before, after = pieces[0], pieces[-1]
    between = pieces[1] if _REQUEST_ID in names else ""
    return _Head(*(text.encode() for text in (lead, before, between, after, end)))


class PreparedResponse:
    """A response ready to be written.

    `before`, `between` and `after` stand around the request id and the date; `between` is empty
    where the header family has no request id. `limit` is the limiter class to consult first, and
    `throttled` the response when that class is exhausted. The response is outdated from `until_s`
    (seconds since 1970) on. If it was made from the `result` of `pending` work for `query`, it can
    be rendered again in place.
    """

    __slots__ = (
        "after",
        "before",
        "between",
        "closes",
        "count",
        "extra_headers",
        "family",
        "has_body",
        "limit",
        "pending",
        "query",
        "result",
        "throttled",
        "until_s",
    )

    def __init__(
        self,
        response: Response | Refusal,
        family: str,
        count: RequestCount,
        *,
        connection: str = "",
        has_body: bool = True,
    ) -> None:
        """Lay out the head in the recorded order of the header family.

        `connection` is the value of the Connection header, empty for none.
        """
        self.family, self.has_body = family, has_body
        self.extra_headers = (("Connection", connection),) if connection else ()
        self.count = count
        self.closes = connection == CONNECTION_CLOSE
        self.limit = ""
        self.throttled: PreparedResponse | None = None
        self.pending: Pending | None = None
        self.result: Result | None = None
        self.query: Query | None = None
        self.render(response)

    def render(self, response: Response | Refusal) -> None:
        """Replace the bytes and the time of validity by those of `response`."""
        extra = (*response.headers, *self.extra_headers)
        head = _head(self.family, response.status, response.reason, response.media, extra)
        self.before, self.between = head.before, head.between
        body = response.body if self.has_body else b""
        if head.lead:
            self.before = b"%b%d%b" % (head.lead, len(response.body), head.before)
            self.after = head.after + body
        elif head.end:
            self.after = b"%b%d%b%b" % (head.after, len(response.body), head.end, body)
        else:
            self.after = head.after
        self.until_s = response.until_s

    @property
    def size_bytes(self) -> int:
        """The approximate size in memory."""
        throttled = self.throttled.size_bytes if self.throttled else 0
        return _OVERHEAD_BYTES + len(self.after) + throttled


_BLANK = "\0"


class ResponseStamps:
    """The dates and request ids of responses. The date is formatted once a second."""

    def __init__(self) -> None:
        """Seed the request ids from the system."""
        # The ids are as good as unique, and no secret: a fast generator will do.
        self._draw = Random(SystemRandom().getrandbits(128)).getrandbits  # noqa: S311 - see above
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
        bits = self._draw(128)
        return b"%08x-%04x-4%03x-%04x-%012x" % (
            bits >> 96,
            bits >> 80 & 0xFFFF,
            bits >> 64 & 0xFFF,
            bits >> 48 & 0x3FFF | 0x8000,
            bits & 0xFFFFFFFFFFFF,
        )

    def stamp(self, response: PreparedResponse, utc_s: float) -> bytes:
        """Return the bytes of a response, with the current date and a request id."""
        date = self.date(utc_s)
        if response.between:
            pieces = (response.before, self.request_id(), response.between, date, response.after)
            return b"".join(pieces)
        return b"".join((response.before, date, response.after))
