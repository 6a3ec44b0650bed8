"""`openimds fleet`: fleet files before they are served."""

from typing import TYPE_CHECKING, Any

import click
import msgspec.json

from openimds.cli.groups import CommandGroup
from openimds.cli.main import BAD_CONFIGURATION
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, member
from openimds.errors import ConfigError

if TYPE_CHECKING:
    from openimds.fleet.fleet_files import FleetFileContents


@click.group("fleet", cls=CommandGroup)
def command() -> None:
    """Check fleet files, and print their JSON Schema."""


@command.command("check")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@output_options("lines")
def check(paths: tuple[str, ...], *, output: str) -> None:
    """Check fleet files, or folders of them, as a server would read them.

    Each FILE is one fleet. Exits with 2 if one of them would be refused.
    """
    answers = [_checked(path) for path in paths]
    print_list(output, answers, _COLUMNS, "file", usual=lambda: _print(answers))
    if any("error" in answer for answer in answers):
        raise SystemExit(BAD_CONFIGURATION)


def _print(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        if error := answer.get("error"):
            click.echo(f"openimds: {error}", err=True)
        else:
            counted = (_count(answer[kind], kind[:-1]) for kind in _KINDS if answer[kind])
            click.echo(f"{answer['file']}: {', '.join(counted)}")


_KINDS = ("vms", "events", "faults")
_COLUMNS = (
    member("FILE", "file"),
    *(member(kind.upper(), kind) for kind in _KINDS),
    Column("ERROR", lambda answer: answer.get("error", ""), wrap="words"),
)


def _count(number: int, kind: str) -> str:
    name = "VM" if kind == "vm" else kind
    return f"{number} {name}{'s' if number > 1 else ''}"


def _checked(path: str) -> dict[str, Any]:
    """Return the numbers of a fleet, or the mistake that is in it."""
    from openimds.fleet.fleet_files import gc_paused, read_fleet

    try:
        with gc_paused():
            contents = read_fleet(path)
            _check_together(contents)
    except ConfigError as error:
        text = str(error)
        return {"file": path, "error": text if text.startswith(path) else f"{path}: {text}"}
    if contents.notice:
        click.echo(f"openimds: {contents.notice}", err=True)
    return {"file": path} | {kind: len(getattr(contents, kind)) for kind in _KINDS}


def _check_together(contents: "FleetFileContents") -> None:
    """Check that no two VMs claim one address or listener.

    Raises:
        ConfigError: two of them do.
    """
    from openimds.facts.versions import catalog
    from openimds.fleet.index import FleetIndex

    index: FleetIndex[None] = FleetIndex(catalog(), 0)
    index.plan(contents.vms)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of a fleet file, for completion in an editor."""
    from openimds.fleet.file_schema import file_schema

    click.echo(msgspec.json.format(msgspec.json.encode(file_schema()), indent=1).decode())
