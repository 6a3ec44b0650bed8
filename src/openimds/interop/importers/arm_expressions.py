"""Plain expressions of an ARM template: look-ups and concatenation.

`parameters` with a default, `variables`, `concat`, `resourceId` and literals; any other expression
needs more than the file and is not evaluated. A `resourceId` becomes a `Reference`: subscription
and group are those of a deployment, which a template does not know.
"""

import re
from collections.abc import Callable

from openimds.interop.importers.conversions import NOTHING, Reference
from openimds.interop.importers.unmapped import Path

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z]\w*)|(-?\d{1,9})|([(),]))\s*", re.ASCII)
_STEPS = 64
"""A plain expression needs fewer; a parameter that names itself, or a tree of doubling
variables, stops here."""


class _NotPlainError(Exception):
    """The expression needs more than look-ups and concatenation."""


class Scope:
    """The parameters and variables of one template."""

    def __init__(self, parameters: object, variables: object) -> None:
        """Take both members of the template, in any form."""
        self._parameters = _by_lower_name(parameters)
        self._variables = _by_lower_name(variables)
        self._left = 0
        self.used: set[Path] = set()
        """The paths of the parameters and variables that were looked up."""

    def evaluate(self, value: object) -> object:
        """Return a value of the template with its expression evaluated, or `NOTHING`."""
        self._left = _STEPS
        try:
            return self._value(value)
        except _NotPlainError:
            return NOTHING

    def _value(self, value: object) -> object:
        if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
            return value
        if value.startswith("[["):
            return value[1:]
        tokens = _tokens(value[1:-1])
        answer = self._term(tokens)
        if tokens:
            raise _NotPlainError
        return answer

    def _term(self, tokens: list[tuple[str, str]]) -> object:
        self._left -= 1
        if self._left < 0 or not tokens:
            raise _NotPlainError
        kind, token = tokens.pop(0)
        if kind == "text":
            return token
        if kind == "number":
            return int(token)
        call = _CALLS.get(token.lower())
        if call is None or _next(tokens) != "(":
            raise _NotPlainError
        return call(self, self._arguments(tokens))

    def _arguments(self, tokens: list[tuple[str, str]]) -> list[object]:
        terms = [self._term(tokens)]
        while (mark := _next(tokens)) == ",":
            terms.append(self._term(tokens))
        if mark != ")":
            raise _NotPlainError
        return terms

    def parameter(self, arguments: list[object]) -> object:
        """Return the default value of a parameter."""
        name, definition = _named(self._parameters, arguments)
        if not isinstance(definition, dict) or "defaultValue" not in definition:
            raise _NotPlainError
        self.used.add(("parameters", name))
        return self._value(definition["defaultValue"])

    def variable(self, arguments: list[object]) -> object:
        """Return the value of a variable."""
        name, value = _named(self._variables, arguments)
        self.used.add(("variables", name))
        return self._value(value)


def _concat(_: Scope, arguments: list[object]) -> object:
    if not all(isinstance(argument, str | int) for argument in arguments):
        raise _NotPlainError
    joined = "".join(map(str, arguments))
    has_reference = any(isinstance(argument, Reference) for argument in arguments)
    return Reference(joined) if has_reference else joined


def _resource_id(_: Scope, arguments: list[object]) -> object:
    """Return a reference; subscription and group may stand before the type."""
    words = [str(argument) for argument in arguments]
    at = next((i for i, word in enumerate(words) if "/" in word), len(words) - 1)
    kind, names = words[at], words[at + 1 :]
    if kind.count("/") != len(names) or not names:
        raise _NotPlainError
    return Reference("/providers/" + inner_id(kind, names))


_CALLS: dict[str, Callable[[Scope, list[object]], object]] = {
    "parameters": Scope.parameter,
    "variables": Scope.variable,
    "concat": _concat,
    "resourceid": _resource_id,
}


def inner_id(kind: str, names: list[str]) -> str:
    """Return the end of a resource id: `N/a/x/b/y` for type `N/a/b`, names x, y."""
    provider, *types = kind.split("/")
    pairs = zip(types, names, strict=False)
    return "/".join([provider, *(part for pair in pairs for part in pair)])


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _NotPlainError
        kind = ("text", "name", "number", "mark")[(match.lastindex or 1) - 1]
        token = match[match.lastindex or 1]
        tokens.append((kind, token.replace("''", "'") if kind == "text" else token))
        at = match.end()
    return tokens


def _next(tokens: list[tuple[str, str]]) -> str:
    kind, token = tokens.pop(0) if tokens else ("", "")
    return token if kind == "mark" else ""


def _by_lower_name(members: object) -> dict[str, tuple[str, object]]:
    if not isinstance(members, dict):
        return {}
    return {str(name).lower(): (str(name), value) for name, value in members.items()}


def _named(members: dict[str, tuple[str, object]], arguments: list[object]) -> tuple[str, object]:
    if len(arguments) != 1 or str(arguments[0]).lower() not in members:
        raise _NotPlainError
    return members[str(arguments[0]).lower()]
