"""What two heads do not share: the headers, their values, their order and their spelling."""

import re
from collections.abc import Iterator

from openimds.comparison.difference import ABSENT, Found, Kind
from openimds.transcript.exchange import Answer
from openimds.transcript.standin import REDACTED

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_BUILD = re.compile(r"(?<=IMDS/)\d[\d.]*")
"""The number of a build tells when and where, not how."""


def head(left: Answer, right: Answer) -> Iterator[Found]:
    """Yield what is different in the headers of two answers."""
    ours, theirs = _first(left), _first(right)
    for name in dict.fromkeys((*ours, *theirs)):
        spelled = ours.get(name, theirs.get(name, ("", "")))[0]
        if name not in theirs:
            yield Found(Kind.HEADER, spelled, ours[name][1], ABSENT)
        elif name not in ours:
            yield Found(Kind.HEADER, spelled, ABSENT, theirs[name][1])
        elif not _is_same(name, (left, ours[name][1]), (right, theirs[name][1])):
            yield Found(Kind.HEADER, spelled, ours[name][1], theirs[name][1])
    if _common(left, theirs) != _common(right, ours):
        yield Found(Kind.HEADER_ORDER, "", _names(left), _names(right))


def _first(said: Answer) -> dict[str, tuple[str, str]]:
    """Return the first header of each name: name and value by the name in lower case."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in said.fields:
        found.setdefault(name.lower(), (name, value))
    return found


def _common(said: Answer, others: dict[str, tuple[str, str]]) -> list[str]:
    return [name for name, _ in said.fields if name.lower() in others]


def _names(said: Answer) -> str:
    return ", ".join(name for name, _ in said.fields)


def _is_same(name: str, left: tuple[Answer, str], right: tuple[Answer, str]) -> bool:
    """Tell whether two values are alike; a stand-in is like anything."""
    values = left[1], right[1]
    return REDACTED in values or _form(name, *left) == _form(name, *right)


def _form(name: str, said: Answer, value: str) -> str:
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
