"""The resources of one input by their ids, and a VM while it is assembled."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind, Values
from openimds.interop.importers.unmapped import Path
from openimds.interop.importers.unread import Unread


class AssembledVm(Struct):
    """A VM while it is assembled.

    Attributes:
        values: its values so far, by their place.
        used: paths of the input that are used up.
        roots: paths of the resources that belong to it.
        names: paths whose names could not be kept.
        unread: values that could not be read, by their path.
        stand_ins: paths of values that Azure makes others of.
    """

    values: Values
    used: set[Path]
    roots: list[Path]
    names: list[Path]
    unread: dict[Path, Unread]
    stand_ins: set[Path]

    def put(self, place: Path, value: MappedValue) -> None:
        """Set a value unless its place is taken; an equal value is used up, too."""
        if self.values.setdefault(place, value).value == value.value:
            self.used.add(value.path)

    def use(self, resource: Resource, *places: Path) -> None:
        """Add a resource to the VM, and mark its values at these places as used."""
        self.roots.append(resource.root)
        self.used |= resource.ignored
        self.unread |= resource.unread
        self.stand_ins |= resource.stand_ins
        self.used |= {resource.values[place].path for place in places if place in resource.values}


class Subnet(Struct, frozen=True):
    """One of the subnets of a network."""

    network: Resource
    position: int

    def prefixes(self) -> list[MappedValue]:
        """Return its address ranges."""
        values = self.network.values.items()
        above = ("subnets", self.position, "prefixes")
        return [value for place, value in values if place[:3] == above]


class Inventory:
    """The resources of one input; `key` normalises a resource id for comparison."""

    def __init__(self, resources: Iterable[Resource], key: Callable[[str], str]) -> None:
        """Index the resources."""
        self._key = key
        self._by_key: dict[tuple[ResourceKind, str], Resource] = {}
        self._of_machine: dict[tuple[ResourceKind, str], list[Resource]] = {}
        self._subnets: dict[str, Subnet] = {}
        self.machines: list[Resource] = []
        for resource in resources:
            self._add(resource)

    def _add(self, resource: Resource) -> None:
        if resource.kind is ResourceKind.MACHINE:
            self.machines.append(resource)
        self._by_key.setdefault((resource.kind, self._key(resource.get("key"))), resource)
        owner = (resource.kind, self._key(resource.get("machine")))
        self._of_machine.setdefault(owner, []).append(resource)
        for i in resource.positions("subnets"):
            inner = f"{resource.get('key')}/subnets/{resource.get('subnets', i, 'name')}"
            subnet_id = resource.get("subnets", i, "id") or inner
            self._subnets.setdefault(self._key(subnet_id), Subnet(resource, i))

    def find(self, kind: ResourceKind, resource_id: str) -> Resource | None:
        """Return the resource with an id."""
        return self._by_key.get((kind, self._key(resource_id))) if resource_id else None

    def subnet(self, resource_id: str) -> Subnet | None:
        """Return the subnet with an id."""
        return self._subnets.get(self._key(resource_id)) if resource_id else None

    def of(self, kind: ResourceKind, machine: Resource) -> list[Resource]:
        """Return the resources of a kind that name a VM as their owner."""
        resource_id = machine.get("key")
        return self._of_machine.get((kind, self._key(resource_id)), []) if resource_id else []
