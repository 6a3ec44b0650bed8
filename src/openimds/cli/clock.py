"""`openimds clock`: the clock that guests of a running server see."""

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.row_options import body_of_options, row_options
from openimds.cli.table import json_instead_of
from openimds.events.clock import CLOCK


@click.command("clock")
@row_options(CLOCK)
@options("state")
@json_instead_of("text")
def command(*, is_json: bool, **flags: str | None) -> None:
    """Show or change the time that guests see.

    It can be changed where the server runs with --virtual-clock.
    """
    body = body_of_options(CLOCK, flags)
    client = Client(values(flags).state)
    clock = client.ask("POST", "/v1/clock", body) if body else client.ask("GET", "/v1/clock")
    if is_json:
        click.echo(msgspec.json.encode(clock).decode())
    else:
        offset_s = round(clock["offsetS"], 3) + 0.0  # Never "-0".
        click.echo(f"{clock['now']} (offset {offset_s:g} s, rate {clock['rate']:g})")
