"""Trees are grown from rows."""

import pytest

from openimds.facts.document import FIELDS
from openimds.facts.evidence import chosen
from openimds.facts.fields import Field, FieldKind
from openimds.facts.redaction import KEPT
from openimds.vm.schema_tree import Group, Leaf, Many, Named, grow, newest_tree, nodes


def _row(path: str, kind: FieldKind = FieldKind.TEXT) -> Field:
    return Field(path, "2017-03-01", KEPT, chosen("for this test"), "", kind=kind)


def test_no_rows_make_an_empty_object() -> None:
    assert grow([]) == Group("", {})


def test_a_path_becomes_groups_arrays_and_a_leaf() -> None:
    row = _row("a.b[].c[].d", FieldKind.BOOLEAN)
    leaf = Leaf("a.b[].c[].d", FieldKind.BOOLEAN, row)
    inner = Many("a.b[].c", Group("a.b[].c[]", {"d": leaf}))
    outer = Many("a.b", Group("a.b[]", {"c": inner}))
    assert grow([row]) == Group("", {"a": Group("a", {"b": outer})})


def test_rows_of_one_object_meet_in_it_in_any_order() -> None:
    rows = [_row("b.y"), _row("a"), _row("b.x")]
    tree = grow(rows)
    assert tree == grow(reversed(rows))
    assert list(tree.members) == ["a", "b"]
    assert isinstance(tree.members["b"], Group)
    assert list(tree.members["b"].members) == ["x", "y"]


def test_arrays_are_sorted_by_name_too() -> None:
    """As the wire has them: `ipAddress` before `ipAddressBlock`."""
    assert list(grow([_row("ab[].x"), _row("aB[].x"), _row("a[].x")]).members) == ["a", "aB", "ab"]


def test_members_are_sorted_by_their_older_names() -> None:
    tree = grow([_row("a.b"), _row("z.y"), _row("m")], {"z": "b", "a.b": "c"})
    assert list(tree.members) == ["a", "z", "m"]
    assert tree.names == {"z": "b"}
    inner = tree.members["a"]
    assert isinstance(inner, Group)
    assert inner.names == {"b": "c"}


def test_nodes_come_parents_first() -> None:
    tree = grow([_row("a.b[].c"), _row("d")])
    assert [node.path for node in nodes(tree)] == ["", "a", "a.b", "a.b[]", "a.b[].c", "d"]


def test_nodes_below_free_names_are_found_too() -> None:
    named = Named("tags", Leaf("tags"))
    assert list(nodes(named)) == [named, named.item]


def test_the_newest_tree_knows_every_row_and_is_grown_once() -> None:
    leaves = [node for node in nodes(newest_tree()) if isinstance(node, Leaf)]
    assert {leaf.path for leaf in leaves} == {row.path for row in FIELDS}
    assert newest_tree() is newest_tree()


@pytest.mark.parametrize("member", ["compute", "extended", "network"])
def test_the_newest_tree_has_the_members_of_the_document(member: str) -> None:
    assert isinstance(newest_tree().members[member], Group)
    assert len(newest_tree().members) == 3
