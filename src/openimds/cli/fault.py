"""`openimds fault`: fault injection in a running server."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec.json
from click.shell_completion import CompletionItem

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import ConfigError
from openimds.facts.evidence import Evidence
from openimds.facts.fault_parameters import FaultParameter, ValueKind
from openimds.facts.faults import EFFECTS, RESPONSE
from openimds.facts.pages import PAGES
from openimds.facts.playbooks import PLAYBOOKS
from openimds.fleet.fault_bodies import BODY_FILE, SPELLINGS, read_body
from openimds.parameters import camel_case, nearest, read_value
from openimds.protocol.faults.input import (
    check_selectors,
    effect_rows,
    parameter_of,
    playbook_rows,
)

_HEAD = ("ID", "FAULT", "SEEN", "PLAYED", "ORIGIN", "PARAMETERS")
_OWN_COLUMNS = ("id", "origin", "begun", "seen", "played", "effect", "playbook")
"""Members of a fault that are no parameter of it."""
_NAMES = [*EFFECTS, *PLAYBOOKS]
_LONG = ("body", "bodyBase64", "headers", "reason", "set")
_LONGEST_SHOWN = 60
"""The characters of such a parameter in `fault list`; `--json` has all of it."""
_NAMES_OF = {camel_case(row.name): row.name for key in EFFECTS for row in effect_rows(key)}

as_json = json_instead_of("text")


def _complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in _NAMES if name.startswith(incomplete)]


def _complete_key(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the keys of the fault's parameters, each with its equals sign."""
    try:
        rows = _rows(context.params["name"])
    except ConfigError:
        return []
    keys = [f"{row.name}=" for row in rows]
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


