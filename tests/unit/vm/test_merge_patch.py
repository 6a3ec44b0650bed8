"""A JSON merge patch (RFC 7396) changes a VM, its tags in both forms."""

import pytest

from openimds.vm.fleet_file import merge_patch, parse_vm
from openimds.vm.serialize import vm_to_value

LISTED = [{"name": "b", "value": "1"}, {"name": "a", "value": "2"}]


@pytest.mark.parametrize(
    "target,patch,expected",
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_the_examples_of_the_rfc_hold(target: object, patch: object, expected: object) -> None:
    assert merge_patch(target, patch) == expected


def test_the_target_stays_as_it_was() -> None:
    target = {"compute": {"tags": "b:1;a:2", "tagsList": LISTED, "plan": {"name": "x"}}}
    merge_patch(target, {"compute": {"tags": {"a": None}, "plan": {"name": None}}})
    assert target == {"compute": {"tags": "b:1;a:2", "tagsList": LISTED, "plan": {"name": "x"}}}


@pytest.mark.parametrize(
    "before",
    [{"tags": {"a": "2", "b": "1"}}, {"tagsList": LISTED}],
    ids=["sorted", "in an order of their own"],
)
@pytest.mark.parametrize(
    "patch,after",
    [
        ({"tags": {"a": "3"}}, "a:3;b:1"),
        ({"tags": {"a": None, "c": "4"}}, "b:1;c:4"),
        ({"tags": "x:1"}, "x:1"),
        ({"tags": None}, None),
        ({"tagsList": [{"name": "x", "value": "1"}]}, "x:1"),
        ({"tagsList": None}, None),
        ({"tags": None, "tagsList": [{"name": "x", "value": "1"}]}, "x:1"),
    ],
    ids=str,
)
def test_a_patch_of_tags_replaces_both_forms(
    before: object, patch: object, after: str | None
) -> None:
    one = parse_vm("web-1", {"compute": before})
    patched = parse_vm("web-1", merge_patch(vm_to_value(one), {"compute": patch}))
    compute = patched.document["compute"]
    assert isinstance(compute, dict)
    assert compute.get("tags") == after


def test_a_patch_of_something_else_leaves_the_tags_alone() -> None:
    one = parse_vm("web-1", {"compute": {"tagsList": LISTED}})
    patched = parse_vm("web-1", merge_patch(vm_to_value(one), {"compute": {"zone": "1"}}))
    assert patched.document == {"compute": {"zone": "1", "tags": "b:1;a:2", "tagsList": LISTED}}
