"""`openimds host`: 169.254.169.254 on this host, and the guests that reach it."""

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec.json

from openimds.cli.client import Client, ServerError
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import Error
from openimds.fleet.fleet_files import read_fleet
from openimds.fleet.quarantine import QuarantinedVm, summary
from openimds.linux.host.bindings import InterfaceBinding, bindings
from openimds.linux.host.commands import host_lock, may_configure, run
from openimds.linux.host.follow import Follower, KernelEvents
from openimds.linux.host.nft_rules import IPV4, IPV4_OF_LOCAL, IPV6, REASONS
from openimds.linux.host.nft_state import expected_by
from openimds.linux.host.plan import HostError, PlanStep, plan_down, plan_up, read_state
from openimds.linux.host.status import Guest, host_report, obstacles, route_to
from openimds.linux.platform import require_linux
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

_READ_ONLY = ("name", "revision", "origin")
_QUARANTINED = "quarantined"
dry_run = click.option("--dry-run", is_flag=True, help="Print the commands, do not run them.")

ipv6_option = click.option(
    "--ipv6", is_flag=True, help=f"{IPV6} on the bridges of the VMs as well."
)
most_open_option = click.option(
    "--most-open",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    default=0,
    help="The most open connections of each address, counted by connection tracking; 0: no bound.",
)


@click.group("host")
def command() -> None:
    """Make this host the metadata host of its guests (needs root).

    Rules of nftables make the way to 169.254.169.254 for the VMs of the fleet alone, each from its
    interface (reach.interface), its hardware address and its source addresses; without the rules
    there is none. Then `openimds serve --listen 169.254.169.254:80` answers.
    """


@command.command("up")
@options("fleet", "state")
@ipv6_option
@most_open_option
@dry_run
def host_up(*, ipv6: bool, most_open: int, dry_run: bool, **flags: object) -> None:
    """Bind VMs to their interfaces, and make the way to the address.

    The fleet is that of --fleet, else that of the running server. Everything is compared with the
    wanted state, and replaced where it differs; type it again whenever the fleet has changed, or
    use `follow`.
    """
    _require_root()
    bound = bindings(fleet_of(values(flags)))
    with host_lock():
        state, expected = read_state(run), expected_by(run)
        _run(plan_up(state, bound, expected, ipv6=ipv6, most_open=most_open), is_dry=dry_run)
    _warn(bound)
    if not dry_run:
        is_local = any(binding.is_local for binding in bound)
        listen = f"{IPV4}:80" + (f",{IPV4_OF_LOCAL}:80" if is_local else "")
        click.echo(f"{IPV4} is here for {len(bound)} VMs: openimds serve --listen {listen}")


@command.command("follow")
@options("fleet", "state")
@ipv6_option
@most_open_option
def host_follow(*, ipv6: bool, most_open: int, **flags: object) -> None:
    """Do `up`, and restore each later change.

    It runs until it is ended, and prints a line for each thing that it restores. It notices changes
    of the kernel's rules, routes and interfaces by other programs at once, those of the fleet
    within a second, and others within half a minute.
    """
    _require_root()
    source = FleetSource(values(flags))

    def report(text: str) -> None:
        click.echo(f"openimds: {text}", err=True)

    with KernelEvents() as events:
        follower = Follower(
            run, source.bindings, source.has_changed, report, ipv6=ipv6, most_open=most_open
        )
        follower.restore()
        click.echo(f"following {source.name}")
        follower.follow(events.wait)


