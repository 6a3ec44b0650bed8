"""What two heads do not share: the headers, their values, their order and their spelling."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from openimds.interop.compare.difference import ABSENT, AnswerDifference, DifferenceKind
from openimds.interop.transcript.exchange import RecordedResponse
from openimds.interop.transcript.placeholders import REDACTED

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_LENGTH = "content-length"
_BUILD = re.compile(r"(?<=IMDS/)\d[\d.]*")
"""The number of a build tells when and where, not how."""


class _Header(NamedTuple):
    """A header as it was spelled, without the blanks around its value."""

    name: str
    value: str


def head(
    left: RecordedResponse, right: RecordedResponse, method: str = "GET"
) -> Iterator[AnswerDifference]:
    """Yield what is different in the headers of two answers to a request of this method."""
    ours, theirs = _first(left), _first(right)
    known = {**theirs, **ours}
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        values = one.value if one else ABSENT, other.value if other else ABSENT
        if one and other and _is_alike(name, (left, right), values, method):
            continue
        yield AnswerDifference(DifferenceKind.HEADER, known[name].name, *values)
    if _common(left, theirs) != _common(right, ours):
        yield AnswerDifference(DifferenceKind.HEADER_ORDER, "", _names(left), _names(right))


def _first(said: RecordedResponse) -> dict[str, _Header]:
    """Return the first header of each name by the name in lower case."""
    found: dict[str, _Header] = {}
    for name, value in said.fields:
        found.setdefault(name.lower(), _Header(name, value))
    return found


def _is_alike(
    name: str,
    answers: tuple[RecordedResponse, RecordedResponse],
    values: tuple[str, str],
    method: str,
) -> bool:
    """Tell whether two values are alike but for what is another one in every answer."""
    if REDACTED in values:
        return True
    if method == "HEAD" and name == _LENGTH:
        # How long the body would be is the VM's own matter.
        return all(map(str.isdecimal, values))
    return _form(name, answers[0], values[0]) == _form(name, answers[1], values[1])


def _common(said: RecordedResponse, others: dict[str, _Header]) -> list[str]:
    return [name for name, _ in said.fields if name.lower() in others]


def _names(said: RecordedResponse) -> str:
    return ", ".join(name for name, _ in said.fields)


def _form(name: str, said: RecordedResponse, value: str) -> str:
    """Return a value without what is another one in every answer."""
    match name:
        case "date" if _DATE.fullmatch(value):
            return "a date"
        case "content-length" if value == str(len(said.octets)):
            return "the length of the body"
        case "x-ms-request-id" if _GUID.fullmatch(value):
            return "a GUID"
        case "server":
            return _BUILD.sub("a build", value)
        case _:
            return value
