"""Mapping tables of Terraform's azurerm provider; blocks are lists, as in a state.

Checked against states and plans that 3.x and 4.x of the provider wrote.
"""

from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import MappingRow, ResourceKind, ResourceTable, ignored
from openimds.interop.importers.terraform_machines import FRAME, LEGACY, LINUX, PROFILE, WINDOWS
from openimds.interop.importers.terraform_sets import (
    LEGACY_SET,
    LINUX_SET,
    ORCHESTRATED_SET,
    WINDOWS_SET,
)

CARD = ResourceTable(
    ResourceKind.CARD,
    (
        *FRAME,
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
        *FRAME,
        *ignored("name", "resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("ip_address", "address"),
        MappingRow("sku", "sku"),
    ),
)

NETWORK = ResourceTable(
    ResourceKind.NETWORK,
    (
        *FRAME,
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
        *FRAME,
        *ignored("name", "resource_group_name", "virtual_network_name"),
        MappingRow("id", "subnets[0].id", conversions.reference),
        MappingRow("address_prefix", "subnets[0].prefixes[0]", conversions.cidr),
        MappingRow("address_prefixes[]", "subnets[0].prefixes[]", conversions.cidr),
    ),
)

DISK = ResourceTable(
    ResourceKind.DISK,
    (
        *FRAME,
        *ignored("resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("name", "any.name"),
        MappingRow("disk_size_gb", "any.diskSizeGB", conversions.number),
        MappingRow("storage_account_type", "any.managedDisk.storageAccountType"),
        MappingRow("storage_account_type", "data.isUltraDisk", conversions.is_ultra),
    ),
)

_ATTACHED = PROFILE + "dataDisks[0]."

ATTACHMENT = ResourceTable(
    ResourceKind.ATTACHMENT,
    (
        *FRAME,
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
        *FRAME,
        *ignored("name", "location", "resource_group_name"),
        MappingRow("id", "key", conversions.reference),
        MappingRow("client_id", "clientId", conversions.guid),
        MappingRow("principal_id", "principalId", conversions.guid),
        MappingRow("tenant_id", "tenantId", conversions.guid),
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
