"""`openimds control`: a control of many hosts, and the hosts that it decides for."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.complete import HOSTS
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, member, printable
from openimds.cli.variables import report_unknown_variables
from openimds.settings import SETTINGS

if TYPE_CHECKING:
    from openimds.server.ready import Ready

_OF_HOSTS = {
    *("listen", "processes", "document", "record", "netns"),
    *("access_log", "access_sample"),
}
_COLUMNS = (
    member("NAME", "name"),
    member("STATE", "state"),
    member("VMS", "vms"),
    Column("REVISION", lambda host: str(host["revision"]) if host["isConnected"] else "away"),
    Column("SHOWS ALL", lambda host: "yes" if host["isSettled"] else "no"),
    Column("BEHIND", lambda host: _seconds(host["unshownAgeS"] or None)),
    Column("SILENT", lambda host: _seconds(host["silentS"])),
    Column("REFUSED", lambda host: str(len(host["refused"]) or "")),
    member("RELEASE", "release", "wide"),
    Column("CERTIFICATE", lambda host: _ends(host["certificateEndsS"]), "wide"),
)
MOST_PROBLEMS = 20
"""So many problems of hosts are printed below the table."""
_STORE = "A PostgreSQL database, as in postgresql://openimds@db-1/openimds."


def _control_settings() -> tuple[str, ...]:
    """Return the names of the settings that a control of many hosts has."""
    return tuple(row.name for row in SETTINGS if row.name not in _OF_HOSTS)


@click.group("control", cls=CommandGroup)
def command() -> None:
    """Decide for many hosts; invite, list and revoke them."""


@command.command("run")
@click.option("--store", required=True, metavar="URL", envvar="OPENIMDS_STORE", help=_STORE)
@click.option(
    "--store-password-file",
    default="",
    metavar="FILE",
    envvar="OPENIMDS_STORE_PASSWORD_FILE",
    help="The password of the user in --store; an empty file has none.",
)
@click.option(
    "--hosts",
    default="127.0.0.1:8172",
    metavar="HOST:PORT",
    envvar="OPENIMDS_HOSTS",
    show_default=True,
    help="The port that hosts call, by TLS of their own authority.",
)
@click.option(
    "--key-file",
    required=True,
    metavar="FILE",
    envvar="OPENIMDS_KEY_FILE",
    help="32 octets in hexadecimal that encrypt the keys in the store; one for all controls.",
)
@click.option(
    "--url",
    default="",
    metavar="URL",
    envvar="OPENIMDS_URL",
    help="The admin API of this control as others reach it; standby controls name it.",
)
@click.option(
    "--join-service-account",
    "accounts",
    multiple=True,
    metavar="NAMESPACE/NAME",
    envvar="OPENIMDS_JOIN_SERVICE_ACCOUNT",
    help="Pods of this service account join as the host of their node's name; may be repeated.",
)
@click.option(
    "--publish-root",
    default="",
    metavar="NAMESPACE/NAME",
    envvar="OPENIMDS_PUBLISH_ROOT",
    help="The ConfigMap that gets the fingerprint by which those pods know control.",
)
@click.option(
    "--kubernetes-api",
    default="",
    metavar="URL",
    envvar="OPENIMDS_KUBERNETES_API",
    help="The Kubernetes API that knows these pods; by default that of the pod of control.",
)
@click.option(
    "--kubernetes-folder",
    default="/var/run/secrets/kubernetes.io/serviceaccount",
    metavar="DIR",
    envvar="OPENIMDS_KUBERNETES_FOLDER",
    show_default=True,
    help="The token and the ca.crt for it; an http:// URL needs neither.",
)
@options(*_control_settings())
def run(  # noqa: PLR0913 - the options of a control
    *,
    store: str,
    store_password_file: str,
    hosts: str,
    key_file: str,
    url: str,
    accounts: tuple[str, ...],
    publish_root: str,
    kubernetes_api: str,
    kubernetes_folder: str,
    **flags: object,
) -> None:
    """Decide for the hosts of a fleet until SIGTERM.

    Start two or three of them on one store: one leads, the others stand by and take over within
    seconds. Hosts serve their guests on while none leads.
    """
    from openimds.credentials.keys.mirror import read_key_file
    from openimds.linux.systemd import SystemdNotifier
    from openimds.server.hosts.control_run import ControlSettings
    from openimds.server.hosts.kubernetes_settings import kubernetes_settings
    from openimds.server.operator_log import operator_log
    from openimds.server.process import run_fleet_control

    settings = values(flags)
    with operator_log(settings) as log:
        report_unknown_variables(log)
        folder = Path(kubernetes_folder)
        kubernetes = kubernetes_settings(accounts, publish_root, kubernetes_api, folder)
        own = ControlSettings(hosts, read_key_file(Path(key_file)), url, kubernetes)
        systemd = SystemdNotifier(os.environ, os.getpid())
        run_fleet_control(settings, own, (store, store_password_file), _ready, log, systemd)


@command.group("host")
def control_host() -> None:
    """Invite, list and revoke hosts.

    Control is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE.
    """


@control_host.command("add")
@click.argument("name")
@options("state")
def add(name: str, **flags: object) -> None:
    """Print a join token for a host: for one use within 15 minutes."""
    client = Client(values(flags).state)
    click.echo(client.ask("POST", "/v1/hosts", {"name": name})["token"])
    click.echo(f"shown only now; on {name}, give it to openimds host run", err=True)


@control_host.command("list")
@options("state")
@output_options()
def list_hosts(*, output: str, **flags: object) -> None:
    """List hosts, and whether each shows what it has to.

    BEHIND is the age of the oldest change that a host is not known to show, SILENT the time since
    it last answered, or since this control leads.
    """
    print_hosts(Client(values(flags).state), output)


def print_hosts(client: Client, output: str) -> None:
    """Print the hosts of a control, and on stderr the problems of each.

    Raises:
        ServerError: it does not answer, or is no control of many hosts.
    """
    hosts = [*client.items("/v1/hosts")]
    print_list(output, hosts, _COLUMNS)
    if output in {"json", "yaml", "name"}:
        return
    problems = [problem for host in hosts for problem in _problems(host)]
    left = len(problems) - MOST_PROBLEMS
    for problem in problems[:MOST_PROBLEMS]:
        # A host sends its reasons.
        click.echo(f"openimds: {printable(problem)}", err=True)
    if left > 0:
        click.echo(f"openimds: {left} further problems; --json has all", err=True)


def _problems(host: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of a host that the table only counts, or has not."""
    name = host["name"]
    for vm, reason in host["refused"].items():
        yield f"{name} could not take {vm}: {reason}"
    if reason := host["leafFailure"]:
        yield f"{name} gets no leaves to sign attested documents: {reason}"
    if count := host["joinTokenReuses"]:
        yield (
            f"another machine tried {count} times to use the spent join token of {name}; if that "
            f"was not yours, type openimds control host revoke {name}"
        )


def _ends(at_s: float | None) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%F %R}" if at_s else ""


def _seconds(age_s: float | None) -> str:
    return "" if age_s is None else f"{age_s:.0f} s"


@control_host.command("revoke")
@click.argument("name", shell_complete=HOSTS)
@options("state")
def revoke(name: str, **flags: object) -> None:
    """End the certificates, the join token and the connection of a host."""
    Client(values(flags).state).ask("DELETE", f"/v1/hosts/{quote(name, safe='')}")
    click.echo(f"{name} revoked; its VMs are still placed on it", err=True)


def _ready(ready: "Ready") -> None:
    line = {"ready": True, "admin": ready.admin, "token_file": ready.token_file, "pid": os.getpid()}
    if ready.metrics:
        line["metrics"] = ready.metrics
    click.echo(msgspec.json.encode(line).decode())
    sys.stdout.flush()
