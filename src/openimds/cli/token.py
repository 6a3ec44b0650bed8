"""`openimds token`: the tokens of the admin API."""

from typing import Any
from urllib.parse import quote

import click

from openimds.cli.client import Client
from openimds.cli.complete import TOKENS
from openimds.cli.duration import Duration
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, member

ROLES = ("read", "operate", "admin", "enrol")
"""The roles, as `admin.roles` has them; the help must not load the admin API."""
_EXPIRES = click.option(
    "--expires",
    "life_s",
    type=Duration(),
    help="The time for which the secret is valid, such as 90d or 12h.",
)


@click.group("token", cls=CommandGroup)
def command() -> None:
    """Make, list, revoke and rotate tokens of the admin API."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the token is for.")
@_EXPIRES
@click.option("--select", default="", metavar="SELECTOR", help="Only for these VMs: tag=team:web.")
@options("state")
def add(name: str, role: str, life_s: float | None, select: str, **flags: object) -> None:
    """Make a token, and print it once.

    A token of `read` sees all but secrets, `operate` also changes events, faults, the clock and
    VMs but for who they are, `admin` may do everything, and `enrol` only invites new hosts. Without
    --expires it is valid until it is revoked. With --select it sees and changes the VMs of this
    selector alone, and may be of `read` or `operate`.
    """
    client = Client(values(flags).state)
    wanted = {"name": name, "role": role, "lifeS": life_s, "select": select or None}
    body = {key: value for key, value in wanted.items() if value is not None}
    made = client.ask("POST", "/v1/tokens", body)
    until = f" until {made['expires']}" if made["expires"] else ""
    vms = f" of {select}" if select else ""
    click.echo(f"{name} may {_MAY[role]}{vms}{until}; its secret is shown only now:", err=True)
    click.echo(made["token"])


@command.command("list")
@options("state")
@output_options()
def list_tokens(*, output: str, **flags: object) -> None:
    """List the tokens that were made, without their secrets.

    An expired token is listed for 30 days more.
    """
    print_list(output, Client(values(flags).state).items("/v1/tokens"), _COLUMNS)


@command.command("revoke")
@click.argument("name", shell_complete=TOKENS)
@options("state")
def revoke(name: str, **flags: object) -> None:
    """End a token, and the connections that use it."""
    Client(values(flags).state).ask("DELETE", f"/v1/tokens/{quote(name, safe='')}")
    click.echo(f"{name} revoked", err=True)


@command.command("rotate")
@click.argument("name", required=False, shell_complete=TOKENS)
@click.option(
    "--overlap",
    "overlap_s",
    type=Duration(),
    help="The time for which the secret before stays valid, such as 1h.",
)
@_EXPIRES
@options("state")
def rotate(
    name: str | None, overlap_s: float | None, life_s: float | None, **flags: object
) -> None:
    """Give a token a new secret, and print it once.

    Without NAME: replace the token in the token file; the old one ends. A token with --expires gets
    the same time anew.
    """
    if name is None and (overlap_s is not None or life_s is not None):
        raise click.UsageError("--overlap and --expires are for a token with a NAME")
    client = Client(values(flags).state)
    if name is None:
        answer = client.ask("POST", "/v1/token")
        click.echo(f"new token in {answer['tokenFile']}", err=True)
        return
    wanted = {"overlapS": overlap_s, "lifeS": life_s}
    body = {key: value for key, value in wanted.items() if value is not None}
    made = client.ask("POST", f"/v1/tokens/{quote(name, safe='')}/rotate", body)
    former = made["formerUntil"]
    ends = f"the secret before is valid until {former}" if former else "the secret before has ended"
    until = f" until {made['expires']}" if made["expires"] else ""
    click.echo(f"{name} rotated{until}; {ends}; the new one is shown only now:", err=True)
    click.echo(made["token"])


@command.command("path")
@options("state")
def path(**flags: object) -> None:
    """Print the path of the token file."""
    click.echo(Client(values(flags).state).token_path)


def _expires(token: dict[str, Any]) -> str:
    expires = token["expires"] or "never"
    return f"expired {expires}" if token["expired"] else expires


_COLUMNS = (
    member("NAME", "name"),
    member("ROLE", "role"),
    Column("EXPIRES", _expires),
    Column("LAST USED", lambda token: token["lastUsed"] or "never"),
    member("SELECT", "select", "wide"),
    member("MADE", "made", "wide"),
    member("BY", "by"),
)
_MAY = {
    "read": "read all but secrets",
    "operate": "read and operate",
    "admin": "do everything",
    "enrol": "invite new hosts",
}
