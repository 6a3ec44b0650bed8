"""Resources of a Terraform state: the output of `terraform show -json`, or the file."""

from collections.abc import Iterator

from openimds.errors import ConfigError
from openimds.interop.importers.mapping import (
    Resource,
    ResourceKind,
    ResourceTable,
    read_resource,
)
from openimds.interop.importers.terraform import TYPES
from openimds.interop.importers.unmapped import Path, written
from openimds.parameters import describe

_ROOTS = ("values", "planned_values")
"""The members of `terraform show` with the resources of a state, and of a plan."""
_OWN_MEMBERS = {"values", "attributes", "instances"}
_FRAME = ("format_version", "version", "terraform_version", "serial", "lineage", "check_results")


def is_shown(value: object) -> bool:
    """Tell whether a value is the output of `terraform show -json`."""
    return bool(_modules(value))


def is_stored(value: object) -> bool:
    """Tell whether a value is a state file."""
    return isinstance(value, dict) and "terraform_version" in value and "resources" in value


def shown_resources(value: object) -> tuple[list[Resource], set[Path]]:
    """Return the resources of all shown modules, and the used paths outside of them.

    Raises:
        ConfigError: a value has an impossible type.
    """
    resources, pending = [], _modules(value)
    used: set[Path] = {(name,) for name in _FRAME}
    while pending:
        module, path = pending.pop(0)
        used.add((*path, "address"))
        for item, below in _elements(module, "resources", path):
            if table := _table(item):
                values, inner = item.get("values"), (*below, "values")
                resources.append(_framed(table, values, inner, [(item, below)]))
        pending += _elements(module, "child_modules", path)
    return resources, used


def stored_resources(value: object) -> tuple[list[Resource], set[Path]]:
    """Return the resources of a state file, and the used paths outside of them.

    Raises:
        ConfigError: as `shown_resources`.
    """
    assert isinstance(value, dict)
    resources = []
    for item, path in _elements(value, "resources", ()):
        if table := _table(item):
            for instance, below in _elements(item, "instances", path):
                inner = (*below, "attributes")
                frames = [(item, path), (instance, below)]
                resources.append(_framed(table, instance.get("attributes"), inner, frames))
    return resources, {(name,) for name in _FRAME}


def _modules(value: object) -> list[tuple[dict[str, object], Path]]:
    modules: list[tuple[dict[str, object], Path]] = []
    for name in _ROOTS:
        values = value.get(name) if isinstance(value, dict) else None
        module = values.get("root_module") if isinstance(values, dict) else None
        if isinstance(module, dict):
            modules.append((module, (name, "root_module")))
    return modules


def _elements(
    owner: dict[str, object], name: str, path: Path
) -> Iterator[tuple[dict[str, object], Path]]:
    members = owner.get(name)
    if members is not None and not isinstance(members, list):
        raise ConfigError(written((*path, name)), describe(members), "a list")
    for i, item in enumerate(members or []):
        if not isinstance(item, dict):
            where = written((*path, name, i))
            raise ConfigError(where, describe(item), "a mapping of names to values")
        yield item, (*path, name, i)


def _table(resource: dict[str, object]) -> ResourceTable | None:
    """Return the table of a resource; a VM of mode `data` has none."""
    kind = resource.get("type")
    table = TYPES.get(kind) if isinstance(kind, str) else None
    is_managed = resource.get("mode", "managed") == "managed"
    return table if table and (is_managed or table.kind is not ResourceKind.MACHINE) else None


def _framed(
    table: ResourceTable, values: object, path: Path, frames: list[tuple[dict[str, object], Path]]
) -> Resource:
    """Return a resource that ignores Terraform's own members around its values."""
    resource = read_resource(table, values, path)
    for frame, above in frames:
        resource.ignored.update((*above, name) for name in frame if name not in _OWN_MEMBERS)
    return resource
