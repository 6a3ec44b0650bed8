"""VMs with their interfaces, public addresses, networks and disks beside them."""

import pytest

from openimds.interop.importers import read
from tests.unit.interop.importers.documents import (
    NETWORK,
    a_nic,
    a_vm,
    document,
    found,
    interfaces,
    load,
    nics,
    only,
)

MIXED = load("az_mixed")


def test_interfaces_are_joined_with_the_primary_first() -> None:
    first, second = document(found(MIXED)["db-1"])["network"]["interface"]
    assert first["macAddress"] == "000D3A000001"
    assert second["macAddress"] == "000D3A000002"
    assert second["ipv4"] == {
        "ipAddress": [{"privateIpAddress": "10.0.3.5", "publicIpAddress": "20.0.0.1"}],
        "ipAddressBlock": [],
        "subnet": [{"address": "10.0.3.0", "dnsservers": [], "prefix": "26"}],
    }


def test_primary_configuration_is_first_and_ipv6_apart() -> None:
    first = document(found(MIXED)["db-1"])["network"]["interface"][0]
    assert first["ipv4"]["ipAddress"] == [
        {"privateIpAddress": "10.0.3.4", "publicIpAddress": "20.0.0.9"},
        {"privateIpAddress": "10.0.3.6", "publicIpAddress": ""},
    ]
    assert first["ipv6"]["ipAddress"] == [{"privateIpAddress": "fd00::4"}]
    assert first["ipv4"]["subnet"][0]["dnsservers"] == [{"ipaddress": "10.0.3.2"}]


def test_standard_address_goes_to_the_load_balancer() -> None:
    vms = found(MIXED)
    assert vms["db-1"].definition["loadBalancer"] == {
        "publicIpAddresses": [
            {"frontendIpAddress": "[2001:db8::1]", "privateIpAddress": "[fd00::4]"}
        ]
    }
    assert vms["db-2"].definition["loadBalancer"] == {
        "publicIpAddresses": [{"frontendIpAddress": "20.0.0.2"}]
    }


def test_nic_without_an_address_has_the_first_range() -> None:
    (nic,) = document(found(MIXED)["db-2"])["network"]["interface"]
    assert nic["ipv4"]["subnet"] == [{"address": "10.0.2.0", "dnsservers": [], "prefix": "24"}]


def test_disk_resource_completes_the_vm() -> None:
    disk = document(found(MIXED)["db-1"])["compute"]["storageProfile"]["osDisk"]
    assert disk["diskSizeGB"] == "127"
    assert disk["managedDisk"]["storageAccountType"] == "Premium_LRS"


def test_value_of_the_vm_wins_over_the_disk() -> None:
    disk = {"id": "d", "type": "Microsoft.Compute/disks", "name": "n", "diskSizeGB": 8}
    storage = {"osDisk": {"name": "n", "diskSizeGB": 16, "managedDisk": {"id": "D"}}}
    one = only([a_vm(storageProfile=storage), disk])
    assert document(one)["compute"]["storageProfile"]["osDisk"]["diskSizeGB"] == "16"
    assert one.unmapped == ("[1].diskSizeGB",)


def test_unmapped_path_is_listed_once_with_its_vm() -> None:
    vms = found(MIXED)
    one, two = vms["db-1"].unmapped, vms["db-2"].unmapped
    assert not set(one) & set(two)
    assert "[10]" in one
    assert "[8].subnets[0].addressPrefix" in one
    assert "[2].nicType" in one
    assert "[4].more[0].nicType" in two
    assert "[7].sku.tier" in two
    assert "[0].publicIps" not in one


def test_nic_that_names_its_vm_is_joined() -> None:
    vm_id = f"{NETWORK.replace('Network', 'COMPUTE')}/virtualMachines/ONE"
    nic = a_nic("loose", {"privateIPAddress": "10.0.0.7"}, virtualMachine={"id": vm_id})
    assert interfaces([a_vm(), nic]) == [_with("10.0.0.7")]


def _with(private: str) -> dict[str, object]:
    return {"ipv4": {"ipAddress": [{"privateIpAddress": private}]}}


def test_nic_without_a_vm_is_unmapped() -> None:
    value = [a_vm(), a_nic("loose", {"privateIPAddress": "10.0.0.7"})]
    assert interfaces(value) == []
    assert only(value).unmapped == ("[1]",)


def test_missing_nic_keeps_its_position() -> None:
    value = [a_vm(networkProfile=nics("a", "b")), a_nic("B", {"privateIPAddress": "10.0.0.7"})]
    assert interfaces(value) == [{}, _with("10.0.0.7")]
    assert only(value).unmapped == ("[0].networkProfile.networkInterfaces[0]",)


def test_nic_may_be_primary_by_its_own_member() -> None:
    value = [
        a_vm(networkProfile=nics("a", "b")),
        a_nic("a", {"privateIPAddress": "10.0.0.1"}, primary=False),
        a_nic("b", {"privateIPAddress": "10.0.0.2"}, primary=True),
    ]
    assert interfaces(value) == [_with("10.0.0.2"), _with("10.0.0.1")]


