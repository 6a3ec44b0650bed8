"""`openimds event`: scheduled events of a running server."""

import time
from typing import Any
from urllib.parse import quote

import click

from openimds.cli.client import Client, MissingError
from openimds.cli.complete import EVENTS
from openimds.cli.duration import Duration
from openimds.cli.event_log import NUMBER, PATH
from openimds.cli.event_log import command as log
from openimds.cli.groups import CommandGroup
from openimds.cli.history import NumberedLog
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list, print_object
from openimds.cli.row_options import body_of_options, row_options
from openimds.cli.selection import NoVmError, Selection, may_act, names_of, select_options
from openimds.cli.table import Column, member
from openimds.cli.watch import ChangeSignal, WatchedList, check_form, watch_list, watch_option
from openimds.errors import Error
from openimds.facts.events import EVENT_SOURCES, NEEDS, TYPES, EventStatus, Trigger
from openimds.protocol.events.request import REQUEST

_POLL_S = 0.25
_MOST_READ = 10_000
"""The newest entries of the log in which a wait looks for an event that is gone."""
_NAMES = [row.name for row in TYPES]
_ROWS = {row.name: row for row in REQUEST}
_VALUES = [_ROWS[name] for name in ("in_s", "duration_s", "life_s", "description")]
"""The members with an option made of their rows."""

Event = dict[str, Any]


class WaitError(Error):
    """The awaited state was not reached in time."""


class UnreachableError(Error):
    """The awaited state can no longer be reached."""

    exit_code = 3


