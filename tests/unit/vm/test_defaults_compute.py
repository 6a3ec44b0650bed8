"""Defaults of `compute`: names, scale sets, images, Windows, zones, disks."""

from base64 import b64decode
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

GROUP = "/subscriptions/8d10da13/resourceGroups/lab"
NAMES = {"subscriptionId": "8d10da13", "resourceGroupName": "lab"}
GALLERY = "/SharedGalleries/g/Images/i/Versions/latest"


def _compute(vm_name: str = "web-1", /, **fields: object) -> dict[str, Any]:
    compute = complete(parse_vm(vm_name, {"compute": fields}))["compute"]
    assert isinstance(compute, dict)
    return compute


def _image(**fields: object) -> dict[str, Any]:
    return _compute(storageProfile={"imageReference": fields})


def test_a_vm_is_plain_linux_by_default() -> None:
    compute = _compute()
    assert {
        key: compute[key]
        for key in ("offer", "osType", "priority", "provider", "publisher", "sku", "version")
    } == {
        "offer": "ubuntu-24_04-lts",
        "osType": "Linux",
        "priority": "",
        "provider": "Microsoft.Compute",
        "publisher": "canonical",
        "sku": "server",
        "version": "24.04.202510010",
    }
    assert compute["storageProfile"]["imageReference"]["version"] == "latest"
    assert compute["storageProfile"]["osDisk"]["diskSizeGB"] == "30"
    assert compute["osProfile"] == {
        "adminUsername": "azureuser",
        "computerName": "web-1",
        "disablePasswordAuthentication": "true",
    }


def test_the_resource_id_is_made_of_the_written_names() -> None:
    assert _compute(**NAMES)["resourceId"] == (
        f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web-1"
    )
    assert _compute(**NAMES, name="front")["resourceId"].endswith("/virtualMachines/front")


@pytest.mark.parametrize(
    "name,host",
    [
        ("web-1", "web-1"),
        ("web_1_a", "web-1-a"),
        ("x" * 70, "x" * 64),
    ],
)
def test_a_host_name_has_no_underscore_and_64_letters_at_most(name: str, host: str) -> None:
    assert _compute(name)["osProfile"]["computerName"] == host


@pytest.mark.parametrize(
    "name,number,host",
    [
        ("aks-pool-vmss_0", "0", "aks-pool-vmss000000"),
        ("aks-pool-vmss_12", "12", "aks-pool-vmss00000c"),
        ("aks-pool-vmss_36", "36", "aks-pool-vmss000010"),
        ("aks-pool-vmss_a1", "0", "aks-pool-vmss000000"),
        ("5", "5", "aks-pool-vmss000005"),
    ],
)
def test_an_instance_of_a_uniform_scale_set(name: str, number: str, host: str) -> None:
    compute = _compute(name, **NAMES, vmScaleSetName="aks-pool-vmss")
    assert compute["resourceId"] == (
        f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-vmss/"
        f"virtualMachines/{number}"
    )
    assert compute["osProfile"]["computerName"] == host
    assert compute["virtualMachineScaleSet"] == {"id": ""}


def test_a_vm_of_a_flexible_scale_set_is_a_plain_vm() -> None:
    owner = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/flex"
    compute = _compute(
        "flex_f9ae3d85", **NAMES, vmScaleSetName="flex", virtualMachineScaleSet={"id": owner}
    )
    assert compute["resourceId"] == (
        f"{GROUP}/providers/Microsoft.Compute/virtualMachines/flex_f9ae3d85"
    )
    assert compute["osProfile"]["computerName"] == "flex-f9ae3d85"
    assert compute["virtualMachineScaleSet"] == {"id": owner}


def test_instances_of_one_scale_set_share_a_placement_group() -> None:
    expected = str(UUID(bytes=sha256(b"openimds\0placement\0set").digest()[:16], version=4))
    for name in ("set_0", "set_1"):
        assert _compute(name, vmScaleSetName="set")["placementGroupId"] == expected
    assert expected == "1aacc35d-7972-418a-889e-c6912e284d40"
    assert _compute()["placementGroupId"] == ""
    assert _compute(vmScaleSetName="")["placementGroupId"] == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"osType": "Windows"},
        {"osType": "windows"},
        {"publisher": "MicrosoftWindowsServer"},
        {"publisher": "microsoftwindowsdesktop"},
        {"storageProfile": {"osDisk": {"osType": "Windows"}}},
        {"storageProfile": {"imageReference": {"publisher": "MicrosoftWindowsServer"}}},
    ],
    ids=str,
)
def test_windows_is_recognised_by_type_disk_or_publisher(fields: dict[str, object]) -> None:
    compute = _compute(**fields)
    assert compute["osType"].lower() == "windows"
    assert compute["storageProfile"]["osDisk"]["osType"].lower() == "windows"
    assert compute["osProfile"]["disablePasswordAuthentication"] == ""
    assert compute["storageProfile"]["osDisk"]["diskSizeGB"] == "127"


