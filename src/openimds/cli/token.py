"""`openimds token`: the token of the admin API."""

import click

from openimds.cli.client import Client
from openimds.cli.main import options, values


@click.group("token")
def command() -> None:
    """Rotate the token of the admin API, or print its path."""


@command.command("rotate")
@options("state")
def rotate(**flags: object) -> None:
    """Replace the token in the token file; the old one ends."""
    answer = Client(values(flags).state).ask("POST", "/v1/token")
    click.echo(f"new token in {answer['tokenFile']}", err=True)


@command.command("path")
@options("state")
def path(**flags: object) -> None:
    """Print the path of the token file."""
    click.echo(Client(values(flags).state).token_path)
