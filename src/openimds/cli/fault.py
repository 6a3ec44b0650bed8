"""`openimds fault`: fault injection in a running server."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem
from msgspec import structs

from openimds.cli.client import Client
from openimds.cli.complete import FAULTS
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list, print_object
from openimds.cli.selection import (
    Selection,
    ask_by_names,
    check_given,
    is_to_list,
    may_act,
    names_of,
    select_options,
)
from openimds.cli.table import Column, member
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

_OWN_COLUMNS = ("id", "origin", "begun", "seen", "played", "effect", "playbook")
"""Members of a fault that are no parameter of it."""
_PATH = "/v1/faults"
_NAMES = [*EFFECTS, *PLAYBOOKS]
_LONG = ("body", "bodyBase64", "headers", "reason", "set")
_LONGEST_SHOWN = 60
"""The characters of such a parameter in `fault list`; `--json` has all of it."""
_NAMES_OF = {camel_case(row.name): row.name for key in EFFECTS for row in effect_rows(key)}


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


@click.group("fault", cls=CommandGroup)
def command() -> None:
    """Inject faults into a running server, and clear them.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@output_options()
def list_faults(*, output: str, **flags: object) -> None:
    """List the active faults, and how often each was played."""
    print_list(output, _client(flags).ask("GET", "/v1/faults")["items"], _COLUMNS, "id")


@command.command("describe")
@click.argument("name", required=False, shell_complete=_complete_name)
@output_options("text")
def describe(name: str | None, *, output: str) -> None:
    """Describe a fault or playbook, or list all of them.

    With NAME: its reason, its evidence and its parameters. It needs no server.
    """
    if name:
        print_object(output, _description(name), lambda: _print_description(name), name)
        return
    every = [_description(key) for key in _NAMES]
    print_list(output, every, _DESCRIPTIONS, _DESCRIPTIONS[0].cell, usual=_print_names)


def _print_names() -> None:
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
@select_options("A VM; default: all of them")
@options("state")
@output_options("the ids")
def set_fault(
    name: str,
    parameters: tuple[str, ...],
    *,
    selection: Selection,
    output: str,
    **flags: object,
) -> None:
    """Set a fault or play a playbook from now on, and print its ids.

    For example: openimds fault set status status=410 until_s=70. The fault `response` also takes
    body_file=PATH, and headers=LINE once for each header; `edited-token` takes set=NAME=VALUE once
    for each field.
    """
    body: dict[str, Any] = {"effect" if name in EFFECTS else "playbook": name}
    body |= _members(name, parameters)
    client = _client(flags)
    if selection.is_given:
        names = names_of(client, selection)
        body |= {} if selection.is_all else {"vms": names}
    else:  # In a script it needs no look-up of 100,000 VMs.
        every = client.items("/v1/vms", {"fields": "name"}) if is_to_list(selection) else ()
        names = [vm["name"] for vm in every]
    if not may_act(selection, f"Set {name} for", names, output=output):
        return
    faults = client.ask("POST", _PATH, body)["items"]
    print_list(output or "name", faults, _COLUMNS, "id")


@command.command("clear")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=FAULTS)
@select_options("Only for this VM: take it out of the faults that name it")
@options("state")
def clear(ids: tuple[str, ...], *, selection: Selection, **flags: object) -> None:
    """Clear faults by their ids, those of some VMs, or all of them."""
    if ids and selection.is_given:
        raise click.UsageError("Name faults by their ids, or VMs by --vm, --select or --all")
    check_given("ID", ids)
    client = _client(flags)
    if selection.is_given:
        _clear_for(client, selection)
        return
    hit = ids
    if not ids and is_to_list(selection):
        hit = tuple(fault["id"] for fault in client.ask("GET", _PATH)["items"])
    if not may_act(selection._replace(names=ids), "Clear", hit, "fault"):
        return
    for path in [f"{_PATH}/{quote(fault_id, safe='')}" for fault_id in ids] or [_PATH]:
        client.ask("DELETE", path)


def _clear_for(client: Client, selection: Selection) -> None:
    """Clear the faults of some VMs; of all VMs, all faults."""
    names = names_of(client, selection)
    if not may_act(selection, "Clear the faults of", names):
        return
    if selection.is_all:
        client.ask("DELETE", _PATH)
        return
    for fault in ask_by_names(client, ("DELETE", _PATH), names):
        left = "is cleared" if fault["isOver"] else f"no longer hits {', '.join(fault['vms'])}"
        click.echo(f"{fault['id']} {left}", err=True)


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
        "parameters": [structs.replace(row, name=camel_case(row.name)) for row in rows],
    }
    return description | ({"pages": [*PAGES.values()]} if name == RESPONSE else {})


def _evidence(evidence: Evidence) -> str:
    sources = " ".join(evidence.sources)
    return ", ".join(part for part in (str(evidence.mark), sources, evidence.note) if part)


def _words(fault: dict[str, Any]) -> str:
    parameters = {key: value for key, value in fault.items() if key not in _OWN_COLUMNS}
    # The API answers in camelCase; the names here are those of the fleet file.
    return " ".join(
        f"{_NAMES_OF.get(key, key)}={_short(_plain(value)) if key in _LONG else _plain(value)}"
        for key, value in parameters.items()
    )


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


_COLUMNS = (
    member("ID", "id"),
    member("FAULT", "effect"),
    member("SEEN", "seen"),
    member("PLAYED", "played"),
    Column("ORIGIN", lambda fault: fault.get("playbook", fault["origin"])),
    Column("PARAMETERS", _words, wrap="words"),
)

_DESCRIPTIONS = (
    Column("NAME", lambda one: one.get("effect") or one["playbook"]),
    Column("KIND", lambda one: "fault" if "effect" in one else "playbook"),
    Column("ABOUT", lambda one: one["about"], wrap="words"),
)
