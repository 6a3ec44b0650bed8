"""`openimds requests`: the recorded requests of guests, and the mistakes of clients in them."""

import sys
from typing import Any
from urllib.parse import urlencode

import click

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.output import follow_stream, output_options, print_list
from openimds.cli.selection import Selection, select_options
from openimds.cli.table import Column, member, printable

_PATH = "/v1/requests"
_UNFILTERED = ("report", "clear")
"""The modes without the filters by endpoint and status."""
_DAY = len("2026-11-22T")


@click.command("requests")
@select_options('Only of this VM, or of unknown callers by ""', acts=False, takes_empty=True)
@click.option("--endpoint", metavar="KEY", help="Only of this endpoint: instance, token, ...")
@click.option("--status", metavar="N", type=int, help="Only with this status.")
@click.option(
    "--follow", "mode", flag_value="follow", help="Print requests as they arrive, recorded or not."
)
@click.option("--report", "mode", flag_value="report", help="List the mistakes of clients.")
@click.option(
    "--primary-address",
    "primary",
    is_flag=True,
    help="With --report: report requests from a VM's other addresses, too.",
)
@click.option("--clear", "mode", flag_value="clear", help="Delete the recorded requests.")
@options("state")
@output_options()
def command(
    endpoint: str | None,
    status: int | None,
    mode: str | None,
    *,
    selection: Selection,
    output: str,
    **flags: object,
) -> None:
    """List the requests of guests, or the mistakes in them.

    Requests are listed with their responses, oldest first, where serve runs with --record. In a
    fleet of hosts name a VM: its host is asked.

    With --report, list requests that Azure refuses or its documents advise against; the exit code
    is 1 if there is any.
    """
    primary = bool(flags.pop("primary"))
    if primary and mode != "report":
        raise click.UsageError("--primary-address goes with --report")
    chosen = _chosen(selection)
    if mode == "clear" and chosen:
        raise click.UsageError(f"--clear does not go with {selection.options}")
    given = {"endpoint": endpoint, "status": status}
    only: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    unfit = [f"--{name}" for name in only]
    if unfit and mode in _UNFILTERED:
        raise click.UsageError(f"--{mode} does not go with {', '.join(unfit)}")
    only = {**chosen, **only}
    client = Client(values(flags).state)
    match mode:
        case "follow":
            _follow(client, only, output)
        case "report":
            _report(client, only, output, asks_primary=primary)
        case "clear":
            client.ask("DELETE", _PATH)
        case _:
            # Read all pages before the first row is printed: an error must not cut a table in two.
            print_list(output, list(client.items(_PATH, only)), _COLUMNS, _number)


def _chosen(selection: Selection) -> dict[str, object]:
    """Return the query of the chosen VMs.

    One name stands as it was typed: the VM may be gone.
    """
    if selection.is_exact and len(selection.names) == 1:
        return {"vm": selection.names[0]}
    if "" in selection.names:
        raise click.UsageError('--vm "" goes alone: unknown callers are no VM')
    return selection.query


def _follow(client: Client, only: dict[str, object], output: str) -> None:
    query = f"?{urlencode(only)}" if only else ""
    follow_stream(output, client.follow(f"{_PATH}/feed{query}"), _COLUMNS, _number)


def _report(client: Client, only: dict[str, object], output: str, *, asks_primary: bool) -> None:
    more = {"primaryAddress": "true"} if asks_primary else {}
    findings = list(client.items(f"{_PATH}/report", {**only, **more}))
    if findings or output:
        print_list(output, findings, _REPORT, "rule")
    elif any(client.items(_PATH, {**only, "limit": 1})):
        click.echo("no mistakes", err=True)
    else:
        click.echo("no mistakes: no such request is recorded", err=True)
    sys.exit(1 if findings else 0)


def _number(request: dict[str, Any]) -> str:
    return str(request["number"])


def _reason(request: dict[str, Any]) -> str:
    fault, reason = request["fault"], request["reason"]
    return f"{reason} (fault {fault})" if fault else str(reason)


def _example(finding: dict[str, Any]) -> str:
    # A guest wrote the example: a line break in it must not look like another line.
    return f"{printable(finding['example'])}\n{finding['says']} ({_evidence(finding)})"


def _evidence(finding: dict[str, Any]) -> str:
    return " ".join((finding["evidence"]["mark"], *finding["evidence"]["sources"]))


_VM = Column("VM", lambda request: request["vm"] or request["peer"], width=12)
_COLUMNS = (
    member("NUMBER", "number"),
    Column("TIME", lambda request: request["at"][_DAY:], "table", width=13),
    member("TIME", "at", "wide"),
    _VM,
    member("METHOD", "method", "wide"),
    Column("REQUEST", lambda one: f"{one['method']} {one['target']}", "table", "letters", 40),
    member("TARGET", "target", "wide"),
    member("STATUS", "status"),
    Column("REASON", _reason, "table", "words"),
    member("REASON", "reason", "wide"),
    member("SIZE", "size", "wide"),
    member("FAULT", "fault", "wide"),
)
_REPORT = (
    member("RULE", "rule"),
    member("VERDICT", "verdict", "wide"),
    member("VM", "vm"),
    member("TIMES", "times"),
    Column("REQUEST", _example, "table", "letters"),
    member("EXAMPLE", "example", "wide"),
    member("AZURE", "says", "wide"),
    Column("EVIDENCE", _evidence, "wide"),
)
