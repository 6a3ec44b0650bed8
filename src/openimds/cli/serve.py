"""`openimds serve`: run the metadata service until SIGTERM."""

import os
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec.json

from openimds.cli.main import options, values
from openimds.settings import SETTINGS

if TYPE_CHECKING:
    from openimds.server.inherited_sockets import InheritedSockets
    from openimds.server.ready import Ready

_NOT_DATA_PLANE = ("admin", "public")
_VM = "vm."
_UNIX, _LOOPBACK = "unix:", "127.0.0.1"
_TOKEN = "A token"  # noqa: S105 - a heading
_TARGETS = {
    "The instance document": "instance?api-version=2021-02-01",
    _TOKEN: "identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/",
}


@click.command("serve")
@options(*(row.name for row in SETTINGS))
def command(**flags: object) -> None:
    """Answer at http://HOST:PORT/metadata until SIGTERM.

    When the port accepts, one line of JSON goes to stdout; on a terminal, a line to paste instead.
    With neither --fleet nor --document one VM of defaults is served, to every caller. Sockets that
    systemd hands in are served instead of --listen, --admin and --public; their names say which.
    """
    from openimds.linux.systemd import SystemdNotifier, sockets
    from openimds.server.process import run, run_host
    from openimds.server.startup import load

    settings, pid = values(flags), os.getpid()
    if settings.processes == 1 or sys.platform == "win32":
        startup = load(settings)
        inherited = by_name(sockets(os.environ, pid))
        run(startup, _ready, _notify, inherited, SystemdNotifier(os.environ, pid))
        return
    inherited = by_name(sockets(os.environ, pid))
    run_host(settings, _ready, _notify, inherited, SystemdNotifier(os.environ, pid))


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
    """Print the ready line: JSON, or on a terminal commands to paste."""
    if sys.stdout.isatty():
        click.secho(f"OpenIMDS answers at {ready.imds}/metadata", bold=True)
        for about, example in _examples(ready):
            click.echo(f"\n{about}:\n\n  {example}")
        click.echo()
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


def _examples(ready: "Ready") -> Iterator[tuple[str, str]]:
    """Yield curl commands that work on this machine, each after its subject."""
    if ready.caller is None:
        return
    curl, url = "curl -s", ready.imds
    if url.startswith(_UNIX):
        curl, url = f"{curl} --unix-socket {url.removeprefix(_UNIX)}", "http://localhost"
    elif ready.caller.address != _LOOPBACK:
        curl = f"{curl} --interface {ready.caller.address}"
    for about, target in _TARGETS.items():
        if ready.caller.has_token or about != _TOKEN:
            yield about, f'{curl} -H Metadata:true "{url}/metadata/{target}"'


def _notify(sentence: str) -> None:
    click.echo(f"openimds: {sentence}.", err=True)
