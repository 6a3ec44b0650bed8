"""The rows of Azure's own JSON: what `az … show`, ARM's REST API and ARM templates write.

Checked against printed `az vm list -d` and `az network nic show` output of several versions (names
differ in case), against the code behind `--show-details`, and against exported templates.
"""

from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import Kind, Lack, Row, Sign, Table, alike, read_only

_FRAME = read_only("type", "apiVersion", "dependsOn")

_DISK_TEXTS = ("caching", "createOption", "name", "image.uri", "managedDisk.storageAccountType")
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
        _OS + "osType",
        _OS + "diffDiskSettings.option",
        _OS + "managedDisk.id",
        _OS + "vhd.uri",
        _ENCRYPTION + "diskEncryptionKey.secretUrl",
        _ENCRYPTION + "diskEncryptionKey.sourceVault.id",
        _ENCRYPTION + "keyEncryptionKey.keyUrl",
        _ENCRYPTION + "keyEncryptionKey.sourceVault.id",
    ),
    *alike("compute.", _OS + "diskSizeGB", change=conversions.number),
    *alike(
        "compute.",
        _OS + "writeAcceleratorEnabled",
        _ENCRYPTION + "enabled",
        change=conversions.flag,
    ),
    Row(_OS + "managedDisk.id", "refs.osDisk", conversions.reference),
    Row(_OS + "vhd.uri", "compute." + _OS + "managedDisk.id", conversions.unmanaged),
    Row(
        _OS + "vhd.uri", "compute." + _OS + "managedDisk.storageAccountType", conversions.unmanaged
    ),
    Row("storageProfile.dataDisks[]", "compute.storageProfile.dataDisks[]", conversions.element),
    *alike("compute.", *(_DATA + name for name in _DISK_TEXTS)),
    *alike("compute.", _DATA + "managedDisk.id", _DATA + "vhd.uri"),
    *alike("compute.", _DATA + "diskSizeGB", _DATA + "lun", change=conversions.number),
    *alike("compute.", _DATA + "writeAcceleratorEnabled", change=conversions.flag),
    Row(_DATA + "managedDisk.id", "refs.dataDisks[]", conversions.reference),
    Row(_DATA + "vhd.uri", "compute." + _DATA + "managedDisk.id", conversions.unmanaged),
    Row(
        _DATA + "vhd.uri",
        "compute." + _DATA + "managedDisk.storageAccountType",
        conversions.unmanaged,
    ),
    Row(
        _DATA + "managedDisk.storageAccountType",
        "compute." + _DATA + "isUltraDisk",
        conversions.is_ultra,
    ),
    Row(
        _DATA + "diskIOPSReadWrite", "compute." + _DATA + "opsPerSecondThrottle", conversions.number
    ),
    Row(
        _DATA + "diskMBpsReadWrite",
        "compute." + _DATA + "bytesPerSecondThrottle",
        conversions.in_bytes,
    ),
)

_OS_PROFILE = (
    *alike("compute.", "osProfile.adminUsername", "osProfile.computerName"),
    Row("osProfile.customData", "extended.compute.hasCustomData", conversions.there),
    Row(
        "osProfile.linuxConfiguration.disablePasswordAuthentication",
        "compute.osProfile.disablePasswordAuthentication",
        conversions.flag,
    ),
    Row("osProfile.linuxConfiguration.ssh.publicKeys[].keyData", "compute.publicKeys[].keyData"),
    Row("osProfile.linuxConfiguration.ssh.publicKeys[].path", "compute.publicKeys[].path"),
)

_IDENTITY = (
    Row("identity.type", "identities.system", conversions.is_system),
    Row("identity.userAssignedIdentities{key}", "identities.user[]"),
    # The short form that `az vm create` prints.
    Row("identity.systemAssignedIdentity", "identities.system", conversions.there),
)

