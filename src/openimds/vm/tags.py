"""Tags: three ways to write them, one way to keep them.

A person writes a mapping; the document has a string (`name:value;name:value`, nothing escaped) and
a list of names with values. Both wire forms always say the same. Where only the string is known, a
piece without a colon belongs to the value before it, because values may hold semicolons.
"""

from openimds.errors import ConfigError
from openimds.parameters import describe
from openimds.vm.schema_tree import Group, Leaf, Many, Named
from openimds.vm.validate import Leniency, read

_LIST = Many(
    "tagsList", Group("", {"name": Leaf("tagsList[].name"), "value": Leaf("tagsList[].value")})
)
_MAPPING = Named("tags", Leaf("tags"))
_KEYS = ("tags", "tagsList")


def settle(compute: object, where: str, lenient: Leniency | None = None) -> object:
    """Return `compute` with its tags in both wire forms, if it says any; else as it came.

    A string is kept to the letter, and so is a list.

    Raises:
        ConfigError: neither shape fits, or both are given and differ.
    """
    names = _names(compute, lenient) if isinstance(compute, dict) else {}
    if not isinstance(compute, dict) or not names:
        return compute
    said = {
        known: _pairs(compute[name], f"{where}.{name}".lstrip("."), lenient)
        for known, name in names.items()
    }
    # The list is the sharper form: the string cannot tell a semicolon in a value from a separator.
    pairs = said.get("tagsList", said.get("tags", []))
    text = compute.get(names.get("tags"))
    if not isinstance(text, str):
        text = join(said.get("tags", pairs))
    is_mapping = not isinstance(compute.get(names.get("tags")), str)
    agree = said.get("tags") in (pairs, sorted(pairs) if is_mapping else pairs)
    if join(pairs) != text and not agree:
        raise ConfigError(
            f"{where}.tagsList", "other tags than in tags", "the same tags", "Leave one of them out"
        )
    rest = {name: value for name, value in compute.items() if name not in names.values()}
    return {**rest, **both(pairs), "tags": text}


def _names(compute: dict[object, object], lenient: Leniency | None) -> dict[str, object]:
    """Return under which names the forms of the tags stand; a captured body writes any case."""
    by_lower = {known.lower(): known for known in _KEYS}
    found = {by_lower.get(str(name).lower(), ""): name for name in compute}
    return {known: name for known, name in found.items() if known and (lenient or known == name)}


def both(pairs: list[tuple[str, str]]) -> dict[str, object]:
    """Return the two members of `compute` that the tags make."""
    listed = [{"name": name, "value": value} for name, value in pairs]
    return {"tags": join(pairs), "tagsList": listed}


def as_said(compute: dict[str, object]) -> dict[str, object]:
    """Return a settled `compute` with its tags as a person writes them, where that says it all.

    A mapping can be changed tag by tag. It cannot keep an order of its own, a name twice, or a
    string that is not the list; then both wire forms stay.
    """
    if "tagsList" not in compute:
        return compute
    pairs = pairs_of(compute)
    if (
        pairs != sorted(set(pairs))
        or compute["tags"] != join(pairs)
        or len(dict(pairs)) != len(pairs)
    ):
        return compute
    rest = {key: value for key, value in compute.items() if key not in _KEYS}
    return {**rest, "tags": dict(pairs)}


def join(pairs: list[tuple[str, str]]) -> str:
    """Return the string form."""
    return ";".join(f"{name}:{value}" for name, value in pairs)


def pairs_of(compute: dict[str, object]) -> list[tuple[str, str]]:
    """Return the tags of a `compute` that `settle` has seen."""
    return _pairs(compute.get("tagsList", []), "tagsList", None)


def _pairs(value: object, where: str, lenient: Leniency | None) -> list[tuple[str, str]]:
    match value:
        case str():
            return _split(value)
        case dict():
            mapping = read(value, _MAPPING, where)
            assert isinstance(mapping, dict)
            return sorted(mapping.items())
        case list():
            listed = read(value, _LIST, where, lenient)
            assert isinstance(listed, list)
            return [(str(one.get("name", "")), str(one.get("value", ""))) for one in listed]
        case _:
            expected = "a mapping, a list of {name, value}, or a string name:value;name:value"
            raise ConfigError(where, describe(value), expected)


def _split(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for piece in text.split(";") if text else []:
        name, colon, value = piece.partition(":")
        if colon or not pairs:
            pairs.append((name, value))
        else:
            last, before = pairs[-1]
            pairs[-1] = (last, f"{before};{piece}")
    return pairs
