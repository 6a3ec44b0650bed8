"""Every command without a server: the sentence that says so, and what to type."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from openimds.cli.main import command
from openimds.errors import Error
from tests.system.process import free_port
from tests.unit.cli.runner import CliRunner

ALONE = {
    *("serve", "exec", "env", "capture", "compare", "completion", "doctor", "attest verify"),
    *("control run", "fault describe", "fault show", "fleet check", "fleet schema", "vm show"),
    *("host run", "host up", "host down", "host status", "host follow", "kubevirt follow"),
    *("state check", "state backup", "state restore", "state prune"),
}
"""The commands that serve, or work on this machine or on files."""
VALUES = {
    "fault set": ["delay"],
    "event schedule": ["Reboot", "--vm", "a"],
    "identity assign": ["a", "--system"],
    "identity remove": ["a", "--system"],
    "vm move": ["a", "--to", "h"],
    "attest revoke": ["leaf"],
    "keys": [],
    "scenario add": ["events.json"],
    "vm import": ["az.json"],
    "vm patch": ["a", "vm.json"],
}
"""The arguments of commands that check them before they ask the server."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


EVERY = dict(commands(command))
FILE = "vm.json"
FILES = {
    FILE: '{"name": "a"}',
    "events.json": "[]",
    "az.json": '{"name": "a", "location": "x", "type": "Microsoft.Compute/virtualMachines"}',
}


def arguments_of(one: click.Command) -> Iterator[str]:
    """Yield a value for each argument, and for each option that a command requires."""
    for parameter in one.params:
        if parameter.required or isinstance(parameter, click.Argument):
            if isinstance(parameter, click.Option):
                yield parameter.opts[0]
            if isinstance(parameter.type, click.Choice):
                yield next(iter(parameter.type.choices))
            else:
                yield FILE if "file" in (parameter.name or "") else "a"


@pytest.mark.parametrize("name", sorted({*EVERY} - ALONE))
def test_command_names_the_server_and_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        Path(file).write_text(text)
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("OPENIMDS_ADMIN", url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("OPENIMDS_TOKEN_FILE", raising=False)
    arguments = VALUES[name] if name in VALUES else [*arguments_of(EVERY[name])]
    sentence = (
        f"no server answers at {url} (connection refused). Type openimds serve in another "
        "terminal, or set OPENIMDS_ADMIN to the URL of a running server"
    )
    for has_token in (False, name != "token path"):
        if has_token:
            (tmp_path / "openimds").mkdir()
            (tmp_path / "openimds" / "admin-token").write_text("x")
        got = CliRunner().invoke(command, [*name.split(), *arguments])
        assert isinstance(got.exception, Error), (got.output, got.exception)
        assert (str(got.exception), got.exception.exit_code, got.stdout) == (sentence, 1, "")


def test_document_of_a_server_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENIMDS_ADMIN", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("OPENIMDS_TOKEN_FILE", raising=False)
    for arguments in (["vm", "show", "a"], ["env", "--vm", "a"], ["host", "status", "--all"]):
        error = CliRunner().invoke(command, arguments).exception
        assert str(error).startswith("no server answers at http://127.0.0.1:")
