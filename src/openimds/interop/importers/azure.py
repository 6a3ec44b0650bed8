"""Mapping rows of Azure's own JSON: `az … show`, ARM's REST API and ARM templates.

Checked against printed `az vm list -d` and `az network nic show` output of several versions (names
differ in case), against the code behind `--show-details`, and against exported templates.
"""

from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import (
    Default,
    Implied,
    MappingRow,
    ResourceKind,
    ResourceTable,
    alike,
    ignored,
)

_FRAME = ignored("type", "apiVersion", "dependsOn")

_DISK_TEXTS = ("name", "image.uri", "managedDisk.storageAccountType")
_OS = "storageProfile.osDisk."
_ENCRYPTION = _OS + "encryptionSettings."
_DATA = "storageProfile.dataDisks[]."
_IMAGE = "storageProfile.imageReference."
_IMAGE_WORDS = ("publisher", "offer", "sku", "version")

_STORAGE = (
    *alike(
        "compute.",
        *(_IMAGE + word for word in _IMAGE_WORDS),
        *(_IMAGE + id_ for id_ in ("id", "communityGalleryImageId", "sharedGalleryImageId")),
        _IMAGE + "exactVersion",
        *(_OS + name for name in _DISK_TEXTS),
        _OS + "diffDiskSettings.option",
        _OS + "managedDisk.id",
        _OS + "vhd.uri",
        _ENCRYPTION + "diskEncryptionKey.secretUrl",
        _ENCRYPTION + "diskEncryptionKey.sourceVault.id",
        _ENCRYPTION + "keyEncryptionKey.keyUrl",
        _ENCRYPTION + "keyEncryptionKey.sourceVault.id",
    ),
    *alike("compute.", _OS + "osType", convert=conversions.system),
    *alike("compute.", _OS + "caching", _DATA + "caching", convert=conversions.caching),
    *alike(
        "compute.", _OS + "createOption", _DATA + "createOption", convert=conversions.create_option
    ),
    *alike("compute.", _OS + "diskSizeGB", convert=conversions.number),
    *alike(
        "compute.",
        _OS + "writeAcceleratorEnabled",
        _ENCRYPTION + "enabled",
        convert=conversions.flag,
    ),
    MappingRow(_OS + "managedDisk.id", "refs.osDisk", conversions.reference),
    MappingRow(_OS + "vhd.uri", "compute." + _OS + "managedDisk.id", conversions.unmanaged),
    MappingRow(
        _OS + "vhd.uri", "compute." + _OS + "managedDisk.storageAccountType", conversions.unmanaged
    ),
    MappingRow(
        "storageProfile.dataDisks[]", "compute.storageProfile.dataDisks[]", conversions.element
    ),
    *alike("compute.", *(_DATA + name for name in _DISK_TEXTS)),
    *alike("compute.", _DATA + "managedDisk.id", _DATA + "vhd.uri"),
    *alike("compute.", _DATA + "diskSizeGB", _DATA + "lun", convert=conversions.number),
    *alike("compute.", _DATA + "writeAcceleratorEnabled", convert=conversions.flag),
    MappingRow(_DATA + "managedDisk.id", "refs.dataDisks[]", conversions.reference),
    MappingRow(_DATA + "vhd.uri", "compute." + _DATA + "managedDisk.id", conversions.unmanaged),
    MappingRow(
        _DATA + "vhd.uri",
        "compute." + _DATA + "managedDisk.storageAccountType",
        conversions.unmanaged,
    ),
    MappingRow(
        _DATA + "managedDisk.storageAccountType",
        "compute." + _DATA + "isUltraDisk",
        conversions.is_ultra,
    ),
    MappingRow(
        _DATA + "diskIOPSReadWrite", "compute." + _DATA + "opsPerSecondThrottle", conversions.number
    ),
    MappingRow(
        _DATA + "diskMBpsReadWrite",
        "compute." + _DATA + "bytesPerSecondThrottle",
        conversions.in_bytes,
    ),
)

_OS_PROFILE = (
    *alike("compute.", "osProfile.adminUsername", "osProfile.computerName"),
    MappingRow("osProfile.customData", "extended.compute.hasCustomData", conversions.there),
    MappingRow(
        "osProfile.linuxConfiguration.disablePasswordAuthentication",
        "compute.osProfile.disablePasswordAuthentication",
        conversions.flag,
    ),
    MappingRow(
        "osProfile.linuxConfiguration.ssh.publicKeys[].keyData", "compute.publicKeys[].keyData"
    ),
    MappingRow("osProfile.linuxConfiguration.ssh.publicKeys[].path", "compute.publicKeys[].path"),
)

