"""A JSON scanner that gives the position of every value."""

import re
from json import JSONDecoder
from typing import NoReturn

from msgspec import Struct

_BLANK = re.compile(r"[ \t\r\n]*")
_DEEPEST = 64
Steps = tuple[str | int, ...]
"""The member names and indexes from the top level to a node."""


class Node(Struct, frozen=True):
    """A value at `text[start:end]`; an object has the names of its members."""

    steps: Steps
    kind: str
    start: int
    end: int
    names: tuple[str, ...] = ()
    value: object = None


class Scan(Struct, frozen=True):
    """Every node of a text, parents first, and whether blanks stand between its tokens."""

    nodes: tuple[Node, ...]
    has_blanks: bool


def scan(text: str) -> Scan:
    """Return the nodes of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested more than 64 deep.
    """
    scanner = _Scanner(text)
    if scanner.blank(scanner.value(scanner.blank(0), ())) < len(text):
        raise ValueError("something after the end")
    nodes = sorted(scanner.nodes, key=lambda node: node.start)
    return Scan(tuple(nodes), scanner.has_blanks)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_SCALARS = JSONDecoder(parse_constant=_refuse)
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}


class _Scanner:
    """Scans a text; each method takes a start position and returns the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.nodes: list[Node] = []
        self.has_blanks = False

    def blank(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        assert match is not None
        self.has_blanks |= match.end() > at
        return match.end()

    def value(self, at: int, steps: Steps) -> int:
        opening = self.text[at : at + 1]
        if opening not in ("{", "["):
            value, end = _SCALARS.raw_decode(self.text, at)
            self.nodes.append(Node(steps, _KINDS[type(value)], at, end, value=value))
            return end
        if len(steps) > _DEEPEST:
            raise ValueError("nested too deeply")
        return self._object(at, steps) if opening == "{" else self._array(at, steps)

    def _object(self, start: int, steps: Steps) -> int:
        names: list[str] = []
        at = self.blank(start + 1)
        while not self._ends(at, "}", is_first=not names):
            at = at if not names else self.blank(at + 1)
            name, at = _SCALARS.raw_decode(self.text, at)
            if not isinstance(name, str):
                raise ValueError(f"{name} where a name belongs")
            names.append(name)
            at = self._after(self.blank(at), ":")
            at = self.blank(self.value(self.blank(at), (*steps, name)))
        self.nodes.append(Node(steps, "object", start, at + 1, tuple(names)))
        return at + 1

    def _array(self, start: int, steps: Steps) -> int:
        count = 0
        at = self.blank(start + 1)
        while not self._ends(at, "]", is_first=not count):
            at = at if not count else self.blank(at + 1)
            at = self.blank(self.value(at, (*steps, count)))
            count += 1
        self.nodes.append(Node(steps, "array", start, at + 1))
        return at + 1

    def _ends(self, at: int, closing: str, *, is_first: bool) -> bool:
        """Tell whether a list ends here; if not, require a comma before the next member."""
        if self.text[at : at + 1] == closing:
            return True
        if not is_first:
            self._after(at, ",")
        return False

    def _after(self, at: int, mark: str) -> int:
        if self.text[at : at + 1] != mark:
            raise ValueError(f"no {mark} at {at}")
        return at + 1