_PLACE = (
    Row("id", "key", conversions.reference),
    Row("id", "compute.resourceId"),
    Row("id", "compute.subscriptionId", conversions.after("subscriptions")),
    Row("id", "compute.resourceGroupName", conversions.after("resourcegroups")),
    Row("id", "compute.vmScaleSetName", conversions.after("virtualmachinescalesets")),
    Row("resourceGroup", "compute.resourceGroupName"),
    Row("zones[]", "compute.zone"),
    Row("availabilitySet.id", "availabilitySet", conversions.last),
    *alike("compute.", "location", "extendedLocation.name", "extendedLocation.type"),
    *alike("compute.", "host.id", "hostGroup.id", "virtualMachineScaleSet.id"),
    *alike("compute.", "platformFaultDomain", change=conversions.domain),
    Row("instanceView.platformFaultDomain", "compute.platformFaultDomain", conversions.domain),
    Row("instanceView.platformUpdateDomain", "compute.platformUpdateDomain", conversions.domain),
    Row("instanceView.placementGroupId", "compute.placementGroupId"),
    Row("instanceView.isVMInStandbyPool", "compute.isVmInStandbyPool", conversions.flag),
)

_NICS = (
    Row("networkProfile.networkInterfaces[].id", "cards[].id", conversions.reference),
    Row("networkProfile.networkInterfaces[].primary", "cards[].primary", conversions.truth),
    # What `--show-details` adds, and what `az vm create` calls the same.
    Row("privateIps", "extras.private", conversions.words),
    Row("publicIps", "extras.public", conversions.words),
    Row("macAddresses", "extras.mac", conversions.macs),
    Row("privateIpAddress", "extras.private", conversions.words),
    Row("publicIpAddress", "extras.public", conversions.words),
    Row("macAddress", "extras.mac", conversions.macs),
)

