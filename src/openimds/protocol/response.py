"""What comes out: an answer, or a refusal that is a row with its blanks filled."""

import re
from math import inf

import msgspec.json
from msgspec import Struct

from openimds.facts.headers import JSON_MEDIA
from openimds.facts.refusal import RefusalRow
from openimds.facts.refusals import refusal_row
from openimds.protocol.request import Query

_BLANK = re.compile(r"\{(\w+)\}")
WHILE_HELD = -inf
"""As `until_s`: the answer holds for as long as what it was made of is what is held."""


class Response(Struct, frozen=True):
    """A success, and what its head has in common with that of a refusal.

    `until_s` is the time (seconds since 1970) from which the answer is another one; an answer
    without such a time holds until the VM changes.
    """

    body: bytes
    media: str = JSON_MEDIA
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    until_s: float = inf


class Refusal(Struct, frozen=True):
    """A row of the refusals with its blanks filled."""

    problem: RefusalRow
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    until_s: float = inf

    @property
    def media(self) -> str:
        """The media type of the row."""
        return self.problem.media

    @property
    def status(self) -> int:
        """The status of the row."""
        return self.problem.status


def refuse(
    key: str, query: Query, blanks: dict[str, str] | None = None, until_s: float = inf
) -> Refusal:
    """Return the refusal `key` in the words of the query's category; `blanks` are JSON text."""
    row = refusal_row(key, query.category.key)
    known = blanks or {}
    # In one pass: what a guest wrote is no template.
    body = _BLANK.sub(lambda found: known.get(found[1], found[0]), row.body)
    allow = ", ".join(query.endpoint.verbs) if query.endpoint else ""
    headers = tuple((name, allow) for name in row.headers)
    return Refusal(row, body.encode(), headers, until_s)


def throttled(query: Query) -> Refusal:
    """Return the refusal of a query that came too soon."""
    wants_text = _has_formats(query) and query.parameters.get("format", "").lower() == "text"
    return refuse("throttled_text" if wants_text else "throttled", query)


def _has_formats(query: Query) -> bool:
    return query.endpoint is not None and query.endpoint.has_formats


def inside_json(text: str) -> str:
    """Return text as it stands between the quotes of a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]
