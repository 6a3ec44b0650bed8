"""The language of ARM's expressions: from `concat('a', parameters('b').c[0])` to a tree.

A recursive-descent reader for the grammar of Azure's page on template syntax: texts, numbers,
calls, and members after a point or in brackets. Bicep's `.?` is `tryGet` once compiled.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

from openimds.interop.importers.unread import UnreadError

LONGEST = 24_576
"""Characters of an expression: Azure's own limit."""
DEEPEST = 40
"""Calls and members inside each other; the deepest one that Bicep's samples compile to is 14."""

_TOKEN = re.compile(
    r"\s*(?:'((?:[^']|'')*)'|([A-Za-z_]\w*)|([+-]?\d{1,18})(?!\w)|([(),.\[\]]))\s*", re.ASCII
)
_KINDS = ("text", "name", "number", "mark")


class Literal(Struct, frozen=True):
    """A text or a number."""

    value: str | int


class Call(Struct, frozen=True):
    """A call of a function; `spelling` is its name as the author wrote it."""

    spelling: str
    arguments: tuple["Node", ...]

    @property
    def name(self) -> str:
        """The name in lower case: functions have no letter case."""
        return self.spelling.lower()


class Member(Struct, frozen=True):
    """A member or an element of a value."""

    owner: "Node"
    key: "Node"


Node: TypeAlias = Literal | Call | Member
_Token: TypeAlias = tuple[str, str]


def parse(text: str) -> Node:
    """Return the tree of an expression, without the brackets around it.

    Raises:
        UnreadError: it is too long, too deep, or not of the grammar.
    """
    if len(text) > LONGEST:
        raise UnreadError(f"an expression of more than {LONGEST} characters")
    reader = _TokenReader(list(_tokens(text)))
    node = reader.term(DEEPEST)
    reader.expect("")
    return node


class _TokenReader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = [*tokens, ("mark", "")]
        self._at = 0

    def term(self, depth: int) -> Node:
        if not depth:
            raise UnreadError(f"an expression of more than {DEEPEST} levels")
        kind, token = self._next()
        node: Node
        if kind == "text":
            node = Literal(token.replace("''", "'"))
        elif kind == "number":
            node = Literal(int(token))
        elif kind == "name":
            node = self._call(token, depth)
        else:
            raise UnreadError("it is not of ARM's grammar")
        return self._members(node, depth)

    def expect(self, mark: str) -> None:
        if self._next() != ("mark", mark):
            raise UnreadError("it is not of ARM's grammar")

    def _call(self, name: str, depth: int) -> Node:
        while self._takes("."):  # A function of the template: namespace.name(…)
            name = f"{name}.{self._next()[1]}"
        self.expect("(")
        arguments: list[Node] = []
        if self._takes(")"):
            return Call(name, ())
        while True:
            arguments.append(self.term(depth - 1))
            if not self._takes(","):
                break
        self.expect(")")
        return Call(name, tuple(arguments))

    def _members(self, node: Node, depth: int) -> Node:
        for _ in range(depth):
            if self._takes("."):
                node = Member(node, Literal(self._next()[1]))
            elif self._takes("["):
                node = Member(node, self.term(depth - 1))
                self.expect("]")
            else:
                return node
        raise UnreadError(f"an expression of more than {DEEPEST} levels")

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _takes(self, mark: str) -> bool:
        if self._tokens[self._at] != ("mark", mark):
            return False
        self._at += 1
        return True


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnreadError("it is not of ARM's grammar")
        place = match.lastindex or 1
        yield _KINDS[place - 1], match[place]
        at = match.end()


def arguments_of(call: Call, count: int) -> tuple[Node, ...]:
    """Return the arguments of a call that takes so many.

    Raises:
        UnreadError: there are fewer, or more.
    """
    if len(call.arguments) != count:
        raise UnreadError(f"arguments that {call.spelling}() does not take")
    return call.arguments
