"""The rows of Terraform's azurerm provider, blocks as the lists that a state has.

Checked against states and plans that 3.x and 4.x of the provider wrote.
"""

from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import Kind, Lack, Row, Sign, Table, alike, read_only

_FRAME = read_only("timeouts")
_IMAGE_WORDS = ("publisher", "offer", "sku", "version")
_PROFILE = "compute.storageProfile."
_OS = _PROFILE + "osDisk."
_DATA = _PROFILE + "dataDisks[]."
_NO_IMAGE = (*(f"{_PROFILE}imageReference.{word}" for word in _IMAGE_WORDS), "compute.version")

_ANY_MACHINE = (
    *_FRAME,
    Row("name", "name"),
    Row("id", "key"),
    Row("id", "compute.resourceId"),
    Row("id", "compute.subscriptionId", conversions.after("subscriptions")),
    Row("resource_group_name", "compute.resourceGroupName"),
    *alike("compute.", "location"),
    Row("availability_set_id", "availabilitySet", conversions.last),
    Row("license_type", "compute.licenseType"),
    Row("plan[].name", "compute.plan.name"),
    Row("plan[].product", "compute.plan.product"),
    Row("plan[].publisher", "compute.plan.publisher"),
    Row("tags{}", "compute.tags{}", conversions.tag),
    Row("identity[].type", "identities.system", conversions.is_system),
    Row("identity[].identity_ids[]", "identities.user[]"),
    Row("network_interface_ids[]", "cards[].id"),
)

_MACHINE = (
    *_ANY_MACHINE,
    Row("size", "compute.vmSize"),
    Row("virtual_machine_id", "compute.vmId"),
    Row("zone", "compute.zone"),
    Row("priority", "compute.priority"),
    Row("eviction_policy", "compute.evictionPolicy"),
    Row("user_data", "compute.userData"),
    Row("custom_data", "extended.compute.hasCustomData", conversions.there),
    Row("platform_fault_domain", "compute.platformFaultDomain", conversions.domain),
    Row("edge_zone", "compute.extendedLocation.name"),
    Row("edge_zone", "compute.extendedLocation.type", conversions.always("edgeZone")),
    Row("dedicated_host_id", "compute.host.id"),
    Row("dedicated_host_group_id", "compute.hostGroup.id"),
    Row("virtual_machine_scale_set_id", "compute.virtualMachineScaleSet.id"),
    Row(
        "additional_capabilities[].hibernation_enabled",
        "compute.additionalCapabilities.hibernationEnabled",
        conversions.flag,
    ),
    Row("encryption_at_host_enabled", "compute.securityProfile.encryptionAtHost", conversions.flag),
    Row("secure_boot_enabled", "compute.securityProfile.secureBootEnabled", conversions.flag),
    Row("vtpm_enabled", "compute.securityProfile.virtualTpmEnabled", conversions.flag),
    # The provider has no attribute for the type: it sets it when one of these is set.
    Row(
        "os_disk[].security_encryption_type",
        "compute.securityProfile.securityType",
        conversions.always("ConfidentialVM"),
    ),
    *(
        Row(name, "compute.securityProfile.securityType", conversions.always("TrustedLaunch"))
        for name in ("secure_boot_enabled", "vtpm_enabled")
    ),
    Row("computer_name", "compute.osProfile.computerName"),
    Row("admin_username", "compute.osProfile.adminUsername"),
    Row(
        "disable_password_authentication",
        "compute.osProfile.disablePasswordAuthentication",
        conversions.flag,
    ),
    Row("admin_ssh_key[].public_key", "compute.publicKeys[].keyData"),
    Row("admin_ssh_key[].username", "compute.publicKeys[].path", conversions.key_path),
    *(
        Row(f"source_image_reference[].{word}", f"{_PROFILE}imageReference.{word}")
        for word in _IMAGE_WORDS
    ),
    Row(
        "source_image_id",
        _PROFILE + "imageReference.communityGalleryImageId",
        conversions.image("/communitygalleries/"),
    ),
    Row(
        "source_image_id",
        _PROFILE + "imageReference.sharedGalleryImageId",
        conversions.image("/sharedgalleries/"),
    ),
    Row("source_image_id", _PROFILE + "imageReference.id", conversions.image("")),
    Row("os_disk[].name", _OS + "name"),
    Row("os_disk[].caching", _OS + "caching"),
    Row("os_disk[].disk_size_gb", _OS + "diskSizeGB", conversions.number),
    Row("os_disk[].id", _OS + "managedDisk.id"),
    Row("os_managed_disk_id", _OS + "managedDisk.id"),
    Row("os_managed_disk_id", "refs.osDisk"),
    Row("os_disk[].storage_account_type", _OS + "managedDisk.storageAccountType"),
    Row("os_disk[].write_accelerator_enabled", _OS + "writeAcceleratorEnabled", conversions.flag),
    Row("os_disk[].diff_disk_settings[].option", _OS + "diffDiskSettings.option"),
    Row("private_ip_addresses", "extras.private", conversions.words),
    Row("public_ip_addresses", "extras.public", conversions.words),
    # The first of each of the lists.
    *read_only("private_ip_address", "public_ip_address"),
)

