"""The resources in what `az` and ARM's REST API print: one object, a list, or lists in a mapping.

An object says its type, or shows it by a member that no other resource has. What lies inside a
resource belongs to it, so the search stops there.
"""

from collections.abc import Iterator

from openimds.interop.importers.azure import TELLTALES, TYPES
from openimds.interop.importers.mapping import Resource, ResourceTable, piece
from openimds.interop.importers.unmapped import Path

_DEEPEST = 6
"""Lists in a mapping (`{"vms": […], "nics": […]}`, `{"value": […]}`) lie less deep."""


def pieces(value: object) -> Iterator[Resource]:
    """Yield what the resources of a value say.

    Raises:
        ConfigError: a resource has a value of a type that it cannot have.
    """
    for table, one, path in _resources(value, (), _DEEPEST):
        yield piece(table, one, path)


def _resources(
    value: object, path: Path, depth: int
) -> Iterator[tuple[ResourceTable, object, Path]]:
    if table := _table(value):
        yield table, value, path
    elif depth and isinstance(value, dict):
        for name, one in value.items():
            yield from _resources(one, (*path, str(name)), depth - 1)
    elif depth and isinstance(value, list):
        for i, one in enumerate(value):
            yield from _resources(one, (*path, i), depth - 1)


def _table(value: object) -> ResourceTable | None:
    if not isinstance(value, dict):
        return None
    members = {str(name).lower(): one for name, one in value.items()}
    sort = members.get("type")
    if isinstance(sort, str) and "/" in sort:
        return TYPES.get(sort.lower())
    inner = members.get("properties")
    names = (
        [*members, *(str(name).lower() for name in inner)] if isinstance(inner, dict) else members
    )
    return next((table for name, table in TELLTALES.items() if name in names), None)
