"""The steps that bring the VMs of a server to those that are wanted."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct

from openimds.interop.kubevirt.members import MARK, WantedVm


class VmPut(Struct, frozen=True):
    """Make a VM (revision 0), or replace it at a revision."""

    name: str
    members: dict[str, Any]
    revision: int


class VmPatch(Struct, frozen=True):
    """Change members of a VM at a revision."""

    name: str
    patch: dict[str, Any]
    revision: int


class VmRemoval(Struct, frozen=True):
    """Remove a VM at a revision."""

    name: str
    revision: int


class ReconcilePlan(Struct, frozen=True):
    """The steps in their order, and the wanted names that VMs of others have."""

    steps: tuple[VmRemoval | VmPut | VmPatch, ...]
    taken: tuple[str, ...]


def plan_changes(
    wanted: Mapping[str, WantedVm],
    kept: AbstractSet[str],
    present: Iterable[Mapping[str, Any]],
    *,
    is_whole: bool,
) -> ReconcilePlan:
    """Return the steps from the present VMs to the wanted ones.

    The present ones are as the admin API lists them. VMs of `kept` names stay as they are. None is
    removed unless `is_whole`: all instances are known. Removals come first, so that a namespace is
    free before another VM gets it.
    """
    removals: list[VmRemoval] = []
    changes: list[VmPut | VmPatch] = []
    taken: list[str] = []
    missing = dict(wanted)
    for vm in present:
        name, revision = str(vm["name"]), int(vm["revision"])
        target, mark = missing.pop(name, None), mark_of(vm)
        if target is None:
            if mark and is_whole and name not in kept:
                removals.append(VmRemoval(name, revision))
        elif not mark:
            taken.append(name)
        elif mark != target.digest:
            changes.append(VmPut(name, _whole(target), revision))
        elif vm.get("reach") != _reach(target):
            # A list replaces the present one, and null removes what another has added.
            others = {key: None for key in vm.get("reach") or {} if key != "listen"}
            changes.append(VmPatch(name, {"reach": {**others, **_reach(target)}}, revision))
    changes += [VmPut(name, _whole(target), 0) for name, target in missing.items()]
    return ReconcilePlan((*removals, *changes), tuple(taken))


def mark_of(vm: Mapping[str, Any]) -> str:
    """Return the mark of a VM as the admin API shows it, or nothing."""
    compute = vm.get("compute") or {}
    tags = compute.get("tags")
    if isinstance(tags, dict):
        return str(tags.get(MARK, ""))
    listed = {tag["name"]: tag["value"] for tag in compute.get("tagsList") or ()}
    return str(listed.get(MARK, ""))


def _reach(target: WantedVm) -> dict[str, Any]:
    return {"listen": [*target.listen]}


def _whole(target: WantedVm) -> dict[str, Any]:
    return {**target.members, "reach": _reach(target)}
