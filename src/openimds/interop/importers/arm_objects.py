"""Resources in the output of `az` and of ARM's REST API.

The output is an object, a list, or a mapping of lists. An object has a type, or shows it by a
member that no other resource has. Objects inside a resource belong to it, so the search stops
there.
"""

from collections.abc import Iterator

from openimds.interop.importers.assemble import FoundResources
from openimds.interop.importers.azure import MARKERS, TYPES
from openimds.interop.importers.mapping import ResourceTable, read_resource
from openimds.interop.importers.unmapped import Path

_DEEPEST = 6
"""Lists in a mapping (`{"vms": […], "nics": […]}`, `{"value": […]}`) lie less deep."""


def find_resources(value: object) -> FoundResources:
    """Return the resources of a value.

    Raises:
        ConfigError: a resource has a value of an impossible type.
    """
    found = FoundResources([])
    for table, item, path in _objects(value, (), _DEEPEST):
        found.add(read_resource(table, item, path))
    return found


def _objects(value: object, path: Path, depth: int) -> Iterator[tuple[ResourceTable, object, Path]]:
    if table := _table(value):
        yield table, value, path
    elif depth and isinstance(value, dict):
        for name, item in value.items():
            yield from _objects(item, (*path, str(name)), depth - 1)
    elif depth and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _objects(item, (*path, i), depth - 1)


def _table(value: object) -> ResourceTable | None:
    if not isinstance(value, dict):
        return None
    members = {str(name).lower(): member for name, member in value.items()}
    kind = members.get("type")
    if isinstance(kind, str) and "/" in kind:
        return TYPES.get(kind.lower())
    inner = members.get("properties")
    names = (
        [*members, *(str(name).lower() for name in inner)] if isinstance(inner, dict) else members
    )
    return next((table for name, table in MARKERS.items() if name in names), None)