_USER = "identity.userAssignedIdentities{}."
_DETAIL = "identities.details{}."

_IDENTITY = (
    MappingRow("identity.type", "identities.system", conversions.is_system),
    MappingRow("identity.userAssignedIdentities{key}", "identities.user[]"),
    MappingRow(_USER + "clientId", _DETAIL + "clientId", conversions.guid),
    MappingRow(_USER + "principalId", _DETAIL + "principalId", conversions.guid),
    MappingRow("identity.principalId", "identities.details.system.principalId", conversions.guid),
    MappingRow("identity.tenantId", "identities.tenantId", conversions.guid),
    # The short form that `az vm create` prints.
    MappingRow("identity.systemAssignedIdentity", "identities.system", conversions.there),
)

_PLACE = (
    MappingRow("id", "key", conversions.reference),
    MappingRow("id", "compute.resourceId"),
    MappingRow("id", "compute.subscriptionId", conversions.after("subscriptions")),
    MappingRow("id", "compute.resourceGroupName", conversions.after("resourcegroups")),
    MappingRow("id", "compute.vmScaleSetName", conversions.after("virtualmachinescalesets")),
    MappingRow("resourceGroup", "compute.resourceGroupName"),
    MappingRow("resourceGroupName", "compute.resourceGroupName"),
    MappingRow("zones[]", "compute.zone"),
    MappingRow("availabilitySet.id", "availabilitySet", conversions.last),
    *alike("compute.", "location", "extendedLocation.name", "extendedLocation.type"),
    *alike("compute.", "host.id", "hostGroup.id", "virtualMachineScaleSet.id"),
    *alike("compute.", "platformFaultDomain", convert=conversions.domain),
    MappingRow(
        "instanceView.platformFaultDomain", "compute.platformFaultDomain", conversions.domain
    ),
    MappingRow(
        "instanceView.platformUpdateDomain", "compute.platformUpdateDomain", conversions.domain
    ),
    MappingRow("instanceView.placementGroupId", "compute.placementGroupId"),
    MappingRow("instanceView.isVMInStandbyPool", "compute.isVmInStandbyPool", conversions.flag),
)

_NICS = (
    MappingRow("networkProfile.networkInterfaces[].id", "cards[].id", conversions.reference),
    MappingRow("networkProfile.networkInterfaces[].primary", "cards[].primary", conversions.truth),
    # The members that `--show-details` adds, then the same by the names of `az vm create`.
    MappingRow("privateIps", "extras.private", conversions.words),
    MappingRow("publicIps", "extras.public", conversions.words),
    MappingRow("macAddresses", "extras.mac", conversions.macs),
    MappingRow("privateIpAddress", "extras.private", conversions.words),
    MappingRow("publicIpAddress", "extras.public", conversions.words),
    MappingRow("macAddress", "extras.mac", conversions.macs),
)

# `az` repeats the resource group beside every id.
_REPEATED_GROUPS = ignored(
    *(
        f"{owner}.resourceGroup"
        for owner in (
            "availabilitySet",
            "host",
            "hostGroup",
            "virtualMachineScaleSet",
            "storageProfile.imageReference",
            "storageProfile.osDisk.managedDisk",
            "storageProfile.dataDisks[].managedDisk",
            _ENCRYPTION + "diskEncryptionKey.sourceVault",
            _ENCRYPTION + "keyEncryptionKey.sourceVault",
        )
    ),
    "networkProfile.networkInterfaces[].resourceGroup",
)

_PROPERTIES = (
    *alike("compute.", "licenseType", "priority", "evictionPolicy", "userData"),
    *alike("compute.", "securityProfile.securityType"),
    *alike(
        "compute.",
        "securityProfile.encryptionAtHost",
        "additionalCapabilities.hibernationEnabled",
        convert=conversions.flag,
    ),
    MappingRow(
        "securityProfile.uefiSettings.secureBootEnabled",
        "compute.securityProfile.secureBootEnabled",
        conversions.flag,
    ),
    MappingRow(
        "securityProfile.uefiSettings.vTpmEnabled",
        "compute.securityProfile.virtualTpmEnabled",
        conversions.flag,
    ),
)

