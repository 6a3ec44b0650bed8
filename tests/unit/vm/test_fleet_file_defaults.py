"""The `defaults` of a fleet file hold for all its VMs."""

import pytest

from openimds.vm.fleet_file import merge, parse_fleet
from openimds.vm.types import Vm
from tests.unit.vm.refused import Refused, refused


def _of(defaults: object, fields: object) -> Vm:
    return parse_fleet({"defaults": defaults, "vms": {"web-1": fields}}).vms["web-1"]


@pytest.mark.parametrize("nothing", [None, {}])
def test_defaults_may_be_empty(nothing: object) -> None:
    assert _of(nothing, {"classic": True}) == Vm("web-1", classic=True)


def test_objects_merge_and_the_vm_wins() -> None:
    merged = _of(
        {"compute": {"location": "westeurope", "plan": {"name": "a", "product": "b"}}},
        {"compute": {"zone": "1", "plan": {"name": "c"}}},
    )
    assert merged.document == {
        "compute": {
            "location": "westeurope",
            "zone": "1",
            "plan": {"name": "c", "product": "b"},
        }
    }


IDS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


def test_lists_are_replaced() -> None:
    key = {"keyData": "ssh-rsa A", "path": "/a"}
    merged = _of(
        {
            "compute": {"publicKeys": [key, key]},
            "identities": {"user": [f"{IDS}/x"], "system": True},
        },
        {"compute": {"publicKeys": []}, "identities": {"user": [f"{IDS}/y"]}},
    )
    assert merged.document == {"compute": {"publicKeys": []}}
    assert merged.identities.user == (f"{IDS}/y",)
    assert merged.identities.system


def test_parts_beside_the_document_are_taken_over() -> None:
    merged = _of(
        {
            "availabilitySet": "as-1",
            "classic": True,
            "attested": {"sku": "server", "licenseType": "Windows_Server"},
            "loadBalancer": {"loadbalancer": {"outboundRules": []}},
        },
        {"attested": {"sku": "core"}},
    )
    assert merged == Vm(
        "web-1",
        availability_set="as-1",
        classic=True,
        attested={"sku": "core", "licenseType": "Windows_Server"},
        load_balancer={"outboundRules": []},
    )


@pytest.mark.parametrize(
    "below,above,tags",
    [
        ({"env": "prod", "b": "1"}, {"env": "test", "a": "2"}, "a:2;b:1;env:test"),
        ("env:prod;b:1", [{"name": "env", "value": "test"}], "b:1;env:test"),
        ({"env": "prod"}, {}, "env:prod"),
        ({}, {"b": "1", "a": "2"}, "a:2;b:1"),
    ],
    ids=str,
)
def test_tags_merge_by_name_in_both_forms(below: object, above: object, tags: str) -> None:
    merged = _of({"compute": {"tags": below}}, {"compute": {"tags": above}})
    pairs = [piece.partition(":") for piece in tags.split(";")]
    assert merged.document == {
        "compute": {
            "tags": tags,
            "tagsList": [{"name": name, "value": value} for name, _, value in pairs],
        }
    }


def test_tags_of_one_side_stay_in_their_order() -> None:
    listed = [{"name": "b", "value": "1"}, {"name": "a", "value": "2"}]
    expected = {"compute": {"zone": "1", "tags": "b:1;a:2", "tagsList": listed}}
    tags, zone = {"compute": {"tagsList": listed}}, {"compute": {"zone": "1"}}
    assert _of(tags, zone).document == expected
    assert _of(zone, tags).document == expected


def test_merging_changes_neither_side() -> None:
    under: dict[str, object] = {"a": {"b": "1"}, "tagsList": [{"name": "x", "value": "1"}]}
    over: dict[str, object] = {"a": {"c": "2"}, "tagsList": [{"name": "y", "value": "2"}]}
    merged = merge(under, over)
    assert merged["a"] == {"b": "1", "c": "2"}
    assert merged["tags"] == "x:1;y:2"
    assert under == {"a": {"b": "1"}, "tagsList": [{"name": "x", "value": "1"}]}
    assert over == {"a": {"c": "2"}, "tagsList": [{"name": "y", "value": "2"}]}


@pytest.mark.parametrize("key", ["name", "vmId", "resourceId"])
def test_a_value_of_one_vm_alone_is_no_default(key: str) -> None:
    value = {"defaults": {"compute": {key: "x"}}, "vms": {"web-1": {}}}
    assert refused(parse_fleet, value) == Refused(
        f"defaults.compute.{key}",
        'the string "x"',
        "nothing: every VM has its own",
        "Write it under vms.NAME.compute",
    )


@pytest.mark.parametrize("reach", [None, {}, {"address": ["10.0.0.4"]}])
def test_reach_is_no_default(reach: object) -> None:
    assert refused(parse_fleet, {"defaults": {"reach": reach}, "vms": {"web-1": {}}}) == Refused(
        "defaults.reach", "a value", "nothing: every VM has its own", "Write it under vms.NAME"
    )


def test_defaults_are_checked_like_a_vm() -> None:
    value = {"defaults": {"compute": {"vmsize": "x"}}, "vms": {"web-1": {}}}
    error = refused(parse_fleet, value)
    assert error.where == "defaults.compute"
    assert error.hint == 'Did you mean "vmSize"?'
    value = {"defaults": {"compute": {"tags": {"a": 1}}}, "vms": {"web-1": {}}}
    assert refused(parse_fleet, value).where == "defaults.compute.tags.a"
