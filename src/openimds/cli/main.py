"""The command `openimds`: its table of subcommands, the options made of settings, its errors."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from openimds import __version__
from openimds.cli.groups import CommandGroup
from openimds.errors import ConfigError, Error
from openimds.settings import CONFIG_VARIABLE, FILE_NAME, Setting, Settings, resolve, setting

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
BAD_CONFIGURATION = 2


class CommandRow(NamedTuple):
    """A subcommand as `openimds --help` lists it; its module is loaded only when it runs."""

    name: str
    short_help: str

    @property
    def module(self) -> str:
        """The module whose `command` it is."""
        return f"openimds.cli.{self.name}"


COMMANDS = (
    CommandRow("serve", "Answer at http://HOST:PORT/metadata until SIGTERM."),
    CommandRow("exec", "Run COMMAND where http://169.254.169.254/metadata is real."),
    CommandRow("env", "Print the variables that point clients at a running server."),
    CommandRow("fleet", "Check fleet files, and print their JSON Schema."),
    CommandRow("vm", "List, describe, show, import, change, move and remove VMs."),
    CommandRow("event", "Schedule, start, end and await scheduled events."),
    CommandRow("scenario", "List, begin and end scenarios of recurring events."),
    CommandRow("clock", "Show or change the time that guests see."),
    CommandRow("fault", "Inject faults into a running server, and clear them."),
    CommandRow("identity", "List, assign and remove managed identities, and print tokens."),
    CommandRow("keys", "List and rotate the keys that sign tokens."),
    CommandRow("attest", "Verify attested documents; print and rotate certificates."),
    CommandRow("capture", "Record every answer of an IMDS in a file."),
    CommandRow("compare", "Compare the answers of two IMDSs."),
    CommandRow("requests", "List the requests of guests, or the mistakes in them."),
    CommandRow("changes", "Follow the changes of VMs until Ctrl-C."),
    CommandRow("audit", "List who changed which VM, from where and by which token."),
    CommandRow("control", "Decide for many hosts; invite, list and revoke them."),
    CommandRow("host", "Make this host the metadata host of its guests (needs root)."),
    CommandRow("kubevirt", "Serve the guests of KubeVirt on this node of a cluster."),
    CommandRow("doctor", "Check this host, and print the commands that mend it."),
    CommandRow("token", "Make, list, revoke and rotate tokens of the admin API."),
    CommandRow("state", "Check, back up, restore and prune the store of a state folder."),
    CommandRow("completion", "Print the completion script of a shell."),
)
"""In the order of the help."""


class _LazyGroup(CommandGroup):
    """A group that lists its commands from `COMMANDS` and imports one only to run it."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return [row.name for row in COMMANDS]

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command by its name."""
        row = next((row for row in COMMANDS if row.name == cmd_name), None)
        if row is None:
            return None
        loaded: click.Command = import_module(row.module).command
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument means; `version` is `--version`."""
        if args == ["version"]:
            click.echo(f"openimds, version {__version__}")
            ctx.exit()
        return super().resolve_command(ctx, args)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; click would import each for its short help."""
        with formatter.section("Commands"):
            formatter.write_dl(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the name of a command without importing one."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(row.name, help=row.short_help)
            for row in COMMANDS
            if row.name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def options(*names: str) -> Callable[[F], F]:
    """Return a decorator that adds the options of the named settings, made from their rows."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            function = _option(setting(name))(function)
        return function

    return decorate


def _option(row: Setting) -> Callable[[F], F]:
    is_switch = not row.metavar
    flags = f"{row.flag}/--no-{row.flag[2:]}" if is_switch else row.flag
    default = ("on" if row.default else "off") if is_switch else row.default_text
    about = f"{row.help}  [${row.variable}{f'; default: {default}' if default else ''}]"
    kind = None if is_switch else str
    is_list = row.type is tuple
    return click.option(
        flags,
        row.name,
        type=kind,
        default=None,
        metavar=row.metavar or None,
        help=about,
        multiple=is_list,
        callback=_joined if is_list else None,
    )


def _joined(_: object, __: object, texts: tuple[str, ...]) -> str | None:
    """Return the values of a repeated option as one list."""
    return ",".join(texts) if texts else None


def values(flags: Mapping[str, object]) -> Settings:
    """Return the settings from flags, environment and file.

    Raises:
        ConfigError: as `settings.resolve`, or the file is not TOML.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or FILE_NAME)
    file = _read_toml(path) if named or _exists(path) else {}
    return resolve(flags, os.environ, file, str(path))


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(str(path), reason, "a file that can be read") from None
    except ValueError as error:
        raise ConfigError(str(path), str(error), "TOML text") from None


def _exists(path: Path) -> bool:
    """Tell whether the file exists; in a forbidden folder none does."""
    try:
        return path.exists()
    except PermissionError:
        return False


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="openimds")
def command() -> None:
    """Serve the Azure Instance Metadata Service to one VM or to a fleet of them.

    Settings come from the flag, else from the environment (OPENIMDS_...), else from the file
    openimds.toml of this folder (or the one that $OPENIMDS_CONFIG names), else from the default.
    """


def main() -> None:
    """Run the command; print an error of the operator as one line on stderr."""
    # A parent may have set SIGCHLD to be ignored: the exit codes of our children would be lost.
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        command(prog_name="openimds")
    except Error as error:
        click.echo(f"openimds: {error}", err=True)
        sys.exit(error.exit_code)
