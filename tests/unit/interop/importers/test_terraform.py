"""Terraform states, printed and stored."""

from collections.abc import Mapping
from typing import Any

from tests.unit.interop.importers.documents import (
    COMPUTE,
    GROUP,
    NETWORK,
    compute,
    document,
    found,
    interfaces,
    load,
    only,
)
from tests.unit.vm.refused import Refused, refused

SHOW = load("terraform_show")
STATE = load("terraform_state")


def _show(*resources: tuple[str, Mapping[str, object]]) -> dict[str, Any]:
    listed = [{"type": f"azurerm_{sort}", "values": values} for sort, values in resources]
    return {"values": {"root_module": {"resources": listed}}}


def test_shown_state_becomes_a_document() -> None:
    seen = document(only(SHOW))
    compute = seen["compute"]
    assert compute["vmId"] == "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
    assert compute["resourceId"] == f"{COMPUTE}/virtualMachines/tf-1"
    assert compute["subscriptionId"] == "8d10da13-8125-4ba9-a717-bf7490507b3d"
    assert (compute["vmSize"], compute["zone"]) == ("Standard_D2s_v5", "2")
    assert (compute["priority"], compute["evictionPolicy"]) == ("Spot", "Delete")
    assert (compute["osType"], compute["publisher"]) == ("Linux", "almalinux")
    assert (compute["userData"], compute["tags"]) == ("dXNlcg==", "env:prod")
    assert compute["platformFaultDomain"] == "0"
    assert compute["additionalCapabilities"]["hibernationEnabled"] == "true"
    assert compute["securityProfile"] == {
        "encryptionAtHost": "false",
        "secureBootEnabled": "true",
        "securityType": "TrustedLaunch",
        "virtualTpmEnabled": "true",
    }
    assert compute["osProfile"] == {
        "adminUsername": "ops",
        "computerName": "tf-host",
        "disablePasswordAuthentication": "true",
    }
    assert compute["publicKeys"] == [
        {
            "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample tf\n",
            "path": "/home/ops/.ssh/authorized_keys",
        }
    ]
    assert seen["extended"]["compute"]["hasCustomData"] is True


def test_attached_disks_are_sorted_by_their_lun() -> None:
    storage = compute(SHOW)["storageProfile"]
    first, second = storage["dataDisks"]
    assert (first["lun"], first["name"], first["diskSizeGB"]) == ("2", "tf-1-data", "200")
    assert (first["isUltraDisk"], first["writeAcceleratorEnabled"]) == ("true", "true")
    assert (second["lun"], second["managedDisk"]["id"]) == ("10", f"{COMPUTE}/disks/elsewhere")
    assert storage["osDisk"]["diskSizeGB"] == "48"
    assert storage["osDisk"]["managedDisk"] == {
        "id": f"{COMPUTE}/disks/tf-1-os",
        "storageAccountType": "Premium_LRS",
    }
    assert storage["osDisk"]["diffDiskSettings"] == {"option": "Local"}


def test_interfaces_of_other_modules_are_joined() -> None:
    one = only(SHOW)
    (nic,) = document(one)["network"]["interface"]
    assert nic["macAddress"] == "000D3A112233"
    assert nic["ipv4"]["ipAddress"] == [{"privateIpAddress": "10.0.1.4", "publicIpAddress": ""}]
    assert nic["ipv4"]["subnet"] == [
        {"address": "10.0.1.0", "dnsservers": [{"ipaddress": "10.0.1.2"}], "prefix": "25"}
    ]
    assert one.definition["loadBalancer"] == {
        "publicIpAddresses": [{"frontendIpAddress": "20.9.9.9", "privateIpAddress": "10.0.1.4"}]
    }
    app = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
    assert one.definition["identities"] == {"system": True, "user": [app]}


def test_values_of_a_state_without_a_place_are_unmapped() -> None:
    main = "values.root_module.resources"
    child = "values.root_module.child_modules[0].resources[0].values"
    assert only(SHOW).unmapped == (
        "values.outputs",
        f"{main}[0].values.additional_capabilities[0].ultra_ssd_enabled",
        f"{main}[0].values.allow_extension_operations",
        f"{main}[0].values.extensions_time_budget",
        f"{main}[0].values.identity[0].principal_id",
        f"{main}[0].values.identity[0].tenant_id",
        f"{main}[0].values.max_bid_price",
        f"{main}[0].values.os_disk[0].diff_disk_settings[0].placement",
        f"{main}[0].values.platform_fault_domain",
        f"{main}[0].values.termination_notification",
        f"{main}[1].values.allocation_method",
        f"{main}[1].values.location",
        f"{main}[3].values.zone",
        f"{main}[6]",
        f"{main}[7]",
        f"{child}.accelerated_networking_enabled",
        f"{child}.internal_domain_name_suffix",
        f"{child}.ip_configuration[0].private_ip_address_allocation",
        f"{child}.location",
    )


