"""The steps that bring the VMs of a server to those that are wanted."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct

from openimds.interop.kubevirt.members import MARK, VmMark, WantedVm, node_digest


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
    """The steps in their order, and the wanted names that VMs of others have.

    `taken` are those of VMs without a mark, `elsewhere` those with the mark of another node.
    """

    steps: tuple[VmRemoval | VmPut | VmPatch, ...]
    taken: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()


def plan_changes(
    wanted: Mapping[str, WantedVm],
    kept: AbstractSet[str],
    present: Iterable[Mapping[str, Any]],
    *,
    node: str,
    is_whole: bool,
) -> ReconcilePlan:
    """Return the steps from the present VMs to the wanted ones of a node.

    The present ones are as the admin API lists them. VMs of `kept` names, and those with the mark
    of another node, stay as they are. None is removed unless `is_whole`: all instances are known.
    Removals come first, so that a namespace is free before another VM gets it.
    """
    removals: list[VmRemoval] = []
    changes: list[VmPut | VmPatch] = []
    taken: list[str] = []
    elsewhere: list[str] = []
    own = node_digest(node)
    missing = dict(wanted)
    for vm in present:
        name, revision = str(vm["name"]), int(vm["revision"])
        target, mark = missing.pop(name, None), mark_of(vm)
        if target is None:
            if mark and mark.node == own and is_whole and name not in kept:
                removals.append(VmRemoval(name, revision))
        elif not mark:
            taken.append(name)
        elif mark.node != own:
            elsewhere.append(name)
        elif mark.definition != target.mark.definition:
            changes.append(VmPut(name, _whole(target), revision))
        elif patch := _patch(target, mark, vm):
            changes.append(VmPatch(name, patch, revision))
    changes += [VmPut(name, _whole(target), 0) for name, target in missing.items()]
    return ReconcilePlan((*removals, *changes), tuple(taken), tuple(elsewhere))


def mark_of(vm: Mapping[str, Any]) -> VmMark | None:
    """Return the mark of a VM as the admin API shows it."""
    compute = vm.get("compute") or {}
    tags = compute.get("tags")
    if not isinstance(tags, dict):
        tags = {tag["name"]: tag["value"] for tag in compute.get("tagsList") or ()}
    text = str(tags.get(MARK, ""))
    return VmMark.read(text) if text else None


def _patch(target: WantedVm, mark: VmMark, vm: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change of cards and listeners; all else stays as others have set it."""
    patch: dict[str, Any] = {}
    if mark.network != target.mark.network:
        patch["network"] = target.members.get("network")
        compute = vm.get("compute") or {}
        tags = compute.get("tags")
        if isinstance(tags, dict):
            patch["compute"] = {"tags": {MARK: target.mark.text}}
        else:  # An order of its own, which no merge patch reaches into.
            listed = [
                {**tag, "value": target.mark.text} if tag["name"] == MARK else tag
                for tag in compute.get("tagsList") or ()
            ]
            patch["compute"] = {"tags": None, "tagsList": listed}
    if vm.get("reach") != _reach(target):
        # A list replaces the present one, and null removes what another has added.
        others = {key: None for key in vm.get("reach") or {} if key != "listen"}
        patch["reach"] = {**others, **_reach(target)}
    return patch


def _reach(target: WantedVm) -> dict[str, Any]:
    return {"listen": [*target.listen]}


def _whole(target: WantedVm) -> dict[str, Any]:
    return {**target.members, "reach": _reach(target)}
