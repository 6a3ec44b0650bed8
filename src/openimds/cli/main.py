"""The command and its groups, and what happens to errors."""

import os
import signal
import sys
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from openimds import __version__
from openimds.errors import ConfigError, Error
from openimds.settings import CONFIG_VARIABLE, FILE_NAME, Setting, resolve, setting

F = TypeVar("F", bound=Callable[..., Any])
BAD_CONFIGURATION = 2


def options(*names: str) -> Callable[[F], F]:
    """Return a decorator that adds the options of the named settings, made from their rows."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            function = _option(setting(name))(function)
        return function

    return decorate


def _option(row: Setting) -> Callable[[F], F]:
    is_switch = not row.metavar
    spelled = f"{row.flag}/--no-{row.flag[2:]}" if is_switch else row.flag
    shown = ("on" if row.default else "off") if is_switch else row.default
    about = f"{row.help}  [${row.variable}{f'; default: {shown}' if shown != '' else ''}]"
    kind = None if is_switch else str
    return click.option(
        spelled, row.name, type=kind, default=None, metavar=row.metavar or None, help=about
    )


def values(flags: Mapping[str, object]) -> dict[str, Any]:
    """Return the value of every setting from flags, environment and file.

    Raises:
        ConfigError: as `settings.resolve`, or the file is not TOML.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or FILE_NAME)
    file: dict[str, Any] = {}
    if named or _is_there(path):
        try:
            file = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise ConfigError(str(path), said, "a file that can be read") from None
        except ValueError as error:
            raise ConfigError(str(path), str(error), "TOML text") from None
    return resolve(flags, os.environ, file, str(path))


def _is_there(path: Path) -> bool:
    """Tell whether there is a file; in a folder that this user may not enter there is none."""
    try:
        return path.exists()
    except PermissionError:
        return False


class _Commands(click.Group):
    """Loads a command when it is called, so that `serve` starts without what the others need."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return [*_COMMANDS]

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"openimds.cli.{cmd_name}")
        found: click.Command = module.command
        return found


_COMMANDS = (
    "serve",
    "exec",
    "env",
    "vm",
    "event",
    "clock",
    "fault",
    "identity",
    "attest",
    "capture",
    "compare",
    "requests",
    "host",
    "doctor",
    "token",
    "completion",
)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="openimds")
def command() -> None:
    """Serve the Azure Instance Metadata Service to one VM or to a fleet of them.

    Settings come from the flag, else from the environment (OPENIMDS_...), else from the file
    openimds.toml of this folder (or the one that $OPENIMDS_CONFIG names), else from the default.
    """


def main() -> None:
    """Run the command; errors that a person can mend are one line on stderr."""
    # Whoever starts us may ignore how children end; we would never hear that one of ours failed.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        command(prog_name="openimds")
    except ConfigError as error:
        click.echo(f"openimds: {error}", err=True)
        sys.exit(BAD_CONFIGURATION)
    except Error as error:
        click.echo(f"openimds: {error}", err=True)
        sys.exit(1)
