"""The mapping rows: their targets exist, and are nearly all fields."""

import pytest

from openimds.facts.document import FIELDS
from openimds.interop.importers import azure, terraform
from openimds.interop.importers.mapping import ResourceKind, ResourceTable
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Many, Named

TABLES = {
    **{f"azure {name}": table for name, table in azure.TYPES.items()},
    **{f"terraform {name}": table for name, table in terraform.TYPES.items()},
}
NEWEST_MAPPED = "2025-11-15"
"""Fields of later api-versions may be mapped, but need not be: the tools may not show them yet."""
UNMAPPED = {
    # About the host, the hypervisor or the deployment, which these tools do not show.
    "compute.azEnvironment",
    "compute.customData",
    "compute.interconnectGroupId",
    "compute.interconnectSubgroupId",
    "compute.isHostCompatibilityLayerVm",
    "compute.physicalZone",
    "compute.platformSubFaultDomain",
    "compute.provider",
    "compute.storageProfile.dataDisks[].diskCapacityBytes",
    "compute.storageProfile.dataDisks[].isSharedDisk",
    "compute.storageProfile.resourceDisk.size",
    "compute.systemFaultDomain",
    "extended.compute.ppsType",
    "network.interface[].interfaceCompartmentID",
    # Derived from mapped values: the name, the image, the tags.
    "compute.name",
    "compute.offer",
    "compute.publisher",
    "compute.sku",
    "compute.tagsList[].name",
    "compute.tagsList[].value",
}


def _targets(table: ResourceTable) -> set[str]:
    found = {row.target for row in table.rows} | {implied.target for implied in table.implied}
    found |= {target for default in table.defaults for target in default.targets}
    found = {target.replace("details.system", "details{}") for target in found}
    return {target.replace("[0]", "[]").removesuffix("{}") for target in found if target}


def _vm_paths() -> set[str]:
    """Return every path under a VM in a fleet file; tags are a mapping there."""

    def below(node: object, path: str) -> set[str]:
        match node:
            case Group(members=members):
                inner = ((f"{path}.{name}".lstrip("."), one) for name, one in members.items())
                return {path}.union(*(below(one, at) for at, one in inner))
            case Many(item=item):
                return below(item, f"{path}[]")
            case Named(item=Group() as item):
                return below(item, f"{path}{{}}")
            case _:
                return {path}

    return below(vm_tree(), "")


@pytest.mark.parametrize("name", TABLES)
def test_every_target_is_a_path_of_a_vm_or_a_resource(name: str) -> None:
    ours = {
        target for target in _targets(TABLES[name]) if target.split(".")[0] in vm_tree().members
    }
    assert ours <= _vm_paths()
    inner = _targets(TABLES[name]) - ours
    assert {target.split(".")[0].removesuffix("[]") for target in inner} <= {
        *("key", "name", "machine", "refs", "cards", "primaryCard", "extras"),
        *("primary", "mac", "dns", "addresses", "address", "sku", "subnets", "any", "data"),
        *("capacity", "mode", "prefix", "setId", "zones", "clientId", "principalId", "tenantId"),
    }


def test_azure_maps_nearly_every_field_of_compute() -> None:
    targets = _targets(azure.MACHINE)
    leaves = {row.path for row in FIELDS if row.since <= NEWEST_MAPPED}
    wired = {path for path in leaves if path.startswith("network.")}
    assert leaves - targets - wired == UNMAPPED - wired


@pytest.mark.parametrize("name", TABLES)
def test_target_of_a_disk_is_a_path_of_a_disk(name: str) -> None:
    if TABLES[name].kind is not ResourceKind.DISK:
        return
    for target in _targets(TABLES[name]) - {"key"}:
        group, _, rest = target.partition(".")
        disks = ["dataDisks[]"] if group == "data" else ["dataDisks[]", "osDisk"]
        assert {f"compute.storageProfile.{disk}.{rest}" for disk in disks} <= _vm_paths()


@pytest.mark.parametrize("name", TABLES)
def test_each_row_is_listed_once(name: str) -> None:
    rows = [(row.source, row.target) for row in TABLES[name].rows]
    assert len(rows) == len(set(rows))
