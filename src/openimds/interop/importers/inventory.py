"""All pieces of one input by their resource ids, and what one VM takes of them."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from openimds.interop.importers.mapping import Flat, MappedValue, Resource, ResourceKind
from openimds.interop.importers.unmapped import Path


class AssembledVm(Struct):
    """What a VM has taken so far: values by their place, paths that are used up, roots."""

    flat: Flat
    used: set[Path]
    roots: list[Path]
    lost: list[Path]

    def put(self, place: Path, kept: MappedValue) -> None:
        """Take a value, unless something stands there; what says the same is used up too."""
        if self.flat.setdefault(place, kept).value == kept.value:
            self.used.add(kept.path)

    def use(self, piece: Resource, *places: Path) -> None:
        """Note that a piece is the VM's, and that these of its values have served."""
        self.roots.append(piece.root)
        self.used |= piece.seen
        self.used |= {piece.flat[place].path for place in places if place in piece.flat}


class Subnet(Struct, frozen=True):
    """One of the subnets of a network."""

    piece: Resource
    position: int

    def prefixes(self) -> list[MappedValue]:
        """Return its address ranges."""
        flat = self.piece.flat.items()
        around = ("subnets", self.position, "prefixes")
        return [kept for place, kept in flat if place[:3] == around]


class Inventory:
    """The pieces of one input; `key` says which form of a resource id is compared."""

    def __init__(self, pieces: Iterable[Resource], key: Callable[[str], str]) -> None:
        """Sort the pieces by what they are."""
        self._key = key
        self._by_key: dict[tuple[ResourceKind, str], Resource] = {}
        self._of_machine: dict[tuple[ResourceKind, str], list[Resource]] = {}
        self._subnets: dict[str, Subnet] = {}
        self.machines: list[Resource] = []
        for piece in pieces:
            self._add(piece)

    def _add(self, piece: Resource) -> None:
        if piece.kind is ResourceKind.MACHINE:
            self.machines.append(piece)
        self._by_key.setdefault((piece.kind, self._key(piece.get("key"))), piece)
        owner = (piece.kind, self._key(piece.get("machine")))
        self._of_machine.setdefault(owner, []).append(piece)
        for i in piece.positions("subnets"):
            inner = f"{piece.get('key')}/subnets/{piece.get('subnets', i, 'name')}"
            known = piece.get("subnets", i, "id") or inner
            self._subnets.setdefault(self._key(known), Subnet(piece, i))

    def find(self, kind: ResourceKind, resource_id: str) -> Resource | None:
        """Return the piece that a resource id means."""
        return self._by_key.get((kind, self._key(resource_id))) if resource_id else None

    def subnet(self, resource_id: str) -> Subnet | None:
        """Return the subnet that a resource id means."""
        return self._subnets.get(self._key(resource_id)) if resource_id else None

    def of(self, kind: ResourceKind, machine: Resource) -> list[Resource]:
        """Return the pieces of a kind that name a VM as theirs."""
        resource_id = machine.get("key")
        return self._of_machine.get((kind, self._key(resource_id)), []) if resource_id else []
