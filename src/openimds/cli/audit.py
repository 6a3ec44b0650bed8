"""`openimds audit`: the changes of VMs in the past, with their authors."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from openimds.cli.client import Client
from openimds.cli.history import NumberedLog, last_option, shown_time, since_option
from openimds.cli.main import options, values
from openimds.cli.output import follow_stream, output_options, print_list
from openimds.cli.selection import name_filter, names_option
from openimds.cli.table import Column, member

_PATH = "/v1/audit"
_AUTHOR = re.compile(r"(api \S+)(?: token:(.*))?")
_MOST_CHANGED = 6
"""So many changed members are shown; `--json` has the VM before and after the change."""

Entry = dict[str, Any]


@click.command("audit")
@names_option("Only changes of this VM")
@since_option
@last_option
@click.option("--follow", is_flag=True, help="Go on with each change as it comes.")
@options("state")
@output_options()
def command(
    names: tuple[str, ...],
    since_s: float | None,
    last: int,
    *,
    follow: bool,
    output: str,
    **flags: object,
) -> None:
    """List who changed which VM, from where and by which token.

    The newest change is the last one. A token without a name is that of the token file. JSON has
    the VM before and after each change.
    """
    state = values(flags).state
    log, fits = NumberedLog(Client(state), _PATH, "revision"), name_filter(names)

    def matches(entry: Entry) -> bool:
        return fits([entry["name"]])

    past = log.tail(last, matches) if since_s is None else filter(matches, log.since(since_s))
    if not follow:
        print_list(output, [*past], _COLUMNS, _revision)
        return
    entries = chain(past, filter(matches, _following(Client(state), log)))
    follow_stream(output, entries, _COLUMNS, _revision)


def _following(client: Client, log: NumberedLog) -> Iterator[Entry]:
    """Yield the entry of each change after the last one that was listed."""
    for change in client.follow(f"/v1/changes?since={log.end}"):
        if revision := change.get("revision"):
            yield from log.until(revision)


def changed_members(entry: Entry) -> list[str]:
    """Return the paths of the members that a change made, changed or removed."""
    before, after = entry.get("before"), entry.get("after")
    return sorted(_differences(before, after, "")) if before and after else []


def _differences(before: object, after: object, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {*before, *after}:
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(before.get(key), after.get(key), inner)
    elif before != after:
        yield path


def _change(entry: Entry) -> str:
    if entry["kind"] == "remove":
        return "removed"
    return "changed" if entry.get("before") else "made"


def _changed(entry: Entry) -> str:
    paths = changed_members(entry)
    more = len(paths) - _MOST_CHANGED
    return ", ".join(paths[:_MOST_CHANGED]) + (f", {more} more" if more > 0 else "")


def _origin(entry: Entry) -> str:
    found = _AUTHOR.fullmatch(entry["who"])
    return found[1] if found else str(entry["who"])


def _token(entry: Entry) -> str:
    found = _AUTHOR.fullmatch(entry["who"])
    return (found[2] or "-") if found else ""


def _revision(entry: Entry) -> str:
    return str(entry["revision"])


_COLUMNS = (
    Column("TIME (UTC)", shown_time, "table", width=14),
    member("TIME", "at", "wide"),
    Column("VM", lambda entry: entry["name"], width=12),
    Column("CHANGE", _change, width=7),
    Column("FROM", _origin, width=14),
    Column("TOKEN", _token, width=10),
    Column("MEMBERS", _changed, wrap="letters"),
    member("REVISION", "revision", "wide"),
)
