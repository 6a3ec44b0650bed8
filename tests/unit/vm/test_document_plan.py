"""A plan has the members of a tree, their names, their order and their defaults."""

from typing import Any

import pytest

from openimds.facts.evidence import chosen
from openimds.facts.fields import Derived, Field
from openimds.facts.redaction import KEPT
from openimds.vm.defaults import complete
from openimds.vm.document_plan import Rule, Trail, compile_plan
from openimds.vm.schema_tree import Group, Leaf, Named, grow
from openimds.vm.types import Vm


def _row(path: str, default: str | Derived = "") -> Field:
    return Field(path, "2017-03-01", KEPT, chosen("for this test"), "", default)


def _derive(rule: Rule, trail: Trail) -> str:
    return rule(None, trail)


def _fill(rows: list[Field], written: object, names: dict[str, str] | None = None) -> Any:
    rules: dict[Derived, Rule] = {Derived.POSITION: lambda _, trail: f"at {trail}"}
    return compile_plan(grow(rows, names or {}), rules).fill(_derive, written, ())


ROWS = [
    _row("b.literal", "x"),
    _row("b.items[].place", Derived.POSITION),
    _row("b.items[].inner[].place", Derived.POSITION),
    _row("place", Derived.POSITION),
]


def test_an_unwritten_object_has_literals_and_derived_defaults() -> None:
    assert _fill(ROWS, None) == {"b": {"items": [], "literal": "x"}, "place": "at ()"}


def test_derived_defaults_in_arrays_know_every_position() -> None:
    written = {"b": {"items": [{}, {"inner": [{}], "place": "mine"}]}}
    assert _fill(ROWS, written)["b"]["items"] == [
        {"inner": [], "place": "at (0,)"},
        {"inner": [{"place": "at (1, 0)"}], "place": "mine"},
    ]


def test_written_members_outside_the_tree_are_left_out() -> None:
    assert _fill([_row("a")], {"a": "1", "newer": "2"}) == {"a": "1"}


def test_an_older_name_replaces_the_key_in_the_document() -> None:
    rows = [_row("new", "x"), _row("place", Derived.POSITION), _row("list[].a")]
    names = {"new": "old", "list": "all"}
    document = _fill(rows, {"new": "y", "list": [{}]}, names)
    assert list(document.items()) == [("all", [{"a": ""}]), ("old", "y"), ("place", "at ()")]
    assert _fill(rows, {}, names)["old"] == "x"


def test_a_member_that_is_null_gets_its_default() -> None:
    assert _fill(ROWS, {"b": None, "place": None}) == _fill(ROWS, {})


@pytest.mark.parametrize("node", [Leaf("free"), Named("free", Leaf("free"))])
def test_a_node_without_a_place_in_documents_is_refused(node: Leaf | Named) -> None:
    with pytest.raises(TypeError, match=r"^free: "):
        compile_plan(Group("", {"free": node}), {})


def test_documents_of_one_plan_share_no_container() -> None:
    def empty(node: Any) -> None:
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, dict | list):
                empty(child)
        node.clear()

    before = repr(complete(Vm("web-1")))
    empty(complete(Vm("web-1")))
    assert repr(complete(Vm("web-1"))) == before
