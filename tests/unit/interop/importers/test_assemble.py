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


def test_interfaces_are_joined_the_primary_first() -> None:
    first, second = document(found(MIXED)["db-1"])["network"]["interface"]
    assert first["macAddress"] == "000D3A000001"
    assert second["macAddress"] == "000D3A000002"
    assert second["ipv4"] == {
        "ipAddress": [{"privateIpAddress": "10.0.3.5", "publicIpAddress": "20.0.0.1"}],
        "ipAddressBlock": [],
        "subnet": [{"address": "10.0.3.0", "dnsservers": [], "prefix": "26"}],
    }


def test_the_primary_configuration_is_first_and_ipv6_apart() -> None:
    first = document(found(MIXED)["db-1"])["network"]["interface"][0]
    assert first["ipv4"]["ipAddress"] == [
        {"privateIpAddress": "10.0.3.4", "publicIpAddress": "20.0.0.9"},
        {"privateIpAddress": "10.0.3.6", "publicIpAddress": ""},
    ]
    assert first["ipv6"]["ipAddress"] == [{"privateIpAddress": "fd00::4"}]
    assert first["ipv4"]["subnet"][0]["dnsservers"] == [{"ipaddress": "10.0.3.2"}]


def test_an_address_of_the_standard_sku_is_in_the_load_balancer_metadata() -> None:
    vms = found(MIXED)
    assert vms["db-1"].said["loadBalancer"] == {
        "publicIpAddresses": [
            {"frontendIpAddress": "[2001:db8::1]", "privateIpAddress": "[fd00::4]"}
        ]
    }
    assert vms["db-2"].said["loadBalancer"] == {
        "publicIpAddresses": [{"frontendIpAddress": "20.0.0.2"}]
    }


def test_a_nic_without_an_address_yet_has_the_first_range_of_its_subnet() -> None:
    (nic,) = document(found(MIXED)["db-2"])["network"]["interface"]
    assert nic["ipv4"]["subnet"] == [{"address": "10.0.2.0", "dnsservers": [], "prefix": "24"}]


def test_a_disk_says_what_the_vm_does_not() -> None:
    disk = document(found(MIXED)["db-1"])["compute"]["storageProfile"]["osDisk"]
    assert disk["diskSizeGB"] == "127"
    assert disk["managedDisk"]["storageAccountType"] == "Premium_LRS"


def test_the_vm_is_believed_before_the_disk() -> None:
    disk = {"id": "d", "type": "Microsoft.Compute/disks", "name": "n", "diskSizeGB": 8}
    storage = {"osDisk": {"name": "n", "diskSizeGB": 16, "managedDisk": {"id": "D"}}}
    one = only([a_vm(storageProfile=storage), disk])
    assert document(one)["compute"]["storageProfile"]["osDisk"]["diskSizeGB"] == "16"
    assert one.left_out == ("[1].diskSizeGB",)


def test_what_is_left_stands_once_and_with_its_vm() -> None:
    vms = found(MIXED)
    one, two = vms["db-1"].left_out, vms["db-2"].left_out
    assert not set(one) & set(two)
    assert "[10]" in one
    assert "[8].subnets[0].addressPrefix" in one
    assert "[2].nicType" in one
    assert "[4].more[0].nicType" in two
    assert "[7].sku.tier" in two
    assert "[0].publicIps" not in one


def test_a_nic_that_only_names_its_vm_is_joined() -> None:
    vm_id = f"{NETWORK.replace('Network', 'COMPUTE')}/virtualMachines/ONE"
    nic = a_nic("loose", {"privateIPAddress": "10.0.0.7"}, virtualMachine={"id": vm_id})
    assert interfaces([a_vm(), nic]) == [_with("10.0.0.7")]


def _with(private: str) -> dict[str, object]:
    return {"ipv4": {"ipAddress": [{"privateIpAddress": private}]}}


def test_a_nic_of_nobody_is_left_out() -> None:
    value = [a_vm(), a_nic("loose", {"privateIPAddress": "10.0.0.7"})]
    assert interfaces(value) == []
    assert only(value).left_out == ("[1]",)


def test_a_nic_that_is_not_there_still_counts() -> None:
    value = [a_vm(networkProfile=nics("a", "b")), a_nic("B", {"privateIPAddress": "10.0.0.7"})]
    assert interfaces(value) == [{}, _with("10.0.0.7")]
    assert only(value).left_out == ("[0].networkProfile.networkInterfaces[0]",)


def test_a_nic_is_primary_if_itself_says_so() -> None:
    value = [
        a_vm(networkProfile=nics("a", "b")),
        a_nic("a", {"privateIPAddress": "10.0.0.1"}, primary=False),
        a_nic("b", {"privateIPAddress": "10.0.0.2"}, primary=True),
    ]
    assert interfaces(value) == [_with("10.0.0.2"), _with("10.0.0.1")]


def test_expanded_addresses_and_subnets_need_no_objects_of_their_own() -> None:
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


def test_a_public_ipv6_address_without_sku_has_no_place() -> None:
    public = {"id": "p", "ipAddress": "2001:db8::1"}
    nic = a_nic("a", {"privateIPAddress": "fd00::1", "publicIPAddress": public})
    one = only([a_vm(networkProfile=nics("a")), nic])
    assert one.said["network"] == {
        "interface": [{"ipv6": {"ipAddress": [{"privateIpAddress": "fd00::1"}]}}]
    }
    assert one.left_out == ("[1].ipConfigurations[0].publicIPAddress",)


def test_a_delegated_prefix_is_a_block() -> None:
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


def test_a_nic_in_two_subnets_has_both_once() -> None:
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


def test_a_subnet_may_stand_alone() -> None:
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


def test_public_addresses_that_cannot_be_told_apart_are_left() -> None:
    nic = a_nic("a", {"publicIPAddress": {"id": "gone"}})
    value = [a_vm(networkProfile=nics("a"), publicIps="20.0.0.1,20.0.0.2"), nic]
    assert interfaces(value) == [{}]
    assert only(value).left_out == (
        "[0].publicIps",
        "[1].ipConfigurations",
    )


def test_a_public_address_without_an_address_says_nothing() -> None:
    public = {"id": "P", "type": "Microsoft.Network/publicIPAddresses", "sku": {"name": "Basic"}}
    nic = a_nic("a", {"privateIPAddress": "10.0.0.1", "publicIPAddress": {"id": "p"}})
    value = [a_vm(networkProfile=nics("a")), nic, public]
    assert interfaces(value) == [_with("10.0.0.1")]
    assert only(value).left_out == ()


@pytest.mark.parametrize("name", ["vms", "value"])
def test_vms_and_nics_may_stand_in_a_mapping(name: str) -> None:
    vms = [a_vm(networkProfile=nics("a"))]
    nic = a_nic("a", {"privateIpAddress": "10.0.0.9"})
    (one,) = read({name: vms, "nics": [nic]})
    assert one.said["network"] == {"interface": [_with("10.0.0.9")]}
