"""`openimds keys`: the keys that sign tokens."""

from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, member

COLUMNS = (
    member("KEY", "kid"),
    Column("STATE", lambda key: "former" if key["retired"] else "signs"),
    member("SINCE", "began"),
    member("PUBLISHED UNTIL", "publishedUntil"),
)


@click.group("keys", cls=CommandGroup, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List and rotate the keys that sign tokens.

    Without a command it lists them. Certificates of attested documents: openimds attest.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_keys)


@command.command("list")
@options("state")
@output_options()
def list_keys(*, output: str, **flags: object) -> None:
    """List the published keys, the one that signs first."""
    print_list(output, Client(values(flags).state).items("/v1/keys"), COLUMNS, "kid")


@command.command("rotate")
@options("state")
@output_options("lines on stderr")
def rotate(*, output: str, **flags: object) -> None:
    """Sign tokens with a new key from now on.

    The old key stays published until the tokens that it signed have expired.
    """
    keys = Client(values(flags).state).ask("POST", "/v1/keys")["items"]
    print_list(output, keys, COLUMNS, "kid", usual=lambda: _print(keys))


def _print(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        role = f"published until {key['publishedUntil']}" if key["retired"] else "signs from now on"
        click.echo(f"{key['kid']} {role}", err=True)
