"""The newest document: cut it to an api-version, follow a route through it, write a node.

A version's shape is grown from the field rows that are alive in it, with the names that its nodes
had then; it is computed once and kept. Cutting is a walk along that shape, so the cost is that of
the fields which come out.
"""

from enum import Enum
from functools import cache

import msgspec.json
from msgspec import Struct

from openimds.facts.document import CLASSIC_MEMBERS, FIELDS, OLD_NAMES
from openimds.facts.fields import Field
from openimds.vm.schema_tree import Group, Many, Node, grow


class ShapeMember(Struct, frozen=True):
    """One member of an object at some version: its key in the newest document, and its shape."""

    name: str
    key: str
    shape: "Shape | None"
    is_list: bool


Shape = tuple[ShapeMember, ...]


def is_alive(row: Field, version: str) -> bool:
    """Tell whether a field is part of a version. Versions are dates, so their text sorts."""
    return row.since <= version and (not row.until or version < row.until)


@cache
def shape(version: str, *, is_classic: bool = False, is_extended: bool = False) -> Shape:
    """Return the shape of the document at a version, members in the order of the wire."""
    rows = (
        row
        for row in FIELDS
        if is_alive(row, version)
        and (is_extended or not row.extended)
        and (not is_classic or row.path.split(".")[0] in CLASSIC_MEMBERS)
    )
    return _shape(grow(rows), version)


def project(document: dict[str, object], wanted: Shape) -> dict[str, object]:
    """Return a complete newest document cut to a shape."""
    return {member.name: _cut(document[member.key], member) for member in wanted}


def _cut(value: object, member: ShapeMember) -> object:
    if member.shape is None:
        return value
    if not member.is_list:
        assert isinstance(value, dict)
        return project(value, member.shape)
    assert isinstance(value, list)
    return [project(one, member.shape) for one in value]


def _shape(group: Group, version: str) -> Shape:
    members = [_member(key, node, version) for key, node in group.members.items()]
    return tuple(sorted(members, key=lambda member: member.name))


def _member(key: str, node: Node, version: str) -> ShapeMember:
    inner = node.item if isinstance(node, Many) else node
    below = _shape(inner, version) if isinstance(inner, Group) else None
    return ShapeMember(_old_name(node.path, version) or key, key, below, isinstance(node, Many))


def _old_name(path: str, version: str) -> str:
    for row in OLD_NAMES:
        if row.path == path and version < row.before:
            return row.name
    return ""


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
