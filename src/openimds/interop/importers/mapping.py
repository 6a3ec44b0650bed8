"""Rows: where a value stands in a foreign object, where it belongs in ours, and their walker.

A source is a path of member names. Names are found in any case, because the tools do not agree
(`diskSizeGb`, `diskSizeGB`), and the `properties` of Azure's own JSON, which `az` leaves out, are
looked through. `name[]` stands for each element, `name{}` for each member, `name{key}` for the
name of each member. A target is the same path on our side: its `[]` and `{}` take the positions
of the source, and `[0]` is a position of its own. A row without a target has been read, and
keeps nothing: it repeats another row, or is of the tool and not of the VM.
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import TypeAlias

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.conversions import NOTHING, Change, text
from openimds.interop.importers.unmapped import NOWHERE, Path, is_nothing, written
from openimds.parameters import describe


class ResourceKind(Enum):
    """What a foreign object is to a VM."""

    MACHINE = "VM"
    CARD = "network interface"
    ADDRESS = "public address"
    NETWORK = "virtual network"
    DISK = "disk"
    ATTACHMENT = "attachment of a disk"


class MappingRow(Struct, frozen=True):
    """One value: source, target and change."""

    source: str
    target: str = ""
    change: Change = text


class Implied(Struct, frozen=True):
    """A value that follows from another's being there, unless a row has found it."""

    source: str
    target: str
    value: str


class Default(Struct, frozen=True):
    """Values that are empty because none of the sources is there.

    That says something only `within` an object that would have them.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    within: str = ""


class ResourceTable(Struct, frozen=True):
    """Everything that is known of one sort of foreign object."""

    kind: ResourceKind
    rows: tuple[MappingRow, ...]
    signs: tuple[Implied, ...] = ()
    lacks: tuple[Default, ...] = ()


class MappedValue(Struct, frozen=True):
    """A value of ours and the path where it came from."""

    value: object
    path: Path


Flat: TypeAlias = dict[Path, MappedValue]
"""Values by their place on our side."""


class Resource(Struct, frozen=True):
    """One foreign object, read."""

    kind: ResourceKind
    root: Path
    flat: Flat
    seen: set[Path]
    """Paths of what was read and keeps nothing: used up as soon as the piece is used."""
    lost: list[Path]
    """Names of members that could not be kept; an unused path shows values only."""

    def get(self, *place: str | int) -> str:
        """Return the text at a place, or the empty string."""
        kept = self.flat.get(place)
        return str(kept.value) if kept else ""

    def positions(self, name: str) -> list[int]:
        """Return the positions that are taken in one of the piece's lists."""
        taken = {place[1] for place in self.flat if len(place) > 1 and place[0] == name}
        return sorted(step for step in taken if isinstance(step, int))


class _Hit(Struct, frozen=True):
    value: object
    path: Path
    trail: Path


def alike(prefix: str, *paths: str, change: Change = text) -> tuple[MappingRow, ...]:
    """Return rows whose targets are their sources behind a prefix."""
    return tuple(MappingRow(path, prefix + path, change) for path in paths)


def read_only(*paths: str) -> tuple[MappingRow, ...]:
    """Return rows that keep nothing."""
    return tuple(MappingRow(path) for path in paths)


def as_it_is(value: object) -> object:
    """Return a value of an input that has no expressions."""
    return value


_MAPPING = "a mapping of names to values"
_STEP = re.compile(r"(\w+)(\[\d*\]|\{\w*\})?")


@cache
def _steps(path: str) -> tuple[tuple[str, str], ...]:
    return tuple((found[1], found[2] or "") for found in _STEP.finditer(path))


def _place(target: str, trail: Path) -> Path:
    steps = _steps(target)
    slots = sum(more in ("[]", "{}") for _, more in steps)
    positions = iter(trail[len(trail) - slots :])
    place: list[str | int] = []
    for name, more in steps:
        place.append(name)
        if more in ("[]", "{}"):
            place.append(next(positions))
        elif more:
            place.append(int(more[1:-1]))
    return tuple(place)


