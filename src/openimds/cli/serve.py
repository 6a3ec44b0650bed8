"""`openimds serve`."""

import os
import socket
import sys

import click
import msgspec.json

from openimds.cli.main import options, values
from openimds.config import configure
from openimds.linux.systemd import SystemdNotifier, sockets
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.process import run
from openimds.server.server import Ready
from openimds.settings import SETTINGS

_DOORS = ("admin", "public")
_VM = "vm."


@click.command("serve")
@options(*(row.name for row in SETTINGS))
def command(**flags: object) -> None:
    """Answer at http://HOST:PORT/metadata until SIGTERM.

    When the port accepts, one line of JSON goes to stdout; on a terminal, a line to paste instead.
    With neither --fleet nor --document one VM of defaults is served, to every caller. Sockets that
    systemd hands in are served instead of --listen, --admin and --public; their names say which.
    """
    config = configure(values(flags))
    given = by_name(sockets(os.environ, os.getpid()))
    run(config, _ready, _notify, given, SystemdNotifier(os.environ, os.getpid()))


def by_name(handed: list[tuple[str, socket.socket]]) -> InheritedSockets:
    """Return what each socket is for: `admin`, `public`, `vm.NAME`, and the data plane else."""
    planes = [(one, name) for name, one in handed if name not in _DOORS]
    return InheritedSockets(
        dispatcher=tuple(
            (one, name.removeprefix(_VM) if name.startswith(_VM) else "") for one, name in planes
        ),
        admin=tuple(one for name, one in handed if name == "admin"),
        public=tuple(one for name, one in handed if name == "public"),
    )


def _ready(ready: Ready) -> None:
    if sys.stdout.isatty():
        target = f"{ready.imds}/metadata/instance?api-version=2021-02-01"
        click.secho(f"OpenIMDS answers at {ready.imds}/metadata", bold=True)
        click.echo(f'\n  curl -s -H Metadata:true "{target}"\n')
        if ready.admin:
            click.echo(f"Admin API: {ready.admin} (token in {ready.token_file})")
        click.echo("Ctrl-C ends it.")
        return
    line = {
        "ready": True,
        "imds": ready.imds,
        "admin": ready.admin,
        "token_file": ready.token_file,
        "pid": os.getpid(),
        "public": ready.public,
    }
    click.echo(msgspec.json.encode(line).decode())
    sys.stdout.flush()


def _notify(sentence: str) -> None:
    click.echo(f"openimds: {sentence}.", err=True)
