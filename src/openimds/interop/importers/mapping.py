"""Mapping rows, and the function that applies them to one foreign object.

A source is a path of member names. Names are found in any case, because the tools do not agree
(`diskSizeGb`, `diskSizeGB`), and the `properties` of Azure's own JSON, which `az` leaves out, are
looked through. `name[]` stands for each element, `name{}` for each member, `name{key}` for the name
of each member. A target is the same kind of path in a VM or a resource: its `[]` and `{}` take the
positions of the source, and `[0]` is a position of its own. A row without a target ignores its
value: another row has it already, or it is about the tool and not about the VM.
"""

import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import TypeAlias

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.conversions import NOTHING, Conversion, text
from openimds.interop.importers.unmapped import PRESENCE, Path, is_empty, written
from openimds.interop.importers.unread import ExpressionKey, Reference, Secret, StandIn, Unread
from openimds.parameters import describe


class ResourceKind(Enum):
    """The role of a foreign object for a VM."""

    MACHINE = "VM"
    CARD = "network interface"
    ADDRESS = "public address"
    NETWORK = "virtual network"
    DISK = "disk"
    ATTACHMENT = "attachment of a disk"
    SCALE_SET = "scale set"
    IDENTITY = "managed identity"


class MappingRow(Struct, frozen=True):
    """One value: its source, target and conversion."""

    source: str
    target: str = ""
    convert: Conversion = text


class Implied(Struct, frozen=True):
    """A value that the presence of `source` implies, unless a row gives another."""

    source: str
    target: str
    value: str


class Default(Struct, frozen=True):
    """Targets that are empty if all sources are missing.

    It holds only where `within` is present, an object that would have the sources.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    within: str = ""


class ResourceTable(Struct, frozen=True):
    """The rows of one type of foreign object."""

    kind: ResourceKind
    rows: tuple[MappingRow, ...]
    implied: tuple[Implied, ...] = ()
    defaults: tuple[Default, ...] = ()


class MappedValue(Struct, frozen=True):
    """A converted value and the path that it came from."""

    value: object
    path: Path


Values: TypeAlias = dict[Path, MappedValue]
"""Converted values by their target place."""


class Resource(Struct, frozen=True):
    """One foreign object after its rows were applied."""

    kind: ResourceKind
    root: Path
    values: Values
    ignored: set[Path]
    """Paths of rows without a target: used up as soon as the resource is used."""
    names: list[Path]
    """Paths of members whose names could not be kept; an unmapped path shows values only."""
    unread: dict[Path, Unread] = {}
    """Values with a place in the metadata that could not be read, by their path."""
    stand_ins: set[Path] = set()
    """Paths of values that Azure makes others of."""

    def get(self, *place: str | int) -> str:
        """Return the text at a place, or the empty string."""
        value = self.values.get(place)
        return str(value.value) if value else ""

    def positions(self, name: str) -> list[int]:
        """Return the positions that are taken in one of the resource's lists."""
        taken = {place[1] for place in self.values if len(place) > 1 and place[0] == name}
        return sorted(step for step in taken if isinstance(step, int))


class _Hit(Struct, frozen=True):
    """A source value with its path, and the positions for its target."""

    value: object
    path: Path
    positions: Path


def alike(prefix: str, *paths: str, convert: Conversion = text) -> tuple[MappingRow, ...]:
    """Return rows whose targets are their sources behind a prefix."""
    return tuple(MappingRow(path, prefix + path, convert) for path in paths)


def ignored(*paths: str) -> tuple[MappingRow, ...]:
    """Return rows without a target."""
    return tuple(MappingRow(path) for path in paths)


_MAPPING = "a mapping of names to values"
_MASKED = "a secret value"
_NO_GROUP = "its id needs --subscription and --resource-group"
_PRIVATE = ("customdata", "custom_data", "userdata", "user_data")
"""Members whose values may hold passwords."""


def is_private(path: Path) -> bool:
    """Tell whether the value at a path may hold passwords."""
    return any(str(step).lower() in _PRIVATE for step in path)


_STEP = re.compile(r"(\w+)(\[\d*\]|\{\w*\})?")


@cache
def _steps(path: str) -> tuple[tuple[str, str], ...]:
    return tuple((match[1], match[2] or "") for match in _STEP.finditer(path))


def _place(target: str, positions: Path) -> Path:
    steps = _steps(target)
    slots = sum(suffix in ("[]", "{}") for _, suffix in steps)
    remaining = iter(positions[len(positions) - slots :])
    place: list[str | int] = []
    for name, suffix in steps:
        place.append(name)
        if suffix in ("[]", "{}"):
            place.append(next(remaining))
        elif suffix:
            place.append(int(suffix[1:-1]))
    return tuple(place)


def read_resource(
    table: ResourceTable,
    value: object,
    root: Path,
) -> Resource:
    """Return the resource that the rows of a table make of an object.

    Args:
        table: the rows.
        value: the object; an `Unread` stands for each value that could not be read.
        root: its path in the input.

    Raises:
        ConfigError: a value has an impossible type, with its path.
    """
    reader = _SourceReader(value, root)
    resource = Resource(table.kind, root, {}, set(), [])
    for row in table.rows:
        for hit in reader.at(row.source):
            _put(resource, row, hit)
    resource.ignored.update(reader.counts)
    present = (*root, PRESENCE)
    for implied in table.implied:
        if reader.has(implied.source):
            place = _place(implied.target, ())
            resource.values.setdefault(place, MappedValue(implied.value, present))
    for default in table.defaults:
        if reader.has(default.within) and all(map(reader.lacks, default.sources)):
            for target in default.targets:
                resource.values.setdefault(_place(target, ()), MappedValue("", present))
    return resource


