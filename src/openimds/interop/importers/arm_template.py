"""Resources of an ARM template: exported, written by hand, or compiled from Bicep.

`resources` is a list, or a mapping since language version 2.0; a resource may hold resources of its
own, may be made once for each number of a loop, and may be a deployment with a template inside.
Resources refer to each other by type and name, because a template has no resource ids.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers.arm_deployment import Deployment
from openimds.interop.importers.arm_ids import inner_id
from openimds.interop.importers.arm_members import by_lower_name
from openimds.interop.importers.arm_scope import Budget, Scope
from openimds.interop.importers.assemble import FoundResources
from openimds.interop.importers.azure import SCALE_SET, SUBNET, TYPES
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind, read_resource
from openimds.interop.importers.unmapped import PRESENCE, Path, written
from openimds.interop.importers.unread import Unread
from openimds.parameters import describe, nearest

_DEEPEST = 4
"""Resources inside resources, and deployments inside deployments: more are rare."""
_FRAME = ("$schema", "contentVersion", "languageVersion", "apiProfile", "metadata", "definitions")
_TEMPLATE_FRAME = (*_FRAME, "parameters", "variables", "functions", "outputs")
_RESOURCE_FRAME = ("copy", "condition", "comments", "metadata", "scope", "existing")
_RELEVANT = {part for kind in TYPES for part in (kind, kind.rpartition("/")[2])}
"""Types with rows; a resource inside another may leave out the beginning."""
_DEPLOYMENTS = "microsoft.resources/deployments"


def is_template(value: object) -> bool:
    """Tell whether a value is a template."""
    if not isinstance(value, dict) or not isinstance(value.get("resources"), list | dict):
        return False
    return "deploymenttemplate" in str(value.get("$schema")).lower() or "contentVersion" in value


def is_parameter_file(value: object) -> bool:
    """Tell whether a value has the values of a template's parameters."""
    if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
        return False
    return "deploymentparameters" in str(value.get("$schema")).lower() or (
        "contentVersion" in value and "resources" not in value
    )


def given_parameters(files: Mapping[str, object]) -> dict[str, object]:
    """Return the values of parameter files by name in lower case.

    The last file wins.
    """
    given: dict[str, object] = {}
    for file in files.values():
        assert isinstance(file, dict)
        for lower, (_, row) in by_lower_name(file["parameters"]).items():
            if isinstance(row, dict) and "value" in row:
                given[lower] = row["value"]
            else:
                given[lower] = Unread("its value is in a key vault, not in the parameter file")
    return given


def find_resources(
    value: object, given: Mapping[str, object], deployment: Deployment
) -> FoundResources:
    """Return the resources of a template.

    Args:
        value: the template.
        given: the values of parameters, by their names in lower case.
        deployment: the place of its deployment.

    Raises:
        ConfigError: a parameter that the template has not, or a value of an impossible type.
    """
    assert isinstance(value, dict)
    scope = Scope(value, given, deployment, Budget())
    for lower in given:
        if lower not in scope.parameters:
            hint = nearest(lower, scope.parameters)
            raise ConfigError("parameters", f'"{lower}"', "a parameter of the template", hint)
    found = FoundResources([], key=inner_part)
    _Finder(found).template(value["resources"], ("resources",), scope, _DEEPEST)
    found.used |= scope.used | {(name,) for name in _FRAME}
    return found


def inner_part(resource_id: str) -> str:
    """Return the part of a resource id that identifies a resource within one template."""
    return resource_id.lower().rpartition("/providers/")[2]


class _Item(Struct, frozen=True):
    """One resource of a template, or one copy of it; `kind` and `name` are whole."""

    value: Mapping[str, Any]
    path: Path
    scope: Scope
    kind: str
    name: str
    own_name: object


