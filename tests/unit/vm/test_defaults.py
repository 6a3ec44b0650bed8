"""Missing values are derived from the name of the VM, always alike."""

import json
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openimds.errors import ConfigError
from openimds.facts.document import FIELDS
from openimds.vm.defaults import (
    complete,
    default_address,
    first_mac,
    private_addresses,
)
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.schema_tree import Leaf, Many, newest_tree, nodes
from openimds.vm.serialize import vm_to_value
from openimds.vm.types import Vm

NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
unhurried = settings(deadline=None)


def _whole(fields: object = None, name: str = "web-1", cloud: str = "AzurePublicCloud") -> Any:
    return complete(parse_vm(name, fields, cloud))


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
    """Return the fields of a VM with one empty element in each array."""
    fields: dict[str, Any] = {}
    for path in sorted(node.path for node in nodes(newest_tree()) if isinstance(node, Many)):
        node: Any = fields
        *outer, last = path.split(".")
        for name in outer:
            node = node[name[:-2]][0] if name.endswith("[]") else node.setdefault(name, {})
        node[last] = [{}]
    return fields


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()


def test_a_whole_document_has_every_field() -> None:
    assert _leaves(_whole(_one_of_each())) == {row.path for row in FIELDS}


def test_address_arrays_and_keys_have_an_element_by_default() -> None:
    whole = _whole()
    assert len(whole["network"]["interface"]) == 1
    nic = whole["network"]["interface"][0]
    assert len(nic["ipv4"]["ipAddress"]) == len(nic["ipv4"]["subnet"]) == 1
    assert nic["ipv4"]["ipAddressBlock"] == nic["ipv6"]["ipAddress"] == []
    assert nic["ipv4"]["subnet"][0]["dnsservers"] == nic["ipv6"]["ipAddressBlock"] == []
    assert whole["compute"]["tagsList"] == []
    assert len(whole["compute"]["publicKeys"]) == 1
    assert whole["compute"]["storageProfile"]["dataDisks"] == []


def test_the_vm_id_is_a_version_4_guid_hashed_from_the_name() -> None:
    expected = UUID(bytes=_hash("openimds\0vmId\0web-1")[:16], version=4)
    assert _whole()["compute"]["vmId"] == str(expected) == "77d57c41-8302-46a0-8c28-8bec52b6301e"
    assert UUID(_whole()["compute"]["vmId"]).version == 4


def test_vms_share_one_default_subscription() -> None:
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
    addresses = [one["privateIpAddress"] for each in nics for one in each["ipv4"]["ipAddress"]]
    expected = []
    for nic_position in range(2):
        for position in range(2):
            a, b, c = _hash(f"openimds\0address\0web-1\0{nic_position}\0{position}")[:3]
            expected.append(f"10.{a}.{b}.{c % 251 + 4}")
    assert addresses == expected
    assert addresses[0] == default_address(Vm("web-1")) == "10.63.1.20"


def test_the_document_depends_on_the_name_alone() -> None:
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
def test_a_written_value_is_never_changed(data: st.DataObject) -> None:
    leaves = [
        node
        for node in nodes(newest_tree())
        if isinstance(node, Leaf) and "[]" not in node.path and node.path != "compute.tags"
    ]
    leaf = data.draw(st.sampled_from(leaves))
    value = data.draw(NAMES | st.just("") if leaf.kind.value == "string" else st.booleans())
    fields: object = value
    for name in reversed(leaf.path.split(".")):
        fields = {name: fields}
    whole: Any = _whole(fields)
    for name in leaf.path.split("."):
        whole = whole[name]
    assert whole == value


def test_a_written_empty_array_stays_empty() -> None:
    assert _whole({"network": {"interface": []}})["network"]["interface"] == []
    nic: dict[str, Any] = {"ipv4": {"ipAddress": [], "subnet": []}}
    ipv4 = _whole({"network": {"interface": [nic]}})["network"]["interface"][0]["ipv4"]
    assert ipv4["ipAddress"] == ipv4["subnet"] == []


def test_private_addresses_are_the_written_ones() -> None:
    fields = {
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
    assert private_addresses(parse_vm("web-1", fields)) == [
        "10.0.0.4",
        "10.0.0.5",
        "fd00::4",
        "10.0.1.4",
    ]


@pytest.mark.parametrize("fields", [None, {"network": {}}, {"network": {"interface": []}}])
def test_a_vm_without_written_addresses_has_none(fields: object) -> None:
    assert private_addresses(parse_vm("web-1", fields)) == []


def test_the_first_hardware_address_is_that_of_the_document() -> None:
    two = [{"macAddress": "0022480A0B0C"}, {"macAddress": "1"}]
    assert first_mac(Vm("a", document={"network": {"interface": two}})) == "0022480A0B0C"
    assert first_mac(Vm("a")) == complete(Vm("a"))["network"]["interface"][0]["macAddress"]  # type: ignore[index]


def _interface(name: str, **fields: object) -> dict[str, Any]:
    vms = parse_fleet({"vms": {name: fields}, "defaults": {"network": "varied"}}).vms
    whole: Any = complete(vms[name])
    (interface,) = whole["network"]["interface"]
    return dict(interface)


def test_varied_addresses_differ_in_kind() -> None:
    macs, prefixes, heads = set(), set(), set()
    for number in range(200):
        interface = _interface(f"web-{number}")
        (subnet,), (address,) = interface["ipv4"]["subnet"], interface["ipv4"]["ipAddress"]
        network = ip_network(f"{subnet['address']}/{subnet['prefix']}")
        host = int(ip_address(address["privateIpAddress"])) - int(network.network_address)
        assert 4 <= host < network.num_addresses - 1, "Azure keeps the others"
        assert network.is_private
        macs.add(interface["macAddress"][:6])
        prefixes.add(subnet["prefix"])
        heads.add(address["privateIpAddress"].partition(".")[0])
    assert macs == {"000D3A", "002248", "6045BD", "7C1E52"}
    assert prefixes == {"16", "20", "22", "24", "26", "27"}
    assert heads == {"10", "172"}


def test_varied_network_leaves_written_addresses() -> None:
    written = {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.1.2.9"}]}}]}
    interface = _interface("web-1", network=written)
    (subnet,) = interface["ipv4"]["subnet"]
    assert interface["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.1.2.9"
    assert ip_address("10.1.2.9") in ip_network(f"{subnet['address']}/{subnet['prefix']}")


def test_varied_vm_is_written_and_read_again() -> None:
    vm = parse_fleet({"vms": {"a": {}}, "defaults": {"network": "varied"}}).vms["a"]
    assert vm.varied_network
    assert parse_vm("a", vm_to_value(vm)) == vm
    assert not parse_fleet({"vms": {"a": {}}}).vms["a"].varied_network


def test_other_text_for_the_network_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r'defaults\.network: saw the string "random", expected varied, or a mapping',
    ):
        parse_fleet({"vms": {"a": {}}, "defaults": {"network": "random"}})