def test_a_written_os_type_wins_over_the_publisher() -> None:
    compute = _compute(osType="Linux", publisher="MicrosoftWindowsServer")
    assert compute["osType"] == "Linux"
    assert compute["osProfile"]["disablePasswordAuthentication"] == "true"


@pytest.mark.parametrize("word", ["publisher", "offer", "sku"])
def test_image_names_stand_in_two_places(word: str) -> None:
    above = _compute(**{word: "x"})
    assert above["storageProfile"]["imageReference"][word] == above[word] == "x"
    below = _image(**{word: "x"})
    assert below["storageProfile"]["imageReference"][word] == below[word] == "x"


@pytest.mark.parametrize("key", ["id", "communityGalleryImageId", "sharedGalleryImageId"])
def test_a_gallery_image_has_no_marketplace_names(key: str) -> None:
    compute = _image(**{key: GALLERY})
    assert [compute[word] for word in ("offer", "publisher", "sku", "version")] == [""] * 4
    image = compute["storageProfile"]["imageReference"]
    assert {name: value for name, value in image.items() if value} == {key: GALLERY}


def test_an_image_id_that_is_empty_is_the_marketplace() -> None:
    assert _image(id="")["offer"] == "ubuntu-24_04-lts"


@pytest.mark.parametrize(
    "fields,version",
    [
        ({"version": "8.4.2023310514"}, "8.4.2023310514"),
        ({"version": "latest"}, "24.04.202510010"),
        ({"version": "latest", "exactVersion": "1.2.3"}, "1.2.3"),
        ({"version": "4.5.6", "exactVersion": "1.2.3"}, "1.2.3"),
        ({"version": ""}, "24.04.202510010"),
        ({"id": GALLERY, "version": "1.2.3"}, "1.2.3"),
        ({"id": GALLERY, "version": "latest"}, ""),
    ],
    ids=str,
)
def test_the_version_is_concrete_if_the_image_has_one(
    fields: dict[str, object], version: str
) -> None:
    assert _image(**fields)["version"] == version


@pytest.mark.parametrize(
    "fields,expected",
    [
        ({"zone": "1"}, "westeurope-az1"),
        ({"zone": "2", "location": "westus"}, "westus-az2"),
        ({"zone": ""}, ""),
        ({}, ""),
    ],
    ids=str,
)
def test_a_zone_has_a_physical_zone(fields: dict[str, object], expected: str) -> None:
    assert _compute(**fields)["physicalZone"] == expected


def test_the_os_disk_is_named_after_the_vm() -> None:
    disk = _compute(**NAMES)["storageProfile"]["osDisk"]
    expected = sha256(b"openimds\0os disk\0web-1").digest()[:16].hex()
    assert (
        disk["name"]
        == f"web-1_OsDisk_1_{expected}"
        == "web-1_OsDisk_1_6f78354dc4d7389982a0ff12ac86b80d"
    )
    assert disk["managedDisk"]["id"] == f"{GROUP}/providers/Microsoft.Compute/disks/{disk['name']}"


def test_data_disks_are_numbered_unless_they_have_a_lun() -> None:
    data_disks = [{}, {"lun": "7"}, {"name": "data", "diskSizeGB": "64"}]
    disks = _compute(**NAMES, storageProfile={"dataDisks": data_disks})["storageProfile"][
        "dataDisks"
    ]
    assert [disk["lun"] for disk in disks] == ["0", "7", "2"]
    names = ["web-1_DataDisk_0", "web-1_DataDisk_7", "data"]
    assert [disk["name"] for disk in disks] == names
    assert [disk["managedDisk"]["id"] for disk in disks] == [
        f"{GROUP}/providers/Microsoft.Compute/disks/{name}" for name in names
    ]
    assert [disk["diskSizeGB"] for disk in disks] == ["1024", "1024", "64"]
    assert {disk["isUltraDisk"] for disk in disks} == {"false"}


