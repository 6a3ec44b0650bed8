"""`openimds doctor`: checks of this host, each with the command that mends it."""

import os
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
import msgspec.json
from msgspec import Struct

from openimds.cli.client import Client
from openimds.cli.doctor_store import store_results
from openimds.cli.host import bindings_of, fleet_of
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, member
from openimds.cli.variables import unknown_variables
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError, Error
from openimds.fleet.store.state import STORE_NAME, TOKEN_NAME, default_folder
from openimds.linux import checks
from openimds.linux.checks import CheckResult
from openimds.linux.host.bindings import bindings
from openimds.linux.host.commands import ToolError, may_configure, run
from openimds.linux.host.host_state import read_state
from openimds.linux.host.nft_rules import IPV4, MOST_HALF_OPEN
from openimds.linux.host.nft_state import expected_by
from openimds.linux.host.plan import matches, outdated_gateways
from openimds.linux.host.status import host_report, obstacles, route_to
from openimds.linux.platform import IS_LINUX, file_limits
from openimds.server.file_budget import FileBudget
from openimds.settings import Settings
from openimds.vm.types import Vm

_PUBLIC = "127.0.0.1:8171"
_ADMIN_TLS = ("admin_cert", "admin_key", "admin_client_ca")
_DAY_S = 86_400
_SOON_DAYS = 14
"""A certificate that ends within so many days is worth a note."""
_STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red"}
_COLUMNS = (
    member("CHECK", "check"),
    Column("RESULT", lambda result: (result["state"], _STYLES[result["state"]])),
    Column("FOUND", lambda result: result["found"], wrap="words"),
    Column("DO", lambda result: result["do"], wrap="words"),
)


class DoctorContext:
    """The input that checks share: the settings, the server, the fleet.

    A part that cannot be read is empty, and its error is kept for the check that reports it.
    """

    def __init__(
        self, flags: dict[str, Any], store: str = "", store_password_file: str = ""
    ) -> None:
        """Read the settings, then the fleet from its file or from the server."""
        self.store, self.store_password_file = store, store_password_file
        self.settings, self.settings_error = _settings(flags)
        state = self.settings.state
        self.folder = Path(state) if state else default_folder()
        self.server: Client | None = None
        self.server_error = ""
        try:
            client = Client(state)
            client.ask("GET", "/v1/vms?limit=1")
            self.server = client
        except Error as error:
            self.server_error = str(error)
        self.vms: list[Vm] = []
        self.fleet_error = ""
        try:
            self.vms = fleet_of(self.settings) if self.settings.fleet or self.server else []
        except Error as error:
            self.fleet_error = str(error)


def _settings(flags: dict[str, Any]) -> tuple[Settings, str]:
    """Return the settings, or those of the command line and the first error."""
    try:
        return values(flags), ""
    except ConfigError as error:
        names = ("fleet", "state", "listen", "admin", "public", *_ADMIN_TLS)
        return Settings(**{name: flags[name] for name in names if flags.get(name)}), str(error)


class DoctorCheck(Struct, frozen=True):
    """One check; `do` is the remedy of results that do not bring their own."""

    name: str
    look: Callable[[DoctorContext], Iterator[CheckResult]]
    do: str = ""


@click.command("doctor")
@options("fleet", "state", "listen", "admin", "public", *_ADMIN_TLS)
@click.option(
    "--store",
    default="",
    metavar="URL|FILE",
    envvar="OPENIMDS_STORE",
    help="Check the store of a fleet of hosts, as in postgresql://USER@HOST/DATABASE, or a file.",
)
@click.option(
    "--store-password-file",
    default="",
    metavar="FILE",
    envvar="OPENIMDS_STORE_PASSWORD_FILE",
    help="The password of the user in --store; an empty file has none.",
)
@output_options()
def command(*, store: str, store_password_file: str, output: str, **flags: object) -> None:
    """Check this host, and print the commands that mend it.

    It changes nothing, and sends nothing to 169.254.169.254. Each result is ok, a note, or wrong;
    the exit code is 1 where one is wrong. As root it checks more.
    """
    context = DoctorContext(flags, store, store_password_file)
    results = [
        {"check": row.name, **msgspec.to_builtins(result), "do": _do(result, row)}
        for row in CHECKS
        for result in _results(row, context)
    ]
    print_list(output, results, _COLUMNS, "check")
    if any(result["state"] == "wrong" for result in results):
        raise SystemExit(1)


