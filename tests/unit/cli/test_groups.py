"""Names of other tools, help, and wrong names of commands."""

from collections.abc import Iterator

import click
import pytest

from openimds import __version__
from openimds.cli.groups import HABITS, CommandGroup
from openimds.cli.main import COMMANDS, command
from tests.unit.cli.runner import CliRunner


def group() -> click.Group:
    """Return a group with the commands `show` and `remove`."""

    @click.group("things", cls=CommandGroup)
    def made() -> None:
        """Act on things."""

    for name in ("show", "remove"):

        @made.command(name, help=f"{name} it.")
        @click.argument("thing")
        def act(thing: str, name: str = name) -> None:
            click.echo(f"{name} {thing}")

    return made


@pytest.mark.parametrize(
    "typed, printed",
    [
        ("show x", "show x\n"),
        ("get x", "show x\n"),
        ("delete x", "remove x\n"),
        ("rm x", "remove x\n"),
    ],
)
def test_name_of_another_tool_is_understood(typed: str, printed: str) -> None:
    got = CliRunner().invoke(group(), typed.split())
    assert (got.exit_code, got.output) == (0, printed)


@pytest.mark.parametrize(
    "typed, words",
    [
        ("shwo x", 'there is no command "shwo". Type things show, or things --help'),
        ("zzz", 'there is no command "zzz". Type things --help'),
        ("create x", 'there is no command "create". Type things --help'),
    ],
)
def test_wrong_name_is_answered_with_the_nearest(typed: str, words: str) -> None:
    got = CliRunner().invoke(group(), typed.split(), prog_name="things")
    assert got.exit_code == 2
    assert words in " ".join(got.stderr.split())


@pytest.mark.parametrize(
    "typed, same", [("help", "--help"), ("help show", "show --help"), ("help get", "show --help")]
)
def test_help_is_a_command_everywhere(typed: str, same: str) -> None:
    got, usual = (
        CliRunner().invoke(group(), text.split(), prog_name="things") for text in (typed, same)
    )
    assert (got.exit_code, got.output) == (0, usual.output)


@pytest.mark.parametrize("typed", ["delete", "rm"])
def test_name_of_another_tool_never_clears_faults(typed: str) -> None:
    got = CliRunner().invoke(command, ["fault", typed], prog_name="openimds")
    assert got.exit_code == 2
    assert f'no command "{typed}". Type openimds fault --help' in " ".join(got.stderr.split())


def test_version_is_a_command() -> None:
    got = CliRunner().invoke(command, ["version"])
    assert (got.exit_code, got.output) == (0, f"openimds, version {__version__}\n")


def test_every_group_has_the_commands_of_habit() -> None:
    groups = [one for row in COMMANDS for one in groups_of(loaded(row.name))]
    assert len(groups) > 5
    assert "host" in {one.name for one in groups_of(loaded("control"))}
    assert all(isinstance(one, CommandGroup) for one in groups)
    known = {name for one in groups for name in one.list_commands(click.Context(one))}
    assert {one for meant in HABITS.values() for one in meant} <= known


def groups_of(found: click.Command) -> Iterator[click.Group]:
    """Yield a command and its subcommands that are groups."""
    if isinstance(found, click.Group):
        yield found
        for one in found.commands.values():
            yield from groups_of(one)


def loaded(name: str) -> click.Command:
    found = command.get_command(click.Context(command), name)
    assert found
    return found
