"""The evaluation of one template's expressions: its parameters, variables, functions and loops.

Each value of a template is evaluated where it stands, and an expression that cannot be evaluated
leaves an `Unread` there: a template whose tags depend on the deployment still has a VM size. A
value made of a secure parameter is a `Secret`, which stands in no message.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from openimds.errors import ConfigError
from openimds.interop.importers import arm_deployment, arm_functions, arm_lambdas
from openimds.interop.importers.arm_deployment import Deployment
from openimds.interop.importers.arm_members import (
    CopyLoop,
    by_lower_name,
    found,
    functions_of,
    is_loop,
    member_of,
    variables_of,
)
from openimds.interop.importers.arm_parser import Call, Literal, Member, Node, arguments_of, parse
from openimds.interop.importers.unmapped import Path
from openimds.interop.importers.unread import (
    UNKNOWN,
    ExpressionKey,
    Mark,
    Reference,
    Secret,
    StandIn,
    Unread,
    UnreadError,
    has_mark,
    marked,
)

DEEPEST = 100
"""Objects, lists, calls, parameters and variables inside each other."""
BUDGET = 1_000_000
"""Values of all templates of one import, and 64 characters of a text as one."""
MOST_COPIES = 800
"""Copies of a loop: Azure's own limit."""
MOST_INSTANCES = 1000
"""VMs of a scale set: Azure's own limit."""

_CHARACTERS = 64
_MARKS: tuple[Mark, ...] = (Secret, StandIn)
_SECURE = ("securestring", "secureobject")