def _results(row: DoctorCheck, context: DoctorContext) -> Iterator[CheckResult]:
    """Yield the results of a check; an error of the check itself is one, too."""
    try:
        yield from row.look(context)
    except ToolError as error:
        yield CheckResult("note", f"cannot be checked: {error}")
    except Error as error:
        yield CheckResult("wrong", str(error))


def _do(result: CheckResult, row: DoctorCheck) -> str:
    return "" if result.state == "ok" else result.do or row.do


def _read_settings(context: DoctorContext) -> Iterator[CheckResult]:
    if context.settings_error:
        yield CheckResult("wrong", context.settings_error)
    else:
        yield CheckResult("ok", "can be read")
    for sentence in unknown_variables(os.environ):
        yield CheckResult("note", sentence, "unset it, or mend its name")


def _fleet(context: DoctorContext) -> Iterator[CheckResult]:
    if context.fleet_error:
        yield CheckResult("wrong", context.fleet_error)
    elif context.settings.fleet or context.server:
        source = context.settings.fleet or "the server"
        yield CheckResult("ok", f"{len(context.vms)} VMs in {source}")
    else:
        yield CheckResult("note", "no fleet file is named", "--fleet PATH, or openimds vm put")


def _store(context: DoctorContext) -> Iterator[CheckResult]:
    if context.store:
        yield from store_results(context.store, context.store_password_file)


def _server(context: DoctorContext) -> Iterator[CheckResult]:
    if context.server:
        yield CheckResult("ok", f"answers at {context.server.url}")
        offset_s = context.server.ask("GET", "/v1/clock")["offsetS"]
        if abs(offset_s) >= 1:
            found = f"its clock is {offset_s:g} s from this machine's"
            yield CheckResult("note", found, "openimds clock --offset 0")
    else:
        yield CheckResult("note", context.server_error)


def _ports(context: DoctorContext) -> Iterator[CheckResult]:
    taken = checks.listening()
    public = context.settings.public
    listed = {
        "listen": context.settings.listen.partition(",")[0],
        "admin": context.settings.admin,
        "public": _PUBLIC if public == "auto" else public,
    }
    for name, text in listed.items():
        wanted = address(text, name) if text != "none" else None
        if not isinstance(wanted, Tcp) or not checks.is_taken(wanted.host, wanted.port, taken):
            yield CheckResult("ok", f"{text} is free ({name})")
        elif context.server:
            yield CheckResult("ok", f"{text} is in use, and a server runs ({name})")
        else:
            yield CheckResult(
                "wrong", f"{text} is in use ({name})", f"--{name} HOST:PORT, or ss -ltnp"
            )
    if checks.is_taken(IPV4, 80, taken) and not context.server:
        yield CheckResult("note", f"{IPV4}:80 is in use", "ss -ltnp names the process")


def _admin_tls(context: DoctorContext) -> Iterator[CheckResult]:
    """Check the admin API's certificate: files, mode of the key, and end."""
    from openimds.admin.tls_files import AdminTls, TlsFiles
    from openimds.credentials.pki.certificate_info import end_of

    settings = context.settings
    if not settings.admin_cert:
        if _is_loopback(settings.admin):
            yield CheckResult("ok", "http, for this host alone")
        else:
            found = f"{settings.admin} speaks http: tokens can be read on their way"
            yield CheckResult("note", found, "--admin-cert FILE --admin-key FILE")
        return
    messages: list[str] = []
    files = TlsFiles(settings.admin_cert, settings.admin_key, settings.admin_client_ca)
    AdminTls(files, messages.append)
    for message in messages:
        yield CheckResult("wrong", message, f"chmod go= {settings.admin_key}")
    end = end_of(Path(settings.admin_cert).read_bytes())
    days = int((end.timestamp() - time.time()) // _DAY_S)
    found = f"{settings.admin_cert} ends on {end:%Y-%m-%d}"
    if days < 0:
        yield CheckResult("wrong", f"{found}: it has expired", "renew it")
    elif days < _SOON_DAYS:
        yield CheckResult("note", f"{found}, in {days} days", "renew it")
    else:
        yield CheckResult("ok", found)


def _is_loopback(text: str) -> bool:
    """Tell whether the admin API is reached from this machine alone, or not at all."""
    host = text.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}


