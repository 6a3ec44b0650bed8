"""`openimds changes`: the feed of changes, as it comes."""

from collections.abc import Iterator
from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.history import shown_time
from openimds.cli.main import options, values
from openimds.cli.output import follow_stream, output_options
from openimds.cli.selection import name_filter, names_option
from openimds.cli.table import Column, member

Change = dict[str, Any]


@click.command("changes")
@names_option("Only changes of this VM")
@click.option(
    "--since",
    metavar="REVISION",
    type=click.IntRange(min=0),
    help="Begin with the changes after this revision; default: from now on.",
)
@click.option("--events", is_flag=True, help="Also the steps of scheduled events.")
@options("state")
@output_options()
def command(
    names: tuple[str, ...], since: int | None, *, events: bool, output: str, **flags: object
) -> None:
    """Follow the changes of VMs until Ctrl-C.

    Each is printed as it comes; with --json a line of JSON each. The revision of the last one
    continues the feed later: --since REVISION. openimds audit lists changes with their contents.
    """
    query = "" if since is None else f"?since={since}"
    feed = Client(values(flags).state).follow(f"/v1/changes{query}")
    follow_stream(output, _chosen(feed, names, has_events=events), _COLUMNS, _subject)


def _chosen(
    feed: Iterator[Change], names: tuple[str, ...], *, has_events: bool
) -> Iterator[Change]:
    fits = name_filter(names)
    for change in feed:
        is_event = "event" in change
        vms = change["vms"] if is_event else [change["name"]]
        if (has_events or not is_event) and fits(vms):
            yield change


def _kind(change: Change) -> str:
    return f"event {change['trigger']}" if "event" in change else str(change["kind"])


def _subject(change: Change) -> str:
    return str(change["event"] if "event" in change else change["name"])


_COLUMNS = (
    Column("TIME (UTC)", shown_time, "table", width=14),
    member("TIME", "at", "wide"),
    Column("CHANGE", _kind, width=8),
    Column("NAME", _subject, width=16),
    Column("WHO", lambda change: change["who"]),
    member("ORIGIN", "origin", "wide"),
    member("REVISION", "revision", "wide"),
)
