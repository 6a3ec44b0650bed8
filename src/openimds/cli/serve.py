"""`openimds serve`: run the metadata service until SIGTERM."""

import os
import socket
import sys
from typing import TYPE_CHECKING

import click
import msgspec.json

from openimds.cli.main import options, values
from openimds.settings import SETTINGS

if TYPE_CHECKING:
    from openimds.server.inherited_sockets import InheritedSockets
    from openimds.server.server import Ready

_NOT_DATA_PLANE = ("admin", "public")
_VM = "vm."


@click.command("serve")
@options(*(row.name for row in SETTINGS))
def command(**flags: object) -> None:
    """Answer at http://HOST:PORT/metadata until SIGTERM.

    When the port accepts, one line of JSON goes to stdout; on a terminal, a line to paste instead.
    With neither --fleet nor --document one VM of defaults is served, to every caller. Sockets that
    systemd hands in are served instead of --listen, --admin and --public; their names say which.
    """
    from openimds.linux.systemd import SystemdNotifier, sockets
    from openimds.server.process import run
    from openimds.server.startup import load

    startup = load(values(flags))
    inherited = by_name(sockets(os.environ, os.getpid()))
    run(startup, _ready, _notify, inherited, SystemdNotifier(os.environ, os.getpid()))


def by_name(named: list[tuple[str, socket.socket]]) -> "InheritedSockets":
    """Sort sockets by their names: `admin`, `public`, `vm.NAME`, else the data plane."""
    from openimds.server.inherited_sockets import InheritedSockets

    planes = [(listener, name) for name, listener in named if name not in _NOT_DATA_PLANE]
    return InheritedSockets(
        dataplane=tuple(
            (listener, name.removeprefix(_VM) if name.startswith(_VM) else "")
            for listener, name in planes
        ),
        admin=tuple(listener for name, listener in named if name == "admin"),
        public=tuple(listener for name, listener in named if name == "public"),
    )


def _ready(ready: "Ready") -> None:
    """Print the ready line: JSON, or on a terminal a curl command to paste."""
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
