"""The instance document at an api-version: tree, routes and formats.

A version's tree is grown from the field rows that are alive in it, with the names that its nodes
had then. Its plan is compiled once from that tree and kept; `vm.defaults.complete` fills it.
"""

from enum import Enum
from functools import cache

import msgspec.json

from openimds.facts.document import CLASSIC_MEMBERS, FIELDS, OLD_NAMES
from openimds.facts.fields import Field
from openimds.vm.defaults import plan_of
from openimds.vm.document_plan import ObjectPlan
from openimds.vm.schema_tree import Group, grow


def is_alive(row: Field, version: str) -> bool:
    """Tell whether a field is part of a version; versions are dates, so they sort."""
    return row.since <= version and (not row.until or version < row.until)


def tree_at(version: str, *, is_classic: bool = False, is_extended: bool = False) -> Group:
    """Return the tree of a version, members in the order of the wire."""
    rows = (
        row
        for row in FIELDS
        if is_alive(row, version)
        and (is_extended or not row.extended)
        and (not is_classic or row.path.split(".")[0] in CLASSIC_MEMBERS)
    )
    return grow(rows, {row.path: row.name for row in OLD_NAMES if version < row.before})


@cache
def plan_at(version: str, *, is_classic: bool = False, is_extended: bool = False) -> ObjectPlan:
    """Return the plan of the documents of a version, for `vm.defaults.complete`."""
    return plan_of(tree_at(version, is_classic=is_classic, is_extended=is_extended))


class Missing(Enum):
    """The result of a route that leads nowhere."""

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


as_json = msgspec.json.Encoder().encode
"""Write a node as compact JSON; members stay in the order of the document."""


def as_text(node: object) -> bytes:
    """Return a leaf raw, or a listing: a child a line, directories with a slash."""
    match node:
        case dict():
            return "\n".join(name + _slash(child) for name, child in node.items()).encode()
        case list():
            return "\n".join(f"{i}{_slash(child)}" for i, child in enumerate(node)).encode()
        case bool():
            return str(node).lower().encode()
        case None:
            return b""
        case _:
            return str(node).encode()


def _slash(child: object) -> str:
    return "/" if isinstance(child, dict | list) else ""
