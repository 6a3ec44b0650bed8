"""Documents as values: their parts, their text, and a version made from the additions."""

import json
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | bool"


def compact(node: Json) -> str:
    """The bytes rule of A.0: no blanks, sorted keys, UTF-8, no newline at the end."""
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def at(node: Json, *route: str | int) -> Json:
    """The part of a document that a route leads to."""
    for step in route:
        match node, step:
            case dict(), str():
                node = node[step]
            case list(), int():
                node = node[step]
            case _:
                raise TypeError(f"{step!r} does not lead into {type(node).__name__}")
    return node


def leaf(node: Json, *route: str | int) -> str:
    """The text of a leaf."""
    value = at(node, *route)
    if not isinstance(value, str):
        raise TypeError(f"{route} is not a leaf")
    return value


def listing(node: Json) -> str:
    """A node as text (D.2): one child a line, `/` after a non-leaf."""
    if isinstance(node, dict):
        children = [(key, node[key]) for key in sorted(node)]
    elif isinstance(node, list):
        children = [(str(index), item) for index, item in enumerate(node)]
    else:
        raise TypeError("a leaf has no listing")
    return "\n".join(name + "/" * isinstance(item, dict | list) for name, item in children)


def merge(earlier: Json, added: Json) -> Json:
    """A document with the members that a later version added; no value is replaced."""
    match earlier, added:
        case dict(), dict():
            return earlier | {
                key: merge(earlier[key], value) if key in earlier else value
                for key, value in added.items()
            }
        case list(), list():
            return [merge(one, other) for one, other in zip(earlier, added, strict=True)]
        case _:
            raise ValueError(f"{added!r} stands where an earlier version has {earlier!r}")


def drop(node: Json, path: str) -> Json:
    """The document without the nodes at a path, `[]` for every element."""
    step, _, below = path.partition(".")
    name = step.removesuffix("[]")
    if not isinstance(node, dict) or name not in node:
        raise ValueError(f"no {path}")
    if not below:
        return {key: value for key, value in node.items() if key != name}
    child = node[name]
    if isinstance(child, list):
        return node | {name: [drop(item, below) for item in child]}
    return node | {name: drop(child, below)}


def rename(node: Json, names: dict[str, str]) -> Json:
    """The document with other names for its members."""
    if isinstance(node, list):
        return [rename(item, names) for item in node]
    if isinstance(node, dict):
        return {names.get(key, key): rename(value, names) for key, value in node.items()}
    return node
