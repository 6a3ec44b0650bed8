"""`openimds event`: scheduled events of a running server."""

import time
from typing import Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client, MissingError
from openimds.cli.main import options, values
from openimds.cli.row_options import body_of_options, row_options
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import Error
from openimds.facts.events import EVENT_SOURCES, NEEDS, TYPES, EventStatus
from openimds.protocol.events.request import REQUEST

_HEAD = ("ID", "TYPE", "STATUS", "NOT BEFORE", "APPROVED", "VMS", "SCOPE")
_POLL_S = 0.25
_NAMES = [row.name for row in TYPES]
_ROWS = {row.name: row for row in REQUEST}
_VALUES = [_ROWS[name] for name in ("in_s", "duration_s", "life_s", "description")]
"""The members with an option made of their rows."""

Event = dict[str, Any]
as_json = json_instead_of("text")


class WaitError(Error):
    """The awaited state was not reached in time, or can no longer be reached."""


@click.group("event")
def command() -> None:
    """Schedule, start, end and await scheduled events.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@click.option("--vm", "name", metavar="NAME", help="Only events that impact this VM.")
@options("state")
@as_json
def list_events(name: str | None, *, is_json: bool, **flags: object) -> None:
    """List the events that are not completed."""
    every = _client(flags).items("/v1/events")
    events = [event for event in every if name is None or name in event["vms"]]
    if is_json:
        click.echo(msgspec.json.encode(events).decode())
        return
    rows: list[tuple[str, ...]] = [
        (
            event["id"],
            event["type"],
            event["status"],
            event["notBefore"],
            "yes" if event["approved"] else f"{len(event['approvals'])} of {len(event['vms'])}",
            ",".join(event["vms"]),
            event["scope"],
        )
        for event in events
    ]
    print_table(_HEAD, rows)


@command.command("schedule")
@click.argument("event_type", metavar="TYPE", type=click.Choice(_NAMES, case_sensitive=False))
@click.argument("more", metavar="", nargs=-1)
@click.option(
    "--vm", "vms", metavar="NAME...", multiple=True, required=True, help="One or more VMs."
)
@row_options(_VALUES)
@click.option("--source", type=click.Choice(EVENT_SOURCES, case_sensitive=False))
@click.option("--needs", type=click.Choice(NEEDS), help="Whose approval starts it; default: any.")
@click.option("--failure", is_flag=True, help="The hardware failed: it starts without notice.")
@options("state")
@as_json
def schedule(  # noqa: PLR0913 - one for each option
    event_type: str,
    vms: tuple[str, ...],
    more: tuple[str, ...],
    source: str | None,
    needs: str | None,
    *,
    failure: bool,
    is_json: bool,
    **flags: str | None,
) -> None:
    """Schedule an event in each scope of the VMs; print the ids."""
    members = {
        "type": event_type,
        "vms": (*vms, *more),
        "source": source,
        "needs": needs,
        "failure": failure or None,
        **body_of_options(_VALUES, flags),
    }
    body = {name: value for name, value in members.items() if value is not None}
    events = _client(flags).ask("POST", "/v1/events", body)["items"]
    if is_json:
        click.echo(msgspec.json.encode(events).decode())
        return
    for event in events:
        click.echo(event["id"])


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
    """Complete a started event."""
    _order(event_id, "complete", flags, is_json=is_json)


@command.command("cancel")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def cancel(event_id: str, *, is_json: bool, **flags: object) -> None:
    """Cancel an event that has not started."""
    _order(event_id, "cancel", flags, is_json=is_json)


@command.command("approve")
@click.argument("event_id", metavar="ID")
@options("state")
@as_json
def approve(event_id: str, *, is_json: bool, **flags: object) -> None:
    """Approve an event in the name of the VMs that it impacts."""
    _order(event_id, "approve", flags, is_json=is_json)


@command.command("wait")
@click.argument("event_id", metavar="ID")
@click.option("--approved", "wanted", flag_value="approved", default=True, help="The default.")
@click.option("--started", "wanted", flag_value="started")
@click.option("--gone", "wanted", flag_value="gone", help="Until it is completed or canceled.")
@click.option("--timeout", "timeout_s", metavar="SECONDS", type=float, help="Default: none.")
@options("state")
@as_json
def wait(
    event_id: str, wanted: str, timeout_s: float | None, *, is_json: bool, **flags: object
) -> None:
    """Wait until an event is approved, started or gone.

    The exit code is 1 after the timeout, or when that state can no longer be reached.
    """
    client = _client(flags)
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    # The first read fails for an unknown id, so that a mistyped one is not taken for gone.
    event: Event | None = client.ask("GET", _path(event_id))
    while not _is_reached(event_id, event, wanted):
        if until_s is not None and time.monotonic() >= until_s:
            raise WaitError(f"{event_id} is not {wanted} after {timeout_s:g} s")
        time.sleep(_POLL_S)
        event = _find(client, event_id)
    last = event or {"id": event_id.upper(), "status": str(EventStatus.COMPLETED)}
    if is_json:
        click.echo(msgspec.json.encode(last).decode())


def _find(client: Client, event_id: str) -> Event | None:
    try:
        event: Event = client.ask("GET", _path(event_id))
    except MissingError:
        return None
    return event


def _is_reached(event_id: str, event: Event | None, wanted: str) -> bool:
    """Tell whether the wanted state is reached.

    Raises:
        WaitError: it can no longer be reached.
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
    """Move an event on, and print its new status."""
    event = _client(flags).ask("POST", _path(event_id, f"/{verb}"))
    if is_json:
        click.echo(msgspec.json.encode(event).decode())
    else:
        click.echo(f"{event['id']} {event['status']}", err=True)


def _path(event_id: str, more: str = "") -> str:
    return f"/v1/events/{quote(event_id, safe='')}{more}"


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags).state)
