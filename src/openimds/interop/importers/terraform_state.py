"""The resources of a Terraform state: as `terraform show -json` prints it, or the file itself."""

from collections.abc import Iterator

from openimds.errors import ConfigError
from openimds.interop.importers.mapping import Resource, ResourceKind, ResourceTable, piece
from openimds.interop.importers.terraform import TYPES
from openimds.interop.importers.unmapped import Path, written
from openimds.parameters import describe

_ROOTS = ("values", "planned_values")
"""Where `terraform show` puts the resources of a state, and of a plan."""
_OWN_MEMBERS = {"values", "attributes", "instances"}
_FRAME = ("format_version", "version", "terraform_version", "serial", "lineage", "check_results")


def looks_shown(value: object) -> bool:
    """Tell whether a value is what `terraform show -json` prints."""
    return bool(_modules(value))


def looks_stored(value: object) -> bool:
    """Tell whether a value is a state file."""
    return isinstance(value, dict) and "terraform_version" in value and "resources" in value


def shown(value: object) -> tuple[list[Resource], set[Path]]:
    """Return what the resources of all modules say, and the paths outside that were read.

    Raises:
        ConfigError: a value has a type that it cannot have.
    """
    found, rest = [], _modules(value)
    read: set[Path] = {(name,) for name in _FRAME}
    while rest:
        module, path = rest.pop(0)
        read.add((*path, "address"))
        for one, below in _elements(module, "resources", path):
            if table := _table(one):
                found.append(_framed(table, one.get("values"), (*below, "values"), [(one, below)]))
        rest += _elements(module, "child_modules", path)
    return found, read


def stored(value: object) -> tuple[list[Resource], set[Path]]:
    """Return what the resources of a state file say, and the paths outside that were read.

    Raises:
        ConfigError: as `shown`.
    """
    assert isinstance(value, dict)
    found = []
    for one, path in _elements(value, "resources", ()):
        if table := _table(one):
            for instance, below in _elements(one, "instances", path):
                inner = (*below, "attributes")
                frames = [(one, path), (instance, below)]
                found.append(_framed(table, instance.get("attributes"), inner, frames))
    return found, {(name,) for name in _FRAME}


def _modules(value: object) -> list[tuple[dict[str, object], Path]]:
    found: list[tuple[dict[str, object], Path]] = []
    for name in _ROOTS:
        values = value.get(name) if isinstance(value, dict) else None
        module = values.get("root_module") if isinstance(values, dict) else None
        if isinstance(module, dict):
            found.append((module, (name, "root_module")))
    return found


def _elements(
    owner: dict[str, object], name: str, path: Path
) -> Iterator[tuple[dict[str, object], Path]]:
    members = owner.get(name)
    if members is not None and not isinstance(members, list):
        raise ConfigError(written((*path, name)), describe(members), "a list")
    for i, one in enumerate(members or []):
        if not isinstance(one, dict):
            where = written((*path, name, i))
            raise ConfigError(where, describe(one), "a mapping of names to values")
        yield one, (*path, name, i)


def _table(resource: dict[str, object]) -> ResourceTable | None:
    """Return the table of a resource; a VM that is only looked up (`data`) is somebody else's."""
    sort = resource.get("type")
    table = TYPES.get(sort) if isinstance(sort, str) else None
    is_managed = resource.get("mode", "managed") == "managed"
    return table if table and (is_managed or table.kind is not ResourceKind.MACHINE) else None


def _framed(
    table: ResourceTable, values: object, path: Path, around: list[tuple[dict[str, object], Path]]
) -> Resource:
    """Return a piece; what Terraform notes around the values is its own business."""
    made = piece(table, values, path)
    for owner, above in around:
        made.seen.update((*above, name) for name in owner if name not in _OWN_MEMBERS)
    return made