def _address(_: DoctorContext) -> Iterator[CheckResult]:
    yield from checks.address(read_state(run))


def _host(context: DoctorContext) -> Iterator[CheckResult]:
    """Check that the host rules are there, and that they are those of the fleet."""
    seen, expected = read_state(run), expected_by(run)
    state = host_report(seen, expected)
    if not state.is_there:
        yield CheckResult("note", "openimds host is not up", "openimds host up, or down")
        return
    if not state.is_up:
        for problem in state.problems:
            yield CheckResult("wrong", problem, "openimds host up, or down")
        return
    yield CheckResult("ok", f"{len(state.guests)} VMs are bound")
    yield from checks.half_open(len(state.guests), MOST_HALF_OPEN)
    if context.vms:
        bound = bindings(context.vms)
        if not matches(seen, bound, expected):
            yield CheckResult("wrong", "the rules are not those of the fleet", "openimds host up")
        elif away := outdated_gateways(seen, bound):
            found = f"the bridge of {', '.join(away)} is not known"
            yield CheckResult("note", found, "openimds host up")
    else:
        bound = bindings_of(state.guests)
    for obstacle in obstacles(seen, bound, lambda to: route_to(run, to)):
        found, do = f"{obstacle.vm}: {obstacle.problem}", obstacle.fix.removeprefix("type ")
        yield CheckResult("note" if obstacle.is_transient else "wrong", found, do)


def _as_root(
    look_as_root: Callable[[DoctorContext], Iterator[CheckResult]],
) -> Callable[[DoctorContext], Iterator[CheckResult]]:
    """Return a check that without root only reports that it needs root."""

    def look_if_allowed(context: DoctorContext) -> Iterator[CheckResult]:
        if not IS_LINUX:
            yield CheckResult("note", "not checked: needs Linux", "type it on a Linux host")
            return
        if not may_configure():
            yield CheckResult("note", "not checked: needs root", "sudo before openimds doctor")
            return
        yield from look_as_root(context)

    return look_if_allowed


def _open_files(context: DoctorContext) -> Iterator[CheckResult]:
    limits = file_limits()
    if limits is None:
        yield CheckResult("note", "not checked: this system has no such limit")
        return
    wanted = context.settings.max_connections
    yield from checks.open_files(limits, FileBudget(limits.hard).connections(wanted), wanted)


def _user() -> int:
    """Return the id of this user; Windows has none, and 0 for every owner."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


CHECKS = (
    DoctorCheck("python", lambda _: checks.python()),
    DoctorCheck("tools", lambda _: checks.tools()),
    DoctorCheck("unprivileged namespaces", lambda _: checks.namespaces()),
    DoctorCheck("settings", _read_settings, "mend it; docs/use/settings.md lists all"),
    DoctorCheck("fleet", _fleet, "mend it; docs/use/fleet.md lists every key"),
    DoctorCheck(
        "state",
        lambda context: checks.state_folder(context.folder, TOKEN_NAME, STORE_NAME, _user()),
    ),
    DoctorCheck("store", _store),
    DoctorCheck("server", _server, "openimds serve"),
    DoctorCheck("ports", _ports),
    DoctorCheck("admin certificate", _admin_tls, "mend it; docs/use/admin.md has the settings"),
    DoctorCheck("open files", _open_files),
    DoctorCheck(
        "clock",
        lambda context: checks.clock(
            time.time(), [context.folder / TOKEN_NAME, context.folder / STORE_NAME]
        ),
    ),
    DoctorCheck("address", _as_root(_address)),
    DoctorCheck("host", _as_root(_host), "openimds host up"),
    DoctorCheck("firewall", _as_root(lambda _: checks.firewalls(run))),
)
"""In the order of the table."""
