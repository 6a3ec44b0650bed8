"""Attribution: the fact that a difference is about."""

from openimds.facts import attested, balancer, events
from openimds.facts.document import FIELDS
from openimds.facts.facts import (
    ATTESTED,
    BALANCER,
    EVENT_VERSIONS,
    EVENTS,
    FACTS,
    FIELD,
    HEADERS,
    VERSIONS,
    Fact,
)
from openimds.facts.headers import HEADER_ORDERS
from openimds.interop.compare.difference import AnswerDifference, DifferenceKind
from openimds.interop.transcript import location
from openimds.interop.transcript.json_scan import Steps
from openimds.interop.transcript.location import Location, field_path

_FAMILY = HEADER_ORDERS["general"]
_IN_BODY = frozenset(
    {DifferenceKind.FIELD, DifferenceKind.TYPE, DifferenceKind.MEMBER_ORDER, DifferenceKind.VALUE}
)
_LISTS = {location.INSTANCE: VERSIONS, location.EVENTS: EVENT_VERSIONS}
"""The documents where an api-version that only one side serves is a fact of its own."""


def about(
    difference: AnswerDifference, where: Location, version: str, question: Fact | None
) -> Fact | None:
    """Return the fact that a difference is about, None if it is about no row.

    Args:
        difference: the difference between two answers.
        where: the location of the request.
        version: the api-version that the question was asked at, empty if it was asked once.
        question: the fact that the question settles.
    """
    match difference.kind:
        case DifferenceKind.API_VERSION:
            return _named(VERSIONS, difference.subject)
        case DifferenceKind.STATUS if version and where.document in _LISTS:
            return _named(_LISTS[where.document], version)
        case DifferenceKind.HEADER_ORDER:
            return _headers()
        case DifferenceKind.HEADER if difference.subject.lower() in map(str.lower, _FAMILY.names):
            return _headers()
        case kind if kind in _IN_BODY and difference.steps:
            return _in_document(where, difference.steps, question)
        case _:
            return question


def _named(kind: str, name: str) -> Fact | None:
    return next((row for row in FACTS[kind] if row.name == name), None)


def _headers() -> Fact | None:
    return _named(HEADERS, f"{_FAMILY.family}: {', '.join(_FAMILY.names)}")


def _in_document(where: Location, steps: Steps, question: Fact | None) -> Fact | None:
    """Return the fact of the row at `steps`, or of the first row below them."""
    match where.document:
        case location.INSTANCE:
            return _field(steps)
        case location.ROOT if steps[0] == location.INSTANCE and steps[1:]:
            return _field(steps[1:])
        case location.BALANCER if steps[1:]:
            rows = [row for row in balancer.LISTS if row.name == steps[1]]
            return _named(BALANCER, f"{rows[0].name}: {', '.join(rows[0].names)}") if rows else None
        case location.ATTESTED if steps[0] == "signed" and steps[1:]:
            return _member(ATTESTED, "", attested.MEMBERS, steps[1])
        case location.EVENTS if steps[2:]:
            return _member(EVENTS, "member ", events.MEMBERS, steps[2])
        case _:
            return question


def _field(steps: Steps) -> Fact | None:
    path = field_path(steps)
    rows = [row for row in FIELDS if row.path == path] or [
        row for row in FIELDS if row.path.startswith((f"{path}.", f"{path}[]"))
    ]
    return _named(FIELD, f"{rows[0].path}, since {rows[0].since}") if rows else None


def _member(
    kind: str,
    prefix: str,
    rows: tuple[attested.PayloadMember, ...] | tuple[events.EventMember, ...],
    name: str | int,
) -> Fact | None:
    for row in rows:
        if row.name == name:
            return _named(kind, f"{prefix}{row.name}, since {row.since}")
    return None
