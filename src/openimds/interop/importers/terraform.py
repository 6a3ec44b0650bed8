"""Mapping rows of Terraform's azurerm provider; blocks are lists, as in a state.

Checked against states and plans that 3.x and 4.x of the provider wrote.
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

_FRAME = ignored("timeouts")
_IMAGE_WORDS = ("publisher", "offer", "sku", "version")
_PROFILE = "compute.storageProfile."
_OS = _PROFILE + "osDisk."
_DATA = _PROFILE + "dataDisks[]."
_NO_IMAGE = (*(f"{_PROFILE}imageReference.{word}" for word in _IMAGE_WORDS), "compute.version")

_ANY_MACHINE = (
    *_FRAME,
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

_MACHINE = (
    *_ANY_MACHINE,
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
        MappingRow(f"source_image_reference[].{word}", f"{_PROFILE}imageReference.{word}")
        for word in _IMAGE_WORDS
    ),
    MappingRow(
        "source_image_id",
        _PROFILE + "imageReference.communityGalleryImageId",
        conversions.image("/communitygalleries/"),
    ),
    MappingRow(
        "source_image_id",
        _PROFILE + "imageReference.sharedGalleryImageId",
        conversions.image("/sharedgalleries/"),
    ),
    MappingRow("source_image_id", _PROFILE + "imageReference.id", conversions.image("")),
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
        ResourceKind.MACHINE, _MACHINE, (Implied("name", "compute.osType", system),), _DEFAULTS
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
        *_ANY_MACHINE,
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
            MappingRow(f"storage_image_reference[].{word}", f"{_PROFILE}imageReference.{word}")
            for word in ("id", *_IMAGE_WORDS)
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
        MappingRow("storage_data_disk[]", _DATA.removesuffix("."), conversions.element),
        *(
            MappingRow(f"storage_data_disk[].{old}", _DATA + new)
            for old, new in _LEGACY_TEXTS.items()
        ),
        MappingRow("storage_data_disk[].vhd_uri", _DATA + "managedDisk.id", conversions.unmanaged),
        MappingRow(
            "storage_data_disk[].vhd_uri",
            _DATA + "managedDisk.storageAccountType",
            conversions.unmanaged,
        ),
        MappingRow("storage_data_disk[].lun", _DATA + "lun", conversions.number),
        MappingRow("storage_data_disk[].disk_size_gb", _DATA + "diskSizeGB", conversions.number),
        MappingRow(
            "storage_data_disk[].write_accelerator_enabled",
            _DATA + "writeAcceleratorEnabled",
            conversions.flag,
        ),
        MappingRow(
            "storage_data_disk[].managed_disk_type", _DATA + "isUltraDisk", conversions.is_ultra
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

CARD = ResourceTable(
    ResourceKind.CARD,
    (
        *_FRAME,
        *ignored("name", "resource_group_name", "ip_configuration[].name"),
        # Repeated from the configurations.
        *ignored("private_ip_address", "private_ip_addresses"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("virtual_machine_id", "machine", conversions.reference),
        MappingRow("mac_address", "mac", conversions.mac),
        MappingRow("dns_servers[]", "dns[]"),
        MappingRow("ip_configuration[].private_ip_address", "addresses[].private"),
        MappingRow("ip_configuration[].private_ip_address_version", "addresses[].version"),
        MappingRow("ip_configuration[].primary", "addresses[].primary", conversions.truth),
        MappingRow(
            "ip_configuration[].public_ip_address_id", "addresses[].public", conversions.reference
        ),
        MappingRow("ip_configuration[].subnet_id", "addresses[].subnet", conversions.reference),
    ),
)

ADDRESS = ResourceTable(
    ResourceKind.ADDRESS,
    (
        *_FRAME,
        *ignored("name", "resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("ip_address", "address"),
        MappingRow("sku", "sku"),
    ),
)

NETWORK = ResourceTable(
    ResourceKind.NETWORK,
    (
        *_FRAME,
        *ignored("name", "resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("subnet[].id", "subnets[].id", conversions.reference),
        MappingRow("subnet[].name", "subnets[].name"),
        MappingRow("subnet[].address_prefix", "subnets[].prefixes[0]", conversions.cidr),
        MappingRow("subnet[].address_prefixes[]", "subnets[].prefixes[]", conversions.cidr),
    ),
)

SUBNET = ResourceTable(
    ResourceKind.NETWORK,
    (
        *_FRAME,
        *ignored("name", "resource_group_name", "virtual_network_name"),
        MappingRow("id", "subnets[0].id", conversions.reference),
        MappingRow("address_prefix", "subnets[0].prefixes[0]", conversions.cidr),
        MappingRow("address_prefixes[]", "subnets[0].prefixes[]", conversions.cidr),
    ),
)

DISK = ResourceTable(
    ResourceKind.DISK,
    (
        *_FRAME,
        *ignored("resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("name", "any.name"),
        MappingRow("disk_size_gb", "any.diskSizeGB", conversions.number),
        MappingRow("storage_account_type", "any.managedDisk.storageAccountType"),
        MappingRow("storage_account_type", "data.isUltraDisk", conversions.is_ultra),
    ),
)

_ATTACHED = _PROFILE + "dataDisks[0]."

ATTACHMENT = ResourceTable(
    ResourceKind.ATTACHMENT,
    (
        *_FRAME,
        *ignored("id"),
        MappingRow("virtual_machine_id", "machine", conversions.reference),
        MappingRow("managed_disk_id", "refs.dataDisks[0]", conversions.reference),
        MappingRow("managed_disk_id", _ATTACHED + "managedDisk.id"),
        MappingRow("lun", _ATTACHED + "lun", conversions.number),
        MappingRow("caching", _ATTACHED + "caching"),
        MappingRow("create_option", _ATTACHED + "createOption"),
        MappingRow(
            "write_accelerator_enabled", _ATTACHED + "writeAcceleratorEnabled", conversions.flag
        ),
    ),
)

IDENTITY = ResourceTable(
    ResourceKind.IDENTITY,
    (
        *_FRAME,
        *ignored("name", "location", "resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("client_id", "clientId", conversions.guid),
        MappingRow("principal_id", "principalId", conversions.guid),
        MappingRow("tenant_id", "tenantId", conversions.guid),
    ),
)

_SET_CARDS = "network_interface[]."
_SET_ADDRESSES = _SET_CARDS + "ip_configuration[]."
_SET_NOT_SHARED = ("id", "name", "compute.resourceId", "cards[].id", "availabilitySet", "key")

_ANY_SET = (
    MappingRow("name", "name"),
    MappingRow("id", "key", conversions.reference),
    MappingRow("id", "setId"),
    MappingRow("zones[]", "zones[]"),
    MappingRow("computer_name_prefix", "prefix"),
    MappingRow(_SET_CARDS[:-1], "cards[]", conversions.element),
    MappingRow(_SET_CARDS + "primary", "cards[].primary", conversions.truth),
    MappingRow(_SET_CARDS + "dns_servers[]", "cards[].dns[]"),
    MappingRow(_SET_ADDRESSES + "primary", "cards[].addresses[].primary", conversions.truth),
    MappingRow(_SET_ADDRESSES + "version", "cards[].addresses[].version"),
    MappingRow(_SET_ADDRESSES + "subnet_id", "cards[].addresses[].subnet", conversions.reference),
    MappingRow("data_disk[]", _DATA.removesuffix("."), conversions.element),
    MappingRow("data_disk[].caching", _DATA + "caching"),
    MappingRow("data_disk[].create_option", _DATA + "createOption"),
    MappingRow("data_disk[].name", _DATA + "name"),
    MappingRow("data_disk[].lun", _DATA + "lun", conversions.number),
    MappingRow("data_disk[].disk_size_gb", _DATA + "diskSizeGB", conversions.number),
    MappingRow("data_disk[].storage_account_type", _DATA + "managedDisk.storageAccountType"),
    MappingRow(
        "data_disk[].write_accelerator_enabled",
        _DATA + "writeAcceleratorEnabled",
        conversions.flag,
    ),
)


def _of_set(rows: tuple[MappingRow, ...]) -> tuple[MappingRow, ...]:
    """Return the rows of a VM that a scale set has, too."""
    return tuple(
        row
        for row in rows
        if row.source not in ("size", "computer_name", "zone") and row.target not in _SET_NOT_SHARED
    )


LINUX_SET, WINDOWS_SET = (
    ResourceTable(
        ResourceKind.SCALE_SET,
        (
            *_ANY_SET,
            MappingRow("sku", "compute.vmSize"),
            MappingRow("instances", "capacity", conversions.number),
            *_of_set(_MACHINE),
        ),
        (Implied("name", "compute.osType", system),),
    )
    for system in ("Linux", "Windows")
)

ORCHESTRATED_SET = ResourceTable(
    ResourceKind.SCALE_SET,
    (
        *_ANY_SET,
        MappingRow("sku_name", "compute.vmSize"),
        MappingRow("instances", "capacity", conversions.number),
        *(
            MappingRow(f"os_profile[].{system}_configuration[].{old}", new, convert)
            for system in ("linux", "windows")
            for old, new, convert in (
                ("computer_name_prefix", "prefix", conversions.text),
                ("admin_username", "compute.osProfile.adminUsername", conversions.text),
                (
                    "disable_password_authentication",
                    "compute.osProfile.disablePasswordAuthentication",
                    conversions.flag,
                ),
            )
        ),
        *_of_set(_MACHINE),
    ),
    (
        Implied("name", "mode", "Flexible"),
        Implied("os_profile[].windows_configuration", "compute.osType", "Windows"),
        Implied("os_profile[].linux_configuration", "compute.osType", "Linux"),
    ),
)

LEGACY_SET = ResourceTable(
    ResourceKind.SCALE_SET,
    (
        *_ANY_SET,
        MappingRow("sku[].name", "compute.vmSize"),
        MappingRow("sku[].capacity", "capacity", conversions.number),
        MappingRow("os_profile[].computer_name_prefix", "prefix"),
        MappingRow("os_profile[].admin_username", "compute.osProfile.adminUsername"),
        MappingRow("network_profile[]", "cards[]", conversions.element),
        MappingRow("network_profile[].primary", "cards[].primary", conversions.truth),
        MappingRow(
            "network_profile[].ip_configuration[].primary",
            "cards[].addresses[].primary",
            conversions.truth,
        ),
        MappingRow(
            "network_profile[].ip_configuration[].subnet_id",
            "cards[].addresses[].subnet",
            conversions.reference,
        ),
        *(
            MappingRow(
                f"storage_profile_image_reference[].{word}", f"{_PROFILE}imageReference.{word}"
            )
            for word in ("id", *_IMAGE_WORDS)
        ),
        *_of_set(_ANY_MACHINE),
    ),
    (
        Implied("os_profile_windows_config", "compute.osType", "Windows"),
        Implied("os_profile_linux_config", "compute.osType", "Linux"),
    ),
)

TYPES: dict[str, ResourceTable] = {
    "azurerm_linux_virtual_machine": LINUX,
    "azurerm_windows_virtual_machine": WINDOWS,
    "azurerm_virtual_machine": LEGACY,
    "azurerm_linux_virtual_machine_scale_set": LINUX_SET,
    "azurerm_windows_virtual_machine_scale_set": WINDOWS_SET,
    "azurerm_orchestrated_virtual_machine_scale_set": ORCHESTRATED_SET,
    "azurerm_virtual_machine_scale_set": LEGACY_SET,
    "azurerm_user_assigned_identity": IDENTITY,
    "azurerm_network_interface": CARD,
    "azurerm_public_ip": ADDRESS,
    "azurerm_virtual_network": NETWORK,
    "azurerm_subnet": SUBNET,
    "azurerm_managed_disk": DISK,
    "azurerm_virtual_machine_data_disk_attachment": ATTACHMENT,
}
"""Tables by resource type."""
