"""`openimds event log`: the steps of scheduled events in the past."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.complete import EVENTS
from openimds.cli.history import NumberedLog, last_option, shown_time, since_option
from openimds.cli.main import options, values
from openimds.cli.output import follow_stream, output_options, print_list
from openimds.cli.selection import name_filter, names_option
from openimds.cli.table import Column, member

PATH, NUMBER = "/v1/events/log", "number"

Entry = dict[str, Any]


@click.command("log")
@click.argument("event_id", metavar="[ID]", required=False, shell_complete=EVENTS)
@names_option("Only events that hit this VM")
@since_option
@last_option
@click.option("--follow", is_flag=True, help="Go on with each step as it comes.")
@options("state")
@output_options()
def command(  # noqa: PLR0913 - one for each option
    event_id: str | None,
    names: tuple[str, ...],
    since_s: float | None,
    last: int,
    *,
    follow: bool,
    output: str,
    **flags: object,
) -> None:
    """List the steps of events, also of completed ones, or of one event.

    The newest step is the last one.
    """
    state = values(flags).state
    log, fits = NumberedLog(Client(state), PATH, NUMBER), name_filter(names)

    def matches(entry: Entry) -> bool:
        is_named = event_id is None or entry["event"].lower() == event_id.lower()
        return is_named and fits(entry["vms"])

    past = log.tail(last, matches) if since_s is None else filter(matches, log.since(since_s))
    if not follow:
        print_list(output, [*past], _COLUMNS, "event")
        return
    entries = chain(past, filter(matches, _following(Client(state), log)))
    follow_stream(output, entries, _COLUMNS, "event")


def _following(client: Client, log: NumberedLog) -> Iterator[Entry]:
    """Yield each step of an event after the last one that was listed."""
    for entry in client.follow("/v1/changes"):
        if "event" in entry:
            # A step between the listing and the begin of the feed is in the log, too.
            yield from log.until(entry[NUMBER])


_COLUMNS = (
    member("NUMBER", "number", "wide"),
    Column("TIME (UTC)", shown_time, "table", width=14),
    member("TIME", "at", "wide"),
    Column("EVENT", lambda entry: entry["event"], width=36),
    Column("STEP", lambda entry: entry["trigger"], width=10),
    Column("WHO", lambda entry: entry["who"], "table", "words"),
    member("WHO", "who", "wide"),
    member("BEFORE", "before", "wide"),
    member("AFTER", "after", "wide"),
    member("TYPE", "type", "wide"),
    Column("VMS", lambda entry: ",".join(entry["vms"]), "wide"),
    member("SCOPE", "scope", "wide"),
)
