"""The resources of an ARM template, and of what `az group export` writes.

`resources` is a list, or a mapping since language version 2.0; a resource may hold resources of
its own. They are known to each other by type and name, because a template has no resource ids.
"""

from collections.abc import Iterator

from openimds.errors import ConfigError
from openimds.interop.importers.arm_expressions import Scope, inner_id
from openimds.interop.importers.azure import SUBNET, TYPES
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind, piece
from openimds.interop.importers.unmapped import Path, written
from openimds.parameters import describe

_DEEPEST = 4
_FRAME = ("$schema", "contentVersion", "languageVersion", "apiProfile")


def looks(value: object) -> bool:
    """Tell whether a value is a template."""
    if not isinstance(value, dict) or not isinstance(value.get("resources"), list | dict):
        return False
    return "deploymenttemplate" in str(value.get("$schema")).lower() or "contentVersion" in value


def pieces(value: object) -> tuple[list[Resource], set[Path]]:
    """Return what the resources of a template say, and the paths outside of them that were read.

    Raises:
        ConfigError: a VM has a name that cannot be told, or a value has a type it cannot have.
    """
    assert isinstance(value, dict)
    scope = Scope(value.get("parameters"), value.get("variables"))
    found = list(_pieces(value["resources"], ("resources",), scope, ("", ""), _DEEPEST))
    return found, scope.used | {(name,) for name in _FRAME}


def tail(resource_id: str) -> str:
    """Return what is left of a resource id to compare within one template."""
    return resource_id.lower().rpartition("/providers/")[2]


def _pieces(
    resources: object, path: Path, scope: Scope, parent: tuple[str, str], depth: int
) -> Iterator[Resource]:
    for below, one in _each(resources, path):
        sort, name = (scope.look(one.get(member)) for member in ("type", "name"))
        if not isinstance(sort, str):
            continue
        if parent[0] and not sort.lower().startswith(parent[0].lower() + "/"):
            sort = f"{parent[0]}/{sort}"
        whole = f"{parent[1]}/{name}" if parent[1] else str(name)
        table = TYPES.get(sort.lower())
        if table and isinstance(name, str):
            made = piece(table, one, below, scope.look)
            key = MappedValue(inner_id(sort, whole.split("/")), (*below, "name"))
            place: Path = ("subnets", 0, "id") if table is SUBNET else ("key",)
            yield Resource(made.kind, made.root, {**made.flat, place: key}, made.seen, made.lost)
        elif table and table.kind is ResourceKind.MACHINE:
            raise ConfigError(
                written((*below, "name")),
                describe(one.get("name")),
                "a name that stands in the template",
                "Give its parameters a defaultValue, or write the name there",
            )
        if depth:
            inner = one.get("resources")
            yield from _pieces(inner, (*below, "resources"), scope, (sort, whole), depth - 1)


def _each(resources: object, path: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield the resources of a list or of a mapping; anything else in there is no resource."""
    if isinstance(resources, list):
        members = [((*path, i), one) for i, one in enumerate(resources)]
    elif isinstance(resources, dict):
        members = [((*path, str(name)), one) for name, one in resources.items()]
    else:
        members = []
    for below, one in members:
        if isinstance(one, dict):
            yield below, one
