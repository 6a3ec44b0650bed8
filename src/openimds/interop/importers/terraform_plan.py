"""Planned values that are known only after the apply, and the references between resources.

A plan has no ids yet, so an interface cannot be found by its id. The configuration in the plan
names the resource that an attribute refers to; its address stands for the id. An attribute that is
configured and unknown otherwise could not be read; one that is not configured is Azure's choice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from openimds.interop.importers.unread import Planned, Unread

_Object: TypeAlias = Mapping[str, Any]
_UNKNOWN = Unread("it is known only after the apply")
_SET_ID = "availability_set_id"
_STEPS = 8
"""Variables and outputs between a reference and its resource: modules are not nested as deep."""
_INDEX = re.compile(r"\[[^\]]*\]")
_MODULE = re.compile(r"module\.([^.\[]+)(\[[^\]]*\])?\.?")
_REFERENCES = (
    "managed_disk_id",
    "network_interface_ids",
    "primary_network_interface_id",
    "public_ip_address_id",
    "subnet_id",
    "virtual_machine_id",
)
"""Attributes that join resources; an id of any other has a place in the document of its own."""


class Plan:
    """The configuration and the changes of one plan; without them it changes no value."""

    def __init__(self, value: object) -> None:
        """Index the resources of a plan by their addresses."""
        root = value if isinstance(value, dict) else {}
        self._root = _mapping(_mapping(root.get("configuration")).get("root_module"))
        self._names = dict(_names(_mapping(root.get("planned_values")).get("root_module")))
        self._unknown: dict[str, Any] = {}
        self._instances: dict[str, list[str]] = {}
        for change in _list(root.get("resource_changes")):
            if isinstance(change, dict) and isinstance(change.get("address"), str):
                address = change["address"]
                self._unknown[address] = _mapping(change.get("change")).get("after_unknown")
                self._instances.setdefault(_INDEX.sub("", address), []).append(address)

    def values(self, address: object, values: object) -> object:
        """Return the planned values of a resource with its unknown ones marked or replaced."""
        unknown = self._unknown.get(str(address))
        if not isinstance(values, dict) or not isinstance(unknown, dict):
            return values
        path = [match[1] for match in _MODULE.finditer(str(address))]
        own = _MODULE.sub("", str(address))
        expressions = _mapping(self._resource(path, _INDEX.sub("", own)).get("expressions"))
        merged = self._merged(values, unknown, expressions, path, str(address))
        assert isinstance(merged, dict)
        if unknown.get("id") is True:
            merged["id"] = Planned(address)
        return merged

    def _module(self, path: Iterable[str]) -> _Object:
        module = self._root
        for name in path:
            module = _mapping(
                _mapping(_mapping(module.get("module_calls")).get(name)).get("module")
            )
        return module

    def _resource(self, path: list[str], address: str) -> _Object:
        rows = self._module(path).get("resources")
        return next((row for row in _list(rows) if _mapping(row).get("address") == address), {})

    def _merged(
        self, values: object, unknown: object, expression: object, path: list[str], owner: str
    ) -> object:
        """Return values with a mark at each place that is unknown and configured."""
        if isinstance(unknown, dict):
            members, inner = dict(_mapping(values)), _mapping(expression)
            for name, part in unknown.items():
                if part is True and name in inner:
                    members[name] = self._reference(name, inner[name], path, owner)
                elif isinstance(part, dict | list):
                    below = self._merged(members.get(name), part, inner.get(name), path, owner)
                    members |= {name: below} if below else {}
            return members
        if isinstance(unknown, list) and isinstance(values, list):
            blocks = expression if isinstance(expression, list) else []
            return [
                self._merged(item, part, block, path, owner)
                for item, (part, block) in zip(
                    values, _pairs(unknown, blocks, len(values)), strict=True
                )
            ]
        return values

    def _reference(self, name: str, expression: object, path: list[str], owner: str) -> object:
        """Return the addresses that an attribute refers to, for its ids."""
        if name not in _REFERENCES and name != _SET_ID:
            return _UNKNOWN
        found = dict.fromkeys(self._addresses(expression, path, owner, _STEPS))
        if name == _SET_ID:
            sets = [self._names[address] for address in found if address in self._names]
            # Only the name at the end of the id has a place.
            return Planned(f"/{sets[0]}") if len(sets) == 1 else _UNKNOWN
        ids = [Planned(address) for address in found]
        if name.endswith("_ids"):
            return ids or _UNKNOWN
        return ids[0] if len(ids) == 1 else _UNKNOWN

    def _addresses(
        self, expression: object, path: list[str], owner: str, steps: int
    ) -> Iterator[str]:
        """Yield the addresses of the resources that an expression refers to."""
        for reference in _list(_mapping(expression).get("references")):
            first, _, rest = str(reference).partition(".")
            name, _, member = rest.partition(".")
            if not steps:
                return
            if first == "var" and path:
                call = _mapping(self._module(path[:-1]).get("module_calls")).get(path[-1])
                inner = _mapping(_mapping(call).get("expressions")).get(name)
                yield from self._addresses(inner, path[:-1], owner, steps - 1)
            elif first == "module":
                below = [*path, _INDEX.sub("", name)]
                output = _mapping(_mapping(self._module(below).get("outputs")).get(member))
                yield from self._addresses(output.get("expression"), below, owner, steps - 1)
            else:
                modules = "".join(f"module.{step}." for step in path)
                yield from self._of_resource(f"{modules}{first}.{name}", owner)

    def _of_resource(self, address: str, owner: str) -> Iterator[str]:
        """Yield the instances at an address: the one with the owner's index, else all."""
        instances = self._instances.get(_INDEX.sub("", address), [])
        indexes = _INDEX.findall(address) or _INDEX.findall(owner)
        same = [one for one in instances if indexes and _INDEX.findall(one)[-1:] == indexes[-1:]]
        yield from same or instances


def _pairs(
    unknown: list[object], blocks: list[object], count: int
) -> Iterator[tuple[object, object]]:
    for i in range(count):
        block = blocks[i] if i < len(blocks) else blocks[-1] if blocks else None
        yield unknown[i] if i < len(unknown) else {}, block


def _names(module: object) -> Iterator[tuple[str, str]]:
    """Yield the addresses and the known names of planned resources."""
    pending = [module]
    while pending:
        item = _mapping(pending.pop())
        for row in map(_mapping, _list(item.get("resources"))):
            name = _mapping(row.get("values")).get("name")
            if isinstance(name, str) and isinstance(row.get("address"), str):
                yield row["address"], name
        pending += _list(item.get("child_modules"))


def _mapping(value: object) -> _Object:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