MACHINE = ResourceTable(
    ResourceKind.MACHINE,
    (
        *_FRAME,
        MappingRow("name", "name"),
        *_PLACE,
        MappingRow("hardwareProfile.vmSize", "compute.vmSize"),
        MappingRow("sku.name", "compute.vmSize"),
        *alike("compute.", "vmId", "plan.name", "plan.product", "plan.publisher"),
        *_PROPERTIES,
        MappingRow("tags{}", "compute.tags{}", conversions.tag),
        *_STORAGE,
        *_OS_PROFILE,
        *_IDENTITY,
        *_NICS,
        *_REPEATED_GROUPS,
    ),
    (
        Implied("osProfile.windowsConfiguration", "compute.osType", "Windows"),
        Implied("osProfile.linuxConfiguration", "compute.osType", "Linux"),
    ),
    (
        # A VM on an existing disk has no profile and no image; its document has empty values.
        Default(
            ("osProfile",),
            (
                "compute.osProfile.adminUsername",
                "compute.osProfile.computerName",
                "compute.osProfile.disablePasswordAuthentication",
            ),
            within="storageProfile",
        ),
        Default(
            ("storageProfile.imageReference",),
            (*(f"compute.{_IMAGE}{word}" for word in _IMAGE_WORDS), "compute.version"),
            within="storageProfile",
        ),
    ),
)

_PROFILE = "virtualMachineProfile."
_CARDS = _PROFILE + "networkProfile.networkInterfaceConfigurations[]."
_ADDRESSES = _CARDS + "ipConfigurations[]."


def _of_profile(rows: tuple[MappingRow, ...]) -> tuple[MappingRow, ...]:
    """Return the rows of a VM for the profile of a scale set."""
    return tuple(
        MappingRow(_PROFILE + row.source, row.target, row.convert) for row in rows if row.target
    )


