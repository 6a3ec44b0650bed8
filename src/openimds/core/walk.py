"""Follow a route through a document, and write what stands at its end."""

from enum import Enum

import msgspec.json


class Missing(Enum):
    """The route leads nowhere."""

    MISSING = "missing"


MISSING = Missing.MISSING


def descend(document: object, route: tuple[str, ...]) -> object:
    """Return the node at the end of a route, or `MISSING`.

    A segment is a member's name in any letter case, or the zero-based decimal index of an element.
    """
    node = document
    for segment in route:
        match node:
            case dict():
                key = segment if segment in node else _any_case(segment, node)
                node = node.get(key, MISSING)
            case list():
                is_index = segment.isascii() and segment.isdecimal() and len(segment) < _DIGITS
                index = int(segment) if is_index else len(node)
                node = node[index] if index < len(node) else MISSING
            case _:
                return MISSING
    return node


_DIGITS = 10
"""An index longer than this is out of range; int() of a long text would cost much."""


def _any_case(segment: str, node: dict[str, object]) -> str:
    lower = segment.lower()
    return next((key for key in node if key.lower() == lower), segment)


def is_leaf(node: object) -> bool:
    """Tell whether a node has nothing below it."""
    return not isinstance(node, dict | list)


def as_json(node: object) -> bytes:
    """Return a node as compact JSON; members stay in the order of the document."""
    return msgspec.json.encode(node)


def as_text(node: object) -> bytes:
    """Return a leaf raw, or a listing: a child a line, directories with a slash, no last end."""
    match node:
        case dict():
            return "\n".join(name + _slash(child) for name, child in node.items()).encode()
        case list():
            return "\n".join(f"{i}{_slash(child)}" for i, child in enumerate(node)).encode()
        case bool():
            return str(node).lower().encode()
        case _:
            return str(node).encode()


def _slash(child: object) -> str:
    return "" if is_leaf(child) else "/"