@pytest.mark.parametrize("user,home", [(None, "azureuser"), ("ada", "ada")])
def test_a_key_lies_in_the_home_of_the_admin(user: str | None, home: str) -> None:
    profile = {} if user is None else {"adminUsername": user}
    keys = [{"keyData": "ssh-rsa A"}, {"keyData": "ssh-rsa B", "path": "/b"}]
    public_keys = _compute(osProfile=profile, publicKeys=keys)["publicKeys"]
    assert [key["path"] for key in public_keys] == [f"/home/{home}/.ssh/authorized_keys", "/b"]


@pytest.mark.parametrize(
    "address,prefix,expected",
    [
        ("10.144.133.132", "26", "10.144.133.128"),
        ("10.0.7.9", None, "10.0.7.0"),
        ("10.0.7.9", "8", "10.0.0.0"),
        ("X.X.X.X", "24", ""),
        ("10.0.7.9", "99", ""),
        ("10.0.7.9", "", ""),
        ("", "24", ""),
        ("10.0.7.9", "255.255.0.0", "10.0.0.0"),
        ("fd00:1::4", "64", "fd00:1::"),
        ("fd00:1::4", "129", ""),
    ],
)
def test_a_subnet_surrounds_the_first_address(
    address: str, prefix: str | None, expected: str
) -> None:
    subnet = {} if prefix is None else {"prefix": prefix}
    nic = {
        "ipv4": {"ipAddress": [{"privateIpAddress": address}, {}], "subnet": [subnet, {}]},
    }
    whole: Any = complete(parse_vm("web-1", {"network": {"interface": [nic]}}))
    subnets = whole["network"]["interface"][0]["ipv4"]["subnet"]
    assert subnets[0] == {
        "address": expected,
        "dnsservers": [],
        "prefix": prefix or subnets[0]["prefix"],
    }
    assert subnets[1]["prefix"] == "24"


def test_each_interface_has_its_own_subnet() -> None:
    nics = [{"ipv4": {"ipAddress": [{"privateIpAddress": f"10.{i}.0.4"}]}} for i in range(2)]
    whole: Any = complete(parse_vm("web-1", {"network": {"interface": nics}}))
    addresses = [nic["ipv4"]["subnet"][0]["address"] for nic in whole["network"]["interface"]]
    assert addresses == ["10.0.0.0", "10.1.0.0"]


def test_a_subnet_without_an_address_surrounds_the_default() -> None:
    whole: Any = complete(Vm("web-1"))
    ipv4 = whole["network"]["interface"][0]["ipv4"]
    around = ipv4["ipAddress"][0]["privateIpAddress"].rpartition(".")[0]
    assert ipv4["subnet"] == [{"address": f"{around}.0", "dnsservers": [], "prefix": "24"}]


def _security(**profile: str) -> dict[str, Any]:
    compute = _compute(securityProfile=profile, publisher="x", sku="y")
    shown = compute["securityProfile"]
    names = ("secureBootEnabled", "virtualTpmEnabled", "securityType")
    return {name: shown[name] for name in names} | {"host": compute["isHostCompatibilityLayerVm"]}


TRUSTED = {
    "secureBootEnabled": "true",
    "virtualTpmEnabled": "true",
    "securityType": "TrustedLaunch",
    "host": "true",
}


def test_default_image_has_trusted_launch() -> None:
    """S62, S63: Gen2 marketplace images of 2025."""
    compute = _compute()
    assert compute["securityProfile"]["securityType"] == "TrustedLaunch"
    assert compute["isHostCompatibilityLayerVm"] == "true"
    assert _compute(publisher="Debian")["securityProfile"]["securityType"] == ""
    assert _compute(publisher="Debian")["isHostCompatibilityLayerVm"] == "false"


@pytest.mark.parametrize(
    "written, expected",
    [
        ({"securityType": "TrustedLaunch"}, TRUSTED),
        ({"secureBootEnabled": "true", "virtualTpmEnabled": "true"}, TRUSTED),
        (
            {"virtualTpmEnabled": "true", "secureBootEnabled": "false"},
            TRUSTED | {"secureBootEnabled": "false"},
        ),
    ],
)
def test_parts_of_trusted_launch_follow_from_each_other(
    written: dict[str, str], expected: dict[str, str]
) -> None:
    assert _security(**written) == expected


