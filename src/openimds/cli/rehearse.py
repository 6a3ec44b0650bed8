"""`openimds attest rehearse`: walk the certificates from one generation to the next."""

from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.row_options import body_of_options, row_options
from openimds.cli.table import Cell, Column, member
from openimds.errors import ConfigError
from openimds.protocol.generation_walk import WALK

_PATH = "/v1/certificates/rehearsal"


@click.command("rehearse")
@row_options(WALK)
@click.option("--show", "is_shown", is_flag=True, help="Print the walk, and begin none.")
@click.option("--end", "is_ended", is_flag=True, help="End the walk; the certificates stay.")
@output_options()
@options("state")
def command(*, is_shown: bool, is_ended: bool, output: str, **flags: str | None) -> None:
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
    print_list(output, walk["steps"], _COLUMNS, "generation", whole=walk)


def _taken(step: dict[str, Any]) -> Cell:
    return ("yes", "green") if step["taken"] else "-"


_COLUMNS = (
    member("GENERATION", "generation"),
    member("BEGINS", "begins"),
    member("LAST REGION", "overlapEnds"),
    Column("TAKEN", _taken),
    Column("CHANGE", lambda step: step["change"], wrap="words"),
    Column("REPORTS", lambda step: " ".join(step["reports"]) or "-", wrap="words"),
)