_NO_PROFILE = (
    "compute.osProfile.adminUsername",
    "compute.osProfile.computerName",
    "compute.osProfile.disablePasswordAuthentication",
)
_LACKS = (
    Lack(("source_image_reference", "source_image_id"), _NO_IMAGE),
    Lack(("admin_username",), _NO_PROFILE),
)

LINUX, WINDOWS = (
    Table(Kind.MACHINE, _MACHINE, (Sign("name", "compute.osType", system),), _LACKS)
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

LEGACY = Table(
    Kind.MACHINE,
    (
        *_ANY_MACHINE,
        Row("vm_size", "compute.vmSize"),
        Row("zones[]", "compute.zone"),
        Row("primary_network_interface_id", "primaryCard"),
        Row("os_profile[].computer_name", "compute.osProfile.computerName"),
        Row("os_profile[].admin_username", "compute.osProfile.adminUsername"),
        Row("os_profile[].custom_data", "extended.compute.hasCustomData", conversions.there),
        Row(
            "os_profile_linux_config[].disable_password_authentication",
            "compute.osProfile.disablePasswordAuthentication",
            conversions.flag,
        ),
        Row("os_profile_linux_config[].ssh_keys[].key_data", "compute.publicKeys[].keyData"),
        Row("os_profile_linux_config[].ssh_keys[].path", "compute.publicKeys[].path"),
        *(
            Row(f"storage_image_reference[].{word}", f"{_PROFILE}imageReference.{word}")
            for word in ("id", *_IMAGE_WORDS)
        ),
        *(Row(f"storage_os_disk[].{old}", _OS + new) for old, new in _LEGACY_TEXTS.items()),
        Row("storage_os_disk[].vhd_uri", _OS + "managedDisk.id", conversions.unmanaged),
        Row(
            "storage_os_disk[].vhd_uri",
            _OS + "managedDisk.storageAccountType",
            conversions.unmanaged,
        ),
        Row("storage_os_disk[].image_uri", _OS + "image.uri"),
        Row("storage_os_disk[].os_type", _OS + "osType"),
        Row("storage_os_disk[].disk_size_gb", _OS + "diskSizeGB", conversions.number),
        Row(
            "storage_os_disk[].write_accelerator_enabled",
            _OS + "writeAcceleratorEnabled",
            conversions.flag,
        ),
        Row("storage_os_disk[].managed_disk_id", "refs.osDisk"),
        Row("storage_data_disk[]", _DATA.removesuffix("."), conversions.element),
        *(Row(f"storage_data_disk[].{old}", _DATA + new) for old, new in _LEGACY_TEXTS.items()),
        Row("storage_data_disk[].vhd_uri", _DATA + "managedDisk.id", conversions.unmanaged),
        Row(
            "storage_data_disk[].vhd_uri",
            _DATA + "managedDisk.storageAccountType",
            conversions.unmanaged,
        ),
        Row("storage_data_disk[].lun", _DATA + "lun", conversions.number),
        Row("storage_data_disk[].disk_size_gb", _DATA + "diskSizeGB", conversions.number),
        Row(
            "storage_data_disk[].write_accelerator_enabled",
            _DATA + "writeAcceleratorEnabled",
            conversions.flag,
        ),
        Row("storage_data_disk[].managed_disk_type", _DATA + "isUltraDisk", conversions.is_ultra),
        Row("storage_data_disk[].managed_disk_id", "refs.dataDisks[]"),
    ),
    (
        Sign("os_profile_windows_config", "compute.osType", "Windows"),
        Sign("os_profile_linux_config", "compute.osType", "Linux"),
    ),
    (Lack(("storage_image_reference",), _NO_IMAGE), Lack(("os_profile",), _NO_PROFILE)),
)

CARD = Table(
    Kind.CARD,
    (
        *_FRAME,
        *read_only("name", "resource_group_name", "ip_configuration[].name"),
        # What the configurations say.
        *read_only("private_ip_address", "private_ip_addresses"),
        Row("id", "key"),
        Row("virtual_machine_id", "machine"),
        Row("mac_address", "mac", conversions.mac),
        Row("dns_servers[]", "dns[]"),
        Row("ip_configuration[].private_ip_address", "addresses[].private"),
        Row("ip_configuration[].private_ip_address_version", "addresses[].version"),
        Row("ip_configuration[].primary", "addresses[].primary", conversions.truth),
        Row("ip_configuration[].public_ip_address_id", "addresses[].public"),
        Row("ip_configuration[].subnet_id", "addresses[].subnet"),
    ),
)

ADDRESS = Table(
    Kind.ADDRESS,
    (
        *_FRAME,
        *read_only("name", "resource_group_name"),
        Row("id", "key"),
        Row("ip_address", "address"),
        Row("sku", "sku"),
    ),
)

NETWORK = Table(
    Kind.NETWORK,
    (
        *_FRAME,
        *read_only("name", "resource_group_name"),
        Row("id", "key"),
        Row("subnet[].id", "subnets[].id"),
        Row("subnet[].name", "subnets[].name"),
        Row("subnet[].address_prefix", "subnets[].prefixes[0]", conversions.cidr),
        Row("subnet[].address_prefixes[]", "subnets[].prefixes[]", conversions.cidr),
    ),
)

SUBNET = Table(
    Kind.NETWORK,
    (
        *_FRAME,
        *read_only("name", "resource_group_name", "virtual_network_name"),
        Row("id", "subnets[0].id"),
        Row("address_prefix", "subnets[0].prefixes[0]", conversions.cidr),
        Row("address_prefixes[]", "subnets[0].prefixes[]", conversions.cidr),
    ),
)

DISK = Table(
    Kind.DISK,
    (
        *_FRAME,
        *read_only("resource_group_name"),
        Row("id", "key"),
        Row("name", "any.name"),
        Row("disk_size_gb", "any.diskSizeGB", conversions.number),
        Row("storage_account_type", "any.managedDisk.storageAccountType"),
        Row("storage_account_type", "data.isUltraDisk", conversions.is_ultra),
    ),
)

_ATTACHED = _PROFILE + "dataDisks[0]."

ATTACHMENT = Table(
    Kind.ATTACHMENT,
    (
        *_FRAME,
        *read_only("id"),
        Row("virtual_machine_id", "machine"),
        Row("managed_disk_id", "refs.dataDisks[0]"),
        Row("managed_disk_id", _ATTACHED + "managedDisk.id"),
        Row("lun", _ATTACHED + "lun", conversions.number),
        Row("caching", _ATTACHED + "caching"),
        Row("create_option", _ATTACHED + "createOption"),
        Row("write_accelerator_enabled", _ATTACHED + "writeAcceleratorEnabled", conversions.flag),
    ),
)

TYPES: dict[str, Table] = {
    "azurerm_linux_virtual_machine": LINUX,
    "azurerm_windows_virtual_machine": WINDOWS,
    "azurerm_virtual_machine": LEGACY,
    "azurerm_network_interface": CARD,
    "azurerm_public_ip": ADDRESS,
    "azurerm_virtual_network": NETWORK,
    "azurerm_subnet": SUBNET,
    "azurerm_managed_disk": DISK,
    "azurerm_virtual_machine_data_disk_attachment": ATTACHMENT,
}
"""Tables by resource type."""
