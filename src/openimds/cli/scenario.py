"""`openimds scenario`: recurring scheduled events of a running server."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from openimds.cli.client import Client
from openimds.cli.complete import SCENARIOS
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list, print_object
from openimds.cli.table import Column, member
from openimds.errors import ConfigError
from openimds.parameters import camel_case, describe

_PATH = "/v1/scenarios"
_STDIN, _EVENTS = "-", "events"

Scenario = dict[str, Any]


@click.group("scenario", cls=CommandGroup)
def command() -> None:
    """List, begin and end scenarios of recurring events.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@output_options()
def list_scenarios(*, output: str, **flags: object) -> None:
    """List the scenarios that were begun, with their next events.

    The scenario of a fleet file is `fleet`.
    """
    print_list(output, Client(values(flags).state).items(_PATH), _COLUMNS)


@command.command("add")
@click.argument("file")
@click.option("--name", metavar="NAME", help="Default: the name of the file, without its suffix.")
@options("state")
@output_options("a line on stderr")
def add(file: str, name: str | None, *, output: str, **flags: object) -> None:
    """Begin the scenario in FILE now (- is stdin).

    FILE is a list of events, or has one under `events`, as with serve --scenario. A scenario of
    the same name ends.
    """
    name = name or ("stdin" if file == _STDIN else Path(file).stem)
    body = {"name": name, _EVENTS: _lines(file)}
    scenario = Client(values(flags).state).ask("POST", _PATH, body)
    count = len(scenario[_EVENTS])
    text = f"{name} begun: {count} event{'s' if count > 1 else ''}, the next at {_next(scenario)}"
    print_object(output, scenario, lambda: click.echo(text, err=True), name)


@command.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=SCENARIOS)
@options("state")
def remove(names: tuple[str, ...], **flags: object) -> None:
    """End scenarios; their events stay."""
    client = Client(values(flags).state)
    for name in names:
        client.ask("DELETE", f"{_PATH}/{quote(name, safe='')}")
        click.echo(f"{name} ended", err=True)


def _lines(file: str) -> list[Any]:
    """Return the events of a file, with the names of the API.

    Raises:
        ConfigError: it cannot be read, or has no list of events.
    """
    from openimds.fleet.fleet_files import MOST_BYTES, read_file
    from openimds.vm.decode import decode

    if file == _STDIN:
        value = decode(sys.stdin.buffer.read(MOST_BYTES), "stdin")
    else:
        value = read_file(file)
    lines = value.get(_EVENTS) if isinstance(value, dict) else value
    if not isinstance(lines, list):
        raise ConfigError(file, describe(value), "a list of events, or one under `events`")
    return [
        {camel_case(str(key)): item for key, item in line.items()}
        if isinstance(line, dict)
        else line
        for line in lines
    ]


def _next(scenario: Scenario) -> str:
    """Return the time of the next event, empty at the end."""
    return min((line["next"] for line in scenario[_EVENTS] if line["next"]), default="")


def _vms(scenario: Scenario) -> list[str]:
    return [*dict.fromkeys(vm for line in scenario[_EVENTS] for vm in line["vms"])]


_COLUMNS = (
    member("NAME", "name"),
    member("BEGUN", "begun"),
    Column("EVENTS", lambda scenario: str(len(scenario[_EVENTS]))),
    Column("NEXT", _next),
    Column("VMS", lambda scenario: ", ".join(_vms(scenario)), "table", "words"),
    Column("VMS", lambda scenario: ",".join(_vms(scenario)), "wide"),
)
