"""`openimds clock`: the clock that guests of a running server see."""

from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_object
from openimds.cli.row_options import body_of_options, row_options
from openimds.events.clock import CLOCK


@click.command("clock")
@row_options(CLOCK)
@options("state")
@output_options("text", has_names=False)
def command(*, output: str, **flags: str | None) -> None:
    """Show or change the time that guests see.

    It can be changed where the server runs with --virtual-clock.
    """
    body = body_of_options(CLOCK, flags)
    client = Client(values(flags).state)
    clock = client.ask("POST", "/v1/clock", body) if body else client.ask("GET", "/v1/clock")
    print_object(output, clock, lambda: _print(clock))


def _print(clock: dict[str, Any]) -> None:
    offset_s = round(clock["offsetS"], 3) + 0.0  # Never "-0".
    click.echo(f"{clock['now']} (offset {offset_s:g} s, rate {clock['rate']:g})")