def test_state_file_has_an_instance_for_each_count() -> None:
    vms = found(STATE)
    assert list(vms) == ["win-0", "win-1", "old"]
    compute = document(vms["win-1"])["compute"]
    assert (compute["osType"], compute["osProfile"]["computerName"]) == ("Windows", "win1")
    assert compute["extendedLocation"] == {"name": "microsoftlosangeles1", "type": "edgeZone"}
    assert compute["securityProfile"]["securityType"] == "ConfidentialVM"
    image = compute["storageProfile"]["imageReference"]
    assert image["communityGalleryImageId"].startswith("/communityGalleries/gallery/")
    assert (image["id"], image["offer"], compute["publisher"]) == ("", "", "")
    assert compute["platformFaultDomain"] == "1"


def test_vm_without_interfaces_has_its_own_addresses() -> None:
    (nic,) = document(found(STATE)["win-1"])["network"]["interface"]
    assert nic["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.3.0.5"
    assert nic["ipv6"]["ipAddress"] == [{"privateIpAddress": "fd00::5"}]
    assert found(STATE)["win-1"].unmapped == (
        "resources[0].instances[1].attributes.admin_password",
        "resources[0].instances[1].attributes.network_interface_ids",
        "resources[0].instances[1].attributes.timezone",
    )


def test_older_resource_type_of_a_vm_is_read() -> None:
    one = found(STATE)["old"]
    seen = document(one)
    compute, storage = seen["compute"], seen["compute"]["storageProfile"]
    assert (compute["vmSize"], compute["zone"], compute["osType"]) == (
        "Standard_DS1_v2",
        "1",
        "Linux",
    )
    assert compute["version"] == "16.04.202109280"
    assert compute["plan"] == {"name": "p", "product": "q", "publisher": "r"}
    assert compute["publicKeys"][0]["keyData"] == "ssh-rsa AAAAB3 old"
    assert storage["osDisk"]["managedDisk"]["id"] == f"{COMPUTE}/disks/old-os"
    assert storage["dataDisks"][0]["managedDisk"] == {"id": "", "storageAccountType": ""}
    first, second = seen["network"]["interface"]
    assert first["ipv4"]["subnet"] == [{"address": "10.4.1.0", "dnsservers": [], "prefix": "28"}]
    assert second["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.4.0.4"
    assert one.unmapped == (
        "resources[1].instances[0].attributes.delete_os_disk_on_termination",
        "resources[3].instances[0].attributes.address_space",
    )


def test_disk_that_is_listed_and_attached_is_one_disk() -> None:
    disk = {"lun": 1, "managed_disk_id": "d", "name": "n"}
    attachment = {"virtual_machine_id": "V", "managed_disk_id": "d", "lun": 1, "caching": "None"}
    loose = {"virtual_machine_id": "v"}
    vm = {"name": "one", "id": "v", "storage_data_disk": [disk]}
    value = _show(
        ("virtual_machine", vm),
        ("virtual_machine_data_disk_attachment", attachment),
        ("virtual_machine_data_disk_attachment", loose),
        ("virtual_machine_data_disk_attachment", loose),
    )
    (disk,) = compute(value)["storageProfile"]["dataDisks"]
    assert (disk["name"], disk["lun"], disk["caching"]) == ("n", "1", "None")


def test_image_id_decides_its_member() -> None:
    shared, own = "/sharedGalleries/g/images/i", f"{COMPUTE}/images/i"
    for source, place in ((shared, "sharedGalleryImageId"), (own, "id")):
        value = _show(("linux_virtual_machine", {"name": "one", "source_image_id": source}))
        image = compute(value)["storageProfile"]["imageReference"]
        assert (image[place], image["publisher"]) == (source, "")


def test_vm_on_an_existing_disk_has_no_image_or_profile() -> None:
    seen = compute(_show(("windows_virtual_machine", {"name": "one"})))
    assert (seen["osType"], seen["publisher"], seen["version"]) == ("Windows", "", "")
    assert seen["osProfile"]["computerName"] == ""


def test_plan_is_read_without_unknown_values() -> None:
    values = {"name": "new", "size": "Standard_B1s", "id": None}
    value = {"planned_values": _show(("linux_virtual_machine", values))["values"]}
    assert compute(value)["vmSize"] == "Standard_B1s"


def test_ipv6_address_goes_to_its_family() -> None:
    nic = {
        "id": f"{NETWORK}/networkInterfaces/n",
        "ip_configuration": [
            {"private_ip_address_version": "IPv6"},
            {"private_ip_address": "10.0.0.4", "private_ip_address_version": "IPv4"},
        ],
    }
    vm = {"name": "one", "network_interface_ids": [nic["id"]]}
    value = _show(("linux_virtual_machine", vm), ("network_interface", nic))
    assert interfaces(value) == [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}]


def test_value_in_place_of_a_list_is_refused() -> None:
    shown: object = {"values": {"root_module": {"resources": {}}}}
    assert refused(only, shown)[:3] == (
        "values.root_module.resources",
        "a mapping with no members",
        "a list",
    )
    stored = {"terraform_version": "1", "resources": ["x"]}
    assert refused(only, stored) == Refused(
        "resources[0]", 'the string "x"', "a mapping of names to values"
    )
