"""`openimds clock`: the clock that guests of a running server see."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of
from openimds.events.clock import CLOCK
from openimds.parameters import Parameter, camel_case, read_value

F = TypeVar("F", bound=Callable[..., Any])


def _flag(row: Parameter) -> str:
    return "--" + row.name.removesuffix("_s")


def _change_options(function: F) -> F:
    """Add an option for each row of a change."""
    for row in reversed(CLOCK):
        add = click.option(_flag(row), row.name, metavar=row.metavar, help=row.help)
        function = add(function)
    return function


@click.command("clock")
@_change_options
@options("state")
@json_instead_of("text")
def command(*, is_json: bool, **flags: str | None) -> None:
    """Show or change the time that guests see.

    It can be changed where the server runs with --virtual-clock.
    """
    body: dict[str, object] = {}
    for row in CLOCK:
        text = flags.pop(row.name)
        if text is not None:
            value = read_value(row, text, _flag(row), text=True)
            body[camel_case(row.name)] = text if row.type is str else value
    client = Client(values(flags).state)
    clock = client.ask("POST", "/v1/clock", body) if body else client.ask("GET", "/v1/clock")
    if is_json:
        click.echo(msgspec.json.encode(clock).decode())
    else:
        offset_s = round(clock["offsetS"], 3) + 0.0  # Never "-0".
        click.echo(f"{clock['now']} (offset {offset_s:g} s, rate {clock['rate']:g})")
