"""The rows themselves: they lead to places that there are, and to nearly all of them."""

import pytest

from openimds.facts.document import FIELDS
from openimds.interop.importers import azure, terraform
from openimds.interop.importers.mapping import ResourceKind, ResourceTable
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Many

TABLES = {
    **{f"azure {name}": table for name, table in azure.TYPES.items()},
    **{f"terraform {name}": table for name, table in terraform.TYPES.items()},
}
NEWEST_MAPPED = "2025-11-15"
"""Fields of later api-versions may be mapped, but need not be: the tools may not show them yet."""
NOT_SAID = {
    # Of the host, the hypervisor or the deployment, which these tools do not show.
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
    # Follow from what is said: the name, the image, the tags.
    "compute.name",
    "compute.offer",
    "compute.publisher",
    "compute.sku",
    "compute.tagsList[].name",
    "compute.tagsList[].value",
}


def _targets(table: ResourceTable) -> set[str]:
    found = {row.target for row in table.rows} | {sign.target for sign in table.signs}
    found |= {target for lack in table.lacks for target in lack.targets}
    return {target.replace("[0]", "[]").removesuffix("{}") for target in found if target}


def _places() -> set[str]:
    """Return every path under a VM in a fleet file; tags are a mapping there."""

    def below(node: object, path: str) -> set[str]:
        match node:
            case Group(members=members):
                inner = ((f"{path}.{name}".lstrip("."), one) for name, one in members.items())
                return {path}.union(*(below(one, at) for at, one in inner))
            case Many(item=item):
                return below(item, f"{path}[]")
            case _:
                return {path}

    return below(vm_tree(), "")


@pytest.mark.parametrize("name", TABLES)
def test_every_target_is_a_place_of_a_vm_or_of_a_piece(name: str) -> None:
    ours = {
        target for target in _targets(TABLES[name]) if target.split(".")[0] in vm_tree().members
    }
    assert ours <= _places()
    inner = _targets(TABLES[name]) - ours
    assert {target.split(".")[0].removesuffix("[]") for target in inner} <= {
        *("key", "name", "machine", "refs", "cards", "primaryCard", "extras"),
        *("primary", "mac", "dns", "addresses", "address", "sku", "subnets", "any", "data"),
    }


def test_azure_says_nearly_everything_of_compute() -> None:
    said = _targets(azure.MACHINE)
    leaves = {row.path for row in FIELDS if row.since <= NEWEST_MAPPED}
    wired = {path for path in leaves if path.startswith("network.")}
    assert leaves - said - wired == NOT_SAID - wired


@pytest.mark.parametrize("name", TABLES)
def test_what_disks_say_has_a_place_in_a_disk(name: str) -> None:
    if TABLES[name].kind is not ResourceKind.DISK:
        return
    for target in _targets(TABLES[name]) - {"key"}:
        whose, _, place = target.partition(".")
        disks = ["dataDisks[]"] if whose == "data" else ["dataDisks[]", "osDisk"]
        assert {f"compute.storageProfile.{disk}.{place}" for disk in disks} <= _places()


@pytest.mark.parametrize("name", TABLES)
def test_no_row_stands_twice(name: str) -> None:
    rows = [(row.source, row.target) for row in TABLES[name].rows]
    assert len(rows) == len(set(rows))
