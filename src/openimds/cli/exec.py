"""`openimds exec`: run a command in a sandbox where 169.254.169.254:80 is the server."""

import click

from openimds.cli.main import options, values
from openimds.cli.variables import report_unknown_variables
from openimds.log.event import sentences_only
from openimds.settings import SETTINGS

_TLS = ("admin_cert", "admin_key", "admin_client_ca")
_FIXED = ("listen", "log_format", "log_level", "access_log", "access_sample", *_TLS)
"""Settings without a meaning in a sandbox: it has its own address and network, and no log."""


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--vm", "names", multiple=True, metavar="NAME", help="The VM that COMMAND runs on.")
@click.option(
    "--net",
    type=click.Choice(["none", "host"]),
    default="none",
    help="Other hosts that COMMAND reaches: none, or those of this machine, by pasta.",
)
@options(*(row.name for row in SETTINGS if row.name not in _FIXED))
@click.argument(
    "words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]..."
)
def command(names: tuple[str, ...], net: str, words: tuple[str, ...], **flags: object) -> None:
    """Run COMMAND where http://169.254.169.254/metadata is real.

    It runs as you, in a network of its own that ends with it: with its exit code, its signals and
    this terminal. At 169.254.169.254 it is a VM of the fleet: the only one, or the one that --vm
    names. With several --vm it runs once for each, at the same time, and its lines begin with the
    name. In there, `openimds vm`, `event` and all commands that talk to a server talk to this one.
    """
    from openimds.linux.platform import require_linux

    require_linux(
        "openimds exec",
        "elsewhere start openimds serve and set the variables that openimds env prints, or use the "
        "container image or a Linux VM",
    )
    from openimds.linux.sandbox import exit_like
    from openimds.server.sandboxed import run_sandboxed
    from openimds.server.startup import load, with_settings

    report_unknown_variables(_notify)
    startup = with_settings(load(values(flags)), **dict.fromkeys(_TLS, ""))
    exit_like(run_sandboxed(startup, words, names, _notify, is_online=net == "host"))


@sentences_only
def _notify(sentence: str) -> None:
    click.echo(f"openimds: {sentence}.", err=True)
