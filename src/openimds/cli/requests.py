"""`openimds requests`: the recorded requests of guests, and the mistakes of clients in them."""

import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import is_terminal, json_instead_of, print_table

_PATH = "/v1/requests"
_HEAD = ("NUMBER", "TIME", "VM", "METHOD", "TARGET", "STATUS", "REASON", "SIZE", "FAULT")
_REPORT_HEAD = ("RULE", "VERDICT", "VM", "TIMES", "EXAMPLE", "AZURE", "EVIDENCE")
_REQUEST = "REQUEST"
_TERMINAL_HEAD = ("NUMBER", "TIME", "VM", _REQUEST, "STATUS", "REASON")
_TERMINAL_REPORT_HEAD = ("RULE", "VM", "TIMES", _REQUEST)
_FILTERS: dict[str, tuple[str, ...]] = {"report": ("vm",), "clear": ()}
"""The filters that a mode takes, where that is not all of them."""
_DAY = len("2026-11-22T")

Row = tuple[str, ...]


@click.command("requests")
@click.option("--vm", metavar="NAME", help='Only of this VM; "" is unknown callers.')
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
@json_instead_of("a table")
def command(
    vm: str | None,
    endpoint: str | None,
    status: int | None,
    mode: str | None,
    *,
    is_json: bool,
    **flags: object,
) -> None:
    """List the requests of guests, or the mistakes in them.

    Requests are listed with their responses, oldest first, where serve runs with --record.

    With --report, list requests that Azure refuses or its documents advise against; the exit code
    is 1 if there is any.
    """
    primary = bool(flags.pop("primary"))
    if primary and mode != "report":
        raise click.UsageError("--primary-address goes with --report")
    given = {"vm": vm, "endpoint": endpoint, "status": status}
    only: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    unfit = [f"--{name}" for name in only if name not in _FILTERS.get(mode or "", only)]
    if unfit:
        raise click.UsageError(f"--{mode} does not go with {', '.join(unfit)}")
    client = Client(values(flags).state)
    match mode:
        case "follow":
            _follow(client, only, is_json=is_json)
        case "report":
            _report(client, only, is_json=is_json, asks_primary=primary)
        case "clear":
            client.ask("DELETE", _PATH)
        case _:
            # Read all pages before the first row is printed: an error must not cut a table in two.
            _list(list(client.items(_PATH, only)), is_json=is_json)


def _list(requests: list[dict[str, Any]], *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(requests).decode())
    else:
        _print(_HEAD, _row, _TERMINAL_HEAD, _terminal_row, requests)


def _follow(client: Client, only: dict[str, object], *, is_json: bool) -> None:
    query = f"?{urlencode(only)}" if only else ""
    if not is_json:
        click.echo("\t".join(_HEAD))
    try:
        for request in client.follow(f"{_PATH}/feed{query}"):
            line = msgspec.json.encode(request).decode() if is_json else "\t".join(_row(request))
            click.echo(line)
    except KeyboardInterrupt:
        return
    click.echo(
        "the server has ended the feed: it is stopping, or this reader fell too far behind",
        err=True,
    )


def _report(client: Client, only: dict[str, object], *, is_json: bool, asks_primary: bool) -> None:
    more = {"primaryAddress": "true"} if asks_primary else {}
    findings = list(client.items(f"{_PATH}/report", {**only, **more}))
    if is_json:
        click.echo(msgspec.json.encode(findings).decode())
    elif findings:
        _print(_REPORT_HEAD, _finding, _TERMINAL_REPORT_HEAD, _terminal_finding, findings)
    elif any(client.items(_PATH, {**only, "limit": 1})):
        click.echo("no mistakes", err=True)
    else:
        click.echo("no mistakes: no such request is recorded", err=True)
    sys.exit(1 if findings else 0)


def _print(
    head: Row,
    row_of: Callable[[dict[str, Any]], Row],
    terminal_head: Row,
    terminal_row_of: Callable[[dict[str, Any]], Row],
    items: list[dict[str, Any]],
) -> None:
    """Print every column for a pipe; on a terminal only those that have room."""
    if is_terminal():
        print_table(terminal_head, map(terminal_row_of, items), _REQUEST)
    else:
        print_table(head, map(row_of, items))


def _row(request: dict[str, Any]) -> Row:
    return _printable(
        request["number"],
        request["at"],
        request["vm"] or request["peer"],
        request["method"],
        request["target"],
        request["status"],
        request["reason"],
        request["size"],
        request["fault"],
    )


def _terminal_row(request: dict[str, Any]) -> Row:
    number, at, vm, method, target, status, reason, _, fault = _row(request)
    why = f"{reason} (fault {fault})" if fault else reason
    return number, at[_DAY:], vm, f"{method} {target}", status, why


def _finding(finding: dict[str, Any]) -> Row:
    evidence = " ".join((finding["evidence"]["mark"], *finding["evidence"]["sources"]))
    return _printable(
        finding["rule"],
        finding["verdict"],
        finding["vm"],
        finding["times"],
        finding["example"],
        finding["says"],
        evidence,
    )


def _terminal_finding(finding: dict[str, Any]) -> Row:
    rule, _, vm, times, example, azure, evidence = _finding(finding)
    return rule, vm, times, f"{example}\n{azure} ({evidence})"


def _printable(*cells: object) -> Row:
    """Return cells as text without control characters: guests wrote some of them."""
    return tuple(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(cell))
        for cell in cells
    )