SCALE_SET = ResourceTable(
    ResourceKind.SCALE_SET,
    (
        *_FRAME,
        *ignored("sku.tier", "resourceGroup"),
        MappingRow("name", "name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("id", "setId"),
        MappingRow("id", "compute.subscriptionId", conversions.after("subscriptions")),
        MappingRow("id", "compute.resourceGroupName", conversions.after("resourcegroups")),
        MappingRow("resourceGroup", "compute.resourceGroupName"),
        MappingRow("sku.name", "compute.vmSize"),
        MappingRow("sku.capacity", "capacity", conversions.number),
        MappingRow("orchestrationMode", "mode"),
        MappingRow("zones[]", "zones[]"),
        *alike("compute.", "location", "extendedLocation.name", "extendedLocation.type"),
        *alike("compute.", "plan.name", "plan.product", "plan.publisher", "hostGroup.id"),
        MappingRow("tags{}", "compute.tags{}", conversions.tag),
        *_IDENTITY,
        MappingRow(_PROFILE + "osProfile.computerNamePrefix", "prefix"),
        *_of_profile((*_PROPERTIES, *_STORAGE, *_OS_PROFILE)),
        MappingRow(_CARDS[:-1], "cards[]", conversions.element),
        MappingRow(_CARDS + "primary", "cards[].primary", conversions.truth),
        MappingRow(_CARDS + "dnsSettings.dnsServers[]", "cards[].dns[]"),
        MappingRow(_ADDRESSES + "primary", "cards[].addresses[].primary", conversions.truth),
        MappingRow(_ADDRESSES + "privateIPAddressVersion", "cards[].addresses[].version"),
        MappingRow(_ADDRESSES + "subnet.id", "cards[].addresses[].subnet", conversions.reference),
    ),
    tuple(
        Implied(_PROFILE + implied.source, implied.target, implied.value)
        for implied in MACHINE.implied
    ),
)

_CONFIGURATION = "ipConfigurations[]."

CARD = ResourceTable(
    ResourceKind.CARD,
    (
        *_FRAME,
        *ignored("name", "resourceGroup", "virtualMachine.resourceGroup"),
        *ignored(
            *(_CONFIGURATION + name for name in ("id", "name", "type", "resourceGroup")),
            _CONFIGURATION + "publicIPAddress.resourceGroup",
            _CONFIGURATION + "subnet.resourceGroup",
        ),
        MappingRow("id", "key", conversions.reference),
        MappingRow("virtualMachine.id", "machine", conversions.reference),
        MappingRow("primary", "primary", conversions.truth),
        MappingRow("macAddress", "mac", conversions.mac),
        MappingRow("dnsSettings.dnsServers[]", "dns[]"),
        MappingRow(_CONFIGURATION + "privateIPAddress", "addresses[].private"),
        MappingRow(
            _CONFIGURATION + "privateIPAddressPrefixLength",
            "addresses[].length",
            conversions.number,
        ),
        MappingRow(
            _CONFIGURATION + "privateIPAddressVersion", "addresses[].version", conversions.family
        ),
        MappingRow(_CONFIGURATION + "primary", "addresses[].primary", conversions.truth),
        MappingRow(
            _CONFIGURATION + "publicIPAddress.id", "addresses[].public", conversions.reference
        ),
        MappingRow(_CONFIGURATION + "publicIPAddress.ipAddress", "addresses[].address"),
        MappingRow(_CONFIGURATION + "publicIPAddress.sku.name", "addresses[].sku"),
        MappingRow(_CONFIGURATION + "subnet.id", "addresses[].subnet", conversions.reference),
        MappingRow(
            _CONFIGURATION + "subnet.addressPrefix", "addresses[].prefixes[0]", conversions.cidr
        ),
        MappingRow(
            _CONFIGURATION + "subnet.addressPrefixes[]", "addresses[].prefixes[]", conversions.cidr
        ),
    ),
)

ADDRESS = ResourceTable(
    ResourceKind.ADDRESS,
    (
        *_FRAME,
        *ignored("name", "resourceGroup"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("ipAddress", "address"),
        MappingRow("sku.name", "sku"),
    ),
)

NETWORK = ResourceTable(
    ResourceKind.NETWORK,
    (
        *_FRAME,
        *ignored("name", "resourceGroup", "subnets[].resourceGroup"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("subnets[].id", "subnets[].id", conversions.reference),
        MappingRow("subnets[].name", "subnets[].name"),
        MappingRow("subnets[].addressPrefix", "subnets[].prefixes[0]", conversions.cidr),
        MappingRow("subnets[].addressPrefixes[]", "subnets[].prefixes[]", conversions.cidr),
    ),
)

SUBNET = ResourceTable(
    ResourceKind.NETWORK,
    (
        *_FRAME,
        *ignored("name", "resourceGroup"),
        MappingRow("id", "subnets[0].id", conversions.reference),
        MappingRow("addressPrefix", "subnets[0].prefixes[0]", conversions.cidr),
        MappingRow("addressPrefixes[]", "subnets[0].prefixes[]", conversions.cidr),
    ),
)

DISK = ResourceTable(
    ResourceKind.DISK,
    (
        *_FRAME,
        *ignored("resourceGroup"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("name", "any.name"),
        MappingRow("diskSizeGB", "any.diskSizeGB", conversions.number),
        MappingRow("sku.name", "any.managedDisk.storageAccountType"),
        MappingRow("sku.name", "data.isUltraDisk", conversions.is_ultra),
    ),
)

IDENTITY = ResourceTable(
    ResourceKind.IDENTITY,
    (
        *_FRAME,
        *ignored("name", "location", "resourceGroup"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("clientId", "clientId", conversions.guid),
        MappingRow("principalId", "principalId", conversions.guid),
        MappingRow("tenantId", "tenantId", conversions.guid),
    ),
)

TYPES: dict[str, ResourceTable] = {
    "microsoft.compute/virtualmachines": MACHINE,
    "microsoft.compute/virtualmachinescalesets/virtualmachines": MACHINE,
    "microsoft.network/networkinterfaces": CARD,
    "microsoft.network/publicipaddresses": ADDRESS,
    "microsoft.network/virtualnetworks": NETWORK,
    "microsoft.network/virtualnetworks/subnets": SUBNET,
    "microsoft.compute/disks": DISK,
    "microsoft.compute/virtualmachinescalesets": SCALE_SET,
    "microsoft.managedidentity/userassignedidentities": IDENTITY,
}
"""Tables by resource type, in lower case."""
MARKERS: dict[str, ResourceTable] = {
    "hardwareprofile": MACHINE,
    "powerstate": MACHINE,
    "ipconfigurations": CARD,
    "virtualmachineprofile": SCALE_SET,
}
"""Tables by a member, for objects without a type."""
