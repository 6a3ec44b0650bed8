import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.fleet.entry_edit import edited
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import vm_to_value

A = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a"
B = A[:-1] + "b"


def compute(**members: Any) -> dict[str, Any]:
    return {"compute": members}


def value(members: dict[str, Any]) -> dict[str, Any]:
    """Return a VM in the shape that the store has."""
    return vm_to_value(parse_vm("a", members))


S, T, X = compute(vmSize="S"), compute(vmSize="T"), compute(vmSize="X")


def reach(*address: str, **others: Any) -> dict[str, Any]:
    return {"reach": {"address": [*address], **others}}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "none": (compute(zone="3"), {}, {}, compute(zone="3")),
    "changed": (compute(zone="3"), S, T, compute(zone="3", vmSize="T")),
    "removed": (compute(vmSize="X", zone="3"), S, compute(), compute(zone="3")),
    "added": (X, S, compute(vmSize="S", zone="1"), compute(vmSize="X", zone="1")),
    "removed by the API": ({}, compute(vmSize="S", zone="1"), compute(vmSize="T", zone="1"), T),
    "list": (
        reach("9", listen=["/x"]),
        reach("1"),
        reach("2", "3"),
        reach("2", "3", listen=["/x"]),
    ),
    "object": ({**reach("1"), "classic": True}, reach("1"), {}, {"classic": True}),
    "object of both": (reach(listen=["/x"]), reach(), {}, {"reach": {"listen": ["/x"]}}),
    "object for a leaf": ({"a": "1"}, {"a": "1"}, {"a": {"b": "1"}}, {"a": {"b": "1"}}),
    "leaf for an object": ({"a": {"b": "1"}}, {"a": {"b": "1"}}, {"a": "1"}, {"a": "1"}),
}


@pytest.mark.parametrize("stored, before, after, wanted", CASES.values(), ids=CASES)
def test_edit_changes_the_leaves_that_differ(
    stored: dict[str, Any], before: dict[str, Any], after: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert edited(stored, before, after) == wanted


LISTED = [{"name": "x", "value": "api"}, {"name": "a", "value": "1"}]


@pytest.mark.parametrize(
    "stored, after, wanted",
    [
        ({"x": "api"}, {"a": "2"}, {"x": "api", "a": "2"}),
        ("x:api;a:1", {"a": "2"}, {"x": "api", "a": "2"}),
        (LISTED, {"a": "2"}, {"x": "api", "a": "2"}),
        ({"x": "api"}, "z:1;a:2", "z:1;a:2"),
        ("z:9;a:1", "z:1;a:2", "z:1;a:2"),
    ],
)
def test_tags_are_edited_one_by_one_where_they_can_be(
    stored: object, after: object, wanted: object
) -> None:
    result = edited(
        value(compute(tags=stored)), value(compute(tags={"a": "1"})), value(compute(tags=after))
    )
    assert value(result) == value(compute(tags=wanted))


def test_tags_in_wire_forms_stay_with_an_edit_elsewhere() -> None:
    before, after = compute(tags="z:1;a:2"), compute(tags="z:1;a:2", zone="1")
    stored = value(compute(tags="y:1;a:2"))
    assert value(edited(stored, value(before), value(after))) == value(
        compute(tags="y:1;a:2", zone="1")
    )


def test_one_is_not_true_in_a_claim() -> None:
    entries = [
        {"identities": {"system": True, "details": {"system": {"claims": {"c": claim}}}}}
        for claim in (True, 1, None)
    ]
    true, one, null = entries
    assert json.dumps(edited(true, true, one)) == json.dumps(one)
    assert edited(true, true, null) == null


def test_override_of_an_unassigned_identity_is_left_out() -> None:
    def identities(role: str, *user: str) -> dict[str, Any]:
        details = {name: {"roles": [role]} for name in user}
        return {"identities": {"user": [*user], "details": details}}

    before = identities("r", A)
    system = {"identities": {"system": True}}
    assert edited(system, before, identities("s", A)) == system
    assert edited(identities("api", A, B), before, identities("s"))["identities"] == {"user": []}


def test_override_is_found_in_another_letter_case() -> None:
    def identities(name: str, role: str) -> dict[str, Any]:
        return {"identities": {"user": [name], "details": {name: {"roles": [role]}}}}

    result = edited(identities(A.upper(), "r"), identities(A, "r"), identities(A, "s"))
    assert result == identities(A.upper(), "s")


LEAVES = st.sampled_from(["1", "2", ["1"], ["1", "2"], True])
OBJECTS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), LEAVES | inner, max_size=3),
    max_leaves=8,
)


def without_empty(members: dict[str, Any]) -> dict[str, Any]:
    """Return an object without the objects in it that have no leaf."""
    parts = {k: without_empty(v) if isinstance(v, dict) else v for k, v in members.items()}
    return {key: part for key, part in parts.items() if part != {}}


@given(OBJECTS, OBJECTS)
def test_edit_of_an_unchanged_vm_gives_the_new_entry(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert without_empty(edited(before, before, after)) == without_empty(after)


@given(OBJECTS, OBJECTS)
def test_entry_without_an_edit_changes_nothing(
    stored: dict[str, Any], entry: dict[str, Any]
) -> None:
    assert edited(stored, entry, entry) == stored


@given(OBJECTS, OBJECTS, OBJECTS)
def test_edit_made_twice_is_made_once(
    stored: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> None:
    once = edited(stored, before, after)
    assert edited(once, before, after) == once