# `az` writes the resource group beside every id once more.
_GROUPS_AGAIN = read_only(
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

MACHINE = Table(
    Kind.MACHINE,
    (
        *_FRAME,
        Row("name", "name"),
        *_PLACE,
        Row("hardwareProfile.vmSize", "compute.vmSize"),
        Row("sku.name", "compute.vmSize"),
        *alike("compute.", "vmId", "licenseType", "priority", "evictionPolicy", "userData"),
        *alike("compute.", "plan.name", "plan.product", "plan.publisher"),
        *alike("compute.", "securityProfile.securityType"),
        *alike(
            "compute.",
            "securityProfile.encryptionAtHost",
            "additionalCapabilities.hibernationEnabled",
            change=conversions.flag,
        ),
        Row(
            "securityProfile.uefiSettings.secureBootEnabled",
            "compute.securityProfile.secureBootEnabled",
            conversions.flag,
        ),
        Row(
            "securityProfile.uefiSettings.vTpmEnabled",
            "compute.securityProfile.virtualTpmEnabled",
            conversions.flag,
        ),
        Row("tags{}", "compute.tags{}", conversions.tag),
        *_STORAGE,
        *_OS_PROFILE,
        *_IDENTITY,
        *_NICS,
        *_GROUPS_AGAIN,
    ),
    (
        Sign("osProfile.windowsConfiguration", "compute.osType", "Windows"),
        Sign("osProfile.linuxConfiguration", "compute.osType", "Linux"),
    ),
    (
        # A VM on a disk that was there before has no profile and no image, and says so.
        Lack(
            ("osProfile",),
            (
                "compute.osProfile.adminUsername",
                "compute.osProfile.computerName",
                "compute.osProfile.disablePasswordAuthentication",
            ),
            within="storageProfile",
        ),
        Lack(
            ("storageProfile.imageReference",),
            (*(f"compute.{_IMAGE}{word}" for word in _IMAGE_WORDS), "compute.version"),
            within="storageProfile",
        ),
    ),
)

_CONFIGURATION = "ipConfigurations[]."

CARD = Table(
    Kind.CARD,
    (
        *_FRAME,
        *read_only("name", "resourceGroup", "virtualMachine.resourceGroup"),
        *read_only(
            *(_CONFIGURATION + name for name in ("id", "name", "type", "resourceGroup")),
            _CONFIGURATION + "publicIPAddress.resourceGroup",
            _CONFIGURATION + "subnet.resourceGroup",
        ),
        Row("id", "key", conversions.reference),
        Row("virtualMachine.id", "machine", conversions.reference),
        Row("primary", "primary", conversions.truth),
        Row("macAddress", "mac", conversions.mac),
        Row("dnsSettings.dnsServers[]", "dns[]"),
        Row(_CONFIGURATION + "privateIPAddress", "addresses[].private"),
        Row(
            _CONFIGURATION + "privateIPAddressPrefixLength",
            "addresses[].length",
            conversions.number,
        ),
        Row(_CONFIGURATION + "privateIPAddressVersion", "addresses[].version"),
        Row(_CONFIGURATION + "primary", "addresses[].primary", conversions.truth),
        Row(_CONFIGURATION + "publicIPAddress.id", "addresses[].public", conversions.reference),
        Row(_CONFIGURATION + "publicIPAddress.ipAddress", "addresses[].address"),
        Row(_CONFIGURATION + "publicIPAddress.sku.name", "addresses[].sku"),
        Row(_CONFIGURATION + "subnet.id", "addresses[].subnet", conversions.reference),
        Row(_CONFIGURATION + "subnet.addressPrefix", "addresses[].prefixes[0]", conversions.cidr),
        Row(
            _CONFIGURATION + "subnet.addressPrefixes[]", "addresses[].prefixes[]", conversions.cidr
        ),
    ),
)

ADDRESS = Table(
    Kind.ADDRESS,
    (
        *_FRAME,
        *read_only("name", "resourceGroup"),
        Row("id", "key", conversions.reference),
        Row("ipAddress", "address"),
        Row("sku.name", "sku"),
    ),
)

NETWORK = Table(
    Kind.NETWORK,
    (
        *_FRAME,
        *read_only("name", "resourceGroup", "subnets[].resourceGroup"),
        Row("id", "key", conversions.reference),
        Row("subnets[].id", "subnets[].id", conversions.reference),
        Row("subnets[].name", "subnets[].name"),
        Row("subnets[].addressPrefix", "subnets[].prefixes[0]", conversions.cidr),
        Row("subnets[].addressPrefixes[]", "subnets[].prefixes[]", conversions.cidr),
    ),
)

SUBNET = Table(
    Kind.NETWORK,
    (
        *_FRAME,
        *read_only("name", "resourceGroup"),
        Row("id", "subnets[0].id", conversions.reference),
        Row("addressPrefix", "subnets[0].prefixes[0]", conversions.cidr),
        Row("addressPrefixes[]", "subnets[0].prefixes[]", conversions.cidr),
    ),
)

DISK = Table(
    Kind.DISK,
    (
        *_FRAME,
        *read_only("resourceGroup"),
        Row("id", "key", conversions.reference),
        Row("name", "any.name"),
        Row("diskSizeGB", "any.diskSizeGB", conversions.number),
        Row("sku.name", "any.managedDisk.storageAccountType"),
        Row("sku.name", "data.isUltraDisk", conversions.is_ultra),
    ),
)

TYPES: dict[str, Table] = {
    "microsoft.compute/virtualmachines": MACHINE,
    "microsoft.compute/virtualmachinescalesets/virtualmachines": MACHINE,
    "microsoft.network/networkinterfaces": CARD,
    "microsoft.network/publicipaddresses": ADDRESS,
    "microsoft.network/virtualnetworks": NETWORK,
    "microsoft.network/virtualnetworks/subnets": SUBNET,
    "microsoft.compute/disks": DISK,
}
"""Tables by resource type, in lower case."""
TELLTALES: dict[str, Table] = {
    "hardwareprofile": MACHINE,
    "powerstate": MACHINE,
    "ipconfigurations": CARD,
}
"""Tables by a member, for objects that do not say their type."""
