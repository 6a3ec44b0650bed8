"""`openimds doctor`: what is wrong with this host, and what to type."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec.json
from msgspec import Struct

from openimds.cli.client import Client
from openimds.cli.host import fleet_of
from openimds.cli.main import options, values
from openimds.cli.table import Cell, json_instead_of, print_table
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError, Error
from openimds.fleet.store.state import STORE_NAME, TOKEN_NAME, default_folder
from openimds.linux import checks
from openimds.linux.checks import CheckResult
from openimds.linux.host.bindings import InterfaceBinding, bindings
from openimds.linux.host.commands import ToolError, may_configure, run
from openimds.linux.host.nft_rules import IPV4
from openimds.linux.host.plan import matches, outdated_gateways, read_state
from openimds.linux.host.status import host_report, obstacles, route_to
from openimds.settings import setting
from openimds.vm.types import Vm

_PUBLIC = "127.0.0.1:8171"
_STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red"}


class DoctorContext:
    """What checks look at together: the settings, the server, the fleet."""

    def __init__(self, flags: dict[str, Any]) -> None:
        """Read the settings; whatever cannot be had is empty, and one of the checks says so."""
        self.known, self.mistake = _settings(flags)
        state = self.known["state"]
        self.folder = Path(state) if state else default_folder()
        self.server: Client | None = None
        self.silence = ""
        try:
            client = Client(state)
            client.ask("GET", "/v1/vms?limit=1")
            self.server = client
        except Error as error:
            self.silence = str(error)
        self.vms: list[Vm] = []
        self.no_fleet = ""
        try:
            self.vms = fleet_of(self.known) if self.known["fleet"] or self.server else []
        except Error as error:
            self.no_fleet = str(error)


def _settings(flags: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        return values(flags), ""
    except ConfigError as error:
        names = ("fleet", "state", "listen", "admin", "public", "max_connections")
        return {name: flags.get(name) or setting(name).default for name in names}, str(error)


class DoctorCheck(Struct, frozen=True):
    """One thing to look at, and what helps where a finding does not say it itself."""

    name: str
    look: Callable[[DoctorContext], Iterator[CheckResult]]
    do: str = ""


@click.command("doctor")
@options("fleet", "state", "listen", "admin", "public")
@json_instead_of("a table")
def command(*, is_json: bool, **flags: object) -> None:
    """Say what is wrong with this host, and what to type.

    It only looks, and sends nothing to 169.254.169.254. Exits with 1 where something is wrong; a
    note is worth knowing. As root it sees more.
    """
    around = DoctorContext(flags)
    found = [
        {"check": row.name, **msgspec.to_builtins(one), "do": _do(one, row)}
        for row in CHECKS
        for one in _find(row, around)
    ]
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        print_table(("CHECK", "", "FOUND", "DO"), map(_row, found), folding="FOUND")
    if any(one["state"] == "wrong" for one in found):
        raise SystemExit(1)


def _find(row: DoctorCheck, around: DoctorContext) -> Iterator[CheckResult]:
    """Yield what a check finds, also where it cannot look."""
    try:
        yield from row.look(around)
    except ToolError as error:
        yield CheckResult("note", f"cannot be seen: {error}")
    except Error as error:
        yield CheckResult("wrong", str(error))


def _do(finding: CheckResult, row: DoctorCheck) -> str:
    return "" if finding.state == "ok" else finding.do or row.do


def _row(one: dict[str, str]) -> tuple[Cell, ...]:
    state = one["state"]
    return (one["check"], (state, _STYLES[state]), one["found"], one["do"])


def _read_settings(around: DoctorContext) -> Iterator[CheckResult]:
    yield (
        CheckResult("wrong", around.mistake) if around.mistake else CheckResult("ok", "can be read")
    )


def _fleet(around: DoctorContext) -> Iterator[CheckResult]:
    if around.no_fleet:
        yield CheckResult("wrong", around.no_fleet)
    elif around.known["fleet"] or around.server:
        yield CheckResult("ok", f"{len(around.vms)} VMs in {around.known['fleet'] or 'the server'}")
    else:
        yield CheckResult("note", "no fleet file is named", "--fleet PATH, or openimds vm put")


def _server(around: DoctorContext) -> Iterator[CheckResult]:
    if around.server:
        yield CheckResult("ok", f"answers at {around.server.url}")
        skew = around.server.ask("GET", "/v1/clock")["offset_s"]
        if abs(skew) >= 1:
            yield CheckResult(
                "note", f"its clock is {skew:g} s from ours", "openimds clock --offset 0"
            )
    else:
        yield CheckResult("note", around.silence)


def _ports(around: DoctorContext) -> Iterator[CheckResult]:
    taken = checks.listening()
    public = around.known["public"]
    listed = {
        "listen": around.known["listen"].partition(",")[0],
        "admin": around.known["admin"],
        "public": _PUBLIC if public == "auto" else public,
    }
    for name, text in listed.items():
        wanted = address(text, name) if text != "none" else None
        if not isinstance(wanted, Tcp) or not checks.is_taken(wanted.host, wanted.port, taken):
            yield CheckResult("ok", f"{text} is free ({name})")
        elif around.server:
            yield CheckResult("ok", f"{text} is in use, and a server runs ({name})")
        else:
            yield CheckResult(
                "wrong", f"{text} is in use ({name})", f"--{name} HOST:PORT, or ss -ltnp"
            )
    if checks.is_taken(IPV4, 80, taken) and not around.server:
        yield CheckResult("note", f"{IPV4}:80 is in use", "ss -ltnp says by whom")


def _address(_: DoctorContext) -> Iterator[CheckResult]:
    yield from checks.address(read_state(run))


def _host(around: DoctorContext) -> Iterator[CheckResult]:
    """Look whether the rules are there, and whether they are those of the fleet."""
    seen = read_state(run)
    found = host_report(seen)
    if not found.is_up:
        is_half = bool(found.device or seen.tables)
        said = "openimds host is not up" + (", but part of it is there" if is_half else "")
        yield CheckResult("wrong" if is_half else "note", said, "openimds host up, or down")
        return
    yield CheckResult("ok", f"{len(found.guests)} VMs are tied")
    if around.vms:
        tied = bindings(around.vms)
        if not matches(seen, tied):
            yield CheckResult("wrong", "the rules are not those of the fleet", "openimds host up")
        elif away := outdated_gateways(seen, tied):
            said = f"it is not known which bridge {', '.join(away)} is on"
            yield CheckResult("note", said, "openimds host up")
    else:
        tied = [
            InterfaceBinding(one.vm, one.interface, one.mac, one.addresses) for one in found.guests
        ]
    for one in obstacles(seen, tied, lambda to: route_to(run, to)):
        said, do = f"{one.vm}: {one.problem}", one.fix.removeprefix("type ")
        yield CheckResult("note" if one.is_transient else "wrong", said, do)


def _as_root(
    find: Callable[[DoctorContext], Iterator[CheckResult]],
) -> Callable[[DoctorContext], Iterator[CheckResult]]:
    """Return a look that wants root, and says so."""

    def look_if_allowed(around: DoctorContext) -> Iterator[CheckResult]:
        if not may_configure():
            yield CheckResult("note", "cannot be seen", "sudo before openimds doctor")
            return
        yield from find(around)

    return look_if_allowed


def _open_files(around: DoctorContext) -> Iterator[CheckResult]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield from checks.open_files(hard, around.known["max_connections"])


CHECKS = (
    DoctorCheck("python", lambda _: checks.python()),
    DoctorCheck("tools", lambda _: checks.tools()),
    DoctorCheck("private network", lambda _: checks.private_network()),
    DoctorCheck("settings", _read_settings, "mend it; docs/use/settings.md has all of them"),
    DoctorCheck("fleet", _fleet, "mend it; docs/use/fleet.md has every key"),
    DoctorCheck(
        "state",
        lambda around: checks.state_folder(around.folder, TOKEN_NAME, STORE_NAME, os.geteuid()),
    ),
    DoctorCheck("server", _server, "openimds serve"),
    DoctorCheck("ports", _ports),
    DoctorCheck("open files", _open_files),
    DoctorCheck(
        "clock",
        lambda around: checks.clock(
            time.time(), [around.folder / TOKEN_NAME, around.folder / STORE_NAME]
        ),
    ),
    DoctorCheck("address", _as_root(_address)),
    DoctorCheck("host", _as_root(_host), "openimds host up"),
    DoctorCheck("firewall", _as_root(lambda _: checks.firewalls(run))),
)
"""In the order of the table."""
