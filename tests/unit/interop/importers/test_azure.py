"""The output of `az vm show`, `az vm list -d` and `az vm create`."""

import pytest

from tests.unit.interop.importers.documents import (
    COMPUTE,
    GROUP,
    a_vm,
    compute,
    document,
    interfaces,
    load,
    nics,
    only,
)
from tests.unit.vm.refused import Refused, refused

WEB = load("az_vm_show")
IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


def test_vm_of_az_becomes_a_document() -> None:
    seen = compute(WEB)
    storage = seen.pop("storageProfile")
    assert {name: value for name, value in seen.items() if value not in ("", {"id": ""})} == {
        "additionalCapabilities": {"hibernationEnabled": "true"},
        "azEnvironment": "AzurePublicCloud",
        "evictionPolicy": "Deallocate",
        "extendedLocation": {"name": "microsoftlosangeles1", "type": "EdgeZone"},
        "host": {"id": f"{COMPUTE}/hostGroups/hg-1/hosts/h-1"},
        "isHostCompatibilityLayerVm": "true",
        "licenseType": "RHEL_BYOS",
        "location": "westeurope",
        "name": "web-1",
        "offer": "0001-com-ubuntu-server-jammy",
        "osProfile": {
            "adminUsername": "azureuser",
            "computerName": "web-1-host",
            "disablePasswordAuthentication": "true",
        },
        "osType": "Linux",
        "physicalZone": "westeurope-az2",
        "plan": {"name": "byol", "product": "firewall", "publisher": "vendor"},
        "platformFaultDomain": "2",
        "platformUpdateDomain": "0",
        "priority": "Spot",
        "provider": "Microsoft.Compute",
        "publicKeys": [
            {
                "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample one\n",
                "path": "/home/azureuser/.ssh/authorized_keys",
            },
            {
                "keyData": "ssh-rsa AAAAB3NzaC1yc2EAAAAExample two",
                "path": "/home/azureuser/.ssh/authorized_keys",
            },
        ],
        "publisher": "Canonical",
        "resourceGroupName": "lab",
        "resourceId": f"{COMPUTE}/virtualMachines/web-1",
        "securityProfile": {
            "encryptionAtHost": "true",
            "secureBootEnabled": "true",
            "securityType": "TrustedLaunch",
            "virtualTpmEnabled": "true",
        },
        "sku": "22_04-lts-gen2",
        "subscriptionId": "8d10da13-8125-4ba9-a717-bf7490507b3d",
        "tags": "env:prod;hidden-link:/app:;team:web",
        "tagsList": [
            {"name": "env", "value": "prod"},
            {"name": "hidden-link:/app", "value": ""},
            {"name": "team", "value": "web"},
        ],
        "userData": "I2Nsb3VkLWNvbmZpZwo=",
        "version": "22.04.202605030",
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "vmSize": "Standard_D2s_v5",
        "zone": "2",
    }
    assert storage["imageReference"]["version"] == "latest"
    assert storage["imageReference"]["exactVersion"] == "22.04.202605030"


def test_disks_are_in_the_document() -> None:
    storage = compute(WEB)["storageProfile"]
    vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
    assert storage["osDisk"] == {
        "caching": "ReadWrite",
        "createOption": "FromImage",
        "diffDiskSettings": {"option": "Local"},
        "diskSizeGB": "64",
        "encryptionSettings": {
            "diskEncryptionKey": {
                "secretUrl": "https://kv.vault.azure.net/secrets/s/1",
                "sourceVault": {"id": vault},
            },
            "enabled": "true",
            "keyEncryptionKey": {
                "keyUrl": "https://kv.vault.azure.net/keys/k/1",
                "sourceVault": {"id": vault},
            },
        },
        "image": {"uri": ""},
        "managedDisk": {
            "id": f"{COMPUTE}/disks/web-1_OsDisk_1",
            "storageAccountType": "StandardSSD_LRS",
        },
        "name": "web-1_OsDisk_1",
        "osType": "Linux",
        "vhd": {"uri": ""},
        "writeAcceleratorEnabled": "false",
    }
    first, ultra = storage["dataDisks"]
    assert (first["lun"], first["diskSizeGB"], first["isUltraDisk"]) == ("3", "256", "false")
    assert (first["caching"], first["writeAcceleratorEnabled"]) == ("ReadOnly", "true")
    assert (ultra["lun"], ultra["isUltraDisk"]) == ("4", "true")
    assert ultra["opsPerSecondThrottle"] == "65280"
    assert ultra["bytesPerSecondThrottle"] == "900000000"


