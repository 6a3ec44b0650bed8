"""Resources of a Terraform state: the output of `terraform show -json`, or the file."""

from collections.abc import Iterator, Mapping
from typing import Any

from openimds.errors import ConfigError
from openimds.interop.importers.assemble import FoundResources
from openimds.interop.importers.mapping import ResourceKind, ResourceTable, read_resource
from openimds.interop.importers.terraform import TYPES
from openimds.interop.importers.terraform_plan import Plan
from openimds.interop.importers.unmapped import Path, written
from openimds.interop.importers.unread import Secret, marked
from openimds.parameters import describe

_PRIOR = "prior_state"
_ROOTS = (("values",), ("planned_values",), (_PRIOR, "values"))
"""The places of the resources of a state, of a plan, and of the data that a plan was made with."""
_MADE = (ResourceKind.MACHINE, ResourceKind.SCALE_SET)
_OWN_MEMBERS = {"values", "attributes", "instances", "primary"}
_FRAME = (
    *("format_version", "version", "terraform_version", "serial", "lineage", "check_results"),
    *(
        "configuration",
        "resource_changes",
        "resource_drift",
        "output_changes",
        "relevant_attributes",
    ),
    *("variables", "timestamp", "applyable", "complete", "errored", "checks", _PRIOR),
)
"""Members of a file that are about the tool."""


def is_shown(value: object) -> bool:
    """Tell whether a value is the output of `terraform show -json`."""
    return bool(_modules(value))


def is_stored(value: object) -> bool:
    """Tell whether a value is a state file, of format 4 or older."""
    return (
        isinstance(value, dict)
        and "terraform_version" in value
        and ("resources" in value or "modules" in value)
    )


def shown_resources(value: object) -> FoundResources:
    """Return the resources of all shown modules.

    Raises:
        ConfigError: a value has an impossible type.
    """
    found, pending, plan = FoundResources([], _used()), _modules(value), Plan(value)
    while pending:
        module, path = pending.pop(0)
        found.used.add((*path, "address"))
        for item, below in _elements(module, "resources", path):
            if path[0] == _PRIOR and item.get("mode") != "data":
                continue
            if table := _table(item):
                values = plan.values(item.get("address"), item.get("values"))
                values = _without_secrets(values, item.get("sensitive_values"))
                _add(found, table, values, (*below, "values"), [(item, below)])
        pending += _elements(module, "child_modules", path)
    return found


def stored_resources(value: object) -> FoundResources:
    """Return the resources of a state file.

    Raises:
        ConfigError: as `shown_resources`.
    """
    assert isinstance(value, dict)
    found = FoundResources([], _used())
    for item, path in _elements(value, "resources", ()):
        if table := _table(item):
            for instance, below in _elements(item, "instances", path):
                values = _marked_paths(instance)
                frames = [(item, path), (instance, below)]
                _add(found, table, values, (*below, "attributes"), frames)
    for module, path in _elements(value, "modules", ()):
        found.used |= {(*path, "path"), (*path, "depends_on"), (*path, "outputs")}
        members = module.get("resources")
        for name, item in members.items() if isinstance(members, dict) else ():
            _add_flat(found, str(name), item, (*path, "resources", str(name)))
    return found


def _add_flat(found: FoundResources, name: str, item: object, path: Path) -> None:
    """Add a resource of format 3, whose attributes are flat: `"os_disk.0.name": "x"`."""
    if not isinstance(item, dict):
        return
    mode = "data" if name.startswith("data.") else "managed"
    table, primary = _table({"mode": mode, **item}), item.get("primary")
    attributes = primary.get("attributes") if isinstance(primary, dict) else None
    if table and isinstance(primary, dict) and isinstance(attributes, dict):
        below = (*path, "primary", "attributes")
        frames = [(item, path), (primary, (*path, "primary"))]
        _add(found, table, unflattened(attributes), below, frames)


def unflattened(attributes: Mapping[str, object]) -> dict[str, object]:
    """Return the nested form of flat attributes.

    `a.#` counts a list or set, whose elements have numbers or hashes for names; `a.%` counts a map,
    whose names may have points.
    """
    lists = {name.removesuffix(".#") for name in attributes if name.endswith(".#")}
    maps = {name.removesuffix(".%") for name in attributes if name.endswith(".%")}
    root: dict[str, Any] = {}
    for name, value in sorted(attributes.items()):
        if name.endswith((".#", ".%")):
            continue
        node, above, rest = root, "", name
        while (
            above not in maps
            and "." in rest
            and isinstance(node.get(rest.partition(".")[0], {}), dict)
        ):
            step, _, rest = rest.partition(".")
            above = f"{above}.{step}" if above else step
            node = node.setdefault(step, {})
        node[rest] = value
    nested = _with_lists(root, "", lists)
    assert isinstance(nested, dict)
    return nested


def _with_lists(node: object, path: str, lists: set[str]) -> object:
    if not isinstance(node, dict):
        return node
    members = {
        name: _with_lists(member, f"{path}.{name}" if path else name, lists)
        for name, member in node.items()
    }
    if path not in lists:
        return members
    return [members[name] for name in sorted(members, key=lambda name: (len(name), name))]


def _marked_paths(instance: dict[str, object]) -> object:
    """Return the attributes of an instance; those that the state calls sensitive are secrets."""
    values = instance.get("attributes")
    marks = instance.get("sensitive_attributes")
    for mark in marks if isinstance(marks, list) else []:
        steps = mark.get("value") if isinstance(mark, dict) else mark
        first = steps[0] if isinstance(steps, list) and steps else None
        name = first.get("value") if isinstance(first, dict) else None
        if isinstance(values, dict) and isinstance(name, str) and name in values:
            values = {**values, name: marked(values[name], Secret)}
    return values


def _without_secrets(values: object, marks: object) -> object:
    """Return shown values; those that the tool calls sensitive are secrets."""
    if marks is True:
        return marked(values, Secret)
    if isinstance(values, dict) and isinstance(marks, dict):
        return {name: _without_secrets(member, marks.get(name)) for name, member in values.items()}
    if isinstance(values, list) and isinstance(marks, list):
        rest = [None] * max(len(values) - len(marks), 0)
        return [
            _without_secrets(item, mark)
            for item, mark in zip(values, [*marks, *rest], strict=False)
        ]
    return values


def _used() -> set[Path]:
    return {(name,) for name in _FRAME}


def _modules(value: object) -> list[tuple[dict[str, object], Path]]:
    modules: list[tuple[dict[str, object], Path]] = []
    for root in _ROOTS:
        node = value
        for name in root:
            node = node.get(name) if isinstance(node, dict) else None
        module = node.get("root_module") if isinstance(node, dict) else None
        if isinstance(module, dict):
            modules.append((module, (*root, "root_module")))
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
    """Return the table of a resource; a VM or set of mode `data` has none."""
    kind = resource.get("type")
    table = TYPES.get(kind) if isinstance(kind, str) else None
    is_managed = resource.get("mode", "managed") == "managed"
    return table if table and (is_managed or table.kind not in _MADE) else None


def _add(
    found: FoundResources,
    table: ResourceTable,
    values: object,
    path: Path,
    frames: list[tuple[dict[str, Any], Path]],
) -> None:
    """Add a resource that ignores Terraform's own members around its values."""
    resource = read_resource(table, values, path)
    for frame, above in frames:
        resource.ignored.update((*above, name) for name in frame if name not in _OWN_MEMBERS)
    found.expanded[path] = [values]
    found.add(resource)
