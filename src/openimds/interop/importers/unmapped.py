"""Paths of the input: how they are written, and which of them nobody has used."""

import json
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

NOWHERE: Final = -1
"""Ends the path of a fact that was seen at a place without using up the value there."""

_PLAIN = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)


def written(path: Path) -> str:
    """Return a path as people write it: `resources[0].tags["a.b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]" if step != NOWHERE else ""
        elif _PLAIN.fullmatch(step):
            text += f".{step}"
        else:
            text += f"[{json.dumps(step)}]"
    return text.removeprefix(".") or "top level"


def is_nothing(value: object) -> bool:
    """Tell whether a value holds null and empty values only."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.values()
        elif isinstance(one, list):
            rest += one
        elif one is not None and one != "":
            return False
    return True


def untouched(value: object, used: set[Path], lost: set[Path]) -> Iterator[Path]:
    """Yield the paths of what is not used, each as far up as nothing below it is.

    A `lost` path is yielded even if nothing stands there: its name says something.
    """
    touched = {path[:length] for path in used | lost for length in range(len(path) + 1)}

    def below(node: object, path: Path) -> Iterator[Path]:
        if path in used:
            return
        if path in lost:
            yield path
        elif path not in touched:
            if not is_nothing(node):
                yield path
        elif isinstance(node, dict):
            for name, member in node.items():
                yield from below(member, (*path, str(name)))
        elif isinstance(node, list):
            for i, one in enumerate(node):
                yield from below(one, (*path, i))

    yield from below(value, ())