class Budget:
    """Counts the values of one import."""

    def __init__(self, left: int = BUDGET) -> None:
        """Begin with `left` values."""
        self._left = left

    def spend(self, value: object) -> None:
        """Count a value and all values inside it.

        Raises:
            ConfigError: there are too many.
        """
        pending = [value]
        while pending:
            item = pending.pop()
            self._left -= 1 + (len(item) // _CHARACTERS if isinstance(item, str) else 0)
            if self._left < 0:
                seen = f"a template that makes more than {BUDGET} values"
                raise ConfigError("resources", seen, "a smaller one")
            if isinstance(item, dict):
                pending += item.values()
            elif isinstance(item, list):
                pending += item


class Scope:
    """One template: its members, the values given to its parameters, the loops around it.

    Attributes:
        used: the paths of the parameters and variables that were looked up.
        outputs: the outputs of nested deployments, by name in lower case.
        lambda_arguments: the arguments of the lambdas around, by name in lower case.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        given: Mapping[str, object],
        deployment: Deployment,
        budget: Budget,
    ) -> None:
        """Take the template, and the values of its parameters by their names in lower case."""
        self.deployment, self.budget = deployment, budget
        self._given = given
        self.parameters = by_lower_name(template.get("parameters"))
        self._definitions = by_lower_name(template.get("definitions"))
        self._variables = dict(variables_of(template.get("variables")))
        self._functions = dict(functions_of(template.get("functions")))
        self._cached: dict[tuple[str, str], object] = {}
        self._pending: set[tuple[str, str]] = set()
        self._loops: dict[str, int] = {}
        self._loop = ""
        self._depth = 0
        self._arguments: list[dict[str, object]] = []
        self.lambda_arguments: dict[str, object] = {}
        self.used: set[Path] = set()
        self.outputs: dict[str, Callable[[], object]] = {}

    @contextmanager
    def loop(self, name: str, index: int) -> Iterator[None]:
        """Evaluate inside one copy of a loop."""
        before, outer = dict(self._loops), self._loop
        self._loops[name.lower()], self._loop = index, name.lower()
        try:
            yield
        finally:
            self._loops, self._loop = before, outer

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        try:
            if self._depth > DEEPEST:
                raise UnreadError(f"more than {DEEPEST} levels inside each other")
            yield
        finally:
            self._depth -= 1

    def expand(self, value: object) -> object:
        """Return a value with each expression in it evaluated, or an `Unread` in its place."""
        self.budget.spend(None)
        try:
            with self._deeper():
                if isinstance(value, list):
                    return [self.expand(item) for item in value]
                if isinstance(value, dict):
                    return self._expand_object(value)
                if not isinstance(value, str) or not value.startswith("["):
                    return value
                if value.startswith("[["):
                    return value[1:]
                return (
                    _finished(self.evaluate(parse(value[1:-1])), value)
                    if value.endswith("]")
                    else value
                )
        except UnreadError as error:
            return Unread(str(error), value if isinstance(value, str) else "")
        except RecursionError:  # Variables of variables, each of lists inside lists.
            return Unread(f"more than {DEEPEST} levels inside each other")

    def _expand_object(self, value: dict[object, object]) -> object:
        members: dict[str, object] = {}
        for name, member in value.items():
            if name == "copy" and isinstance(member, list):
                members |= dict(self._copied(item) for item in member if is_loop(item))
                continue
            key = str(name)
            if key.startswith("[") and key.endswith("]"):
                result, key = self.expand(key), ExpressionKey(key)
                key.value = result
            members[key] = self.expand(member)
        return members

    def _copied(self, loop: dict[str, Any]) -> tuple[str, object]:
        """Return the member that a loop makes: `{name, count, input}`."""
        name, count = loop["name"], self.count(loop.get("count"))
        if isinstance(count, Unread):
            return name, count
        copies = []
        for index in range(count):
            with self.loop(name, index):
                copies.append(self.expand(loop.get("input")))
        return name, copies

    def count(self, value: object, most: int = MOST_COPIES) -> int | Unread:
        """Return the number of copies of a loop, or of instances of a scale set."""
        count = self.expand(value)
        if isinstance(count, Unread):
            return count
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= most:
            return count
        return Unread(f"it is not a whole number from 0 to {most}")

    def evaluate(self, node: Node) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value of an expression.

        Raises:
            UnreadError: it needs more than the file and the flags.
        """
        with self._deeper():
            value = self._value(node)
        if isinstance(value, Unread):
            raise UnreadError(value.reason)
        return value

    def _value(self, node: Node) -> object:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Member):
            return member_of(self.evaluate(node.owner), self.evaluate(node.key))
        if special := _SPECIAL.get(node.name):
            return special(self, node)
        arguments = [self.evaluate(argument) for argument in node.arguments]
        if node.name in self._functions:
            value = self._own(self._functions[node.name], arguments)
        else:
            value = arm_functions.call(node.spelling, arguments)
        self.budget.spend(value)
        for mark in _MARKS:
            if has_mark(arguments, mark):
                value = marked(value, mark)
        return value

    def _own(self, function: dict[str, Any], arguments: list[object]) -> object:
        """Return the result of a function that the template defines."""
        rows, output = function.get("parameters"), function.get("output")
        parameters = rows if isinstance(rows, list) else []
        names = [str(row.get("name")).lower() for row in parameters if isinstance(row, dict)]
        if len(names) != len(arguments) or not isinstance(output, dict):
            raise UnreadError("arguments that a function of the template does not take")
        self._arguments.append(dict(zip(names, arguments, strict=True)))
        try:
            return self.expand(output.get("value"))
        finally:
            self._arguments.pop()

    def parameter(self, node: Call) -> object:
        """Return the value of a parameter."""
        name = self.word(node)
        if self._arguments:
            return found(self._arguments[-1], name, "parameter")
        spelling, definition = found(self.parameters, name, "parameter")
        self.used.add(("parameters", spelling))
        row = self._definition(definition)
        if name in self._given:
            value = self._given[name]
        elif "defaultValue" in row:
            value = self._once(("parameters", name), row["defaultValue"])
        elif row.get("nullable") is True:
            return None
        else:
            raise UnreadError(f"the parameter {spelling} has no value: add a parameter file")
        return marked(value, Secret) if str(row.get("type")).lower() in _SECURE else value

    def _definition(self, value: object) -> dict[str, Any]:
        """Return the members of a parameter's definition, with those of a type that it names."""
        row = value if isinstance(value, dict) else {}
        name = str(row.get("$ref")).rpartition("/")[2].lower()
        _, named = self._definitions.get(name, ("", None))
        return {**named, **row} if isinstance(named, dict) else row

    def variable(self, node: Call) -> object:
        """Return the value of a variable."""
        name = self.word(node)
        spelling, value = found(self._variables, name, "variable")
        self.used.add(("variables", spelling if not isinstance(value, CopyLoop) else "copy"))
        return self._once(("variables", name), value)

    def _once(self, key: tuple[str, str], value: object) -> object:
        """Return the value of a parameter or variable, evaluated at its first use."""
        if key not in self._cached:
            if key in self._pending:
                raise UnreadError(f"{key[1]} refers to itself")
            self._pending.add(key)
            try:
                if isinstance(value, CopyLoop):
                    result = self._copied(value.loop)[1]
                else:
                    result = self.expand(value)
                self._cached[key] = result
            finally:
                self._pending.discard(key)
        self.budget.spend(self._cached[key])
        return self._cached[key]

    def word(self, node: Call) -> str:
        """Return the only argument of a call, in lower case."""
        if len(node.arguments) != 1:
            raise UnreadError(f"arguments that {node.spelling}() does not take")
        return str(self.evaluate(node.arguments[0])).lower()

    def choice(self, node: Call) -> object:
        """Return the branch of `if()`; the other one is not evaluated."""
        condition, then, otherwise = arguments_of(node, 3)
        return self.evaluate(then if self._truth(condition, node) else otherwise)

    def every(self, node: Call) -> object:
        """Return the conjunction of the arguments, up to the first that is false."""
        return all(self._truth(argument, node) for argument in node.arguments)

    def some(self, node: Call) -> object:
        """Return the disjunction of the arguments, up to the first that is true."""
        return any(self._truth(argument, node) for argument in node.arguments)

    def _truth(self, argument: Node, node: Call) -> bool:
        value = self.evaluate(argument)
        if not isinstance(value, bool):
            raise UnreadError(f"arguments that {node.spelling}() does not take")
        return value

    def copy_index(self, node: Call) -> object:
        """Return the number of the copy: `copyIndex('loop', offset)`, both may be missing."""
        values = [self.evaluate(argument) for argument in node.arguments]
        name = values.pop(0).lower() if values and isinstance(values[0], str) else self._loop
        if name not in self._loops:
            raise UnreadError("copyIndex() outside of its loop")
        offset = values[0] if values else 0
        if not isinstance(offset, int) or len(values) > 1:
            raise UnreadError("arguments that copyIndex() does not take")
        return self._loops[name] + offset

    def try_get(self, node: Call) -> object:
        """Return a member, or null if there is none."""
        if not node.arguments:
            raise UnreadError("arguments that tryGet() does not take")
        value = self.evaluate(node.arguments[0])
        for argument in node.arguments[1:]:
            key = self.evaluate(argument)
            try:
                value = member_of(value, key)
            except UnreadError:
                return None
        return value


_SPECIAL: dict[str, Callable[[Scope, Call], object]] = {
    "parameters": Scope.parameter,
    "variables": Scope.variable,
    "if": Scope.choice,
    "and": Scope.every,
    "or": Scope.some,
    "null": lambda _, __: None,
    "true": lambda _, __: True,
    "false": lambda _, __: False,
    "copyindex": Scope.copy_index,
    "tryget": Scope.try_get,
    **arm_deployment.FUNCTIONS,
    **arm_lambdas.FUNCTIONS,
}
"""Functions that need more than the values of their arguments."""


def _finished(value: object, expression: str) -> object:
    """Return the value of an expression with its references marked."""
    if isinstance(value, dict):
        return {name: _finished(member, expression) for name, member in value.items()}
    if isinstance(value, list):
        return [_finished(item, expression) for item in value]
    if not isinstance(value, str) or UNKNOWN not in value:
        return value
    reference = Reference(value)
    reference.expression = expression
    return reference
