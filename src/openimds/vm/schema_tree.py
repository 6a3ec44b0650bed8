"""The schema of a value as a tree of nodes, grown from field rows."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TypeAlias

from msgspec import Struct, field

from openimds.facts.document import FIELDS
from openimds.facts.fields import Field, FieldKind


class Leaf(Struct, frozen=True):
    """A scalar; leaves of the instance document have a `row`."""

    path: str
    kind: FieldKind = FieldKind.TEXT
    row: Field | None = None
    choices: tuple[str, ...] = ()
    hints: dict[str, str] = field(default_factory=dict)
    """The advice for a well-meant wrong value, by value."""


class Plain(Struct, frozen=True):
    """A value of any JSON type, which the schema does not describe."""

    path: str


class Group(Struct, frozen=True):
    """An object with known members.

    `names` has the keys that are written differently in the document of an older api-version.
    `wrapper` is the one member around the group in a captured body, as in `/metadata/loadbalancer`.
    """

    path: str
    members: "dict[str, Node]"
    names: dict[str, str] = field(default_factory=dict)
    wrapper: str = ""


class Many(Struct, frozen=True):
    """An array whose elements are alike."""

    path: str
    item: "Node"


class Named(Struct, frozen=True):
    """An object whose member names are free and whose members are alike."""

    path: str
    item: "Node"


Node: TypeAlias = Leaf | Plain | Group | Many | Named

_NO_NAMES: Mapping[str, str] = {}


def grow(rows: Iterable[Field], names: Mapping[str, str] = _NO_NAMES) -> Group:
    """Return the tree whose leaves are the given rows.

    `names` has the older names of nodes by path. Members are sorted by the name in the document.
    """
    return _group("", [(row.path.split("."), row) for row in rows], names)


def _group(path: str, rows: list[tuple[list[str], Field]], names: Mapping[str, str]) -> Group:
    by_segment: dict[str, list[tuple[list[str], Field]]] = {}
    for (segment, *rest), row in rows:
        by_segment.setdefault(segment, []).append((rest, row))
    members: dict[str, Node] = {}
    older: dict[str, str] = {}
    for segment, below in by_segment.items():
        key, member_path = segment.removesuffix("[]"), f"{path}.{segment}".lstrip(".")
        if not below[0][0]:
            members[key] = Leaf(member_path, below[0][1].kind, below[0][1])
        elif segment != key:
            array = member_path.removesuffix("[]")
            members[key] = Many(array, _group(member_path, below, names))
        else:
            members[key] = _group(member_path, below, names)
        if members[key].path in names:
            older[key] = names[members[key].path]
    in_order = sorted(members, key=lambda key: older.get(key, key))
    return Group(path, {key: members[key] for key in in_order}, older)


def nodes(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, parents first."""
    yield node
    match node:
        case Group(members=members):
            for member in members.values():
                yield from nodes(member)
        case Many(item=item) | Named(item=item):
            yield from nodes(item)
        case _:  # A leaf and a plain value have nothing below them.
            return


@cache
def newest_tree() -> Group:
    """Return the tree of the newest document, with the few fields that have ended."""
    return grow(FIELDS)