class _Finder:
    def __init__(self, found: FoundResources) -> None:
        self._found = found

    def template(self, members: object, path: Path, scope: Scope, depth: int) -> None:
        """Find the resources of a template; its deployments come first, for their outputs."""
        self._register(members, path, scope, depth)
        self._resources(members, path, scope, ("", ""), depth)

    def _register(self, members: object, path: Path, scope: Scope, depth: int) -> None:
        for item in self._items(members, path, scope, ("", "")):
            if item.kind.lower() != _DEPLOYMENTS or not depth:
                continue
            inner, template = _nested(item)
            if inner is None:
                continue

            def outputs(inner: Scope = inner, template: Mapping[str, Any] = template) -> object:
                return inner.expand(template.get("outputs"))

            scope.outputs.setdefault(item.name.lower(), outputs)
            scope.outputs.setdefault(str(item.path[-1]).lower(), outputs)

    def _resources(
        self, members: object, path: Path, scope: Scope, parent: tuple[str, str], depth: int
    ) -> None:
        """Find the resources of a list or mapping; `parent` is its type and name."""
        for item in self._items(members, path, scope, parent):
            if item.kind.lower() == _DEPLOYMENTS:
                self._deployment(item, depth)
            else:
                self._resource(item)
                if depth:
                    inner = item.value.get("resources")
                    below = (*item.path, "resources")
                    self._resources(inner, below, scope, (item.kind, item.name), depth - 1)

    def _items(
        self, members: object, path: Path, scope: Scope, parent: tuple[str, str]
    ) -> Iterator[_Item]:
        """Yield each resource that is deployed, once for each copy, inside its loop."""
        for below, value in _each(members, path):
            if value.get("existing") is True:
                continue
            if not parent[0] and not _is_relevant(value):
                continue
            loop = value.get("copy")
            if not isinstance(loop, dict):
                yield from self._deployed(value, below, scope, parent)
                continue
            count = scope.count(loop.get("count"))
            if isinstance(count, Unread):
                self._found.unread[(*below, "copy", "count")] = count
                continue
            for index in range(count):
                with scope.loop(str(loop.get("name")), index):
                    yield from self._deployed(value, below, scope, parent)

    def _deployed(
        self, value: Mapping[str, Any], path: Path, scope: Scope, parent: tuple[str, str]
    ) -> Iterator[_Item]:
        condition = scope.expand(value.get("condition", True))
        if condition is False:
            self._found.used.add(path)
            return
        kind, name = scope.expand(value.get("type")), scope.expand(value.get("name"))
        if not isinstance(kind, str):
            return
        if isinstance(condition, Unread):
            self._found.unread[(*path, "condition")] = condition
        if parent[0] and not kind.lower().startswith(parent[0].lower() + "/"):
            kind = f"{parent[0]}/{kind}"
        whole = f"{parent[1]}/{name}" if parent[1] else str(name)
        yield _Item(value, path, scope, kind, whole, name)

    def _resource(self, item: _Item) -> None:
        table = TYPES.get(item.kind.lower())
        if table is None:
            return
        if isinstance(item.own_name, Unread):
            if table.kind in (ResourceKind.MACHINE, ResourceKind.SCALE_SET):
                self._found.unread[(*item.path, "name")] = item.own_name
                self._found.used.add(item.path)
            return
        self._found.used |= {(*item.path, name) for name in _RESOURCE_FRAME}
        if not isinstance(item.own_name, str):
            where, seen = written((*item.path, "name")), describe(item.own_name)
            raise ConfigError(where, seen, "a string")
        members = {name: member for name, member in item.value.items() if name != "resources"}
        value = item.scope.expand(members)
        assert isinstance(value, dict)
        inner = {"resources": item.value["resources"]} if "resources" in item.value else {}
        self._found.expanded.setdefault(item.path, []).append({**value, **inner})
        resource = read_resource(table, value, item.path)
        key = MappedValue(inner_id(item.kind, item.name.split("/")), (*item.path, "name"))
        place: Path = ("subnets", 0, "id") if table is SUBNET else ("key",)
        resource.values[place] = key
        _put_place(resource, item.scope.deployment)
        if table is SCALE_SET:
            _put_set_id(resource, item.scope.deployment)
        self._found.add(resource)

    def _deployment(self, item: _Item, depth: int) -> None:
        """Find the resources of the template inside a deployment."""
        inner, template = _nested(item)
        path = (*item.path, "properties")
        if inner is None or not depth:
            reason = "a template in another file" if depth else "a deployment that lies too deep"
            self._found.unread[path] = Unread(reason + ": import it on its own")
            return
        frame = (
            "type",
            "apiVersion",
            "name",
            "dependsOn",
            "location",
            "resourceGroup",
            "subscriptionId",
        )
        self._found.used |= {(*item.path, name) for name in (*frame, *_RESOURCE_FRAME)}
        own = ("mode", "parameters", "expressionEvaluationOptions", "debugSetting")
        self._found.used |= {(*path, name) for name in own}
        self._found.used |= {(*path, "template", name) for name in _TEMPLATE_FRAME}
        self.template(template.get("resources"), (*path, "template", "resources"), inner, depth - 1)


def _is_relevant(value: Mapping[str, Any]) -> bool:
    """Tell whether a resource, or one inside it, is of a type that has rows."""
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if str(item.get("type")).lower() in _RELEVANT or "templateLink" in item:
                return True
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False


def _nested(item: _Item) -> tuple[Scope | None, Mapping[str, Any]]:
    """Return the scope and the template of a deployment; None if it has none."""
    properties = item.value.get("properties")
    template = properties.get("template") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(template, dict):
        return None, {}
    options = item.scope.expand(properties.get("expressionEvaluationOptions"))
    if not isinstance(options, dict) or str(options.get("scope")).lower() != "inner":
        return item.scope, template
    given = {}
    for lower, (_, row) in by_lower_name(properties.get("parameters")).items():
        value = item.scope.expand(row)
        if isinstance(value, dict):
            unread = Unread("its value is in a key vault, not in the template")
            given[lower] = value.get("value", unread)
        else:
            given[lower] = value
    return Scope(template, given, _place(item), item.scope.budget), template


def _place(item: _Item) -> Deployment:
    """Return the place of a nested deployment: its own, else the outer one."""
    outer = item.scope.deployment
    members = {
        name: item.scope.expand(item.value.get(name))
        for name in ("subscriptionId", "resourceGroup")
    }
    subscription, group = (
        str(member) if isinstance(member, str) else "" for member in members.values()
    )
    location = outer.location if group in ("", outer.resource_group) else ""
    return Deployment(subscription or outer.subscription, group or outer.resource_group, location)


def _put_set_id(scale_set: Resource, place: Deployment) -> None:
    if place.subscription and place.resource_group:
        group = f"/subscriptions/{place.subscription}/resourceGroups/{place.resource_group}"
        key = scale_set.values["key",]
        scale_set.values["setId",] = MappedValue(f"{group}/providers/{key.value}", key.path)


def _put_place(resource: Resource, deployment: Deployment) -> None:
    """Put the place of the deployment into a VM."""
    if resource.kind not in (ResourceKind.MACHINE, ResourceKind.SCALE_SET):
        return
    path = (*resource.root, PRESENCE)
    for name, value in (
        ("subscriptionId", deployment.subscription),
        ("resourceGroupName", deployment.resource_group),
    ):
        if value:
            resource.values.setdefault(("compute", name), MappedValue(value, path))


def _each(members: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
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
