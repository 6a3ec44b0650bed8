"""Query and VM in, answer or refusal out.

The gates stand in the order of `spec.endpoints.GATES`. Each one is a function that returns a
refusal or nothing; the first refusal wins.
"""

from collections.abc import Callable

import msgspec.json
from msgspec import Struct

from openimds.core.project import project, shape
from openimds.core.request import Query
from openimds.core.walk import MISSING, as_json, as_text, descend, is_leaf
from openimds.spec.endpoints import Endpoint
from openimds.spec.headers import JSON_MEDIA, TEXT_MEDIA
from openimds.spec.problems import Problem
from openimds.spec.refusals import problem
from openimds.spec.versions import SCHEDULED_EVENTS, Catalog

_EVENT_VERSIONS = frozenset(row.name for row in SCHEDULED_EVENTS)


class Subject(Struct, frozen=True):
    """Whom a query is about: the complete newest document of a VM, and what its region knows."""

    document: dict[str, object]
    is_classic: bool
    catalog: Catalog


class Answer(Struct, frozen=True):
    """A success, and what its head has in common with that of a refusal."""

    body: bytes
    media: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Struct, frozen=True):
    """A row of the refusals with its blanks filled."""

    problem: Problem
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def media(self) -> str:
        """The media type of the row."""
        return self.problem.media

    @property
    def status(self) -> int:
        """The status of the row."""
        return self.problem.status


def answer(query: Query, subject: Subject) -> Answer | Refusal:
    """Return what IMDS says to a query about a VM."""
    refused = check(query, subject.catalog)
    if refused:
        return refused
    assert query.endpoint is not None  # The first gate saw to it.
    serve = _SERVED.get(query.endpoint.key)
    return serve(query, subject) if serve else refuse(query.endpoint.unserved, query)


def check(query: Query, catalog: Catalog) -> Refusal | None:
    """Return the first refusal of the gates before the document, or None."""
    for gate in (_path, _verb, _headers, _duplicates):
        key = gate(query)
        if key:
            return refuse(key, query, _blanks_of(query, catalog))
    assert query.endpoint is not None
    key = _version(query, query.endpoint, catalog) or _required(query, query.endpoint)
    return refuse(key, query, _blanks_of(query, catalog)) if key else None


def refuse(key: str, query: Query, blanks: dict[str, str] | None = None) -> Refusal:
    """Return the refusal `key` in the words of the query's category."""
    row = problem(key, query.category.key)
    body = row.body
    for name, value in (blanks or {}).items():
        body = body.replace("{" + name + "}", value)
    allow = ", ".join(query.endpoint.verbs) if query.endpoint else ""
    headers = tuple((name, allow) for name in row.headers)
    return Refusal(row, body.encode(), headers)


def throttled(query: Query) -> Refusal:
    """Return the refusal of a query that came too soon."""
    wants_text = _has_formats(query) and query.parameters.get("format", "").lower() == "text"
    return refuse("throttled_text" if wants_text else "throttled", query)


def _has_formats(query: Query) -> bool:
    return query.endpoint is not None and query.endpoint.has_formats


def _blanks_of(query: Query, catalog: Catalog) -> dict[str, str]:
    """Return every blank that some row may have, as JSON text."""
    return {
        "newest": msgspec.json.encode(catalog.newest_first).decode(),
        "path": _inside_json(query.path),
        "method": _inside_json(query.method),
        "value": _inside_json(query.parameters.get("api-version", "")),
    }


def _inside_json(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


def _path(query: Query) -> str:
    return "" if query.endpoint else "not_found"


def _verb(query: Query) -> str:
    verbs = query.endpoint.verbs if query.endpoint else ()
    return "" if query.method in verbs else "verb_not_allowed"


def _headers(query: Query) -> str:
    if not query.has_metadata_header:
        return "header_missing"
    return "forwarded" if query.is_forwarded else ""


def _duplicates(query: Query) -> str:
    return "duplicate_parameter" if query.has_duplicates else ""


def _version(query: Query, endpoint: Endpoint, catalog: Catalog) -> str:
    asked = query.parameters.get("api-version", "")
    match endpoint.versions:
        case "":
            return ""
        case "events":
            if asked in _EVENT_VERSIONS:
                return ""
            # A general version there is answered like an unknown element (recorded, S25).
            return "not_found" if asked in catalog.known else "version_unknown"
        case _:
            if asked in catalog.known and asked >= endpoint.since:
                return ""
            return "version_unknown" if asked else "version_missing"


def _required(query: Query, endpoint: Endpoint) -> str:
    for row in endpoint.parameters:
        if row.missing and not query.parameters.get(row.name):
            return row.missing
    return ""


def _versions(_: Query, subject: Subject) -> Answer:
    body = msgspec.json.encode({"apiVersions": subject.catalog.general})
    return Answer(body, JSON_MEDIA)


def _instance(query: Query, subject: Subject) -> Answer | Refusal:
    return _node(query, descend(_document(query, subject), query.route))


def _root(query: Query, subject: Subject) -> Answer | Refusal:
    return _node(query, {"instance": _document(query, subject)})


def _document(query: Query, subject: Subject) -> dict[str, object]:
    wanted = shape(
        query.parameters["api-version"],
        is_classic=subject.is_classic,
        is_extended=query.parameters.get("extended", "").lower() == "true",
    )
    return project(subject.document, wanted)


def _node(query: Query, node: object) -> Answer | Refusal:
    if node is MISSING:
        return refuse("not_found", query)
    wanted = (query.parameters.get("format") or "json").lower()
    if wanted == "text":
        return Answer(as_text(node), TEXT_MEDIA)
    if wanted != "json":
        return refuse("format_unknown", query)
    return refuse("leaf_needs_text", query) if is_leaf(node) else Answer(as_json(node), JSON_MEDIA)


_SERVED: dict[str, Callable[[Query, Subject], Answer | Refusal]] = {
    "instance": _instance,
    "root": _root,
    "versions": _versions,
}
"""What this release serves; every other endpoint answers as a VM that has nothing there."""