def test_vm_of_az_has_values_beside_the_document() -> None:
    definition = only(WEB).definition
    assert definition["availabilitySet"] == "AS-1"
    assert definition["identities"] == {
        "system": True,
        "user": [f"{IDENTITIES}/app", f"{IDENTITIES}/ops"],
        "details": {
            f"{IDENTITIES}/app": {
                "clientId": "33333333-3333-4333-8333-333333333333",
                "principalId": "44444444-4444-4444-8444-444444444444",
            },
            "system": {"principalId": "11111111-1111-4111-8111-111111111111"},
        },
        "tenantId": "22222222-2222-4222-8222-222222222222",
    }


def test_show_details_fill_the_primary_interface_first() -> None:
    assert interfaces(WEB) == [
        {"macAddress": "000D3AACB22B", "ipv4": {"ipAddress": [_address("10.0.2.4", "20.1.2.3")]}},
        {"macAddress": "000D3AACB22A", "ipv4": {"ipAddress": [_address("10.0.1.4")]}},
    ]


def _address(private: str, public: str = "") -> dict[str, str]:
    return {"privateIpAddress": private, **({"publicIpAddress": public} if public else {})}


def test_values_without_a_place_are_unmapped() -> None:
    assert only(WEB).unmapped == (
        "diagnosticsProfile",
        "etag",
        "fqdns",
        "networkProfile.networkInterfaces[0].deleteOption",
        "networkProfile.networkInterfaces[0].id",
        "networkProfile.networkInterfaces[1].deleteOption",
        "networkProfile.networkInterfaces[1].id",
        "osProfile.allowExtensionOperations",
        "osProfile.linuxConfiguration.enableVmAgentPlatformUpdates",
        "osProfile.linuxConfiguration.patchSettings",
        "osProfile.linuxConfiguration.provisionVmAgent",
        "osProfile.requireGuestProvisionSignal",
        "powerState",
        "provisioningState",
        "storageProfile.dataDisks[0].deleteOption",
        "storageProfile.dataDisks[0].toBeDetached",
        "storageProfile.diskControllerType",
        "storageProfile.osDisk.deleteOption",
        "storageProfile.osDisk.diffDiskSettings.placement",
        "timeCreated",
    )


def test_short_output_of_az_vm_create_is_read() -> None:
    one = only(load("az_vm_create"))
    assert one.unmapped == ("powerState",)
    assert one.name == "one"
    assert one.definition["identities"] == {"system": True}
    seen = document(one)
    assert seen["compute"]["zone"] == "3"
    assert seen["compute"]["resourceGroupName"] == "lab"
    (nic,) = seen["network"]["interface"]
    assert nic["macAddress"] == "000D3A239A49"
    assert nic["ipv4"]["ipAddress"] == [_address("10.0.0.4", "20.1.2.4")]


@pytest.mark.parametrize(
    "wrapped",
    [[WEB], {"value": [WEB]}, {"vms": {"a": {"b": WEB}}}],
    ids=["list", "value", "deep"],
)
def test_vm_is_found_in_lists_and_mappings(wrapped: object) -> None:
    assert only(wrapped).definition == only(WEB).definition


def test_properties_of_the_rest_api_are_looked_through() -> None:
    flat = a_vm(hardwareProfile={"vmSize": "Standard_B1s"}, vmId="v", userData="eA==")
    nested = {
        "name": "one",
        "id": flat["id"],
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "vmId": "v",
            "userData": "eA==",
        },
    }
    assert only(nested).definition == only(flat).definition
    assert only(nested).unmapped == ()


def test_names_are_found_in_any_case() -> None:
    definition = compute({"Name": "one", "HardwareProfile": {"VmSize": "Standard_A1"}})
    assert (definition["name"], definition["vmSize"]) == ("one", "Standard_A1")


