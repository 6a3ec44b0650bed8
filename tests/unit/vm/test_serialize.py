"""A VM is written in the shape of a fleet file and read back equal."""

import pytest

from openimds.vm.fleet_file import parse_vm
from openimds.vm.from_capture import parse_capture
from openimds.vm.serialize import vm_to_value
from openimds.vm.types import Vm

GROUP = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
)
PARTS: dict[str, object] = {
    "compute": {"vmSize": "Standard_D2s_v5", "tags": "b:1;a:2;3"},
    "network": {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}]},
    "extended": {"compute": {"hasCustomData": False}},
    "identities": {"system": True, "user": [f"{GROUP}/a", f"{GROUP}/b"]},
    "availabilitySet": "as-1",
    "loadBalancer": {"inboundRules": [{"frontendPort": 80}]},
    "attested": {"plan": {"name": "basic"}},
    "classic": True,
    "reach": {"address": ["10.0.0.4"], "listen": ["netns:web-1"]},
}


def _again(one: Vm) -> Vm:
    return parse_vm(one.name, vm_to_value(one), one.cloud)


@pytest.mark.parametrize(
    "value",
    [
        {},
        PARTS,
        *({key: value} for key, value in PARTS.items()),
        {"classic": False},
        {"identities": {"system": True}},
        {"identities": {"user": [f"{GROUP}/a"]}},
        {"identities": {}},
        {"reach": {"address": []}},
        {"reach": {"listen": ["netns:web-1"]}},
        {"reach": {"interface": "tap-1", "mac": "00:0d:3a:12:34:56"}},
        {"reach": {}},
        {"compute": {}},
        {"compute": {"tags": ""}},
        {"compute": {"tags": {"a;b": "c"}}},
        {"compute": {"name": "front"}},
    ],
    ids=str,
)
def test_a_written_vm_is_read_back(value: object) -> None:
    one = parse_vm("web-1", value, "AzureChinaCloud")
    assert _again(one) == one


@pytest.mark.parametrize("key", ["loadBalancer", "attested"])
def test_an_empty_part_is_read_back(key: str) -> None:
    one = parse_vm("web-1", {key: {}})
    assert _again(one) == one


@pytest.mark.parametrize(
    "body",
    [
        {"compute": {"name": "web-1", "tags": "no colon", "azEnvironment": "AZURECHINACLOUD"}},
        {"network": {"interface": [{"mac": "000D3A00FA89"}]}},
    ],
    ids=str,
)
def test_a_captured_vm_is_read_back(body: object) -> None:
    one = parse_capture(body, "vm-1").vm
    assert _again(one) == one


def test_a_vm_of_defaults_is_an_empty_object() -> None:
    assert vm_to_value(Vm("web-1")) == {}


def test_a_vm_has_the_shape_of_a_fleet_file() -> None:
    one = parse_vm("web-1", PARTS)
    tags = {
        "tags": "b:1;a:2;3",
        "tagsList": [{"name": "b", "value": "1"}, {"name": "a", "value": "2;3"}],
    }
    assert vm_to_value(one) == {**PARTS, "compute": {"vmSize": "Standard_D2s_v5", **tags}}


def test_tags_are_a_mapping_if_that_loses_nothing() -> None:
    one = parse_vm("web-1", {"compute": {"tags": "a:2;b:1", "zone": "1"}})
    assert vm_to_value(one) == {"compute": {"zone": "1", "tags": {"a": "2", "b": "1"}}}


def test_writing_does_not_change_the_vm() -> None:
    one = parse_vm("web-1", PARTS)
    written = vm_to_value(one)
    written.clear()
    assert one == parse_vm("web-1", PARTS)
