"""Paths of the input: their spelling, and the list of unmapped ones."""

import json
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

PRESENCE: Final = -1
"""Ends the path of a fact that follows from a value's presence, which leaves the value unused."""

_PLAIN = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)


def written(path: Path) -> str:
    """Return a path as people write it: `resources[0].tags["a.b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]" if step != PRESENCE else ""
        elif _PLAIN.fullmatch(step):
            text += f".{step}"
        else:
            text += f"[{json.dumps(step)}]"
    return text.removeprefix(".") or "top level"


def is_empty(value: object) -> bool:
    """Tell whether a value holds only null and empty values."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif item is not None and item != "":
            return False
    return True


def unmapped_paths(value: object, used: set[Path], names: set[Path]) -> Iterator[Path]:
    """Yield the unused paths of a value, each as short as possible.

    A path of `names` is yielded even if its value is empty: the name itself is information.
    """
    touched = {path[:length] for path in used | names for length in range(len(path) + 1)}

    def below(node: object, path: Path) -> Iterator[Path]:
        if path in used:
            return
        if path in names:
            yield path
        elif path not in touched:
            if not is_empty(node):
                yield path
        elif isinstance(node, dict):
            for name, member in node.items():
                yield from below(member, (*path, str(name)))
        elif isinstance(node, list):
            for i, item in enumerate(node):
                yield from below(item, (*path, i))

    yield from below(value, ())
