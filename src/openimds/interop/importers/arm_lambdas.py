"""The functions of a template that apply a lambda to the items of a list."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

from openimds.interop.importers.arm_members import found
from openimds.interop.importers.arm_parser import Call, Node, arguments_of
from openimds.interop.importers.unread import UnreadError


class LambdaScope(Protocol):
    """The part of a template's scope that these functions need.

    `lambda_arguments` are those of the lambdas around, by name in lower case.
    """

    lambda_arguments: dict[str, object]

    def evaluate(self, node: Node) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value of an expression."""

    def word(self, node: Call) -> str:
        """Return the only argument of a call, in lower case."""


LambdaFunction: TypeAlias = Callable[[LambdaScope, Call], object]


def mapped(scope: LambdaScope, node: Call) -> object:
    """Return the results of a lambda for each item of a list."""
    return [result for _, result in _each(scope, node)]


def filtered(scope: LambdaScope, node: Call) -> object:
    """Return the items of a list for which a lambda is true."""
    return [item for item, result in _each(scope, node) if result is True]


def reduced(scope: LambdaScope, node: Call) -> object:
    """Return the last result of a lambda over its result before and an item."""
    items_of, first, function = arguments_of(node, 3)
    current, (names, body) = scope.evaluate(first), _lambda_of(scope, function, node)
    for number, item in enumerate(_items(scope, items_of, node)):
        current = _apply(scope, names, body, (current, item, number))
    return current


def to_object(scope: LambdaScope, node: Call) -> object:
    """Return an object: a lambda gives the name of each item, another one its value."""
    items_of, *functions = node.arguments or arguments_of(node, 2)
    lambdas = [_lambda_of(scope, function, node) for function in functions]
    made: dict[str, object] = {}
    for item in _items(scope, items_of, node):
        name, *values = (_apply(scope, names, body, (item,)) for names, body in lambdas)
        made[str(name)] = values[0] if values else item
    return made


def _each(scope: LambdaScope, node: Call) -> Iterator[tuple[object, object]]:
    items_of, function = arguments_of(node, 2)
    names, body = _lambda_of(scope, function, node)
    for number, item in enumerate(_items(scope, items_of, node)):
        yield item, _apply(scope, names, body, (item, number))


def _items(scope: LambdaScope, argument: Node, node: Call) -> list[Any]:
    items = scope.evaluate(argument)
    if not isinstance(items, list):
        raise UnreadError(f"arguments that {node.spelling}() does not take")
    return items


def _lambda_of(scope: LambdaScope, function: Node, node: Call) -> tuple[list[str], Node]:
    """Return the names of a lambda's arguments, and its body."""
    if not isinstance(function, Call) or function.name != "lambda" or not function.arguments:
        raise UnreadError(f"arguments that {node.spelling}() does not take")
    *names, body = function.arguments
    return [str(scope.evaluate(name)).lower() for name in names], body


def _apply(scope: LambdaScope, names: list[str], body: Node, values: tuple[object, ...]) -> Any:  # noqa: ANN401 - any JSON value
    before = scope.lambda_arguments
    scope.lambda_arguments = {**before, **dict(zip(names, values, strict=False))}
    try:
        return scope.evaluate(body)
    finally:
        scope.lambda_arguments = before


def unknown_lambda(_: LambdaScope, __: Call) -> object:
    """Refuse a lambda: the function around it is not one of those here."""
    raise UnreadError("the function around a lambda is not read here")


def lambda_variable(scope: LambdaScope, node: Call) -> object:
    """Return an argument of the lambda around."""
    return found(scope.lambda_arguments, scope.word(node), "variable")


FUNCTIONS: dict[str, LambdaFunction] = {
    "map": mapped,
    "filter": filtered,
    "reduce": reduced,
    "toobject": to_object,
    "lambda": unknown_lambda,
    "lambdavariables": lambda_variable,
}
"""The functions by their names in lower case."""
