"""Validate a plain value along a tree, or refuse it with its path."""

from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.document import OLD_NAMES
from openimds.facts.fields import FieldKind
from openimds.parameters import (
    check_encodable,
    check_names,
    describe,
    nearest,
    path_of,
    quote_hint,
)
from openimds.vm.schema_tree import Group, Leaf, Many, Named, Node, Plain
from openimds.vm.tags import FORMS, to_wire

_OLD_NAMES: dict[str, str] = {row.path: row.name for row in OLD_NAMES}
_TOP = "top level"
LARGEST_NUMBER = 65535
"""The largest number of a VM: its numbers are ports."""

_TAG = {"name": Leaf("tagsList[].name"), "value": Leaf("tagsList[].value")}
_TAG_SHAPES: dict[type, Node] = {
    dict: Named("tags", Leaf("tags")),
    list: Many("tagsList", Group("", {**_TAG})),
    str: Leaf("tags"),
}
_LIST = "tagsList"
_TAG_PATHS = frozenset(f"compute.{form}" for form in FORMS)


class Leniency(Struct):
    """Read a captured body: names in any case, old names; unknown members are set aside."""

    set_aside: list[str]


def validate(  # noqa: C901, PLR0912 - the one walk
    value: Any,  # noqa: ANN401 - any value of a file
    node: Node,
    where: str,
    lenient: Leniency | None = None,
) -> Any:  # noqa: ANN401 - a value of the node's type
    """Return a copy of `value` that fits `node`; tags come out in both wire forms.

    Raises:
        ConfigError: an unknown name or a wrong type.
    """
    if isinstance(node, Leaf):
        return _scalar(value, node, where)
    if isinstance(node, Plain):
        return value
    if isinstance(node, Many):
        if value is None and is_nullable(node):
            return None
        if not isinstance(value, list):
            raise ConfigError(where, describe(value), "a list")
        return [validate(item, node.item, f"{where}[{i}]", lenient) for i, item in enumerate(value)]
    if value is None:  # As in `web-1:` of YAML.
        return {}
    if not isinstance(value, dict):
        raise ConfigError(where or _TOP, describe(value), "a mapping of names to values")
    if isinstance(node, Group) and node.wrapper and [*value] == [node.wrapper]:
        inner, where = Group(node.path, node.members), f"{where}.{node.wrapper}"
        return validate(value[node.wrapper], inner, where, lenient)
    members = node.members if isinstance(node, Group) else {}
    result: dict[str, Any] = {}
    for name, part in value.items():
        key, member = name, members.get(name) if isinstance(node, Group) else node.item
        if member is None or not isinstance(name, str):
            key, member = _similar(name, node, where, lenient)
        elif not name.isascii():
            check_encodable(name, where)
        if member is None:
            continue
        if key in result:
            seen = f'"{name}" beside another spelling of it'
            raise ConfigError(path_of(where, name), seen, "each name once")
        is_plain = type(member) is Leaf and member.kind is FieldKind.TEXT and not member.choices
        if member.path in _TAG_PATHS or (is_plain and type(part) is str and part.isascii()):
            result[key] = part
        else:
            result[key] = validate(part, member, path_of(where, name), lenient)
    if node.path == "compute" and not result.keys().isdisjoint(FORMS):
        result |= _tags({form: result[form] for form in FORMS if form in result}, where, lenient)
    return result


def is_nullable(node: Many) -> bool:
    """Tell whether an array may be null, as some in Azure's documents are (N15)."""
    return node.path.startswith(("compute.", "network."))


def _scalar(value: object, node: Leaf, where: str) -> object:
    if node.kind is FieldKind.BOOLEAN:
        if isinstance(value, bool):
            return value
        raise ConfigError(where, describe(value), "true or false")
    if node.kind is FieldKind.NUMBER:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
            return value
        raise ConfigError(where, describe(value), f"a whole number from 0 to {LARGEST_NUMBER}")
    if not isinstance(value, str):
        raise ConfigError(where, describe(value), "a string", quote_hint(value))
    check_encodable(value, where)
    if node.choices and value not in node.choices:
        expected = "one of " + ", ".join(node.choices)
        hint = node.hints.get(value) or nearest(value, node.choices)
        raise ConfigError(where, describe(value), expected, hint)
    return value


def _similar(
    name: object, node: Group | Named, where: str, lenient: Leniency | None
) -> tuple[str, Node | None]:
    """Return the member for an unknown name; None if it is set aside.

    A captured body may have a key in any letter case, or under its old name.

    Raises:
        ConfigError: the name is no string, or unknown in a file.
    """
    if not isinstance(name, str):
        seen = f"the key {describe(name)}"
        raise ConfigError(where or _TOP, seen, "a string", quote_hint(name))
    assert isinstance(node, Group)  # Any string is a member of the others.
    if lenient:
        for key, member in node.members.items():
            if name.lower() == key.lower() or name == _OLD_NAMES.get(member.path):
                return key, member
        lenient.set_aside.append(path_of(where, name))
    else:
        check_names([name], node.members, where or _TOP)
    return name, None


def _tags(forms: dict[str, Any], where: str, lenient: Leniency | None) -> dict[str, object]:
    """Return both wire forms of the tags in any of their three shapes."""
    is_null = forms.get(_LIST, "") is None
    if is_null:
        del forms[_LIST]
    for form, value in forms.items():
        path = path_of(where, form)
        if type(value) not in _TAG_SHAPES:
            expected = "a mapping, a list of {name, value}, or a string name:value;name:value"
            raise ConfigError(path, describe(value), expected)
        forms[form] = validate(value, _TAG_SHAPES[type(value)], path, lenient)
    tags = to_wire(forms, where)
    return {**tags, _LIST: None} if is_null and not tags[_LIST] else tags
