"""`openimds clock`: what guests of a running server take the time to be."""

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of


@click.command("clock")
@click.option("--now", metavar="TIME", help="Set it, as in 2026-11-22T19:54:46Z.")
@click.option("--offset", "offset_s", metavar="SECONDS", type=float, help="Ahead of the wall's.")
@click.option("--advance", "advance_s", metavar="SECONDS", type=float, help="Put it forward.")
@click.option("--rate", metavar="N", type=float, help="Its seconds in one of ours; 0 stops it.")
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
    """Show the clock of guests, or change it where the server runs with --virtual-clock."""
    said = {"now": now, "offset_s": offset_s, "advance_s": advance_s, "rate": rate}
    body = {name: one for name, one in said.items() if one is not None}
    client = Client(values(flags)["state"])
    shown = client.ask("POST", "/v1/clock", body) if body else client.ask("GET", "/v1/clock")
    if is_json:
        click.echo(msgspec.json.encode(shown).decode())
    else:
        offset_s = round(shown["offset_s"], 3) + 0.0  # Never "-0".
        click.echo(f"{shown['now']} (offset {offset_s:g} s, rate {shown['rate']:g})")
