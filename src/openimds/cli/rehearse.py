"""`openimds attest rehearse`: walk the certificates from one generation to the next."""

from typing import Any

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.row_options import body_of_options, row_options
from openimds.cli.table import Cell, json_instead_of, print_table
from openimds.errors import ConfigError
from openimds.protocol.generation_walk import WALK

_PATH = "/v1/certificates/rehearsal"
_HEAD = ("GENERATION", "BEGINS", "LAST REGION", "TAKEN", "CHANGE", "REPORTS")


@click.command("rehearse")
@row_options(WALK)
@click.option("--show", "is_shown", is_flag=True, help="Print the walk, and begin none.")
@click.option("--end", "is_ended", is_flag=True, help="End the walk; the certificates stay.")
@json_instead_of("a table")
@options("state")
def command(*, is_shown: bool, is_ended: bool, is_json: bool, **flags: str | None) -> None:
    """Walk from generation to generation, as Azure did.

    Each step replaces the intermediate by the clock of guests (openimds clock). In the overlap
    after it the regions move one after the other; replaced certificates stay published.
    """
    body = body_of_options(WALK, flags)
    if (is_shown or is_ended) and (body or (is_shown and is_ended)):
        seen = "--show" if is_shown else "--end"
        raise ConfigError(seen, "it beside other options", "it alone")
    client = Client(values(flags).state)
    if is_ended:
        client.ask("DELETE", _PATH)
        click.echo("the rehearsal has ended; the certificates stay")
        return
    walk = client.ask("GET", _PATH) if is_shown else client.ask("POST", _PATH, body)
    if is_json:
        click.echo(msgspec.json.encode(walk).decode())
        return
    print_table(_HEAD, map(_step, walk["steps"]))


def _step(step: dict[str, Any]) -> tuple[Cell, ...]:
    taken = ("yes", "green") if step["taken"] else "-"
    reports = " ".join(step["reports"]) or "-"
    times = step["begins"], step["overlapEnds"]
    return step["generation"], *times, taken, step["change"], reports
