"""What a case is: one request, what must come back, and where that is known from."""

import json
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | bool"

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
SPEC = "imds-wire.md"

INSTANCE = "/metadata/instance"
V2021 = "api-version=2021-02-01"
NEWEST = "api-version=2025-11-15"

# What every well-behaved client sends beyond Host.
METADATA = {"Metadata": "true"}


@dataclass(frozen=True)
class Reply:
    """What must come back. None means "not known" for the content type and the body."""

    status: int
    body: str | None = None
    content_type: str | None = JSON
    body_of: str | None = None  # the file that holds the body, instead of `body`
    json_has: dict[str, Json] = field(default_factory=dict)  # members of the body, with values
    has_headers: dict[str, str | None] = field(default_factory=dict)  # None: whatever the value
    lacks_headers: tuple[str, ...] = ()


def text(body: str) -> Reply:
    """An answer to format=text."""
    return Reply(200, body, TEXT)


@dataclass(frozen=True)
class Case:
    """One exchange."""

    name: str
    method: str
    target: str
    headers: dict[str, str]
    reply: Reply
    evidence: str

    def row(self) -> dict[str, object]:
        """This case as it stands in cases.json: what is empty and optional is left out."""
        reply = self.reply
        row: dict[str, object] = {
            "name": self.name,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "status": reply.status,
            "content_type": reply.content_type,
            "body": reply.body,
        }
        optional = {
            "body_of": reply.body_of,
            "json_has": reply.json_has,
            "has_headers": reply.has_headers,
            "lacks_headers": list(reply.lacks_headers),
        }
        row |= {key: value for key, value in optional.items() if value}
        return row | {"evidence": f"{SPEC} {self.evidence}"}


def ask(
    evidence: str,
    reply: Reply,
    targets: dict[str, str],
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
) -> list[Case]:
    """Cases that differ in name and target only."""
    sent = METADATA if headers is None else headers
    return [Case(name, method, target, sent, reply, evidence) for name, target in targets.items()]


def as_rows(cases: list[Case]) -> list[dict[str, object]]:
    """All cases as they stand in cases.json; no two share a name."""
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two cases of one name: {sorted(twice)}")
    return [case.row() for case in cases]


def compact(node: Json) -> str:
    """The bytes rule of A.0: no blanks, sorted keys, UTF-8, no newline at the end."""
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def at(node: Json, *route: str | int) -> Json:
    """The part of a document that a route leads to."""
    for step in route:
        match node, step:
            case dict(), str():
                node = node[step]
            case list(), int():
                node = node[step]
            case _:
                raise TypeError(f"{step!r} does not lead into {type(node).__name__}")
    return node


def leaf(node: Json, *route: str | int) -> str:
    """The text of a leaf."""
    found = at(node, *route)
    if not isinstance(found, str):
        raise TypeError(f"{route} is not a leaf")
    return found


def listing(node: Json) -> str:
    """A node as text (D.2): its children by name or index, one a line, `/` after a non-leaf."""
    if isinstance(node, dict):
        children = [(key, node[key]) for key in sorted(node)]
    elif isinstance(node, list):
        children = [(str(index), item) for index, item in enumerate(node)]
    else:
        raise TypeError("a leaf has no listing")
    return "\n".join(name + "/" * isinstance(item, dict | list) for name, item in children)