@pytest.mark.parametrize("written", [{}, {"securityType": ""}, {"secureBootEnabled": "false"}])
def test_vm_without_trusted_launch_has_none_of_it(written: dict[str, str]) -> None:
    assert _security(**written) == {
        "secureBootEnabled": "false",
        "virtualTpmEnabled": "false",
        "securityType": "",
        "host": "false",
    }


def test_vm_that_takes_keys_alone_has_one() -> None:
    (key,) = _compute()["publicKeys"]
    assert key["path"] == "/home/azureuser/.ssh/authorized_keys"
    kind, blob, comment = key["keyData"].split(" ")
    octets = b64decode(blob, validate=True)
    assert (kind, comment, len(octets)) == ("ssh-ed25519", "web-1", 51)
    assert octets.startswith(b"\0\0\0\x0bssh-ed25519\0\0\0\x20")
    assert _compute("web-2")["publicKeys"] != _compute()["publicKeys"]


@pytest.mark.parametrize(
    "fields, keys_only",
    [
        ({"publicKeys": []}, "false"),
        ({"osProfile": {"disablePasswordAuthentication": "false"}}, "false"),
        ({"osType": "Windows"}, ""),
    ],
)
def test_vm_with_passwords_needs_no_key(fields: dict[str, Any], keys_only: str) -> None:
    compute = _compute(**fields)
    assert compute["publicKeys"] == []
    assert compute["osProfile"]["disablePasswordAuthentication"] == keys_only


def test_specialized_disk_has_neither_image_nor_profile() -> None:
    """S62: a VM of 2023 whose disk was attached, asked at 2021-05-01."""
    compute = _compute(storageProfile={"osDisk": {"createOption": "Attach"}})
    storage = compute["storageProfile"]
    assert [compute[name] for name in ("offer", "publisher", "sku", "version")] == [""] * 4
    names = ("offer", "publisher", "sku", "version", "exactVersion", "id")
    assert [storage["imageReference"][name] for name in names] == [""] * 6
    assert set(compute["osProfile"].values()) == {""}
    assert compute["publicKeys"] == []
    assert compute["securityProfile"]["securityType"] == ""
    assert compute["osType"] == "Linux"


def test_client_image_of_windows_has_its_license() -> None:
    """S62: Windows 11 of 2023, asked at 2021-02-01."""
    compute = _compute(
        publisher="microsoftwindowsdesktop",
        offer="windows-11",
        sku="win11-22h2-pro",
        vmSize="Standard_B2s",
        securityProfile={"securityType": "TrustedLaunch"},
    )
    assert compute["licenseType"] == "Windows_Client"
    assert compute["version"] == "22621.1992.230708"
    assert compute["osType"] == "Windows"
    assert compute["storageProfile"]["resourceDisk"]["size"] == "38912"
    assert compute["storageProfile"]["osDisk"]["diskSizeGB"] == "127"
    assert compute["isHostCompatibilityLayerVm"] == "true"


@pytest.mark.parametrize(
    "size, mib",
    [("Standard_B1s", "34816"), ("standard_ds2_V2", "14336"), ("Standard_D2s_v5", "0"), ("x", "0")],
)
def test_temporary_disk_is_that_of_the_size(size: str, mib: str) -> None:
    assert _compute(vmSize=size)["storageProfile"]["resourceDisk"]["size"] == mib


def test_marketplace_image_has_its_exact_version() -> None:
    compute = _compute()
    assert compute["storageProfile"]["imageReference"]["exactVersion"] == compute["version"]
    assert _compute(version="1.2.3")["storageProfile"]["imageReference"]["exactVersion"] == "1.2.3"


@pytest.mark.parametrize(
    "name, image, version",
    [
        ("id", "/subscriptions/s/…/galleries/g/images/i/versions/1.0.7", "1.0.7"),
        ("sharedGalleryImageId", "/SharedGalleries/g/Images/i/Versions/2.0.0", "2.0.0"),
        ("id", "/subscriptions/s/…/galleries/g/images/i/versions/latest", ""),
        ("id", "/subscriptions/s/…/providers/Microsoft.Compute/images/mine", ""),
    ],
)
def test_version_of_a_gallery_image_ends_its_id(name: str, image: str, version: str) -> None:
    compute = _compute(storageProfile={"imageReference": {name: image}})
    assert compute["version"] == version
    assert compute["storageProfile"]["imageReference"]["exactVersion"] == ""
