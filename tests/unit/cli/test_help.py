"""The help: one line for each command, and no import that it does not need."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete

from openimds.cli.main import COMMANDS, command
from tests.unit.cli.runner import CliRunner

WIDTH = 80
LOADED = """
import sys
from openimds.cli.main import command
try:
    command({arguments!r}, prog_name="openimds")
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
HEAVY = (
    *("asyncio", "cryptography", "jwt", "prometheus_client", "rich", "sqlite3", "starlette"),
    *("sse_starlette", "uvicorn", "yaml"),
    *("openimds.admin", "openimds.credentials", "openimds.dataplane", "openimds.events"),
    *("openimds.faults", "openimds.interop", "openimds.linux"),
    *("openimds.protocol", "openimds.server", "openimds.vm"),
)
"""No help needs these: they serve, sign, store or draw."""
MODULES = {row.module for row in COMMANDS}


def groups(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of a group and of all groups below it."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from groups(inner, (*path, name))


def listed(help_text: str) -> dict[str, str]:
    """Return the short help by command, from the lines under `Commands:`."""
    lines = help_text.partition("Commands:\n")[2].splitlines()
    assert all(re.match(r"  [a-z]", line) for line in lines), "a short help takes two lines"
    return dict(line.split(maxsplit=1) for line in lines)


def loaded(*arguments: str) -> set[str]:
    """Return the modules that a new process has loaded after a command."""
    code = LOADED.format(arguments=arguments)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Usage: openimds")
    return set(ran.stderr.split())


def test_short_help_in_the_table_is_that_of_the_command() -> None:
    context = click.Context(command)
    own = {}
    for row in COMMANDS:
        found = command.get_command(context, row.name)
        assert found is not None
        assert found.name == row.name
        own[row.name] = found.get_short_help_str(WIDTH)
    assert own == {row.name: row.short_help for row in COMMANDS}


@pytest.mark.parametrize("path", [*groups(command)], ids=" ".join)
def test_short_help_of_every_command_fits_its_line(path: tuple[str, ...]) -> None:
    got = CliRunner().invoke(command, [*path, "--help"], terminal_width=WIDTH)
    assert got.exit_code == 0
    texts = listed(got.stdout)
    assert texts
    for name, text in texts.items():
        assert re.fullmatch(r"[A-Z].*[^.]\.", text), f"{name}: {text}"
    assert all(len(line) <= WIDTH for line in got.stdout.splitlines())


def test_help_imports_no_command_module() -> None:
    modules = loaded("--help")
    assert modules.isdisjoint(MODULES)
    assert modules.isdisjoint({*HEAVY, "http.client", "ssl", "tomllib"})


def test_help_of_vm_imports_no_other_command_module() -> None:
    modules = loaded("vm", "--help")
    assert modules & MODULES == {"openimds.cli.vm"}
    assert modules.isdisjoint({*HEAVY, "openimds.fleet.fleet_files"})


def test_help_of_serve_imports_no_server() -> None:
    modules = loaded("serve", "--help")
    assert modules & MODULES == {"openimds.cli.serve"}
    assert modules.isdisjoint({*HEAVY, "openimds.fleet.fleet_files", "http.client"})


def test_completion_of_a_command_imports_no_module() -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "openimds"],
        env={**os.environ, "_OPENIMDS_COMPLETE": "bash_complete", "COMP_WORDS": "openimds comp"}
        | {"COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["plain,compare", "plain,completion"]
    assert MODULES.isdisjoint(re.findall(r"openimds[.\w]*", ran.stderr))


def test_completion_of_an_option_of_openimds() -> None:
    complete = ShellComplete(command, {}, "openimds", "_OPENIMDS_COMPLETE")
    assert [item.value for item in complete.get_completions([], "--v")] == ["--version"]


def test_unknown_command_is_refused() -> None:
    got = CliRunner().invoke(command, ["reserve"])
    assert got.exit_code == 2
    assert 'there is no command "reserve". Type command serve' in " ".join(got.stderr.split())
