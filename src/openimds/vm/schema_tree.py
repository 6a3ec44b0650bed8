"""The shape of a value as a tree of nodes, and the tree that the field rows make."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeAlias

from msgspec import Struct, field

from openimds.facts.document import FIELDS
from openimds.facts.fields import Field, FieldKind


class Leaf(Struct, frozen=True):
    """A scalar; `row` is there for the leaves of the instance document."""

    path: str
    kind: FieldKind = FieldKind.TEXT
    row: Field | None = None
    choices: tuple[str, ...] = ()
    hints: dict[str, str] = field(default_factory=dict)
    """What to say of values that are meant well."""


class Group(Struct, frozen=True):
    """An object with known members."""

    path: str
    members: "dict[str, Node]"


class Many(Struct, frozen=True):
    """An array whose elements are alike."""

    path: str
    item: "Node"


class Named(Struct, frozen=True):
    """An object whose member names are free and whose members are alike."""

    path: str
    item: "Node"


Node: TypeAlias = Leaf | Group | Many | Named


def grow(rows: Iterable[Field]) -> Group:
    """Return the tree whose leaves are the given rows, members sorted by name."""
    return _group("", [(row.path.split("."), row) for row in rows])


def _group(path: str, rows: list[tuple[list[str], Field]]) -> Group:
    by_name: dict[str, list[tuple[list[str], Field]]] = {}
    for (first, *rest), row in rows:
        by_name.setdefault(first, []).append((rest, row))
    members: dict[str, Node] = {}
    for name in sorted(by_name, key=lambda name: name.removesuffix("[]")):
        below, inner = f"{path}.{name}" if path else name, by_name[name]
        if not inner[0][0]:
            members[name] = Leaf(below, inner[0][1].kind, inner[0][1])
        elif name.endswith("[]"):
            members[name[:-2]] = Many(below[:-2], _group(below, inner))
        else:
            members[name] = _group(below, inner)
    return Group(path, members)


def nodes(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, parents first."""
    yield node
    match node:
        case Group(members=members):
            for member in members.values():
                yield from nodes(member)
        case Many(item=item) | Named(item=item):
            yield from nodes(item)
        case _:  # A leaf has nothing below it.
            return


@cache
def newest_tree() -> Group:
    """Return the tree of the newest document, with the few fields that have ended."""
    return grow(FIELDS)
