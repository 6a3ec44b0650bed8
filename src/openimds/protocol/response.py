"""Responses, and refusals, which are rows with their blanks filled."""

import re
from hashlib import sha256
from math import inf
from uuid import UUID

import msgspec.json
from msgspec import Struct

from openimds.facts.headers import JSON_MEDIA
from openimds.facts.protocols import DIALECTS
from openimds.facts.refusal import RefusalRow
from openimds.facts.refusals import refusal_row
from openimds.facts.refusals_elsewhere import WINDOWS
from openimds.protocol.request import Query

_BLANK = re.compile(r"\{(\w+)\}")
_CORRELATION = "{correlation}"
_SPEAKERS = {(row.endpoint, row.version): row.speaker for row in DIALECTS}
UNTIL_REPLACED = -inf
"""As `until_s`: the response holds until the provider has another result for its pending work."""


class Response(Struct, frozen=True):
    """A success, with the parts of its head that a refusal has too.

    `until_s` is the time (seconds since 1970) from which the response differs; without it, the
    response holds until the VM changes. `family` is the header family where it is not that of the
    query's category; `reason` the words after the status where they are not those of HTTP. One that
    `closes` is the last of its connection.
    """

    body: bytes
    media: str = JSON_MEDIA
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    until_s: float = inf
    family: str = ""
    reason: str = ""
    closes: bool = False


class Refusal(Struct, frozen=True):
    """A row of the refusals with its blanks filled; `until_s` as in `Response`."""

    row: RefusalRow
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    until_s: float = inf

    @property
    def family(self) -> str:
        """The header family of the row, empty for that of the query's category."""
        return self.row.family

    @property
    def reason(self) -> str:
        """Nothing: a refusal has the words of HTTP."""
        return ""

    @property
    def media(self) -> str:
        """The media type of the row."""
        return self.row.media

    @property
    def status(self) -> int:
        """The status of the row."""
        return self.row.status


def refuse(
    key: str, query: Query, blanks: dict[str, str] | None = None, until_s: float = inf
) -> Refusal:
    """Return the refusal `key` as the query's category writes it; `blanks` are JSON text."""
    row = refusal_row(key, _speaker(query))
    body = row.body
    if blanks or _CORRELATION in body:
        blanks = {"correlation": _correlation(query), **(blanks or {})}
        # In one pass: a guest's text in one blank must not fill another.
        body = _BLANK.sub(lambda match: blanks.get(match[1], match[0]), body)
    allow = ", ".join(query.endpoint.verbs) if query.endpoint else ""
    headers = tuple((name, allow) for name in row.headers)
    return Refusal(row, body.encode(), headers, until_s)


def _speaker(query: Query) -> str:
    """Return the category of a query, or its dialect, for look-ups of refusals."""
    if query.endpoint is None or query.endpoint.versions != "own":
        return query.category.key
    key = query.endpoint.key, query.parameters.get("api-version", "")
    category, dot, version = (_SPEAKERS.get(key) or query.category.key).partition(".")
    return f"{category}{WINDOWS if query.is_on_windows else ''}{dot}{version}"


def _correlation(query: Query) -> str:
    """Return a GUID, the same for the same request."""
    text = repr((query.method, query.path, sorted(query.parameters.items())))
    return str(UUID(bytes=sha256(text.encode()).digest()[:16], version=4))


def throttled(query: Query) -> Refusal:
    """Return the refusal of a query over the rate limit."""
    wants_text = _has_formats(query) and query.parameters.get("format", "").lower() == "text"
    return refuse("throttled_text" if wants_text else "throttled", query)


def _has_formats(query: Query) -> bool:
    return query.endpoint is not None and query.endpoint.has_formats


def inside_json(text: str) -> str:
    """Return text escaped for the inside of a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]
