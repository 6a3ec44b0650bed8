"""Paths of the input: their spelling, and the list of unmapped ones."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

PRESENCE: Final = -1
"""Ends the path of a fact that follows from a value's presence, which leaves the value unused."""

NO_PATHS: Final[Mapping[Path, list[object]]] = {}
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


def unmapped_paths(
    value: object,
    used: set[Path],
    names: set[Path],
    expanded: Mapping[Path, list[object]] = NO_PATHS,
) -> Iterator[Path]:
    """Yield the unused paths of a value, each once and as short as possible.

    A path of `names` is yielded even if its value is empty: the name itself is information. At a
    path of `expanded` those values stand for the one of the input: the copies of a loop.
    """
    search = _Search(used, names, expanded)
    yield from dict.fromkeys(search.below(value, ()))


class _Search:
    def __init__(
        self, used: set[Path], names: set[Path], expanded: Mapping[Path, list[object]]
    ) -> None:
        self._used, self._names, self._expanded = used, names, expanded
        self._touched = {path[:length] for path in used | names for length in range(len(path) + 1)}

    def below(self, node: object, path: Path) -> Iterator[Path]:
        if path in self._used:
            return
        if path in self._names:
            yield path
            return
        for copy in self._expanded.get(path, (node,)):
            if path in self._touched:
                yield from self._members(copy, path)
            elif not is_empty(copy):
                yield path

    def _members(self, node: object, path: Path) -> Iterator[Path]:
        if isinstance(node, dict):
            for name, member in node.items():
                yield from self.below(member, (*path, str(name)))
        elif isinstance(node, list):
            for i, item in enumerate(node):
                yield from self.below(item, (*path, i))