def _put(resource: Resource, row: MappingRow, hit: _Hit) -> None:
    """Convert the value of a hit, and put it at the row's target."""
    if not row.target:
        resource.ignored.add(hit.path)
        return
    if isinstance(hit.value, Unread):
        resource.unread.setdefault(hit.path, hit.value)
        return
    value = NOTHING if hit.value is None else _converted(row, hit)
    if isinstance(value, Unread):
        resource.unread.setdefault(hit.path, value)
        return
    if value is NOTHING:
        if isinstance(hit.value, Reference):
            resource.unread.setdefault(hit.path, Unread(_NO_GROUP, hit.value.expression))
        elif row.source.endswith("{key}"):
            resource.names.append(hit.path[:-1])
        return
    if isinstance(hit.value, StandIn):
        resource.stand_ins.add(hit.path)
    # The presence of an element leaves its members unused.
    path = (*hit.path, PRESENCE) if value == {} else hit.path
    place = _place(row.target, hit.positions)
    present = resource.values.setdefault(place, MappedValue(value, path))
    if present.path != path and present.value == value:
        resource.ignored.add(path)


def _converted(row: MappingRow, hit: _Hit) -> object:
    """Return the value of a hit after the conversion of its row.

    Raises:
        ConfigError: an impossible value; a secret one does not stand in the message.
    """
    try:
        return row.convert(hit.value, written(hit.path))
    except ConfigError as error:
        if isinstance(hit.value, Secret) or is_private(hit.path):
            raise ConfigError(error.where, _MASKED, error.expected) from None
        raise


class _SourceReader:
    """Finds the values of sources in one object; shared paths are walked once."""

    def __init__(self, value: object, root: Path) -> None:
        self._cached = {"": [_Hit(value, root, ())]}
        self.counts: set[Path] = set()

    def at(self, source: str) -> list[_Hit]:
        if source not in self._cached:
            above, _, step = source.rpartition(".")
            ((name, suffix),) = _steps(step)
            self._cached[source] = [
                inner
                for outer in self.at(above)
                for hit in self._member(outer, name)
                for inner in self._spread(hit, suffix)
            ]
        return self._cached[source]

    def has(self, source: str) -> bool:
        """Tell whether a source is certainly present."""
        values = [hit.value for hit in self.at(source)]
        return any(not isinstance(value, Unread) and not is_empty(value) for value in values)

    def lacks(self, source: str) -> bool:
        """Tell whether a source is missing; an unread one may be present."""
        return all(is_empty(hit.value) for hit in self.at(source))

    def _member(self, hit: _Hit, name: str) -> Iterator[_Hit]:
        value, path = hit.value, hit.path
        if isinstance(value, Unread):
            yield hit
            return
        if value is None or value == "":
            return
        if not isinstance(value, dict):
            raise ConfigError(written(path), _described(value), _MAPPING, _depth_hint(value))
        key = _key_of(value, name)
        if key is None:
            inner = _key_of(value, "properties")
            value, path = value.get(inner), (*path, str(inner))
            if isinstance(value, Unread):
                yield _Hit(value, path, hit.positions)
            key = _key_of(value, name) if isinstance(value, dict) else None
        if isinstance(value, dict) and key is not None:
            yield _Hit(value[key], (*path, str(key)), hit.positions)

    def _spread(self, hit: _Hit, suffix: str) -> Iterator[_Hit]:
        if not suffix or isinstance(hit.value, Unread):
            yield hit
        elif hit.value is not None and hit.value != "":
            yield from self._elements(hit) if suffix == "[]" else self._members(hit, suffix)

    def _elements(self, hit: _Hit) -> Iterator[_Hit]:
        value, path = hit.value, hit.path
        if isinstance(value, dict) and {*map(str, value)} == {"value", "Count"}:
            # PowerShell 5 writes a list so below another object.
            self.counts.add((*path, "Count"))
            value, path = value["value"], (*path, "value")
        if isinstance(value, str):
            # `az vm create` writes one zone where `az vm show` writes a list.
            yield _Hit(value, path, (*hit.positions, 0))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                yield _Hit(item, (*path, i), (*hit.positions, i))
        else:
            raise ConfigError(written(path), _described(value), "a list")

    def _members(self, hit: _Hit, suffix: str) -> Iterator[_Hit]:
        if not isinstance(hit.value, dict):
            raise ConfigError(written(hit.path), _described(hit.value), _MAPPING)
        for i, (key, value) in enumerate(hit.value.items()):
            name = key.value if isinstance(key, ExpressionKey) else str(key)
            path = (*hit.path, str(key))
            if suffix == "{key}":
                yield _Hit(name, (*path, PRESENCE), (*hit.positions, i))
            elif isinstance(name, Unread):
                yield _Hit(name, path, hit.positions)
            elif isinstance(name, str) and (fit := text(name, written(path))) is not NOTHING:
                yield _Hit(value, path, (*hit.positions, str(fit)))


def _described(value: object) -> str:
    """Return a value in words, without the text of a secret."""
    return _MASKED if isinstance(value, Secret) else describe(value)


def _depth_hint(value: object) -> str:
    """Return the remedy for the name of a PowerShell class in place of an object."""
    is_class = isinstance(value, str) and value.startswith(("Microsoft.Azure.", "System."))
    return "Write the file with ConvertTo-Json -Depth 10" if is_class else ""


def _key_of(value: dict[object, object], name: str) -> object:
    """Return the key of a member in any letter case, or None."""
    if name in value:
        return name
    lower = name.lower()
    return next((key for key in value if str(key).lower() == lower), None)