@click.group("fault")
def command() -> None:
    """Inject faults into a running server, and clear them.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@as_json
def list_faults(*, is_json: bool, **flags: object) -> None:
    """List the active faults, and how often each was played."""
    faults = _client(flags).ask("GET", "/v1/faults")["items"]
    if is_json:
        click.echo(msgspec.json.encode(faults).decode())
        return
    print_table(_HEAD, map(_row, faults), "PARAMETERS")


@command.command("describe")
@click.argument("name", required=False, shell_complete=_complete_name)
@as_json
def describe(name: str | None, *, is_json: bool) -> None:
    """Describe a fault or playbook, or list all of them.

    With NAME: its reason, its evidence and its parameters. It needs no server.
    """
    if is_json:
        value = _description(name) if name else [_description(key) for key in _NAMES]
        click.echo(msgspec.json.encode(value).decode())
        return
    if name:
        _print_description(name)
        return
    for title, rows in (("Faults", EFFECTS), ("Playbooks", PLAYBOOKS)):
        click.echo(f"{title}:")
        for row in rows.values():
            click.echo(f"  {row.key:<19} {row.about}")


# The name of 0.1.0, until 1.0.
command.add_command(
    click.Command(
        "show", callback=describe.callback, params=describe.params, help=describe.help, hidden=True
    )
)


@command.command("set")
@click.argument("name", shell_complete=_complete_name)
@click.argument("parameters", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=_complete_key)
@click.option("--vm", "vms", metavar="NAME", multiple=True, help="A VM; default: all of them.")
@options("state")
@as_json
def set_fault(
    name: str, parameters: tuple[str, ...], vms: tuple[str, ...], *, is_json: bool, **flags: object
) -> None:
    """Set a fault or play a playbook from now on, and print its ids.

    For example: openimds fault set status status=410 until_s=70. The fault `response` also takes
    body_file=PATH, and headers=LINE once for each header; `edited-token` takes set=NAME=VALUE once
    for each field.
    """
    body: dict[str, Any] = {"effect" if name in EFFECTS else "playbook": name}
    body |= _members(name, parameters)
    if vms:
        body["vms"] = vms
    faults = _client(flags).ask("POST", "/v1/faults", body)["items"]
    if is_json:
        click.echo(msgspec.json.encode(faults).decode())
        return
    for fault in faults:
        click.echo(fault["id"])


@command.command("clear")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@options("state")
def clear(ids: tuple[str, ...], **flags: object) -> None:
    """Clear faults by their ids, or all of them."""
    client = _client(flags)
    for path in [f"/v1/faults/{quote(fault_id, safe='')}" for fault_id in ids] or ["/v1/faults"]:
        client.ask("DELETE", path)


def _members(name: str, parameters: tuple[str, ...]) -> dict[str, Any]:
    """Return the members of a fault or playbook in `KEY=VALUE` arguments.

    Raises:
        ConfigError: an unknown fault or key, a key twice, or a value that does not fit.
    """
    rows = {row.name: row for row in _rows(name)}
    names = {spelling: key for key in rows for spelling in (camel_case(key), key)}
    members: dict[str, Any] = {}
    lines: dict[str, tuple[str, ...]] = {}
    check_selectors(name, (text.partition("=")[0] for text in parameters))
    for text in parameters:
        key, _, value = text.partition("=")
        if name == RESPONSE and key in SPELLINGS:
            key, value = read_body(Path(value), BODY_FILE)
        if key not in names:
            raise ConfigError(text, f'"{key}"', "one of " + ", ".join(rows), nearest(key, rows))
        row = rows[names[key]]
        member = camel_case(row.name)
        if row.kind in (ValueKind.LINES, ValueKind.EDITS):  # A header or a value may have commas.
            lines[member] = (*lines.get(member, ()), value)
            members[member] = read_value(parameter_of(row), lines[member], text=True)
        elif member in members:
            raise ConfigError(text, f'"{key}" twice', "each key once")
        else:
            members[member] = read_value(parameter_of(row), value, text=True)
    return members


def _rows(name: str) -> tuple[FaultParameter, ...]:
    """Return the parameters of a fault or playbook.

    Raises:
        ConfigError: there is neither of that name.
    """
    if name in EFFECTS:
        return effect_rows(name)[1:]
    if name in PLAYBOOKS:
        return playbook_rows(name)[1:]
    expected = "a fault or a playbook; openimds fault describe lists them"
    raise ConfigError("NAME", f'"{name}"', expected, nearest(name, _NAMES))


def _print_description(name: str) -> None:
    rows = _rows(name)
    fault = EFFECTS.get(name) or PLAYBOOKS[name]
    click.echo(f"{fault.about}\n\nWhy: {fault.why}\nEvidence: {_evidence(fault.evidence)}\n")
    for row in rows:
        more = "" if row.default is None else f" Default: {_plain(row.default)}."
        if row.choices:
            more += f" One of {', '.join(map(str, row.choices))}."
        click.echo(f"  {row.name:<12} {row.help}{more}")
    if name == RESPONSE:
        click.echo("\nPages:")
        for page in PAGES.values():
            click.echo(f"  {page.key:<14} {page.about} ({_evidence(page.evidence)})")


def _description(name: str) -> dict[str, object]:
    """Return the description of a fault or playbook as JSON has it."""
    rows = _rows(name)
    fault = EFFECTS.get(name) or PLAYBOOKS[name]
    description = {
        "effect" if name in EFFECTS else "playbook": name,
        "about": fault.about,
        "why": fault.why,
        "evidence": fault.evidence,
        "parameters": rows,
    }
    return description | ({"pages": [*PAGES.values()]} if name == RESPONSE else {})


def _evidence(evidence: Evidence) -> str:
    sources = " ".join(evidence.sources)
    return ", ".join(part for part in (str(evidence.mark), sources, evidence.note) if part)


def _row(fault: dict[str, Any]) -> tuple[str, ...]:
    parameters = {key: value for key, value in fault.items() if key not in _OWN_COLUMNS}
    # The API answers in camelCase; the names here are those of the fleet file.
    words = " ".join(
        f"{_NAMES_OF.get(key, key)}={_short(_plain(value)) if key in _LONG else _plain(value)}"
        for key, value in parameters.items()
    )
    counts = (str(fault["seen"]), str(fault["played"]))
    origin = fault.get("playbook", fault["origin"])
    return (fault["id"], fault["effect"], *counts, origin, words)


def _short(text: str) -> str:
    """Return the beginning of a text, such as a body, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, int | float) else f"{value}"


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags).state)