def test_instance_of_a_uniform_scale_set_is_read() -> None:
    scale_set = f"{COMPUTE}/virtualMachineScaleSets/pool"
    seen = compute(
        {
            "id": f"{scale_set}/virtualMachines/7",
            "name": "pool_7",
            "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
            "sku": {"name": "Standard_B2s"},
            "instanceView": {
                "placementGroupId": "f67c14ab-e92c-408c-ae2d-da15866ec79a",
                "platformFaultDomain": 3,
                "platformUpdateDomain": 4,
                "isVMInStandbyPool": False,
            },
        }
    )
    assert seen["vmScaleSetName"] == "pool"
    assert seen["resourceId"] == f"{scale_set}/virtualMachines/7"
    assert seen["vmSize"] == "Standard_B2s"
    assert seen["placementGroupId"] == "f67c14ab-e92c-408c-ae2d-da15866ec79a"
    assert (seen["platformFaultDomain"], seen["platformUpdateDomain"]) == ("3", "4")
    assert seen["isVmInStandbyPool"] == "false"


def test_name_comes_from_the_id_by_default() -> None:
    assert only({"id": "/x/virtualMachines/abc", "hardwareProfile": None}).name == "abc"


def test_vm_on_an_existing_disk_has_no_image_or_profile() -> None:
    disk = {"osDisk": {"createOption": "Attach", "osType": "Linux"}, "imageReference": None}
    seen = compute(a_vm(storageProfile=disk, osProfile=None))
    assert {seen[word] for word in ("publisher", "offer", "sku", "version")} == {""}
    assert set(seen["osProfile"].values()) == {""}


def test_vm_with_few_members_has_defaults() -> None:
    seen = compute(a_vm())
    assert (seen["publisher"], seen["osProfile"]["adminUsername"]) == ("canonical", "azureuser")


def test_profile_implies_the_operating_system() -> None:
    windows = {"osProfile": {"windowsConfiguration": {"timeZone": "UTC"}}}
    assert compute(a_vm(**windows))["osType"] == "Windows"
    assert only(a_vm(**windows)).unmapped == ("osProfile",)


def test_unmanaged_disk_has_no_managed_disk() -> None:
    blob = {"vhd": {"uri": "https://sa.blob.core.windows.net/vhds/a.vhd"}}
    image = {"image": {"uri": "https://sa.blob.core.windows.net/images/a.vhd"}}
    storage = {"osDisk": {**blob, **image}, "dataDisks": [{"lun": 0, **blob}, {}]}
    seen = compute(a_vm(storageProfile=storage))["storageProfile"]
    none = {"id": "", "storageAccountType": ""}
    assert seen["osDisk"]["managedDisk"] == seen["dataDisks"][0]["managedDisk"] == none
    assert seen["osDisk"]["vhd"] == seen["dataDisks"][0]["vhd"] == blob["vhd"]
    assert seen["osDisk"]["image"] == image["image"]
    assert seen["dataDisks"][1]["lun"] == "1"


def test_custom_data_becomes_a_flag() -> None:
    vm = only(a_vm(osProfile={"customData": "I2Nsb3Vk", "adminPassword": "x"}))
    assert vm.definition["extended"] == {"compute": {"hasCustomData": True}}
    assert vm.unmapped == ("osProfile.adminPassword",)


DETAILS = [
    pytest.param({}, [], id="nothing"),
    pytest.param({"networkProfile": nics("a", "b")}, [{}, {}], id="two interfaces"),
    pytest.param(
        {"privateIps": "10.0.0.4, 10.0.0.5, fd00::5", "publicIps": "20.0.0.1"},
        [
            {
                "ipv4": {"ipAddress": [_address("10.0.0.4", "20.0.0.1"), _address("10.0.0.5")]},
                "ipv6": {"ipAddress": [_address("fd00::5")]},
            }
        ],
        id="one interface has all",
    ),
    pytest.param(
        {
            "privateIps": "10.0.0.4,10.0.0.5,fd00::5,10.0.0.6",
            "macAddresses": "00-0D-3A-00-00-01,00-0D-3A-00-00-02",
        },
        [
            {"macAddress": "000D3A000001", "ipv4": {"ipAddress": [_address("10.0.0.4")]}},
            {
                "macAddress": "000D3A000002",
                "ipv4": {"ipAddress": [_address("10.0.0.5"), _address("10.0.0.6")]},
                "ipv6": {"ipAddress": [_address("fd00::5")]},
            },
        ],
        id="the last has what is too many",
    ),
    pytest.param(
        {"publicIps": "20.0.0.1"},
        [{"ipv4": {"ipAddress": [{"publicIpAddress": "20.0.0.1"}]}}],
        id="only public",
    ),
]


