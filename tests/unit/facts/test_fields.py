"""The field rows fit together, so that code can walk them."""

from collections import Counter

import pytest

from openimds.facts.document import CLASSIC_MEMBERS, FIELDS, OLD_NAMES, ONE_BY_DEFAULT, ONE_BY_RULE
from openimds.facts.fields import Derived, Field, FieldKind, Rename
from openimds.facts.versions import GENERAL
from openimds.vm.defaults import _RULES
from openimds.vm.schema_tree import Group, Leaf, Many, newest_tree, nodes

VERSIONS = [row.name for row in GENERAL]
TREE = tuple(nodes(newest_tree()))
each_field = pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
each_rename = pytest.mark.parametrize("row", OLD_NAMES, ids=lambda row: row.path)


def test_paths_are_unique() -> None:
    assert [path for path, n in Counter(row.path for row in FIELDS).items() if n > 1] == []


def test_rows_are_sorted_by_path() -> None:
    assert [row.path for row in FIELDS] == sorted(row.path for row in FIELDS)


@each_field
def test_field_starts_with_a_general_version(row: Field) -> None:
    assert row.since in VERSIONS


@each_field
def test_field_ends_with_a_later_general_version_or_never(row: Field) -> None:
    assert not row.until or (row.until in VERSIONS and row.until > row.since)


@each_field
def test_leaf_has_no_field_below_it(row: Field) -> None:
    below = (f"{row.path}.", f"{row.path}[]")
    assert [other.path for other in FIELDS if other.path.startswith(below)] == []


@each_field
def test_default_has_the_kind_of_its_field(row: Field) -> None:
    fitting = (str, Derived) if row.kind is FieldKind.TEXT else bool
    assert isinstance(row.default, fitting)


@each_field
def test_only_fields_below_extended_need_the_parameter(row: Field) -> None:
    assert row.extended == row.path.startswith("extended.")


def test_derived_default_belongs_to_a_field_and_has_code() -> None:
    used = {row.default for row in FIELDS if isinstance(row.default, Derived)}
    assert used | {*ONE_BY_RULE.values()} == set(Derived) == _RULES.keys()


@each_rename
def test_renamed_node_is_in_the_document(row: Rename) -> None:
    assert row.path in {node.path for node in TREE}
    assert row.name != row.path.rpartition(".")[2]


@each_rename
def test_rename_came_with_a_general_version(row: Rename) -> None:
    assert row.before in VERSIONS[1:]


def test_renames_are_unique() -> None:
    assert len({row.path for row in OLD_NAMES}) == len(OLD_NAMES)


@pytest.mark.parametrize("before", ["", *sorted({row.before for row in OLD_NAMES})])
def test_siblings_differ_in_any_case_and_under_earlier_names(before: str) -> None:
    """Routes and captured bodies are read in any letter case."""
    old = {row.path: row.name for row in OLD_NAMES if before and before <= row.before}
    for node in TREE:
        if isinstance(node, Group):
            names = [old.get(member.path, key).lower() for key, member in node.members.items()]
            assert len(set(names)) == len(names), node.path


def test_arrays_with_one_element_by_default_are_arrays() -> None:
    assert {node.path for node in TREE if isinstance(node, Many)} > ONE_BY_DEFAULT


def test_array_with_one_element_is_in_no_empty_array() -> None:
    for path in ONE_BY_DEFAULT:
        outer = path.split("[]")[:-1]
        assert {"[]".join(outer[: i + 1]) for i in range(len(outer))} <= ONE_BY_DEFAULT


def test_classic_vms_have_members_of_the_document() -> None:
    assert newest_tree().members.keys() > CLASSIC_MEMBERS


def test_tree_has_a_leaf_for_every_row() -> None:
    leaves = {node.path: node.row for node in TREE if isinstance(node, Leaf)}
    assert leaves == {row.path: row for row in FIELDS}
