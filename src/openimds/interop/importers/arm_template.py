"""Resources of an ARM template, and of the output of `az group export`.

`resources` is a list, or a mapping since language version 2.0; a resource may hold resources of its
own. They refer to each other by type and name, because a template has no resource ids.
"""

from collections.abc import Iterator

from openimds.errors import ConfigError
from openimds.interop.importers.arm_expressions import Scope, inner_id
from openimds.interop.importers.azure import SUBNET, TYPES
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind, read_resource
from openimds.interop.importers.unmapped import Path, written
from openimds.parameters import describe

_DEEPEST = 4
_FRAME = ("$schema", "contentVersion", "languageVersion", "apiProfile")


def is_template(value: object) -> bool:
    """Tell whether a value is a template."""
    if not isinstance(value, dict) or not isinstance(value.get("resources"), list | dict):
        return False
    return "deploymenttemplate" in str(value.get("$schema")).lower() or "contentVersion" in value


def resources(value: object) -> tuple[list[Resource], set[Path]]:
    """Return the resources of a template, and the used paths outside of them.

    Raises:
        ConfigError: a VM has a name that cannot be evaluated, or a value has an impossible type.
    """
    assert isinstance(value, dict)
    scope = Scope(value.get("parameters"), value.get("variables"))
    found = list(_resources(value["resources"], ("resources",), scope, ("", ""), _DEEPEST))
    return found, scope.used | {(name,) for name in _FRAME}


def inner_part(resource_id: str) -> str:
    """Return the part of a resource id that identifies a resource within one template."""
    return resource_id.lower().rpartition("/providers/")[2]


def _resources(
    members: object, path: Path, scope: Scope, parent: tuple[str, str], depth: int
) -> Iterator[Resource]:
    """Yield the resources of a list or mapping; `parent` is its type and name."""
    for below, item in _each(members, path):
        kind, name = (scope.evaluate(item.get(member)) for member in ("type", "name"))
        if not isinstance(kind, str):
            continue
        if parent[0] and not kind.lower().startswith(parent[0].lower() + "/"):
            kind = f"{parent[0]}/{kind}"
        whole = f"{parent[1]}/{name}" if parent[1] else str(name)
        table = TYPES.get(kind.lower())
        if table and isinstance(name, str):
            read = read_resource(table, item, below, scope.evaluate)
            key = MappedValue(inner_id(kind, whole.split("/")), (*below, "name"))
            place: Path = ("subnets", 0, "id") if table is SUBNET else ("key",)
            yield Resource(
                read.kind, read.root, {**read.values, place: key}, read.ignored, read.names
            )
        elif table and table.kind is ResourceKind.MACHINE:
            raise ConfigError(
                written((*below, "name")),
                describe(item.get("name")),
                "a name that stands in the template",
                "Give its parameters a defaultValue, or write the name there",
            )
        if depth:
            inner = item.get("resources")
            yield from _resources(inner, (*below, "resources"), scope, (kind, whole), depth - 1)


def _each(members: object, path: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield the objects of a list or of a mapping with their paths."""
    if isinstance(members, list):
        items = [((*path, i), item) for i, item in enumerate(members)]
    elif isinstance(members, dict):
        items = [((*path, str(name)), item) for name, item in members.items()]
    else:
        items = []
    for below, item in items:
        if isinstance(item, dict):
            yield below, item