@pytest.mark.parametrize("details, expected", DETAILS)
def test_addresses_are_spread_over_the_interfaces(
    details: dict[str, object], expected: object
) -> None:
    assert interfaces(a_vm(**details)) == expected


def test_addresses_without_a_place_are_unmapped() -> None:
    value = a_vm(privateIps="10.0.0.4", publicIps="20.0.0.1,2001:db8::1,20.0.0.2")
    assert only(value).unmapped == ("publicIps",)


def test_unknown_type_does_not_hide_a_vm() -> None:
    assert compute({"type": 5, "name": "a", "hardwareProfile": {"vmSize": "S"}})["vmSize"] == "S"


def test_identity_resource_gives_its_ids() -> None:
    app = f"{IDENTITIES}/app"
    vm = a_vm(identity={"type": "UserAssigned", "userAssignedIdentities": {app: {}}})
    identity = {
        "id": app.upper(),
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "name": "app",
        "clientId": "33333333-3333-4333-8333-333333333333",
        "tenantId": "22222222-2222-4222-8222-222222222222",
    }
    one = only([vm, identity])
    assert one.definition["identities"] == {
        "system": False,
        "user": [app],
        "details": {app: {"clientId": "33333333-3333-4333-8333-333333333333"}},
        "tenantId": "22222222-2222-4222-8222-222222222222",
    }
    assert one.unmapped == ()


def test_identity_without_a_name_is_unmapped() -> None:
    one = only(a_vm(identity={"userAssignedIdentities": {"": {}}}))
    assert one.unmapped == ('identity.userAssignedIdentities[""]',)


def test_identity_resource_may_lack_its_tenant() -> None:
    app = f"{IDENTITIES}/app"
    vm = a_vm(identity={"userAssignedIdentities": {app: {}}})
    kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
    assert only([vm, {"id": app, "type": kind}]).definition["identities"] == {"user": [app]}


def test_masked_id_could_not_be_read() -> None:
    one = only(a_vm(identity={"type": "SystemAssigned", "principalId": "xxxxxxxx-xxxx"}))
    assert one.definition["identities"] == {"system": True}
    assert one.unread == (("identity.principalId", "", "it is not a GUID"),)


def test_class_name_in_place_of_an_object_names_the_remedy() -> None:
    name = "Microsoft.Azure.Management.Compute.Models.OSProfile"
    assert refused(only, a_vm(osProfile=name)) == Refused(
        "osProfile",
        f'the string "{name}"',
        "a mapping of names to values",
        "Write the file with ConvertTo-Json -Depth 10",
    )


POWERSHELL = {
    "ResourceGroupName": "lab",
    "Id": f"{COMPUTE}/virtualMachines/ps",
    "VmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    "Name": "ps",
    "Type": "Microsoft.Compute/virtualMachines",
    "Location": "westeurope",
    "HardwareProfile": {"VmSize": "Standard_B2s"},
    "Identity": {"Type": 2, "PrincipalId": "11111111-1111-4111-8111-111111111111"},
    "StorageProfile": {
        "OsDisk": {"OsType": 1, "Caching": 2, "CreateOption": 0, "Name": "os"},
        "DataDisks": {"value": [{"Lun": 0, "Caching": 1, "CreateOption": "Empty"}], "Count": 1},
    },
    "Zones": {"value": ["2"], "Count": 1},
}


def test_numbers_of_powershell_are_its_enumerations() -> None:
    seen = document(only(POWERSHELL))["compute"]
    storage = seen["storageProfile"]
    disk = storage["osDisk"]
    assert (disk["osType"], disk["caching"], disk["createOption"]) == (
        "Linux",
        "ReadWrite",
        "FromImage",
    )
    (data,) = storage["dataDisks"]
    assert (data["caching"], data["createOption"]) == ("ReadOnly", "Empty")
    assert (seen["osType"], seen["zone"], seen["vmSize"]) == ("Linux", "2", "Standard_B2s")
    assert only(POWERSHELL).definition["identities"] == {
        "system": True,
        "details": {"system": {"principalId": "11111111-1111-4111-8111-111111111111"}},
    }
    assert only(POWERSHELL).unmapped == ()


@pytest.mark.parametrize("number", [3, -1, True, 1.0])
def test_number_of_no_enumeration_is_refused(number: object) -> None:
    disk = {"osDisk": {"caching": number}}
    assert refused(only, a_vm(storageProfile=disk)).expected == "a string"
