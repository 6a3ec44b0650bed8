"""`openimds clock`: the clock that guests of a running server see."""

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of


@click.command("clock")
@click.option("--now", metavar="TIME", help="Set the time, as in 2026-11-22T19:54:46Z.")
@click.option(
    "--offset", "offset_s", metavar="SECONDS", type=float, help="Set it ahead of real time."
)
@click.option("--advance", "advance_s", metavar="SECONDS", type=float, help="Move it forward.")
@click.option("--rate", metavar="N", type=float, help="Speed relative to real time; 0 freezes it.")
@options("state")
@json_instead_of("text")
def command(
    now: str | None,
    offset_s: float | None,
    advance_s: float | None,
    rate: float | None,
    *,
    is_json: bool,
    **flags: object,
) -> None:
    """Show or change the time that guests see.

    It can be changed where the server runs with --virtual-clock.
    """
    members = {"now": now, "offsetS": offset_s, "advanceS": advance_s, "rate": rate}
    body = {name: value for name, value in members.items() if value is not None}
    client = Client(values(flags).state)
    clock = client.ask("POST", "/v1/clock", body) if body else client.ask("GET", "/v1/clock")
    if is_json:
        click.echo(msgspec.json.encode(clock).decode())
    else:
        offset_s = round(clock["offsetS"], 3) + 0.0  # Never "-0".
        click.echo(f"{clock['now']} (offset {offset_s:g} s, rate {clock['rate']:g})")
