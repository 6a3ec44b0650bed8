"""Assembly of VMs from the resources of one input."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.inventory import AssembledVm, Inventory
from openimds.interop.importers.mapping import Resource, ResourceKind, Values
from openimds.interop.importers.network import put_interfaces
from openimds.interop.importers.unmapped import Path, unmapped_paths, written
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema import vm_tree

_STORAGE: Path = ("compute", "storageProfile")
_DATA = (*_STORAGE, "dataDisks")
_FIRST_ATTACHED = 1000
"""A position behind all disks that the VM itself can name; positions close up in the end."""


class ImportedVm(Struct, frozen=True):
    """One VM of a foreign input.

    Attributes:
        name: its name in the fleet.
        definition: the mapping under its name in a fleet file.
        unmapped: the paths of the input without a place in it, in the order of the input.
    """

    name: str
    definition: dict[str, object]
    unmapped: tuple[str, ...]


def assemble(
    value: object,
    resources: Iterable[Resource],
    used: set[Path],
    key: Callable[[str], str] = str.lower,
) -> tuple[ImportedVm, ...]:
    """Return the VMs among the resources of `value`.

    Args:
        value: the whole input.
        resources: its resources.
        used: paths of the input that are used up already.
        key: normalises a resource id for comparison.

    Raises:
        ConfigError: a VM has no name, the name of another, or a value that no VM can have.
    """
    inventory = Inventory(resources, key)
    roots: dict[str, Path] = {}
    vms = []
    for machine in inventory.machines:
        name, assembled = _name(machine), _assembled(machine, inventory)
        if name in roots:
            raise ConfigError(
                written(machine.root),
                f'a second VM with the name "{name}"',
                "a name of its own for each VM",
                f"The first is at {written(roots[name])}: put them into two files",
            )
        roots[name] = machine.root
        definition = _nested(assembled.values)
        _check(name, definition, machine.root)
        vms.append((name, definition, assembled))
    unmapped = _unmapped(value, used, [assembled for _, _, assembled in vms])
    return tuple(
        ImportedVm(name, definition, tuple(map(written, paths)))
        for (name, definition, _), paths in zip(vms, unmapped, strict=True)
    )


def _name(machine: Resource) -> str:
    name = machine.get("name") or machine.get("key").rpartition("/")[2]
    if not name:
        raise ConfigError(written(machine.root), "a VM without a name", "a member name, or id")
    return name


def _check(name: str, definition: dict[str, object], root: Path) -> None:
    """Validate a definition as a fleet file is; name the VM's path in an error.

    Raises:
        ConfigError: a value that no VM can have.
    """
    try:
        parse_vm(name, definition)
    except ConfigError as error:
        raise error.inside(written(root)) from None


def _assembled(machine: Resource, inventory: Inventory) -> AssembledVm:
    members = vm_tree().members
    assembled = AssembledVm({}, set(), [], machine.names)
    assembled.use(machine, ("name",), ("key",))
    for place, value in machine.values.items():
        if place[0] in members:
            assembled.put(place, value)
    _put_disks(machine, inventory, assembled)
    put_interfaces(machine, inventory, assembled)
    return assembled


def _put_disks(machine: Resource, inventory: Inventory, assembled: AssembledVm) -> None:
    """Add the disks of attachment resources, and the values of disk resources."""
    refs = {place[1:]: value for place, value in machine.values.items() if place[0] == "refs"}
    at_lun: dict[object, str | int] = {
        value.value: place[3]
        for place, value in assembled.values.items()
        if place[:3] == _DATA and place[4:] == ("lun",)
    }
    for attachment in sorted(inventory.of(ResourceKind.ATTACHMENT, machine), key=_lun):
        # A VM that Terraform has refreshed lists its attached disks, too.
        key = _lun(attachment)[1] or attachment.root
        n = at_lun.setdefault(key, _FIRST_ATTACHED + len(at_lun))
        assembled.use(attachment, ("machine",))
        for place, value in attachment.values.items():
            if place[:3] == _DATA:
                assembled.put((*_DATA, n, *place[4:]), value)
        if ref := attachment.values.get(("refs", "dataDisks", 0)):
            refs["dataDisks", n] = ref
    for place, ref in refs.items():
        disk = inventory.find(ResourceKind.DISK, str(ref.value))
        if disk:
            assembled.use(disk, ("key",))
            assembled.used.add(ref.path)
            for (group, *inner), value in disk.values.items():
                if group == "any" or (group == "data" and place[0] == "dataDisks"):
                    assembled.put((*_STORAGE, *place, *inner), value)


def _lun(attachment: Resource) -> tuple[int, str]:
    """Return a key that sorts attachments by their number."""
    lun = attachment.get(*_DATA, 0, "lun")
    return len(lun), lun


def _nested(values: Values) -> dict[str, object]:
    """Return the mapping that places make; the positions of a list close up."""
    root: dict[Any, Any] = {}
    for place, value in values.items():
        node = root
        for step in place[:-1]:
            node = node.setdefault(step, {})
        node.setdefault(place[-1], {} if value.value == {} else value.value)
    nested = _with_lists(root)
    assert isinstance(nested, dict)
    return nested


def _with_lists(node: object) -> object:
    if not isinstance(node, dict):
        return node
    inner = {step: _with_lists(member) for step, member in node.items()}
    if inner and all(isinstance(step, int) for step in inner):
        return [inner[step] for step in sorted(inner)]
    return inner


def _unmapped(value: object, used: set[Path], vms: list[AssembledVm]) -> list[list[Path]]:
    """Return the unmapped paths of each VM.

    A path that belongs to no VM is listed with the first, so that every path is listed once.
    """
    used = used.union(*(assembled.used for assembled in vms))
    owners: dict[Path, int] = {}
    for n, assembled in enumerate(vms):
        for root in assembled.roots:
            owners.setdefault(root, n)
    names = {path for assembled in vms for path in assembled.names}
    lists: list[list[Path]] = [[] for _ in vms]
    for path in unmapped_paths(value, used, names) if vms else ():
        lengths = range(len(path) + 1)
        owner = next((owners[path[:end]] for end in lengths if path[:end] in owners), 0)
        lists[owner].append(path)
    return lists