def piece(
    table: ResourceTable, value: object, root: Path, look: Callable[[object], object] = as_it_is
) -> Resource:
    """Return what the rows of a table find in an object.

    Raises:
        ConfigError: a value of a type that it cannot have, with its path.
    """
    reader = _SourceReader(value, root, look)
    made = Resource(table.kind, root, {}, set(), [])
    for row in table.rows:
        for hit in reader.at(row.source):
            _keep(made, row, hit)
    seen_at = (*root, NOWHERE)
    for sign in table.signs:
        if reader.has(sign.source):
            made.flat.setdefault(_place(sign.target, ()), MappedValue(sign.value, seen_at))
    for lack in table.lacks:
        if reader.has(lack.within) and all(map(reader.lacks, lack.sources)):
            for target in lack.targets:
                made.flat.setdefault(_place(target, ()), MappedValue("", seen_at))
    return made


def _keep(made: Resource, row: MappingRow, hit: _Hit) -> None:
    if not row.target:
        made.seen.add(hit.path)
        return
    value = NOTHING
    if hit.value is not None and hit.value is not NOTHING:
        value = row.change(hit.value, written(hit.path))
    if value is NOTHING:
        if row.source.endswith("{key}"):
            made.lost.append(hit.path[:-1])
        return
    # That there is an element says nothing of its members.
    path = (*hit.path, NOWHERE) if value == {} else hit.path
    kept = made.flat.setdefault(_place(row.target, hit.trail), MappedValue(value, path))
    if kept.path != path and kept.value == value:
        made.seen.add(path)


class _SourceReader:
    """Finds the places of one object that sources speak of; what paths share is found once."""

    def __init__(self, value: object, root: Path, look: Callable[[object], object]) -> None:
        self._look = look
        self._known = {"": [_Hit(look(value), root, ())]}

    def at(self, source: str) -> list[_Hit]:
        if source not in self._known:
            above, _, step = source.rpartition(".")
            ((name, more),) = _steps(step)
            self._known[source] = [
                inner
                for outer in self.at(above)
                for hit in self._member(outer, name)
                for inner in self._spread(hit, more)
            ]
        return self._known[source]

    def has(self, source: str) -> bool:
        """Tell whether something is surely there."""
        values = [hit.value for hit in self.at(source)]
        return any(value is not NOTHING and not is_nothing(value) for value in values)

    def lacks(self, source: str) -> bool:
        """Tell whether surely nothing is there; what cannot be told may be something."""
        return all(is_nothing(hit.value) for hit in self.at(source))

    def _member(self, hit: _Hit, name: str) -> Iterator[_Hit]:
        value, path = hit.value, hit.path
        if value is None or value is NOTHING or value == "":
            return
        if not isinstance(value, dict):
            raise ConfigError(written(path), describe(value), _MAPPING)
        key = _key_of(value, name)
        if key is None:
            inner = _key_of(value, "properties")
            value, path = self._look(value.get(inner)), (*path, str(inner))
            key = _key_of(value, name) if isinstance(value, dict) else None
        if isinstance(value, dict) and key is not None:
            yield _Hit(self._look(value[key]), (*path, str(key)), hit.trail)

    def _spread(self, hit: _Hit, more: str) -> Iterator[_Hit]:
        if not more:
            yield hit
        elif hit.value is not None and hit.value is not NOTHING and hit.value != "":
            yield from self._elements(hit) if more == "[]" else self._members(hit, more)

    def _elements(self, hit: _Hit) -> Iterator[_Hit]:
        value = hit.value
        if isinstance(value, str):
            # `az vm create` writes one zone where `az vm show` writes a list.
            yield _Hit(value, hit.path, (*hit.trail, 0))
        elif isinstance(value, list):
            for i, one in enumerate(value):
                yield _Hit(self._look(one), (*hit.path, i), (*hit.trail, i))
        else:
            raise ConfigError(written(hit.path), describe(value), "a list")

    def _members(self, hit: _Hit, more: str) -> Iterator[_Hit]:
        if not isinstance(hit.value, dict):
            raise ConfigError(written(hit.path), describe(hit.value), _MAPPING)
        for i, (key, one) in enumerate(hit.value.items()):
            name, path = self._look(str(key)), (*hit.path, str(key))
            if more == "{key}":
                yield _Hit(name, (*path, NOWHERE), (*hit.trail, i))
            elif isinstance(name, str) and (said := text(name, written(path))) is not NOTHING:
                yield _Hit(self._look(one), path, (*hit.trail, str(said)))


def _key_of(value: dict[object, object], name: str) -> object:
    """Return the key under which a member stands, or None."""
    if name in value:
        return name
    lower = name.lower()
    return next((key for key in value if str(key).lower() == lower), None)
