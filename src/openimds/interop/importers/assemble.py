"""Assembly of VMs from the resources of one input."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.inventory import AssembledVm, Inventory
from openimds.interop.importers.mapping import (
    Resource,
    ResourceKind,
    Values,
    is_private,
)
from openimds.interop.importers.network import put_interfaces
from openimds.interop.importers.scale_set import instances
from openimds.interop.importers.unmapped import PRESENCE, Path, unmapped_paths, written
from openimds.interop.importers.unread import Secret, Unread
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema import vm_tree

_PRIVATE = re.compile("password|custom_?data|user_?data|secret", re.IGNORECASE)
"""Words of an expression that may hold a secret, as createObject('adminPassword', …) does."""
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
        unread: the values that could not be read: path, expression (or empty) and reason.
        stand_ins: the paths of values that Azure makes others of.
    """

    name: str
    definition: dict[str, object]
    unmapped: tuple[str, ...] = ()
    unread: tuple[tuple[str, str, str], ...] = ()
    stand_ins: tuple[str, ...] = ()


class FoundResources(Struct):
    """The resources of one input.

    Attributes:
        resources: the resources.
        used: paths of the input that are used up already.
        key: normalises a resource id for comparison.
        expanded: values that stand for those of the input, by their path.
        unread: values outside of the resources that could not be read, by their path.
    """

    resources: list[Resource]
    used: set[Path] = set()
    key: Callable[[str], str] = str.lower
    expanded: dict[Path, list[object]] = {}
    unread: dict[Path, Unread] = {}

    def add(self, resource: Resource) -> None:
        """Add a resource; a scale set as its VMs."""
        if resource.kind is not ResourceKind.SCALE_SET:
            self.resources.append(resource)
        elif parts := instances(resource):
            self.resources += parts
        else:
            self.unread |= resource.unread


def assemble(value: object, found: FoundResources) -> tuple[ImportedVm, ...]:
    """Return the VMs among the resources of `value`, the whole input.

    Raises:
        ConfigError: a VM has no name, the name of another, or a value that no VM can have.
    """
    inventory = Inventory(found.resources, found.key)
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
    unmapped = _unmapped(value, found, [assembled for _, _, assembled in vms])
    if vms:
        first = vms[0][2]
        first.unread = found.unread | first.unread
    return tuple(
        ImportedVm(
            name,
            definition,
            tuple(map(written, paths)),
            tuple(_unread_rows(assembled.unread)),
            tuple(map(written, sorted(assembled.stand_ins, key=str))),
        )
        for (name, definition, assembled), paths in zip(vms, unmapped, strict=True)
    )


def _unread_rows(unread: dict[Path, Unread]) -> Iterator[tuple[str, str, str]]:
    for path, value in unread.items():
        is_hidden = is_private(path) or _PRIVATE.search(value.expression)
        yield written(path), "" if is_hidden else value.expression, value.reason


def _name(machine: Resource) -> str:
    name = machine.get("name") or machine.get("key").rpartition("/")[2]
    value = machine.values.get(("name",))
    if value and isinstance(value.value, Secret):
        where = written((*machine.root, "name"))
        raise ConfigError(where, "a name made of a secret", "a name that messages may show")
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
    assembled = AssembledVm({}, set(), [], machine.names, {}, set())
    assembled.use(machine, ("name",), ("key",))
    for place, value in machine.values.items():
        if place[0] in members:
            assembled.put(place, value)
    _put_disks(machine, inventory, assembled)
    put_interfaces(machine, inventory, assembled)
    _put_identities(inventory, assembled)
    return assembled


def _put_identities(inventory: Inventory, assembled: AssembledVm) -> None:
    """Add the ids of identities that have resources of their own."""
    users = [
        value for place, value in assembled.values.items() if place[:2] == ("identities", "user")
    ]
    for user in users:
        identity = inventory.find(ResourceKind.IDENTITY, str(user.value))
        if identity is None:
            continue
        assembled.use(identity, ("key",))
        for name in ("clientId", "principalId"):
            if value := identity.values.get((name,)):
                assembled.put(("identities", "details", str(user.value), name), value)
        if tenant := identity.values.get(("tenantId",)):
            assembled.put(("identities", "tenantId"), tenant)


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
        node.setdefault(place[-1], _plain(value.value))
    nested = _with_lists(root)
    assert isinstance(nested, dict)
    return nested


def _plain(value: object) -> object:
    """Return a value of a plain type: a marked text loses its mark."""
    if value == {}:
        return {}
    return str(value) if isinstance(value, str) else value


def _with_lists(node: object) -> object:
    if not isinstance(node, dict):
        return node
    inner = {step: _with_lists(member) for step, member in node.items()}
    if inner and all(isinstance(step, int) for step in inner):
        return [inner[step] for step in sorted(inner)]
    return inner


def _unmapped(value: object, found: FoundResources, vms: list[AssembledVm]) -> list[list[Path]]:
    """Return the unmapped paths of each VM.

    A path that belongs to no VM is listed with the first, so that every path is listed once.
    """
    used = found.used.union(found.unread, *(assembled.used for assembled in vms))
    for path in (path for assembled in vms for path in assembled.unread):
        used |= {path, path[:-1]} if path[-1] == PRESENCE else {path}
    owners: dict[Path, int] = {}
    for n, assembled in enumerate(vms):
        for root in assembled.roots:
            owners.setdefault(root, n)
    names = {path for assembled in vms for path in assembled.names}
    lists: list[list[Path]] = [[] for _ in vms]
    for path in unmapped_paths(value, used, names, found.expanded) if vms else ():
        lengths = range(len(path) + 1)
        owner = next((owners[path[:end]] for end in lengths if path[:end] in owners), 0)
        lists[owner].append(path)
    return lists
