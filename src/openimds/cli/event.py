"""`openimds event`: scheduled events of a running server."""

import time
from typing import Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client, MissingError
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import Error
from openimds.facts.events import EVENT_SOURCES, NEEDS, TYPES, EventStatus

_HEAD = ("ID", "TYPE", "STATUS", "NOT BEFORE", "APPROVED", "VMS")
_POLL_S = 0.25
_NAMES = [row.name for row in TYPES]

Event = dict[str, Any]
as_json = json_instead_of("text")


class WaitError(Error):
    """What was waited for has not come, or cannot come any more."""


@click.group("event")
def command() -> None:
    """Declare scheduled events, start and end them, wait for what becomes of them.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@click.option("--vm", "name", metavar="NAME", help="Only those that hit this VM.")
@options("state")
@as_json
def list_events(name: str | None, *, is_json: bool, **flags: object) -> None:
    """List the events that are not over."""
    every = _client(flags).items("/v1/events")
    found = [one for one in every if name is None or name in one["vms"]]
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    rows: list[tuple[str, ...]] = [
        (
            one["id"],
            one["type"],
            one["status"],
            one["not_before"],
            "yes" if one["approved"] else f"{len(one['approvals'])} of {len(one['vms'])}",
            ",".join(one["vms"]),
        )
        for one in found
    ]
    print_table(_HEAD, rows)


@command.command("schedule")
@click.argument("event_type", metavar="TYPE", type=click.Choice(_NAMES, case_sensitive=False))
@click.argument("more", metavar="", nargs=-1)
@click.option(
    "--vm", "vms", metavar="NAME...", multiple=True, required=True, help="One or more VMs."
)
@click.option("--in", "in_s", metavar="SECONDS", type=float, help="Until NotBefore.")
@click.option("--duration", "duration_s", metavar="SECONDS", type=int, help="What is announced.")
@click.option("--life", "life_s", metavar="SECONDS", type=float, help="From Started until gone.")
@click.option("--description", metavar="TEXT", help="Default: what Azure says of this type.")
@click.option("--source", type=click.Choice(EVENT_SOURCES, case_sensitive=False))
@click.option("--needs", type=click.Choice(NEEDS), help="Whose approval starts it; default: any.")
@click.option("--failure", is_flag=True, help="The hardware failed: it starts without notice.")
@options("state")
@as_json
def schedule(  # noqa: PLR0913, PLR0917 - one for each option
    event_type: str,
    vms: tuple[str, ...],
    more: tuple[str, ...],
    in_s: float | None,
    duration_s: int | None,
    life_s: float | None,
    description: str | None,
    source: str | None,
    needs: str | None,
    *,
    failure: bool,
    is_json: bool,
    **flags: object,
) -> None:
    """Declare an event and print its id: one for each scope that the VMs belong to."""
    said = {
        "type": event_type,
        "vms": (*vms, *more),
        "in_s": in_s,
        "duration_s": duration_s,
        "life_s": life_s,
        "description": description,
        "source": source,
        "needs": needs,
        "failure": failure or None,
    }
    body = {name: one for name, one in said.items() if one is not None}
    made = _client(flags).ask("POST", "/v1/events", body)["items"]
    _done(made, is_json=is_json)


@command.command("start")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def start(event_id: str, *, is_json: bool, **flags: object) -> None:
    """Start an event without waiting for approval or NotBefore."""
    _order(event_id, "start", flags, is_json=is_json)


@command.command("complete")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def complete(event_id: str, *, is_json: bool, **flags: object) -> None:
    """End an event that has started."""
    _order(event_id, "complete", flags, is_json=is_json)


@command.command("cancel")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def cancel(event_id: str, *, is_json: bool, **flags: object) -> None:
    """Take back an event that has not started."""
    _order(event_id, "cancel", flags, is_json=is_json)


@command.command("approve")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def approve(event_id: str, *, is_json: bool, **flags: object) -> None:
    """Approve an event in the name of the VMs that it hits."""
    _order(event_id, "approve", flags, is_json=is_json)


@command.command("wait")
@click.argument("event_id", metavar="ID")
@click.option("--approved", "wanted", flag_value="approved", default=True, help="The default.")
@click.option("--started", "wanted", flag_value="started")
@click.option("--gone", "wanted", flag_value="gone")
@click.option("--timeout", "timeout_s", metavar="SECONDS", type=float, help="Default: for ever.")
@options("state")
@as_json
def wait(
    event_id: str, wanted: str, timeout_s: float | None, *, is_json: bool, **flags: object
) -> None:
    """Wait until an event is approved, has started or is gone.

    The exit code is 1 when the time is over, or when it cannot come any more.
    """
    client = _client(flags)
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    # Only an id that was there can be waited for: a wrong one is no event that is gone.
    event: Event | None = client.ask("GET", _path(event_id))
    while not _has_come(event_id, event, wanted):
        if until_s is not None and time.monotonic() >= until_s:
            raise WaitError(f"{event_id} is not {wanted} after {timeout_s:g} s")
        time.sleep(_POLL_S)
        event = _look(client, event_id)
    shown = event or {"id": event_id.upper(), "status": str(EventStatus.GONE)}
    if is_json:
        click.echo(msgspec.json.encode(shown).decode())


def _look(client: Client, event_id: str) -> Event | None:
    try:
        found: Event = client.ask("GET", _path(event_id))
    except MissingError:
        return None
    return found


def _has_come(event_id: str, event: Event | None, wanted: str) -> bool:
    """Tell whether it has come.

    Raises:
        WaitError: it cannot come any more.
    """
    if event is None:
        if wanted == "gone":
            return True
        raise WaitError(f"{event_id} is gone, and was not seen {wanted}")
    has_started = bool(event["status"] == EventStatus.STARTED)
    if wanted == "approved" and has_started and not event["approved"]:
        raise WaitError(f"{event_id} has started without approval")
    is_approved = bool(event["approved"])
    return {"approved": is_approved, "started": has_started}.get(wanted, False)


def _order(event_id: str, verb: str, flags: dict[str, Any], *, is_json: bool) -> None:
    event = _client(flags).ask("POST", _path(event_id, f"/{verb}"))
    if is_json:
        click.echo(msgspec.json.encode(event).decode())
    else:
        click.echo(f"{event['id']} {event['status']}", err=True)


def _path(event_id: str, more: str = "") -> str:
    return f"/v1/events/{quote(event_id, safe='')}{more}"


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags)["state"])


def _done(made: list[Event], *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    for event in made:
        click.echo(event["id"])
