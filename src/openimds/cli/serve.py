"""`openimds serve`: run the metadata service until SIGTERM."""

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec.json

from openimds.cli.main import options, values
from openimds.cli.variables import report_unknown_variables
from openimds.settings import SETTINGS

if TYPE_CHECKING:
    from openimds.server.inherited_sockets import InheritedSockets
    from openimds.server.ready import LocalCaller, Ready

_NOT_DATA_PLANE = ("admin", "public", "metrics")
_VM = "vm."
_UNIX, _LOOPBACK = "unix:", "127.0.0.1"
_DOCUMENT, _TOKEN = "The instance document", "A token"
_TARGETS = {
    _DOCUMENT: "instance?api-version=2021-02-01",
    _TOKEN: "identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/",
}


@click.command("serve")
@options(*(row.name for row in SETTINGS))
def command(**flags: object) -> None:
    """Answer at http://HOST:PORT/metadata until SIGTERM.

    When the port accepts, one line of JSON goes to stdout; on a terminal, a line to paste instead.
    With neither --fleet nor --document one VM of defaults is served, to every caller. Sockets that
    systemd hands in are served instead of --listen, --admin, --public and --metrics; their names
    say which.
    """
    from openimds.linux.systemd import SystemdNotifier, sockets
    from openimds.server.operator_log import operator_log
    from openimds.server.process import run, run_host
    from openimds.server.startup import load

    settings, pid = values(flags), os.getpid()
    with operator_log(settings) as log:
        report_unknown_variables(log)
        if settings.processes == 1 or sys.platform == "win32":
            startup = load(settings)
            inherited = by_name(sockets(os.environ, pid))
            run(startup, print_ready, log, inherited, SystemdNotifier(os.environ, pid))
            return
        inherited = by_name(sockets(os.environ, pid))
        run_host(settings, print_ready, log, inherited, SystemdNotifier(os.environ, pid))


def by_name(named: list[tuple[str, socket.socket]]) -> "InheritedSockets":
    """Sort sockets by their names: `admin`, `public`, `metrics`, `vm.NAME`, else the data plane."""
    from openimds.server.inherited_sockets import InheritedSockets

    planes = [(listener, name) for name, listener in named if name not in _NOT_DATA_PLANE]
    return InheritedSockets(
        dataplane=tuple(
            (listener, name.removeprefix(_VM) if name.startswith(_VM) else "")
            for listener, name in planes
        ),
        admin=tuple(listener for name, listener in named if name == "admin"),
        public=tuple(listener for name, listener in named if name == "public"),
        metrics=tuple(listener for name, listener in named if name == "metrics"),
    )


def print_ready(ready: "Ready") -> None:
    """Print the ready line: JSON, or on a terminal commands to paste."""
    if sys.stdout.isatty():
        click.secho(f"OpenIMDS answers at {ready.imds}/metadata", bold=True)
        for about, example in _examples(ready):
            click.echo(f"\n{about}:\n\n  {example}")
        click.echo()
        if ready.admin:
            click.echo(f"Admin API: {ready.admin} (token in {ready.token_file})")
            click.echo(f"Page in the browser: {ready.admin}/ui/")
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
    if ready.metrics:
        line["metrics"] = ready.metrics
    click.echo(msgspec.json.encode(line).decode())
    sys.stdout.flush()


def _examples(ready: "Ready") -> Iterator[tuple[str, str]]:
    """Yield curl commands that work on this machine, each after its subject.

    One VM has a command for its document and one for a token; of several, each has the first.
    """
    if len(ready.callers) > 1:
        yield from ((caller.vm, _curl(caller, _TARGETS[_DOCUMENT])) for caller in ready.callers)
        return
    for caller in ready.callers:
        for about, target in _TARGETS.items():
            if caller.has_token or about != _TOKEN:
                yield about, _curl(caller, target)


def _curl(caller: "LocalCaller", target: str) -> str:
    """Return the curl command by which a program on this machine is a VM."""
    curl, url = "curl -s", caller.url
    if url.startswith(_UNIX):
        socket_path = shlex.quote(url.removeprefix(_UNIX))
        curl, url = f"{curl} --unix-socket {socket_path}", "http://localhost"
    elif caller.netns:
        curl = f"ip netns exec {shlex.quote(caller.netns)} {curl}"
    elif caller.address not in {"", _LOOPBACK}:
        curl = f"{curl} --interface {caller.address}"
    return f'{curl} -H Metadata:true "{url}/metadata/{target}"'
