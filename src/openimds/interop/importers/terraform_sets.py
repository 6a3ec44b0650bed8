"""Mapping rows of the scale sets of Terraform's azurerm provider.

A set has the rows of a VM, but for those of one instance alone.
"""

from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import Implied, MappingRow, ResourceKind, ResourceTable
from openimds.interop.importers.terraform_machines import (
    ANY_MACHINE,
    DATA,
    IMAGE_WORDS,
    MACHINE,
    PROFILE,
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
    MappingRow("data_disk[]", DATA.removesuffix("."), conversions.element),
    MappingRow("data_disk[].caching", DATA + "caching"),
    MappingRow("data_disk[].create_option", DATA + "createOption"),
    MappingRow("data_disk[].name", DATA + "name"),
    MappingRow("data_disk[].lun", DATA + "lun", conversions.number),
    MappingRow("data_disk[].disk_size_gb", DATA + "diskSizeGB", conversions.number),
    MappingRow("data_disk[].storage_account_type", DATA + "managedDisk.storageAccountType"),
    MappingRow(
        "data_disk[].write_accelerator_enabled",
        DATA + "writeAcceleratorEnabled",
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
            *_of_set(MACHINE),
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
        *_of_set(MACHINE),
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
                f"storage_profile_image_reference[].{word}", f"{PROFILE}imageReference.{word}"
            )
            for word in ("id", *IMAGE_WORDS)
        ),
        *_of_set(ANY_MACHINE),
    ),
    (
        Implied("os_profile_windows_config", "compute.osType", "Windows"),
        Implied("os_profile_linux_config", "compute.osType", "Linux"),
    ),
)
