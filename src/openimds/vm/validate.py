"""Read a plain value (of YAML, TOML or JSON) along a tree, or say precisely why not."""

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.document import OLD_NAMES
from openimds.facts.fields import FieldKind
from openimds.parameters import describe, nearest, quote_hint
from openimds.vm.schema_tree import Group, Leaf, Many, Node

_OLD_NAMES: dict[str, str] = {row.path: row.name for row in OLD_NAMES}
_LARGEST = 65535
"""The numbers of the model are ports."""


class Leniency(Struct):
    """How a captured body is read: names in any case, old names, unknown members set aside."""

    set_aside: list[str]


def read(value: object, node: Node, where: str, lenient: Leniency | None = None) -> object:
    """Return `value` as far as it fits `node`, in plain dicts and lists.

    Raises:
        ConfigError: an unknown name or a wrong type.
    """
    match node:
        case Leaf():
            return _leaf(value, node, where)
        case Group():
            return _group(value, node, where, lenient)
        case Many():
            if not isinstance(value, list):
                raise ConfigError(where, describe(value), "a list")
            return [read(one, node.item, f"{where}[{i}]", lenient) for i, one in enumerate(value)]
        case _:
            members = _members(value, where)
            return {
                name: read(one, node.item, f"{where}.{name}", lenient)
                for name, one in members.items()
            }


def _leaf(value: object, node: Leaf, where: str) -> object:
    if node.kind is FieldKind.BOOLEAN:
        if isinstance(value, bool):
            return value
        raise ConfigError(where, describe(value), "true or false")
    if node.kind is FieldKind.NUMBER:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
            return value
        raise ConfigError(where, describe(value), f"a whole number from 0 to {_LARGEST}")
    if not isinstance(value, str):
        raise ConfigError(where, describe(value), "a string", quote_hint(value))
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        # JSON can write half of a surrogate pair; UTF-8, and so the wire, cannot.
        raise ConfigError(where, "half of a surrogate pair", "text that UTF-8 can carry")
    if node.choices and value not in node.choices:
        expected = "one of " + ", ".join(node.choices)
        hint = node.hints.get(value) or nearest(value, node.choices)
        raise ConfigError(where, describe(value), expected, hint)
    return value


def _group(value: object, node: Group, where: str, lenient: Leniency | None) -> dict[str, object]:
    answer: dict[str, object] = {}
    for name, one in _members(value, where).items():
        known = name if name in node.members else lenient and _any_name(name, node)
        if known in answer:
            seen = f'"{name}" beside another spelling of it'
            raise ConfigError(f"{where}.{name}".lstrip("."), seen, "each name once")
        if known:
            answer[known] = read(one, node.members[known], f"{where}.{name}".lstrip("."), lenient)
        elif lenient:
            lenient.set_aside.append(f"{where}.{name}".lstrip("."))
        else:
            expected = "one of " + ", ".join(node.members)
            raise ConfigError(
                where or "top level", f'unknown key "{name}"', expected, nearest(name, node.members)
            )
    return answer


def _members(value: object, where: str) -> dict[str, object]:
    """Return the members of an object; nothing at all (`web-1:` in YAML) is an empty object."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(where or "top level", describe(value), "a mapping of names to values")
    for name in value:
        if not isinstance(name, str):
            seen = f"the key {describe(name)}"
            raise ConfigError(where or "top level", seen, "a string", quote_hint(name))
    return value


def _any_name(name: str, node: Group) -> str:
    """Return the member that a captured body means by `name`, or nothing."""
    for known, member in node.members.items():
        if name.lower() == known.lower() or name == _OLD_NAMES.get(member.path):
            return known
    return ""
