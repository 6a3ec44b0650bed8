"""`openimds fault`: what shall go wrong in a running server."""

from math import isfinite
from typing import Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import ConfigError
from openimds.facts.evidence import Evidence
from openimds.facts.faults import EFFECTS, FaultParameter, ValueKind
from openimds.facts.playbooks import PLAYBOOKS
from openimds.parameters import nearest
from openimds.protocol.faults.input import members_of, members_of_book

_HEAD = ("ID", "FAULT", "SEEN", "PLAYED", "OF", "SAID")
_SHOWN = ("id", "origin", "begun", "seen", "played", "effect", "playbook")
_NAMES = [*EFFECTS, *PLAYBOOKS]
_EXPECTED = {
    ValueKind.TEXTS: "words with commas between them",
    ValueKind.NUMBER: "a number",
    ValueKind.WHOLE: "a whole number",
}

as_json = json_instead_of("text")


@click.group("fault")
def command() -> None:
    """Let things go wrong in a running server, and well again.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@as_json
def list_faults(*, is_json: bool, **flags: object) -> None:
    """List the faults that are set, and how often each was played."""
    found = _client(flags).ask("GET", "/v1/faults")["items"]
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    print_table(_HEAD, map(_row, found), "SAID")


@command.command("show")
@click.argument("name", required=False)
@as_json
def show(name: str | None, *, is_json: bool) -> None:
    """Show every fault and playbook that there is, or one with all that can be said of it."""
    if is_json:
        value = _described(name) if name else [_described(one) for one in _NAMES]
        click.echo(msgspec.json.encode(value).decode())
        return
    if name:
        _show(name)
        return
    for title, rows in (("Faults", EFFECTS), ("Playbooks", PLAYBOOKS)):
        click.echo(f"{title}:")
        for row in rows.values():
            click.echo(f"  {row.key:<18} {row.about}")


@command.command("set")
@click.argument("name")
@click.argument("said", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--vm", "vms", metavar="NAME", multiple=True, help="A VM; default: every one.")
@options("state")
@as_json
def set_fault(
    name: str, said: tuple[str, ...], vms: tuple[str, ...], *, is_json: bool, **flags: object
) -> None:
    """Set a fault, or play a playbook, from now on: `set status status=410 until_s=70`."""
    rows = {row.name: row for row in _rows(name)}
    body: dict[str, Any] = {"effect" if name in EFFECTS else "playbook": name}
    for text in said:
        key, _, value = text.partition("=")
        if key not in rows:
            raise ConfigError(text, f'"{key}"', "one of " + ", ".join(rows), nearest(key, rows))
        if key in body:
            raise ConfigError(text, f'"{key}" twice', "each one once")
        body[key] = _value(rows[key], value)
    if vms:
        body["vms"] = vms
    made = _client(flags).ask("POST", "/v1/faults", body)["items"]
    if is_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    for one in made:
        click.echo(one["id"])


@command.command("clear")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@options("state")
def clear(ids: tuple[str, ...], **flags: object) -> None:
    """Clear faults by their ids, or all of them."""
    client = _client(flags)
    for path in [f"/v1/faults/{quote(one, safe='')}" for one in ids] or ["/v1/faults"]:
        client.ask("DELETE", path)


def _rows(name: str) -> tuple[FaultParameter, ...]:
    if name in EFFECTS:
        return members_of(name)[1:]
    if name in PLAYBOOKS:
        return members_of_book(name)[1:]
    expected = "a fault or a playbook; openimds fault show lists them"
    raise ConfigError("NAME", f'"{name}"', expected, nearest(name, _NAMES))


def _value(row: FaultParameter, text: str) -> object:
    try:
        match row.sort:
            case ValueKind.TEXT:
                return text
            case ValueKind.TEXTS:
                return text.split(",")
            case ValueKind.WHOLE:
                return int(text)
            case _ if isfinite(number := float(text)):  # JSON has no others, and writes null.
                return number
    except ValueError:
        pass
    raise ConfigError(row.name, f'"{text}"', _EXPECTED[row.sort])


def _show(name: str) -> None:
    rows = _rows(name)
    one = EFFECTS.get(name) or PLAYBOOKS[name]
    click.echo(f"{one.about}\n\nWhy: {one.why}\nEvidence: {_why(one.evidence)}\n")
    for row in rows:
        more = "" if row.default is None else f" Default: {_plain(row.default)}."
        if row.choices:
            more += f" One of {', '.join(map(str, row.choices))}."
        click.echo(f"  {row.name:<12} {row.about}{more}")


def _described(name: str) -> dict[str, object]:
    """Return all that `_show` says of a fault or a playbook, as JSON has it."""
    rows = _rows(name)
    one = EFFECTS.get(name) or PLAYBOOKS[name]
    return {
        "effect" if name in EFFECTS else "playbook": name,
        "about": one.about,
        "why": one.why,
        "evidence": one.evidence,
        "parameters": rows,
    }


def _why(evidence: Evidence) -> str:
    sources = " ".join(evidence.sources)
    return ", ".join(part for part in (str(evidence.mark), sources, evidence.note) if part)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    said = {key: value for key, value in one.items() if key not in _SHOWN}
    words = " ".join(f"{key}={_plain(value)}" for key, value in said.items())
    counts = (str(one["seen"]), str(one["played"]))
    return (one["id"], one["effect"], *counts, one.get("playbook", one["origin"]), words)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, int | float) else f"{value}"


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags)["state"])
