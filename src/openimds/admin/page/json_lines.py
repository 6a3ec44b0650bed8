"""A JSON value as lines, of which those are marked that differ from another value."""

from collections.abc import Iterator
from typing import Any

import msgspec.json
from msgspec import Struct

_ABSENT = object()
_STEP = "  "


class JsonLine(Struct, frozen=True):
    """A line of indented JSON, and whether its value differs."""

    text: str
    is_marked: bool = False


def marked_lines(value: object, other: object) -> list[JsonLine]:
    """Return the lines of a value; those that differ from another are marked."""
    return [*_lines(value, other, "", "", "")]


def _lines(value: Any, other: Any, indent: str, head: str, end: str) -> Iterator[JsonLine]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        others = other if isinstance(other, dict) else {}
        members = [(f"{_text(key)}: ", one, others.get(key, _ABSENT)) for key, one in value.items()]
        braces = "{}"
    elif isinstance(value, list) and value:
        items = other if isinstance(other, list) else []
        members = [
            ("", one, items[at] if at < len(items) else _ABSENT) for at, one in enumerate(value)
        ]
        braces = "[]"
    else:
        yield JsonLine(f"{indent}{head}{_text(value)}{end}", value != other)
        return
    yield JsonLine(f"{indent}{head}{braces[0]}")
    for number, (key, one, its_other) in enumerate(members, 1):
        comma = "," if number < len(members) else ""
        yield from _lines(one, its_other, indent + _STEP, key, comma)
    yield JsonLine(f"{indent}{braces[1]}{end}")


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
