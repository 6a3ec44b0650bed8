"""Differences of two heads: headers, their values, their order and their spelling."""

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
"""The build number differs by time and region, not by behaviour."""


class _Header(NamedTuple):
    """A header as it was spelled, without the blanks around its value."""

    name: str
    value: str


def head(
    left: RecordedResponse, right: RecordedResponse, method: str = "GET"
) -> Iterator[AnswerDifference]:
    """Yield the differences in the headers of two answers to a request of this method."""
    lefts, rights = _first_of_each(left), _first_of_each(right)
    spelled = {**rights, **lefts}
    for name in dict.fromkeys((*lefts, *rights)):
        one, other = lefts.get(name), rights.get(name)
        values = one.value if one else ABSENT, other.value if other else ABSENT
        if one and other and _is_alike(name, (left, right), values, method):
            continue
        yield AnswerDifference(DifferenceKind.HEADER, spelled[name].name, *values)
    if _common(left, rights) != _common(right, lefts):
        yield AnswerDifference(DifferenceKind.HEADER_ORDER, "", _names(left), _names(right))


def _first_of_each(response: RecordedResponse) -> dict[str, _Header]:
    """Return the first header of each name by the name in lower case."""
    headers: dict[str, _Header] = {}
    for name, value in response.fields:
        headers.setdefault(name.lower(), _Header(name, value))
    return headers


def _is_alike(
    name: str,
    responses: tuple[RecordedResponse, RecordedResponse],
    values: tuple[str, str],
    method: str,
) -> bool:
    """Tell whether two values are equal, without parts that differ in every answer."""
    if REDACTED in values:
        return True
    if method == "HEAD" and name == _LENGTH:
        # The length of the body belongs to the VM.
        return all(map(str.isdecimal, values))
    return _form(name, responses[0], values[0]) == _form(name, responses[1], values[1])


def _common(response: RecordedResponse, others: dict[str, _Header]) -> list[str]:
    return [name for name, _ in response.fields if name.lower() in others]


def _names(response: RecordedResponse) -> str:
    return ", ".join(name for name, _ in response.fields)


def _form(name: str, response: RecordedResponse, value: str) -> str:
    """Return a value with a phrase for each part that differs in every answer."""
    match name:
        case "date" if _DATE.fullmatch(value):
            return "a date"
        case "content-length" if value == str(len(response.octets)):
            return "the length of the body"
        case "x-ms-request-id" if _GUID.fullmatch(value):
            return "a GUID"
        case "server":
            return _BUILD.sub("a build", value)
        case _:
            return value