class FleetSource:
    """The fleet of a file or of the running server, and whether it has changed."""

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet."""
        self._settings = settings
        self.name = settings.fleet or "the running server"
        self._seen: object = None

    def bindings(self) -> list[InterfaceBinding]:
        """Return the bindings of the fleet.

        Raises:
            ConfigError: the file or the token cannot be read, or the bindings are no fleet's.
            ServerError: no server answers.
        """
        # Before the fleet: a change meanwhile is noticed afterwards.
        try:
            self._seen = self._state()
        except ServerError:  # 410: the audit log was pruned past the last position.
            self._seen = None
            self._seen = self._state()
        return bindings(fleet_of(self._settings))

    def has_changed(self) -> bool:
        """Tell whether the fleet may have changed since it was read.

        While none can be read it has not: the next comparison tries again.
        """
        try:
            return self._state() != self._seen
        except Error:
            return False

    def _state(self) -> object:
        """Return a value that changes with the fleet.

        Raises:
            ConfigError: the token cannot be read.
            ServerError: no server answers.
        """
        if self._settings.fleet:
            return file_state(Path(self._settings.fleet))
        client = Client(self._settings.state)
        since = self._seen if isinstance(self._seen, int) else 0
        for change in client.items("/v1/audit", {"cursor": since} if since else {}):
            since = change["revision"]
        return since


def file_state(path: Path) -> object:
    """Return a value that changes with a file, or with a file of a folder."""
    try:
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
        states = [(str(one), one.stat()) for one in paths]
    except OSError as error:
        return error.errno
    return [(name, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in states]


@command.command("down")
@dry_run
def host_down(*, dry_run: bool) -> None:
    """Undo `host up`, all or part of it, and nothing else."""
    _require_root()
    with host_lock():
        _run(plan_down(read_state(run)), is_dry=dry_run)


@command.command("status")
@json_instead_of("tables")
def status(*, is_json: bool) -> None:
    """Show the bound VMs, and count dropped packets by reason.

    Packets are counted since the rules were last written. The exit code is 1 where a part of the
    rules is missing or was changed.
    """
    _require_root()
    state = host_report(read_state(run), expected_by(run))
    if is_json:
        click.echo(msgspec.json.encode(state).decode())
    else:
        differs = "not as it should be" if state.is_there else "not here"
        click.echo(f"{IPV4} is " + ("here" if state.is_up else f"{differs}: openimds host up"))
        head = ("NAME", "INTERFACE", "ON", "HARDWARE", "ADDRESSES", "ACCEPTED", "DROPPED")
        print_table(head, map(_row, state.guests))
        for name, packets in state.dropped.items():
            if packets:
                click.echo(f"{packets} packets dropped: {REASONS[name]}")
    if state.is_there:
        for problem in state.problems:
            click.echo(f"openimds: {problem}; type openimds host up", err=True)
    _warn(bindings_of(state.guests))
    if not state.is_up:
        raise SystemExit(1)


def bindings_of(guests: Iterable[Guest]) -> list[InterfaceBinding]:
    """Return the bindings of guests as the rules have them."""
    return [
        InterfaceBinding(guest.vm, guest.interface, guest.mac, guest.addresses) for guest in guests
    ]


def _row(guest: Guest) -> tuple[str, ...]:
    on = guest.on or ("-" if guest.is_there else "not there")
    counts = (str(guest.accepted), str(guest.dropped))
    return (guest.vm, guest.interface, on, guest.mac, ", ".join(guest.addresses), *counts)


def _run(steps: list[PlanStep], *, is_dry: bool) -> None:
    """Print all steps, then run them."""
    for step in steps:
        click.echo(str(step) if is_dry else step.brief)
    if not steps:
        click.echo("Nothing to do")
    for step in () if is_dry else steps:
        run(step.command, step.text)


def _warn(bound: list[InterfaceBinding]) -> None:
    """Print the obstacles between bound VMs and the address."""
    for obstacle in obstacles(read_state(run), bound, lambda address: route_to(run, address)):
        click.echo(f"openimds: {obstacle}", err=True)


def fleet_of(settings: Settings) -> list[Vm]:
    """Return the VMs of the fleet file, or those that the running server serves.

    Raises:
        ConfigError: the file or the token cannot be read.
        ServerError: no server answers.
    """
    if settings.fleet:
        return read_fleet(settings.fleet).vms
    every = [*Client(settings.state).vms()]
    absent = {
        vm["name"]: QuarantinedVm(vm["name"], vm[_QUARANTINED])
        for vm in every
        if _QUARANTINED in vm
    }
    if absent:
        click.echo(f"openimds: {summary(absent)}; openimds vm list has the reasons", err=True)
    return [
        parse_vm(vm["name"], {key: vm[key] for key in vm if key not in _READ_ONLY}, is_stored=True)
        for vm in every
        if vm["name"] not in absent
    ]


def _require_root() -> None:
    require_linux("openimds host", "type it on the Linux machine that runs the guests")
    if not may_configure():
        raise HostError("openimds host needs root (CAP_NET_ADMIN): type sudo before it")