@click.group("event", cls=CommandGroup)
def command() -> None:
    """Schedule, start, end and await scheduled events.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


command.add_command(log)


@command.command("list")
@select_options("Only events that hit this VM", acts=False)
@watch_option
@options("state")
@output_options()
def list_events(*, selection: Selection, is_watched: bool, output: str, **flags: object) -> None:
    """List the events that are not completed."""
    client = _client(flags)
    if is_watched:
        check_form(output)
        listed = WatchedList(lambda: _hitting(client, selection), _COLUMNS, "id", output)
        watch_list(listed, ChangeSignal(_client(flags)))
        return
    print_list(output, _hitting(client, selection), _COLUMNS, "id")


@command.command("schedule")
@click.argument("event_type", metavar="TYPE", type=click.Choice(_NAMES, case_sensitive=False))
@click.argument("more", metavar="", nargs=-1)
@select_options("A VM; names after the options are VMs, too")
@row_options(_VALUES)
@click.option("--source", type=click.Choice(EVENT_SOURCES, case_sensitive=False))
@click.option("--needs", type=click.Choice(NEEDS), help="Whose approval starts it; default: any.")
@click.option("--failure", is_flag=True, help="The hardware failed: it starts without notice.")
@options("state")
@output_options("the ids")
def schedule(  # noqa: PLR0913 - one for each option
    event_type: str,
    more: tuple[str, ...],
    source: str | None,
    needs: str | None,
    *,
    selection: Selection,
    failure: bool,
    output: str,
    **flags: str | None,
) -> None:
    """Schedule an event in each scope of the VMs; print the ids."""
    selection, more_members = selection.with_names(more), body_of_options(_VALUES, flags)
    if not selection.is_given:
        raise click.UsageError("Name the VMs: --vm NAME, --select SELECTOR, or --all")
    client = _client(flags)
    names = names_of(client, selection)
    if not may_act(selection, f"Schedule {event_type} for", names, output=output):
        return
    members = {
        "type": event_type,
        "vms": names,
        "source": source,
        "needs": needs,
        "failure": failure or None,
        **more_members,
    }
    body = {name: value for name, value in members.items() if value is not None}
    events = client.ask("POST", "/v1/events", body)["items"]
    print_list(output or "name", events, _COLUMNS, "id")


def _order_command(verb: str, status: EventStatus, about: str) -> None:
    """Add the command that moves events on."""

    @command.command(verb, help=f"{about}\n\nWith options: those events that hit a chosen VM.")
    @click.argument("event_ids", metavar="[ID]...", nargs=-1, shell_complete=EVENTS)
    @select_options("Events that hit this VM")
    @options("state")
    @output_options("a line for each on stderr")
    def order(
        event_ids: tuple[str, ...], *, selection: Selection, output: str, **flags: object
    ) -> None:
        if bool(event_ids) == selection.is_given:
            raise click.UsageError("Name events by their ids, or VMs by --vm, --select or --all")
        client, ids = _client(flags), [*event_ids]
        if not ids:
            hit = _hitting(client, selection)
            ids = [event["id"] for event in hit if event["status"] == status]
            if not ids:
                raise NoVmError(f"No {status.lower()} event hits a VM of {selection.options}")
        typed = selection._replace(names=(*selection.names, *event_ids))
        if not may_act(typed, verb.capitalize(), ids, "event", output):
            return
        events = []
        for event_id in ids:
            events.append(event := client.ask("POST", _path(event_id, f"/{verb}")))
            if not output:  # At once, so that an error at the next one does not lose it.
                click.echo(f"{event['id']} {event['status']}", err=True)
        if len(event_ids) == 1:
            print_object(output, events[0], lambda: None, events[0]["id"])
        else:
            print_list(output, events, _COLUMNS, "id", usual=lambda: None)


for _verb, _status, _about in (
    ("start", EventStatus.SCHEDULED, "Start events without waiting for approval or NotBefore."),
    ("complete", EventStatus.STARTED, "Complete started events."),
    ("cancel", EventStatus.SCHEDULED, "Cancel events that have not started."),
    ("approve", EventStatus.SCHEDULED, "Approve events in the name of the VMs that they hit."),
):
    _order_command(_verb, _status, _about)


@command.command("wait")
@click.argument("event_id", metavar="ID", shell_complete=EVENTS)
@click.option("--approved", "wanted", flag_value="approved", default=True, help="The default.")
@click.option("--started", "wanted", flag_value="started")
@click.option("--gone", "wanted", flag_value="gone", help="Until it is completed or canceled.")
@click.option("--timeout", "timeout_s", type=Duration(), help="Default: none.")
@options("state")
@output_options("nothing")
def wait(
    event_id: str, wanted: str, timeout_s: float | None, *, output: str, **flags: object
) -> None:
    """Wait until an event is approved, started or gone.

    The exit code is 1 after the timeout, and 3 when that state can no longer be reached: the event
    was canceled, is over, or has started without approval.
    """
    client = _client(flags)
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    event = _find(client, event_id)
    if event is None and not _steps_of(client, event_id):
        # A mistyped id must not be taken for an event that is gone.
        client.ask("GET", _path(event_id))
    while not _is_reached(client, event_id, event, wanted):
        if until_s is not None and time.monotonic() >= until_s:
            raise WaitError(f"{event_id} is not {wanted} after {timeout_s:g} s")
        time.sleep(_POLL_S)
        event = _find(client, event_id)
    last = event or {"id": event_id.upper(), "status": str(EventStatus.COMPLETED)}
    print_object(output, last, lambda: None, last["id"])


def _find(client: Client, event_id: str) -> Event | None:
    try:
        event: Event = client.ask("GET", _path(event_id))
    except MissingError:
        return None
    return event


def _steps_of(client: Client, event_id: str) -> list[dict[str, Any]]:
    """Return the newest steps of an event from the log, oldest first."""
    log = NumberedLog(client, PATH, NUMBER)
    return log.tail(_MOST_READ, lambda step: step["event"].lower() == event_id.lower(), _MOST_READ)


def _is_reached(client: Client, event_id: str, event: Event | None, wanted: str) -> bool:
    """Tell whether the wanted state is reached, or was, by an event that is gone.

    Raises:
        UnreachableError: it can no longer be reached.
    """
    if event is None:
        # It may have come and gone between two looks.
        steps = _steps_of(client, event_id) if wanted != "gone" else []
        started = [step for step in steps if step["after"] == EventStatus.STARTED]
        if wanted == "gone" or (wanted == "started" and started):
            return True
        if any(step["trigger"] == Trigger.APPROVED for step in started):
            return True
        last = f" ({steps[-1]['trigger']})" if steps else ""
        raise UnreachableError(f"{event_id} is gone{last}, and was not {wanted}")
    has_started = bool(event["status"] == EventStatus.STARTED)
    if wanted == "approved" and has_started and not event["approved"]:
        raise UnreachableError(f"{event_id} has started without approval")
    is_approved = bool(event["approved"])
    return {"approved": is_approved, "started": has_started}.get(wanted, False)


def _hitting(client: Client, selection: Selection) -> list[Event]:
    """Return the events that hit a chosen VM; without a choice, all."""
    if selection.is_exact:  # Also events of VMs that are removed.
        names = {*selection.names}
        every = client.items("/v1/events")
        return [event for event in every if not names or not names.isdisjoint(event["vms"])]
    return [*client.items("/v1/events", selection.query)]


def _approvals(event: Event) -> str:
    return "yes" if event["approved"] else f"{len(event['approvals'])} of {len(event['vms'])}"


def _moment(text: str) -> str:
    """Return a time of the API to the second."""
    return f"{text[:10]} {text[11:19]}Z"


def _path(event_id: str, more: str = "") -> str:
    return f"/v1/events/{quote(event_id, safe='')}{more}"


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags).state)


_COLUMNS = (
    member("ID", "id"),
    member("TYPE", "type"),
    member("STATUS", "status"),
    Column("NOT BEFORE", lambda event: _moment(event["notBefore"]), "table"),
    member("NOT BEFORE", "notBefore", "wide"),
    Column("APPROVED", _approvals),
    Column("VMS", lambda event: ", ".join(event["vms"]), "table", "words"),
    Column("VMS", lambda event: ",".join(event["vms"]), "wide"),
    member("SCOPE", "scope", "wide"),
)
