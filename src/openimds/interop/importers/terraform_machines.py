"""Mapping rows of the VMs of Terraform's azurerm provider.

The old resource is `azurerm_virtual_machine`. Scale sets share the rows of VMs.
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

FRAME = ignored("timeouts")
IMAGE_WORDS = ("publisher", "offer", "sku", "version")
PROFILE = "compute.storageProfile."
_OS = PROFILE + "osDisk."
DATA = PROFILE + "dataDisks[]."
_NO_IMAGE = (*(f"{PROFILE}imageReference.{word}" for word in IMAGE_WORDS), "compute.version")

ANY_MACHINE = (
    *FRAME,
    MappingRow("name", "name"),
    MappingRow("id", "key", conversions.reference),
    MappingRow("id", "compute.resourceId"),
    MappingRow("id", "compute.subscriptionId", conversions.after("subscriptions")),
    MappingRow("resource_group_name", "compute.resourceGroupName"),
    *alike("compute.", "location"),
    MappingRow("availability_set_id", "availabilitySet", conversions.last),
    MappingRow("license_type", "compute.licenseType"),
    MappingRow("plan[].name", "compute.plan.name"),
    MappingRow("plan[].product", "compute.plan.product"),
    MappingRow("plan[].publisher", "compute.plan.publisher"),
    MappingRow("tags{}", "compute.tags{}", conversions.tag),
    MappingRow("identity[].type", "identities.system", conversions.is_system),
    MappingRow("identity[].identity_ids[]", "identities.user[]"),
    MappingRow(
        "identity[].principal_id", "identities.details.system.principalId", conversions.guid
    ),
    MappingRow("identity[].tenant_id", "identities.tenantId", conversions.guid),
    MappingRow("network_interface_ids[]", "cards[].id", conversions.reference),
)
"""The rows of every VM, also of the old resource."""

MACHINE = (
    *ANY_MACHINE,
    MappingRow("size", "compute.vmSize"),
    MappingRow("virtual_machine_id", "compute.vmId"),
    MappingRow("zone", "compute.zone"),
    MappingRow("priority", "compute.priority"),
    MappingRow("eviction_policy", "compute.evictionPolicy"),
    MappingRow("user_data", "compute.userData"),
    MappingRow("custom_data", "extended.compute.hasCustomData", conversions.there),
    MappingRow("platform_fault_domain", "compute.platformFaultDomain", conversions.domain),
    MappingRow("edge_zone", "compute.extendedLocation.name"),
    MappingRow("edge_zone", "compute.extendedLocation.type", conversions.always("edgeZone")),
    MappingRow("dedicated_host_id", "compute.host.id"),
    MappingRow("dedicated_host_group_id", "compute.hostGroup.id"),
    MappingRow("virtual_machine_scale_set_id", "compute.virtualMachineScaleSet.id"),
    MappingRow(
        "additional_capabilities[].hibernation_enabled",
        "compute.additionalCapabilities.hibernationEnabled",
        conversions.flag,
    ),
    MappingRow(
        "encryption_at_host_enabled", "compute.securityProfile.encryptionAtHost", conversions.flag
    ),
    MappingRow(
        "secure_boot_enabled", "compute.securityProfile.secureBootEnabled", conversions.flag
    ),
    MappingRow("vtpm_enabled", "compute.securityProfile.virtualTpmEnabled", conversions.flag),
    # The provider has no attribute for the type: it sets it when one of these is set.
    MappingRow(
        "os_disk[].security_encryption_type",
        "compute.securityProfile.securityType",
        conversions.always("ConfidentialVM"),
    ),
    *(
        MappingRow(
            name, "compute.securityProfile.securityType", conversions.always("TrustedLaunch")
        )
        for name in ("secure_boot_enabled", "vtpm_enabled")
    ),
    MappingRow("computer_name", "compute.osProfile.computerName"),
    MappingRow("admin_username", "compute.osProfile.adminUsername"),
    MappingRow(
        "disable_password_authentication",
        "compute.osProfile.disablePasswordAuthentication",
        conversions.flag,
    ),
    MappingRow("admin_ssh_key[].public_key", "compute.publicKeys[].keyData"),
    MappingRow("admin_ssh_key[].username", "compute.publicKeys[].path", conversions.key_path),
    *(
        MappingRow(f"source_image_reference[].{word}", f"{PROFILE}imageReference.{word}")
        for word in IMAGE_WORDS
    ),
    MappingRow(
        "source_image_id",
        PROFILE + "imageReference.communityGalleryImageId",
        conversions.image("/communitygalleries/"),
    ),
    MappingRow(
        "source_image_id",
        PROFILE + "imageReference.sharedGalleryImageId",
        conversions.image("/sharedgalleries/"),
    ),
    MappingRow("source_image_id", PROFILE + "imageReference.id", conversions.image("")),
    MappingRow("os_disk[].name", _OS + "name"),
    MappingRow("os_disk[].caching", _OS + "caching"),
    MappingRow("os_disk[].disk_size_gb", _OS + "diskSizeGB", conversions.number),
    MappingRow("os_disk[].id", _OS + "managedDisk.id"),
    MappingRow("os_managed_disk_id", _OS + "managedDisk.id"),
    MappingRow("os_managed_disk_id", "refs.osDisk", conversions.reference),
    MappingRow("os_disk[].storage_account_type", _OS + "managedDisk.storageAccountType"),
    MappingRow(
        "os_disk[].write_accelerator_enabled", _OS + "writeAcceleratorEnabled", conversions.flag
    ),
    MappingRow("os_disk[].diff_disk_settings[].option", _OS + "diffDiskSettings.option"),
    MappingRow("private_ip_addresses", "extras.private", conversions.words),
    MappingRow("public_ip_addresses", "extras.public", conversions.words),
    # The first of each of the lists.
    *ignored("private_ip_address", "public_ip_address"),
)
"""The rows of a VM, and of a set but for those of one instance alone."""

_NO_PROFILE = (
    "compute.osProfile.adminUsername",
    "compute.osProfile.computerName",
    "compute.osProfile.disablePasswordAuthentication",
)
_DEFAULTS = (
    Default(("source_image_reference", "source_image_id"), _NO_IMAGE),
    Default(("admin_username",), _NO_PROFILE),
)

LINUX, WINDOWS = (
    ResourceTable(
        ResourceKind.MACHINE, MACHINE, (Implied("name", "compute.osType", system),), _DEFAULTS
    )
    for system in ("Linux", "Windows")
)

_LEGACY_TEXTS = {
    "caching": "caching",
    "create_option": "createOption",
    "managed_disk_id": "managedDisk.id",
    "managed_disk_type": "managedDisk.storageAccountType",
    "name": "name",
    "vhd_uri": "vhd.uri",
}

LEGACY = ResourceTable(
    ResourceKind.MACHINE,
    (
        *ANY_MACHINE,
        MappingRow("vm_size", "compute.vmSize"),
        MappingRow("zones[]", "compute.zone"),
        MappingRow("primary_network_interface_id", "primaryCard", conversions.reference),
        MappingRow("os_profile[].computer_name", "compute.osProfile.computerName"),
        MappingRow("os_profile[].admin_username", "compute.osProfile.adminUsername"),
        MappingRow("os_profile[].custom_data", "extended.compute.hasCustomData", conversions.there),
        MappingRow(
            "os_profile_linux_config[].disable_password_authentication",
            "compute.osProfile.disablePasswordAuthentication",
            conversions.flag,
        ),
        MappingRow("os_profile_linux_config[].ssh_keys[].key_data", "compute.publicKeys[].keyData"),
        MappingRow("os_profile_linux_config[].ssh_keys[].path", "compute.publicKeys[].path"),
        *(
            MappingRow(f"storage_image_reference[].{word}", f"{PROFILE}imageReference.{word}")
            for word in ("id", *IMAGE_WORDS)
        ),
        *(MappingRow(f"storage_os_disk[].{old}", _OS + new) for old, new in _LEGACY_TEXTS.items()),
        MappingRow("storage_os_disk[].vhd_uri", _OS + "managedDisk.id", conversions.unmanaged),
        MappingRow(
            "storage_os_disk[].vhd_uri",
            _OS + "managedDisk.storageAccountType",
            conversions.unmanaged,
        ),
        MappingRow("storage_os_disk[].image_uri", _OS + "image.uri"),
        MappingRow("storage_os_disk[].os_type", _OS + "osType"),
        MappingRow("storage_os_disk[].disk_size_gb", _OS + "diskSizeGB", conversions.number),
        MappingRow(
            "storage_os_disk[].write_accelerator_enabled",
            _OS + "writeAcceleratorEnabled",
            conversions.flag,
        ),
        MappingRow("storage_os_disk[].managed_disk_id", "refs.osDisk", conversions.reference),
        MappingRow("storage_data_disk[]", DATA.removesuffix("."), conversions.element),
        *(
            MappingRow(f"storage_data_disk[].{old}", DATA + new)
            for old, new in _LEGACY_TEXTS.items()
        ),
        MappingRow("storage_data_disk[].vhd_uri", DATA + "managedDisk.id", conversions.unmanaged),
        MappingRow(
            "storage_data_disk[].vhd_uri",
            DATA + "managedDisk.storageAccountType",
            conversions.unmanaged,
        ),
        MappingRow("storage_data_disk[].lun", DATA + "lun", conversions.number),
        MappingRow("storage_data_disk[].disk_size_gb", DATA + "diskSizeGB", conversions.number),
        MappingRow(
            "storage_data_disk[].write_accelerator_enabled",
            DATA + "writeAcceleratorEnabled",
            conversions.flag,
        ),
        MappingRow(
            "storage_data_disk[].managed_disk_type", DATA + "isUltraDisk", conversions.is_ultra
        ),
        MappingRow(
            "storage_data_disk[].managed_disk_id", "refs.dataDisks[]", conversions.reference
        ),
    ),
    (
        Implied("os_profile_windows_config", "compute.osType", "Windows"),
        Implied("os_profile_linux_config", "compute.osType", "Linux"),
    ),
    (Default(("storage_image_reference",), _NO_IMAGE), Default(("os_profile",), _NO_PROFILE)),
)
