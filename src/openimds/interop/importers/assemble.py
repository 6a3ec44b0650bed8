"""VMs out of the pieces of one input."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.inventory import AssembledVm, Inventory
from openimds.interop.importers.mapping import Flat, Resource, ResourceKind
from openimds.interop.importers.network import wire
from openimds.interop.importers.unmapped import Path, untouched, written
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema import vm_tree

_STORAGE: Path = ("compute", "storageProfile")
_DATA = (*_STORAGE, "dataDisks")
_FIRST_ATTACHED = 1000
"""A position behind all disks that the VM itself can name; positions close up in the end."""


class ImportedVm(Struct, frozen=True):
    """One VM of a foreign input."""

    name: str
    said: dict[str, object]
    """What stands under the VM's name in a fleet file."""
    left_out: tuple[str, ...]
    """The paths of the input that are not in there, in the order of the input."""


def assemble(
    value: object,
    pieces: Iterable[Resource],
    read: set[Path],
    key: Callable[[str], str] = str.lower,
) -> tuple[ImportedVm, ...]:
    """Return the VMs among the pieces of `value`; `read` are paths that are used up already.

    Raises:
        ConfigError: a VM has no name, or the name of another, or says what no VM can say.
    """
    stock = Inventory(pieces, key)
    names: dict[str, Path] = {}
    parts = []
    for machine in stock.machines:
        name, taken = _name(machine), _take(machine, stock)
        if name in names:
            raise ConfigError(
                written(machine.root),
                f'a second VM with the name "{name}"',
                "a name of its own for each VM",
                f"The first is at {written(names[name])}: put them into two files",
            )
        names[name] = machine.root
        said = _nest(taken.flat)
        _check(name, said, machine.root)
        parts.append((name, said, taken))
    left = _shares(value, read, [taken for _, _, taken in parts])
    return tuple(
        ImportedVm(name, said, tuple(map(written, paths)))
        for (name, said, _), paths in zip(parts, left, strict=True)
    )


def _name(machine: Resource) -> str:
    name = machine.get("name") or machine.get("key").rpartition("/")[2]
    if not name:
        raise ConfigError(written(machine.root), "a VM without a name", "a member name, or id")
    return name


def _check(name: str, said: dict[str, object], root: Path) -> None:
    """Let the model judge what was put together, and say where it stood."""
    try:
        parse_vm(name, said)
    except ConfigError as error:
        raise error.inside(written(root)) from None


def _take(machine: Resource, stock: Inventory) -> AssembledVm:
    ours = vm_tree().members
    taken = AssembledVm({}, set(), [], machine.lost)
    taken.use(machine, ("name",), ("key",))
    for place, kept in machine.flat.items():
        if place[0] in ours:
            taken.put(place, kept)
    _attach(machine, stock, taken)
    wire(machine, stock, taken)
    return taken


def _attach(machine: Resource, stock: Inventory, taken: AssembledVm) -> None:
    """Add the disks that are attached from outside, and what disks say of themselves."""
    refs = {place[1:]: kept for place, kept in machine.flat.items() if place[0] == "refs"}
    at_lun: dict[object, str | int] = {
        kept.value: place[3]
        for place, kept in taken.flat.items()
        if place[:3] == _DATA and place[4:] == ("lun",)
    }
    for piece in sorted(stock.of(ResourceKind.ATTACHMENT, machine), key=_lun):
        # A VM that Terraform has read again lists the disks that are attached to it.
        n = at_lun.setdefault(_lun(piece)[1] or piece.root, _FIRST_ATTACHED + len(at_lun))
        taken.use(piece, ("machine",))
        for place, kept in piece.flat.items():
            if place[:3] == _DATA:
                taken.put((*_DATA, n, *place[4:]), kept)
        if ref := piece.flat.get(("refs", "dataDisks", 0)):
            refs["dataDisks", n] = ref
    for place, ref in refs.items():
        disk = stock.find(ResourceKind.DISK, str(ref.value))
        if disk:
            taken.use(disk, ("key",))
            taken.used.add(ref.path)
            for (whose, *inner), kept in disk.flat.items():
                if whose == "any" or (whose == "data" and place[0] == "dataDisks"):
                    taken.put((*_STORAGE, *place, *inner), kept)


def _lun(attachment: Resource) -> tuple[int, str]:
    lun = attachment.get(*_DATA, 0, "lun")
    return len(lun), lun


def _nest(flat: Flat) -> dict[str, object]:
    """Return the mapping that places make; the positions of a list close up."""
    root: dict[Any, Any] = {}
    for place, kept in flat.items():
        node = root
        for step in place[:-1]:
            node = node.setdefault(step, {})
        node.setdefault(place[-1], {} if kept.value == {} else kept.value)
    answer = _listed(root)
    assert isinstance(answer, dict)
    return answer


def _listed(node: object) -> object:
    if not isinstance(node, dict):
        return node
    inner = {step: _listed(one) for step, one in node.items()}
    if inner and all(isinstance(step, int) for step in inner):
        return [inner[step] for step in sorted(inner)]
    return inner


def _shares(value: object, read: set[Path], taken: list[AssembledVm]) -> list[list[Path]]:
    """Return the paths of the input that are left, those of each VM with the VM.

    What belongs to none stands with the first, so that every path stands once.
    """
    used = read.union(*(one.used for one in taken))
    owners: dict[Path, int] = {}
    for n, one in enumerate(taken):
        for root in one.roots:
            owners.setdefault(root, n)
    lost = {path for one in taken for path in one.lost}
    shares: list[list[Path]] = [[] for _ in taken]
    for path in untouched(value, used, lost) if taken else ():
        lengths = range(len(path) + 1)
        owner = next((owners[path[:end]] for end in lengths if path[:end] in owners), 0)
        shares[owner].append(path)
    return shares
