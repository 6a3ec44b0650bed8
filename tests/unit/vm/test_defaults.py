"""What is not said of a VM is worked out from its name, always alike."""

import json
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.facts.document import FIELDS
from openimds.vm.defaults import (
    _Defaults,
    complete,
    default_address,
    first_mac,
    private_addresses,
)
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema_tree import Group, Leaf, Many, Named, newest_tree, nodes
from openimds.vm.types import Vm

NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
unhurried = settings(deadline=None)


def _whole(said: object = None, name: str = "web-1", cloud: str = "AzurePublicCloud") -> Any:
    return complete(parse_vm(name, said, cloud))


def _leaves(node: object, path: str = "") -> set[str]:
    match node:
        case dict():
            below = [_leaves(one, f"{path}.{key}".lstrip(".")) for key, one in node.items()]
            return set().union(*below)
        case list():
            return set().union(*(_leaves(one, f"{path}[]") for one in node))
        case _:
            return {path}


def _one_of_each() -> object:
    """Return a VM all of whose arrays have one element of which nothing is said."""
    said: dict[str, Any] = {}
    for path in sorted(node.path for node in nodes(newest_tree()) if isinstance(node, Many)):
        node: Any = said
        *outer, last = path.split(".")
        for name in outer:
            node = node[name[:-2]][0] if name.endswith("[]") else node.setdefault(name, {})
        node[last] = [{}]
    return said


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()


def test_a_whole_document_has_every_field() -> None:
    assert _leaves(_whole(_one_of_each())) == {row.path for row in FIELDS}


def test_of_a_vm_that_says_nothing_only_the_address_arrays_have_an_element() -> None:
    whole = _whole()
    assert len(whole["network"]["interface"]) == 1
    nic = whole["network"]["interface"][0]
    assert len(nic["ipv4"]["ipAddress"]) == len(nic["ipv4"]["subnet"]) == 1
    assert nic["ipv4"]["ipAddressBlock"] == nic["ipv6"]["ipAddress"] == []
    assert nic["ipv4"]["subnet"][0]["dnsservers"] == nic["ipv6"]["ipAddressBlock"] == []
    assert whole["compute"]["tagsList"] == whole["compute"]["publicKeys"] == []
    assert whole["compute"]["storageProfile"]["dataDisks"] == []


def test_the_guid_of_a_vm_is_a_version_4_guid_of_a_hash_of_its_name() -> None:
    expected = UUID(bytes=_hash("openimds\0vmId\0web-1")[:16], version=4)
    assert _whole()["compute"]["vmId"] == str(expected) == "77d57c41-8302-46a0-8c28-8bec52b6301e"
    assert UUID(_whole()["compute"]["vmId"]).version == 4


def test_who_says_nothing_shares_one_subscription() -> None:
    expected = UUID(bytes=_hash("openimds\0subscription")[:16], version=4)
    assert (
        _whole()["compute"]["subscriptionId"]
        == str(expected)
        == "c3a18333-25f1-45d8-86ba-25a65d78c979"
    )
    assert _whole(name="web-2")["compute"]["subscriptionId"] == str(expected)


def test_the_hardware_address_has_a_prefix_of_microsoft() -> None:
    nics = _whole({"network": {"interface": [{}, {}]}})["network"]["interface"]
    expected = ["000D3A" + _hash(f"openimds\0mac\0web-1\0{i}")[:3].hex().upper() for i in range(2)]
    assert [nic["macAddress"] for nic in nics] == expected == ["000D3A360C2A", "000D3A56D7C0"]


def test_private_addresses_lie_in_ten_and_differ_by_position() -> None:
    nic: dict[str, Any] = {"ipv4": {"ipAddress": [{}, {}]}}
    nics = _whole({"network": {"interface": [nic, nic]}})["network"]["interface"]
    said = [one["privateIpAddress"] for each in nics for one in each["ipv4"]["ipAddress"]]
    expected = []
    for nic_position in range(2):
        for position in range(2):
            a, b, c = _hash(f"openimds\0address\0web-1\0{nic_position}\0{position}")[:3]
            expected.append(f"10.{a}.{b}.{c % 251 + 4}")
    assert said == expected
    assert said[0] == default_address(Vm("web-1")) == "10.63.1.20"


