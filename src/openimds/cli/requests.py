"""`openimds requests`: what guests of a running server asked, and what they did wrong."""

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
_DRAWN = ("NUMBER", "TIME", "VM", _REQUEST, "STATUS", "REASON")
_REPORT_DRAWN = ("RULE", "VM", "TIMES", _REQUEST)
_TAKES: dict[str, tuple[str, ...]] = {"report": ("vm",), "clear": ()}
_DAY = len("2026-11-22T")

Row = tuple[str, ...]


@click.command("requests")
@click.option("--vm", metavar="NAME", help='Only of this VM; "" is callers who are none.')
@click.option("--endpoint", metavar="KEY", help="Only of this endpoint: instance, token, ...")
@click.option("--status", metavar="N", type=int, help="Only with this status.")
@click.option("--follow", "wanted", flag_value="follow", help="As they come, recorded or not.")
@click.option("--report", "wanted", flag_value="report", help="What clients did wrong.")
@click.option("--clear", "wanted", flag_value="clear", help="Forget what was recorded.")
@options("state")
@json_instead_of("a table")
def command(
    vm: str | None,
    endpoint: str | None,
    status: int | None,
    wanted: str | None,
    *,
    is_json: bool,
    **flags: object,
) -> None:
    """List what guests asked and were answered, oldest first, where serve runs with --record.

    With --report, list what Azure refuses or its documents advise against; the exit code is 1 if
    there is anything.
    """
    said = {"vm": vm, "endpoint": endpoint, "status": status}
    only: dict[str, object] = {name: one for name, one in said.items() if one is not None}
    over = [f"--{name}" for name in only if name not in _TAKES.get(wanted or "", only)]
    if over:
        raise click.UsageError(f"--{wanted} does not go with {', '.join(over)}")
    client = Client(values(flags)["state"])
    match wanted:
        case "follow":
            _follow(client, only, is_json=is_json)
        case "report":
            _report(client, only, is_json=is_json)
        case "clear":
            client.ask("DELETE", _PATH)
        case _:
            # All of them first: a table that has begun is no place for an error.
            _list(list(client.items(_PATH, only)), is_json=is_json)


def _list(found: list[dict[str, Any]], *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _print(_HEAD, _row, _DRAWN, _drawn, found)


def _follow(client: Client, only: dict[str, object], *, is_json: bool) -> None:
    query = f"?{urlencode(only)}" if only else ""
    if not is_json:
        click.echo("\t".join(_HEAD))
    try:
        for one in client.follow(f"{_PATH}/feed{query}"):
            click.echo(msgspec.json.encode(one).decode() if is_json else "\t".join(_row(one)))
    except KeyboardInterrupt:
        return
    click.echo("the server has ended the feed: it stops, or more came than could be read", err=True)


def _report(client: Client, only: dict[str, object], *, is_json: bool) -> None:
    found = list(client.items(f"{_PATH}/report", only))
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    elif found:
        _print(_REPORT_HEAD, _finding, _REPORT_DRAWN, _finding_drawn, found)
    elif any(client.items(_PATH, {**only, "limit": 1})):
        click.echo("nothing was found", err=True)
    else:
        click.echo("nothing was found: no such request is recorded", err=True)
    sys.exit(1 if found else 0)


def _print(
    head: Row,
    row_of: Callable[[dict[str, Any]], Row],
    drawn_head: Row,
    drawn_of: Callable[[dict[str, Any]], Row],
    found: list[dict[str, Any]],
) -> None:
    """Print everything for a pipe, and for a person what has room."""
    if is_terminal():
        print_table(drawn_head, map(drawn_of, found), _REQUEST)
    else:
        print_table(head, map(row_of, found))


def _row(one: dict[str, Any]) -> Row:
    return _printable(
        one["number"],
        one["at"],
        one["vm"] or one["peer"],
        one["method"],
        one["target"],
        one["status"],
        one["reason"],
        one["size"],
        one["fault"],
    )


def _drawn(one: dict[str, Any]) -> Row:
    """Return what of a request has room on a terminal."""
    number, at, vm, method, target, status, reason, _, fault = _row(one)
    why = f"{reason} (fault {fault})" if fault else reason
    return number, at[_DAY:], vm, f"{method} {target}", status, why


def _finding_drawn(one: dict[str, Any]) -> Row:
    rule, _, vm, times, example, says, evidence = _finding(one)
    return rule, vm, times, f"{example}\n{says} ({evidence})"


def _finding(one: dict[str, Any]) -> Row:
    evidence = " ".join((one["evidence"]["mark"], *one["evidence"]["sources"]))
    return _printable(
        one["rule"],
        one["verdict"],
        one["vm"],
        one["times"],
        one["example"],
        one["says"],
        evidence,
    )


def _printable(*cells: object) -> Row:
    """Return cells as text without anything that a terminal would obey: guests wrote some."""
    return tuple(
        "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(cell))
        for cell in cells
    )
