"""Prepared responses: all bytes of a response except its date and its request id."""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import inf
from random import Random, SystemRandom
from typing import NamedTuple

from openimds.facts.headers import (
    CODING,
    CORRELATION_ID,
    HEADER_ORDERS,
    LENGTH,
    MEDIA,
)
from openimds.protocol.durations import Durations
from openimds.protocol.pending import Pending, Result
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, Response

_NOT_MODIFIED, _NO_CONTENT = HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_OVERHEAD_BYTES = 600
"""The approximate weight of a response beside its body: its head, its keys, its objects."""

CONNECTION_CLOSE = "close"
_CONNECTION = "Connection"


class CountKey(NamedTuple):
    """The labels of a counter; `reason` is the key of a refusal, else empty."""

    endpoint: str
    status: int
    reason: str


class RequestCount(Durations):
    """The counter of all responses that share a key, and their durations.

    `untimed` counts those without a duration: see `dataplane.latency`.
    """

    __slots__ = ("key", "untimed")

    def __init__(self, key: CountKey) -> None:
        """Start at zero."""
        super().__init__()
        self.key = key
        self.untimed = 0

    @property
    def requests(self) -> int:
        """The number of responses."""
        return self.count + self.untimed


class _Head(NamedTuple):
    """A head without its variable parts: the pieces around request id, date and length.

    The length stands behind the piece `length_at`; with -1 there is none. A chunked head has none,
    and one with neither has no body.
    """

    pieces: tuple[bytes, ...]
    length_at: int
    is_date_first: bool
    is_chunked: bool


@lru_cache(maxsize=256)
def _head(
    family: str, status: int, reason: str, media: str, extra: tuple[tuple[str, str], ...]
) -> _Head:
    """Return the head that a kind of responses shares, in its family's recorded order."""
    row = HEADER_ORDERS[family]
    fixed = {MEDIA: media, "Server": row.server, CODING: "chunked"}
    # 304 describes no body, and 204 has none.
    left_out = {
        MEDIA if status == _NOT_MODIFIED or not media else "",
        LENGTH if status in {_NOT_MODIFIED, _NO_CONTENT} else "",
    }
    names = [name for name in row.names if name not in left_out]
    if CODING in names and any(name == _CONNECTION for name, _ in extra):
        # The client may be one of HTTP/1.0, without chunks.
        names = [LENGTH, *(name for name in names if name != CODING)]
    blanks = [name for name in names if name not in fixed]
    text = "".join(f"{name}: {fixed.get(name, _BLANK)}\r\n" for name in names)
    text += "".join(f"{name}: {value}\r\n" for name, value in extra)
    reason = reason or dict(row.reasons).get(status) or _PHRASES.get(status, "")
    pieces = f"HTTP/1.1 {status} {reason}\r\n{text}\r\n".split(_BLANK, len(blanks))
    return _Head(
        tuple(piece.encode() for piece in pieces),
        blanks.index(LENGTH) if LENGTH in blanks else -1,
        CORRELATION_ID in blanks,
        CODING in names,
    )


class PreparedResponse:
    """A response ready to be written.

    `before`, `between` and `after` stand around the request id and the date, or around the date and
    the id with `is_date_first`; `between` is empty where the header family has no request id.
    `limit` is the limiter class to consult first, and `throttled` the response when that class is
    exhausted. The response is outdated from `until_s` (seconds since 1970) on, and before
    `since_s`: then the clock was set back. If it was made from the `result` of `pending` work for
    `query`, it can be rendered again in place.
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
        "is_date_first",
        "limit",
        "pending",
        "query",
        "result",
        "since_s",
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
        self.extra_headers = ((_CONNECTION, connection),) if connection else ()
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
        body = response.body if self.has_body else b""
        pieces, at = head.pieces, head.length_at
        if at >= 0:
            known = b"%b%d%b" % (pieces[at], len(response.body), pieces[at + 1])
            pieces = (*pieces[:at], known, *pieces[at + 2 :])
        elif not head.is_chunked:
            body = b""
        elif self.has_body:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n"
        self.before, *between, after = pieces
        self.between = between[0] if between else b""
        self.is_date_first = head.is_date_first
        self.after = after + body
        self.since_s, self.until_s = -inf, response.until_s

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
        digits = bits.to_bytes(16, "little").hex()
        first, second, third = digits[:8], digits[8:12], digits[13:16]
        variant = "89ab"[bits >> 68 & 3]
        return f"{first}-{second}-4{third}-{variant}{digits[17:20]}-{digits[20:]}".encode()

    def stamp(self, response: PreparedResponse, utc_s: float) -> bytes:
        """Return the bytes of a response, with the current date and a request id."""
        date = self._date if int(utc_s) == self._date_s else self.date(utc_s)
        if response.between:
            first, second = self.request_id(), date
            if response.is_date_first:
                first, second = date, first
            return b"".join((response.before, first, response.between, second, response.after))
        return b"".join((response.before, date, response.after))