def test_the_same_name_has_the_same_document_whatever_else_there_is() -> None:
    assert json.dumps(_whole()) == json.dumps(_whole())
    other = _whole(name="web-2")
    differing = {"vmId", "name", "resourceId"}
    compute, others = _whole()["compute"], other["compute"]
    assert {key for key in differing if compute[key] != others[key]} == differing
    assert _whole()["network"] != other["network"]


@pytest.mark.parametrize(
    "cloud,location",
    [
        ("AzurePublicCloud", "westeurope"),
        ("AzureUSGovernmentCloud", "usgovvirginia"),
        ("AzureChinaCloud", "chinaeast2"),
        ("AzureGermanCloud", "germanycentral"),
    ],
)
def test_the_cloud_gives_its_name_and_a_region(cloud: str, location: str) -> None:
    compute = _whole(cloud=cloud)["compute"]
    assert compute["azEnvironment"] == cloud
    assert compute["location"] == location


@unhurried
@given(NAMES)
def test_every_name_makes_a_whole_document(name: str) -> None:
    whole = complete(Vm(name))
    assert isinstance(whole["compute"], dict)
    assert whole["compute"]["name"] == name
    json.dumps(whole, ensure_ascii=False).encode()


@unhurried
@given(NAMES)
def test_a_default_address_is_one_that_a_guest_may_have(name: str) -> None:
    first, _, _, last = map(int, default_address(Vm(name)).split("."))
    assert first == 10
    assert 4 <= last <= 254


@unhurried
@given(st.data())
def test_what_was_said_is_never_changed(data: st.DataObject) -> None:
    leaves = [
        node
        for node in nodes(newest_tree())
        if isinstance(node, Leaf) and "[]" not in node.path and node.path != "compute.tags"
    ]
    leaf = data.draw(st.sampled_from(leaves))
    value = data.draw(NAMES | st.just("") if leaf.kind.value == "string" else st.booleans())
    said: object = value
    for name in reversed(leaf.path.split(".")):
        said = {name: said}
    whole: Any = _whole(said)
    for name in leaf.path.split("."):
        whole = whole[name]
    assert whole == value


def test_an_array_that_was_said_to_be_empty_is_empty() -> None:
    assert _whole({"network": {"interface": []}})["network"]["interface"] == []
    nic: dict[str, Any] = {"ipv4": {"ipAddress": [], "subnet": []}}
    said = _whole({"network": {"interface": [nic]}})["network"]["interface"][0]["ipv4"]
    assert said["ipAddress"] == said["subnet"] == []


def test_private_addresses_are_those_that_were_said() -> None:
    said = {
        "network": {
            "interface": [
                {
                    "ipv6": {"ipAddress": [{"privateIpAddress": "fd00::4"}]},
                    "ipv4": {
                        "ipAddress": [
                            {"privateIpAddress": "10.0.0.4"},
                            {"publicIpAddress": "20.1.2.3"},
                            {"privateIpAddress": "10.0.0.5"},
                        ]
                    },
                },
                {},
                {"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.1.4"}]}},
            ]
        }
    }
    assert private_addresses(parse_vm("web-1", said)) == [
        "10.0.0.4",
        "10.0.0.5",
        "fd00::4",
        "10.0.1.4",
    ]


@pytest.mark.parametrize("said", [None, {"network": {}}, {"network": {"interface": []}}])
def test_of_a_vm_that_says_none_there_are_none(said: object) -> None:
    assert private_addresses(parse_vm("web-1", said)) == []


def test_free_names_have_no_defaults() -> None:
    with pytest.raises(AssertionError):
        _Defaults(Vm("web-1")).fill(Group("", {"tags": Named("tags", Leaf("tags"))}), {}, ())


def test_the_first_hardware_address_is_that_of_the_document() -> None:
    two = [{"macAddress": "0022480A0B0C"}, {"macAddress": "1"}]
    assert first_mac(Vm("a", document={"network": {"interface": two}})) == "0022480A0B0C"
    assert first_mac(Vm("a")) == complete(Vm("a"))["network"]["interface"][0]["macAddress"]  # type: ignore[index]
