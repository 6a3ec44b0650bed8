"""Terraform states, printed and stored."""

from collections.abc import Mapping
from typing import Any

import pytest

from openimds.interop.importers import read
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
    unread,
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
    assert one.definition["identities"]["user"] == [app]  # type: ignore[index]


def test_values_of_a_state_without_a_place_are_unmapped() -> None:
    main = "values.root_module.resources"
    child = "values.root_module.child_modules[0].resources[0].values"
    assert only(SHOW).unmapped == (
        "values.outputs",
        f"{main}[0].values.additional_capabilities[0].ultra_ssd_enabled",
        f"{main}[0].values.allow_extension_operations",
        f"{main}[0].values.extensions_time_budget",
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


def test_identities_of_a_state_have_their_ids() -> None:
    one = only(load("terraform_state_identity"))
    group = "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/lab"
    app = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
    assert one.definition["identities"] == {
        "system": True,
        "user": [app],
        "tenantId": "bbbbbbbb-0000-4000-8000-000000000002",
        "details": {
            "system": {"principalId": "aaaaaaaa-0000-4000-8000-000000000001"},
            app: {
                "clientId": "cccccccc-0000-4000-8000-000000000003",
                "principalId": "dddddddd-0000-4000-8000-000000000004",
            },
        },
    }
    assert (one.unmapped, one.unread) == ((), ())


def test_scale_set_of_a_plan_has_its_instances() -> None:
    vms = found(load("terraform_plan_scale_set"))
    assert list(vms) == ["pool_0", "pool_1"]
    compute = document(vms["pool_1"])["compute"]
    assert (compute["vmSize"], compute["location"]) == ("Standard_B1s", "westeurope")
    assert (compute["vmScaleSetName"], compute["osType"]) == ("pool", "Linux")
    assert compute["resourceGroupName"] == "lab"


SET_ID = f"{COMPUTE}/virtualMachineScaleSets/pool"
SUBNET_ID = f"{NETWORK}/virtualNetworks/v/subnets/s"
SETS: dict[str, dict[str, object]] = {
    "windows_virtual_machine_scale_set": {
        "sku": "Standard_B1s",
        "computer_name_prefix": "win",
        "network_interface": [{"ip_configuration": [{"subnet_id": SUBNET_ID}]}],
    },
    "virtual_machine_scale_set": {
        "instances": None,
        "sku": [{"name": "Standard_B1s", "capacity": 2}],
        "os_profile": [{"computer_name_prefix": "win"}],
        "os_profile_windows_config": [{"provision_vm_agent": True}],
        "network_profile": [{"ip_configuration": [{"subnet_id": SUBNET_ID}]}],
    },
}


@pytest.mark.parametrize("kind", SETS)
def test_scale_set_of_any_type_is_read(kind: str) -> None:
    values = {"id": SET_ID, "name": "pool", "instances": 2, "zones": ["1", "2"], **SETS[kind]}
    subnet = {"id": SUBNET_ID, "name": "s", "address_prefixes": ["10.6.0.0/24"]}
    first, second = read(_show((kind, values), ("subnet", subnet)))
    seen = document(second)
    assert (first.name, second.name) == ("pool_0", "pool_1")
    assert (seen["compute"]["vmSize"], seen["compute"]["zone"]) == ("Standard_B1s", "2")
    assert seen["compute"]["osType"] == "Windows"
    assert seen["compute"]["osProfile"]["computerName"] == "win000001"
    assert seen["compute"]["resourceId"] == f"{SET_ID}/virtualMachines/1"
    (nic,) = seen["network"]["interface"]
    assert nic["ipv4"]["subnet"][0]["address"] == "10.6.0.0"


def test_orchestrated_set_is_flexible() -> None:
    linux = {"computer_name_prefix": "lin", "admin_username": "ops"}
    values = {
        "id": SET_ID,
        "name": "pool",
        "instances": 1,
        "sku_name": "Standard_B1s",
        "os_profile": [{"linux_configuration": [linux]}],
    }
    one = only(_show(("orchestrated_virtual_machine_scale_set", values)))
    compute = document(one)["compute"]
    assert compute["virtualMachineScaleSet"]["id"] == SET_ID
    assert (compute["osType"], compute["osProfile"]["adminUsername"]) == ("Linux", "ops")
    assert one.stand_ins == ("values.root_module.resources[0].values.name",)


OLD_VM = {
    "id": f"{COMPUTE}/virtualMachines/old",
    "name": "old",
    "vm_size": "Standard_A1",
    "network_interface_ids.#": "1",
    "network_interface_ids.2011": f"{NETWORK}/networkInterfaces/n",
    "storage_data_disk.#": "11",
    "storage_data_disk.10.lun": "10",
    "storage_data_disk.2.lun": "2",
    "storage_os_disk.#": "1",
    "storage_os_disk.77.name": "os",
    "storage_os_disk.77.disk_size_gb": "30",
    "tags.%": "2",
    "tags.a.b": "c.d",
    "tags.env": "dev",
    "os_profile.#": "1",
    "os_profile.5.admin_password": "hunter2",
    "os_profile.5.admin_username": "ops",
    "odd": "x",
    "odd.member": "y",
}
OLD_NIC = {
    "id": f"{NETWORK}/networkInterfaces/n",
    "ip_configuration.#": "1",
    "ip_configuration.0.private_ip_address": "10.8.0.4",
}


def _old_state(resources: object) -> dict[str, Any]:
    module = {"path": ["root"], "outputs": {}, "resources": resources, "depends_on": []}
    return {"version": 3, "terraform_version": "0.11.14", "serial": 1, "modules": [module]}


def test_state_of_format_3_is_read() -> None:
    vm = {"type": "azurerm_virtual_machine", "primary": {"id": "x", "attributes": OLD_VM}}
    nic = {"type": "azurerm_network_interface", "primary": {"id": "y", "attributes": OLD_NIC}}
    resources = {
        "azurerm_virtual_machine.web.0": vm,
        "azurerm_network_interface.n": nic,
        "data.azurerm_virtual_machine.other": vm,
        "azurerm_resource_group.g": {"type": "azurerm_resource_group", "primary": {}},
        "azurerm_network_interface.gone": {"type": "azurerm_network_interface", "primary": None},
        "odd": 5,
    }
    one = only(_old_state(resources))
    compute = document(one)["compute"]
    assert (one.name, compute["vmSize"]) == ("old", "Standard_A1")
    assert compute["tagsList"] == [
        {"name": "a.b", "value": "c.d"},
        {"name": "env", "value": "dev"},
    ]
    storage = compute["storageProfile"]
    assert (storage["osDisk"]["name"], storage["osDisk"]["diskSizeGB"]) == ("os", "30")
    assert [disk["lun"] for disk in storage["dataDisks"]] == ["2", "10"]
    (nic_seen,) = document(one)["network"]["interface"]
    assert nic_seen["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.8.0.4"
    above = "modules[0].resources"
    web = f'{above}["azurerm_virtual_machine.web.0"].primary.attributes'
    assert one.unmapped == (
        f"{web}.odd",
        f'{web}["odd.member"]',
        f"{web}.os_profile[0].admin_password",
        f'{above}["data.azurerm_virtual_machine.other"]',
        f'{above}["azurerm_resource_group.g"]',
        f'{above}["azurerm_network_interface.gone"]',
        f"{above}.odd",
    )


def test_old_state_without_resources_is_refused() -> None:
    assert refused(only, _old_state(None)).seen == "a Terraform state with no resources"


def _planned(address: str, values: dict[str, object], **more: object) -> dict[str, Any]:
    kind = address.rpartition("azurerm_")[2].partition(".")[0]
    return {"address": address, "type": f"azurerm_{kind}", "values": values, **more}


def _change(address: str, **unknown: object) -> dict[str, Any]:
    return {"address": address, "change": {"after_unknown": {"id": True, **unknown}}}


def _config(address: str, **expressions: object) -> dict[str, Any]:
    return {"address": address, "expressions": expressions}


def _refers(*references: str) -> dict[str, list[str]]:
    return {"references": [*references]}


VM, NIC = "azurerm_linux_virtual_machine.vm", "azurerm_network_interface.nic"
NET = "azurerm_subnet.net"


def _plan() -> dict[str, Any]:
    """Return the plan of two VMs by count, with a subnet in a module."""
    planned, changes = [], []
    for i in range(2):
        vm, nic = f"{VM}[{i}]", f"{NIC}[{i}]"
        planned.append(_planned(vm, {"name": f"vm{i}", "size": "S", "location": None}))
        changes.append(_change(vm, network_interface_ids=True, location=True, computer_name=True))
        configuration = {"private_ip_address": f"10.0.0.{i + 4}"}
        planned.append(_planned(nic, {"ip_configuration": [configuration]}))
        unknown = [{"subnet_id": True, "name": False}]
        changes.append(_change(nic, ip_configuration=unknown, mac_address=True))
    subnet = _planned(f"module.net.{NET}", {"name": "s", "address_prefixes": ["10.0.0.0/26"]})
    changes.append(_change(f"module.net.{NET}"))
    module = {"outputs": {"id": {"expression": _refers(f"{NET}.id", NET)}}}
    root = {
        "resources": [
            _config(
                VM,
                network_interface_ids=_refers(NIC, "count.index"),
                location=_refers("data.azurerm_resource_group.g"),
            ),
            _config(NIC, ip_configuration=[{"subnet_id": _refers("module.net.id", "module.net")}]),
        ],
        "module_calls": {"net": {"module": module}},
    }
    return {
        "planned_values": {
            "root_module": {"resources": planned, "child_modules": [{"resources": [subnet]}]}
        },
        "resource_changes": changes,
        "configuration": {"root_module": root},
    }


def test_resources_of_a_plan_are_joined_by_their_references() -> None:
    first, second = read(_plan())
    for i, one in enumerate((first, second)):
        (nic,) = document(one)["network"]["interface"]
        assert nic["ipv4"]["ipAddress"][0]["privateIpAddress"] == f"10.0.0.{i + 4}"
        assert nic["ipv4"]["subnet"] == [{"address": "10.0.0.0", "dnsservers": [], "prefix": "26"}]
        assert "planned" not in repr(one.definition)
        assert "azurerm" not in repr(one.definition)


def test_configured_value_that_is_unknown_could_not_be_read() -> None:
    path = "planned_values.root_module.resources[{}].values.location"
    assert unread(_plan()) == {
        path.format(n): ("", "it is known only after the apply") for n in (0, 2)
    }


def test_variable_of_a_module_leads_to_its_resource() -> None:
    plan = _plan()
    root = plan["configuration"]["root_module"]
    inner = {"resources": [_config(VM, network_interface_ids=_refers("var.nics"))]}
    call = {"module": inner, "expressions": {"nics": _refers(f"{NIC}[1].id", f"{NIC}[1]", NIC)}}
    root["module_calls"]["vms"] = call
    vm = _planned(f"module.vms.{VM}", {"name": "inside", "size": "S"})
    plan["planned_values"]["root_module"]["child_modules"].append({"resources": [vm]})
    plan["resource_changes"].append(_change(f"module.vms.{VM}", network_interface_ids=True))
    (nic, *_) = document(found(plan)["inside"])["network"]["interface"]
    assert nic["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.0.0.5"


def test_availability_set_of_a_plan_has_its_name() -> None:
    plan, address = _plan(), "azurerm_availability_set.web"
    plan["planned_values"]["root_module"]["resources"] += [
        _planned(address, {"name": "as-web"}),
        {"address": 5, "values": {"name": "odd"}},
    ]
    plan["resource_changes"].append(_change(address))
    plan["resource_changes"][0]["change"]["after_unknown"]["availability_set_id"] = True
    expressions = plan["configuration"]["root_module"]["resources"][0]["expressions"]
    expressions["availability_set_id"] = _refers(f"{address}.id", address)
    assert read(plan)[0].definition["availabilitySet"] == "as-web"
    expressions["availability_set_id"] = _refers("local.set")
    assert "availabilitySet" not in read(plan)[0].definition
    path = "planned_values.root_module.resources[0].values.availability_set_id"
    assert unread(plan)[path] == ("", "it is known only after the apply")


def test_references_in_a_circle_end() -> None:
    plan = _plan()
    calls = plan["configuration"]["root_module"]["module_calls"]
    calls["net"]["module"]["outputs"]["id"] = {"expression": _refers("var.id")}
    calls["net"]["expressions"] = {"id": _refers("module.net.id")}
    (nic, *_) = document(read(plan)[0])["network"]["interface"]
    assert nic["ipv4"]["subnet"][0]["prefix"] != "26"
    reason = ("", "it is known only after the apply")
    path = "planned_values.root_module.resources[1].values.ip_configuration[0].subnet_id"
    assert unread(plan)[path] == reason


ODD_PLANS: list[dict[str, Any]] = [
    {"resource_changes": True, "configuration": {"root_module": {"resources": 5}}},
    {
        "resource_changes": [_change(VM, network_interface_ids=True)],
        "configuration": {
            "root_module": {
                "resources": [_config(VM, network_interface_ids={"references": 0.5})],
            }
        },
    },
    {"resource_changes": ["x", {"address": 5}, {"address": VM, "change": 5}]},
    {"resource_changes": [_change(VM, location=True)]},
    {"resource_changes": [_change(VM, location=True)], "configuration": {"root_module": 5}},
    {"resource_changes": [{"address": VM, "change": {"after_unknown": {"location": True}}}]},
    {"resource_changes": [_change(VM, size={"a": True}, identity=[{"a": True}])]},
]


@pytest.mark.parametrize("members", ODD_PLANS)
def test_plan_with_odd_members_keeps_its_values(members: dict[str, Any]) -> None:
    resources = [_planned(VM, {"name": "one", "location": "westus"})]
    one = only({"planned_values": {"root_module": {"resources": resources}}, **members})
    assert document(one)["compute"]["location"] == "westus"


def test_blocks_of_a_plan_may_be_fewer_than_its_values() -> None:
    plan = _plan()
    addresses = [{"private_ip_address": "10.0.0.8"}, {"private_ip_address": "10.0.0.9"}]
    plan["planned_values"]["root_module"]["resources"][1]["values"]["ip_configuration"] = addresses
    (nic, *_) = document(read(plan)[0])["network"]["interface"]
    assert len(nic["ipv4"]["ipAddress"]) == 2


def test_data_of_a_plan_completes_its_resources() -> None:
    subnet = {"mode": "data", **_planned(NET, {"id": SUBNET_ID, "address_prefix": "10.3.0.0/24"})}
    old = {"mode": "managed", **_planned(VM, {"name": "gone"})}
    nic = {"id": "n", "ip_configuration": [{"subnet_id": SUBNET_ID}]}
    plan = {
        "planned_values": _show(
            ("linux_virtual_machine", {"name": "one", "network_interface_ids": ["n"]}),
            ("network_interface", nic),
        )["values"],
        "prior_state": {"values": {"root_module": {"resources": [subnet, old]}}},
    }
    one = only(plan)
    (seen,) = document(one)["network"]["interface"]
    assert seen["ipv4"]["subnet"][0]["prefix"] == "24"
    assert one.unmapped == ()


def test_sensitive_value_of_a_state_stands_in_no_message() -> None:
    values = {"name": "one", "encryption_at_host_enabled": "hunter2", "tags": {"a": "b"}}
    marks = {"encryption_at_host_enabled": True, "tags": {"a": False}, "identity": []}
    resource = {"type": "azurerm_linux_virtual_machine", "values": values}
    shown = {"values": {"root_module": {"resources": [{**resource, "sensitive_values": marks}]}}}
    assert refused(only, shown).seen == "a secret value"
    path = [{"type": "get_attr", "value": "encryption_at_host_enabled"}]
    for mark in ({"value": path}, path):
        instance = {"attributes": values, "sensitive_attributes": [mark, [], 5, [{"value": "x"}]]}
        stored = {"terraform_version": "1", "resources": [{**resource, "instances": [instance]}]}
        assert refused(only, stored).seen == "a secret value"


def test_marks_of_a_list_may_be_fewer_than_its_items() -> None:
    values = {"name": "one", "identity": [{"type": "SystemAssigned"}, {"type": "x"}]}
    resource = {"type": "azurerm_linux_virtual_machine", "values": values}
    marked = {**resource, "sensitive_values": {"identity": [{}]}}
    shown = {"values": {"root_module": {"resources": [marked]}}}
    assert only(shown).definition["identities"] == {"system": True}
