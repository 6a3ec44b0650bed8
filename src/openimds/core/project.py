"""The newest document, cut to an api-version.

A version's shape is grown from the field rows that are alive in it, with the names that its nodes
had then; it is computed once and kept. Cutting is a walk along that shape, so the cost is that of
the fields which come out.
"""

from functools import cache

from msgspec import Struct

from openimds.model.tree import Group, Many, Node, grow
from openimds.spec.document import CLASSIC_MEMBERS, FIELDS, OLD_NAMES
from openimds.spec.fields import Field


class Member(Struct, frozen=True):
    """One member of an object at some version: its key in the newest document, and its shape."""

    name: str
    key: str
    shape: "Shape | None"
    is_list: bool


Shape = tuple[Member, ...]


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


def _cut(value: object, member: Member) -> object:
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


def _member(key: str, node: Node, version: str) -> Member:
    inner = node.item if isinstance(node, Many) else node
    below = _shape(inner, version) if isinstance(inner, Group) else None
    return Member(_old_name(node.path, version) or key, key, below, isinstance(node, Many))


def _old_name(path: str, version: str) -> str:
    for row in OLD_NAMES:
        if row.path == path and version < row.before:
            return row.name
    return ""
