"""Command-line options made of parameter rows, and the body of a request that they give."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from openimds.parameters import Parameter, camel_case, read_value

F = TypeVar("F", bound=Callable[..., Any])


def flag_of(row: Parameter) -> str:
    """Return the option of a parameter: `--in` of `in_s`."""
    return "--" + row.name.removesuffix("_s").replace("_", "-")


def row_options(rows: Iterable[Parameter]) -> Callable[[F], F]:
    """Return a decorator that adds an option for each row, in their order."""

    def decorate(function: F) -> F:
        for row in reversed([*rows]):
            add = click.option(flag_of(row), row.name, metavar=row.metavar, help=row.help)
            function = add(function)
        return function

    return decorate


def body_of_options(rows: Iterable[Parameter], flags: dict[str, Any]) -> dict[str, Any]:
    """Return the given options as members of a request, removed from the flags.

    Raises:
        ConfigError: a value does not fit its row; `where` is the option.
    """
    body: dict[str, Any] = {}
    for row in rows:
        text = flags.pop(row.name)
        if text is not None:
            value = read_value(row, text, flag_of(row), text=True)
            # A converted value is for the server to convert again.
            body[camel_case(row.name)] = text if row.convert else value
    return body