def test_expanded_addresses_and_subnets_are_read_in_place() -> None:
    configuration = {
        "properties": {
            "privateIPAddress": "10.0.4.4",
            "publicIPAddress": {
                "id": "p",
                "sku": {"name": "Basic"},
                "properties": {"ipAddress": "20.0.0.5"},
            },
            "subnet": {"id": "s", "properties": {"addressPrefixes": ["10.0.4.0/22"]}},
        }
    }
    nic = a_nic("a", configuration)
    assert interfaces([a_vm(networkProfile=nics("a")), nic]) == [
        {
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.4.4", "publicIpAddress": "20.0.0.5"}],
                "subnet": [{"address": "10.0.4.0", "prefix": "22"}],
            }
        }
    ]


def test_public_ipv6_address_without_sku_is_unmapped() -> None:
    public = {"id": "p", "ipAddress": "2001:db8::1"}
    nic = a_nic("a", {"privateIPAddress": "fd00::1", "publicIPAddress": public})
    one = only([a_vm(networkProfile=nics("a")), nic])
    assert one.definition["network"] == {
        "interface": [{"ipv6": {"ipAddress": [{"privateIpAddress": "fd00::1"}]}}]
    }
    assert one.unmapped == ("[1].ipConfigurations[0].publicIPAddress",)


def test_delegated_prefix_is_an_address_block() -> None:
    nic = a_nic(
        "a",
        {"privateIPAddress": "10.0.0.4"},
        {"privateIPAddress": "10.0.1.0/28", "privateIPAddressPrefixLength": 28},
        {"privateIPAddressPrefixLength": 80, "privateIPAddressVersion": "IPv6"},
    )
    assert interfaces([a_vm(networkProfile=nics("a")), nic]) == [
        {
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.0.4"}],
                "ipAddressBlock": [{"address": "10.0.1.0", "prefix": "28"}],
            },
            "ipv6": {"ipAddressBlock": [{"prefix": "80"}]},
        }
    ]


def test_nic_in_two_subnets_lists_each_once() -> None:
    nic = a_nic(
        "a",
        {"privateIPAddress": "10.0.0.4", "subnet": {"addressPrefix": "10.0.0.0/24"}},
        {"privateIPAddress": "10.0.0.5", "subnet": {"addressPrefix": "10.0.0.0/24"}},
        {"privateIPAddress": "10.0.1.5", "subnet": {"addressPrefix": "10.0.1.0/24"}},
        {"privateIPAddress": "X.X.X.X", "subnet": {"addressPrefix": "10.0.2.0/24"}},
        {"privateIPAddress": "10.9.9.9", "subnet": {"addressPrefix": "10.0.3.0/24"}},
        {"privateIPAddress": "10.0.0.6", "subnet": {"addressPrefix": "fd00::/64"}},
        {"privateIPAddress": "10.0.0.7", "subnet": {"addressPrefix": ""}},
    )
    (seen,) = interfaces([a_vm(networkProfile=nics("a")), nic])
    assert [one["address"] for one in seen["ipv4"]["subnet"]] == [
        "10.0.0.0",
        "10.0.1.0",
        "10.0.2.0",
        "10.0.3.0",
    ]


def test_subnet_may_be_a_resource_of_its_own() -> None:
    subnet = {
        "id": f"{NETWORK}/virtualNetworks/v/subnets/s",
        "name": "s",
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "addressPrefix": "10.0.0.0/27",
    }
    where = {"id": str(subnet["id"]).upper()}
    nic = a_nic("a", {"privateIPAddress": "10.0.0.4", "subnet": where})
    (seen,) = interfaces([a_vm(networkProfile=nics("a")), nic, subnet])
    assert seen["ipv4"]["subnet"] == [{"address": "10.0.0.0", "prefix": "27"}]


def test_ambiguous_public_addresses_are_unmapped() -> None:
    nic = a_nic("a", {"publicIPAddress": {"id": "gone"}})
    value = [a_vm(networkProfile=nics("a"), publicIps="20.0.0.1,20.0.0.2"), nic]
    assert interfaces(value) == [{}]
    assert only(value).unmapped == (
        "[0].publicIps",
        "[1].ipConfigurations",
    )


def test_public_address_without_an_address_is_ignored() -> None:
    public = {"id": "P", "type": "Microsoft.Network/publicIPAddresses", "sku": {"name": "Basic"}}
    nic = a_nic("a", {"privateIPAddress": "10.0.0.1", "publicIPAddress": {"id": "p"}})
    value = [a_vm(networkProfile=nics("a")), nic, public]
    assert interfaces(value) == [_with("10.0.0.1")]
    assert only(value).unmapped == ()


@pytest.mark.parametrize("name", ["vms", "value"])
def test_vms_and_nics_may_stand_in_a_mapping(name: str) -> None:
    vms = [a_vm(networkProfile=nics("a"))]
    nic = a_nic("a", {"privateIpAddress": "10.0.0.9"})
    (one,) = read({name: vms, "nics": [nic]})
    assert one.definition["network"] == {"interface": [_with("10.0.0.9")]}
