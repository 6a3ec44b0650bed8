"""`openimds host`: 169.254.169.254 on this host, and the guests that reach it."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import click
from msgspec import structs, to_builtins

from openimds.cli.client import TOKEN_VARIABLE, Client
from openimds.cli.follow_report import standing_lines
from openimds.cli.groups import CommandGroup
from openimds.cli.host_join import join_options, join_token, pod_files
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column
from openimds.cli.variables import report_unknown_variables
from openimds.errors import ConfigError, Error
from openimds.fleet.fleet_files import read_fleet
from openimds.fleet.quarantine import QuarantinedVm, summary
from openimds.linux.host.bindings import InterfaceBinding, bindings
from openimds.linux.host.bound_file import digest_of_file, forget_bound, note_bound
from openimds.linux.host.commands import host_lock, may_configure, run
from openimds.linux.host.follow import Follower, KernelEvents
from openimds.linux.host.host_state import read_state
from openimds.linux.host.nft_rules import IPV4, IPV4_OF_LOCAL, IPV6, REASONS
from openimds.linux.host.nft_state import expected_by
from openimds.linux.host.plan import HostError, PlanStep, plan_down, plan_up
from openimds.linux.host.status import Guest, host_report, obstacles, route_to
from openimds.linux.platform import require_linux
from openimds.server.hosts.local_files import NO_VMS, VMS_NAME, read_report
from openimds.settings import SETTINGS, Settings
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

OF_CONTROL = frozenset(
    {"fleet", "document", "scenario", "admin", "public", "processes", "event_hook", "issuer"}
)
"""The settings that only a control has."""
_READ_ONLY = ("name", "revision", "origin")
_COLUMNS = (
    Column("NAME", lambda guest: guest.vm),
    Column("INTERFACE", lambda guest: guest.interface),
    Column("ON", lambda guest: guest.on or ("-" if guest.is_there else "not there")),
    Column("HARDWARE", lambda guest: guest.mac),
    Column("ADDRESSES", lambda guest: ", ".join(guest.addresses), wrap="words"),
    Column("ACCEPTED", lambda guest: str(guest.accepted)),
    Column("DROPPED", lambda guest: str(guest.dropped)),
)
_QUARANTINED, _REDACTED = "quarantined", "redacted"
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


@click.group("host", cls=CommandGroup)
def command() -> None:
    """Make this host the metadata host of its guests (needs root).

    Rules of nftables make the way to 169.254.169.254 for the VMs of the fleet alone, each from its
    interface (reach.interface), its hardware address and its source addresses; without the rules
    there is none. Then `openimds serve --listen 169.254.169.254:80` answers.
    """


@command.command("run")
@click.option(
    "--control",
    "controls",
    multiple=True,
    required=True,
    metavar="HOST:PORT",
    envvar="OPENIMDS_CONTROL",
    help="The port for hosts of a control; repeat it for each control.",
)
@click.option("--name", required=True, envvar="OPENIMDS_HOST_NAME", help="The name of this host.")
@join_options
@options(*(row.name for row in SETTINGS if row.name not in OF_CONTROL))
def host_run(
    *,
    controls: tuple[str, ...],
    name: str,
    join_token_file: str | None,
    join_service_account_token: str | None,
    control_fingerprint: str | None,
    **flags: object,
) -> None:
    """Serve the VMs that control places on this host, until SIGTERM.

    The host joins with its token, and from then on with a certificate that it renews. While no
    control can be reached, its guests are served on. In a pod of Kubernetes the token of its
    service account lets it join as the host that has the name of its node.
    """
    from openimds.cli.serve import by_name, print_ready
    from openimds.linux.systemd import SystemdNotifier, sockets
    from openimds.server.hosts.host_run import HostRunSettings
    from openimds.server.operator_log import operator_log
    from openimds.server.process import run_fleet_host

    settings, pid = values(flags), os.getpid()
    with operator_log(settings) as log:
        report_unknown_variables(log)
        token = join_token(join_token_file)
        pod = pod_files(join_service_account_token, control_fingerprint)
        run_fleet_host(
            settings,
            HostRunSettings(controls, name, token, pod),
            print_ready,
            log,
            by_name(sockets(os.environ, pid)),
            SystemdNotifier(os.environ, pid),
        )


@command.command("up")
@options("fleet", "state")
@ipv6_option
@most_open_option
@dry_run
def host_up(*, ipv6: bool, most_open: int, dry_run: bool, **flags: object) -> None:
    """Bind VMs to their interfaces, and make the way to the address.

    The fleet is that of --fleet, else the VMs of the running openimds host run with this --state,
    else that of the running server. Everything is compared with the
    wanted state, and replaced where it differs; type it again whenever the fleet has changed, or
    use `follow`.
    """
    _require_root()
    source = FleetSource(values(flags))
    with host_lock():
        bound = source.bindings()  # Within: a fleet read before may lack another guest's binding.
        state, expected = read_state(run), expected_by(run)
        _run(plan_up(state, bound, expected, ipv6=ipv6, most_open=most_open), is_dry=dry_run)
        if not dry_run:
            source.note_bound()
    _warn(bound)
    if not dry_run:
        is_local = any(binding.is_local for binding in bound)
        listen = f"{IPV4}:80" + (f",{IPV4_OF_LOCAL}:80" if is_local else "")
        click.echo(f"{IPV4} is here for {len(bound)} VMs: openimds serve --listen {listen}")


@command.command("follow")
@options("fleet", "state", "log_format", "log_level")
@ipv6_option
@most_open_option
def host_follow(*, ipv6: bool, most_open: int, **flags: object) -> None:
    """Do `up`, and restore each later change.

    It runs until it is ended, and logs a line for each thing that it restores. It notices changes
    of the kernel's rules, routes and interfaces by other programs at once, those of the fleet
    within a second, and others within half a minute.
    """
    from openimds.server.operator_log import operator_log, starting

    _require_root()
    settings = values(flags)
    source = FleetSource(settings)
    with operator_log(settings) as log, KernelEvents() as events:
        log(starting("host follow", settings))
        follower = Follower(
            run,
            source.bindings,
            source.has_changed,
            log,
            ipv6=ipv6,
            most_open=most_open,
            applied=source.note_bound,
        )
        follower.restore()
        log.flush()  # The word below comes after what was restored.
        click.echo(f"following {source.name}")
        follower.follow(events.wait)


class FleetSource:
    """The fleet of a file or of the running server, and whether it has changed."""

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet."""
        self._settings = settings
        self.name = local_fleet(settings).fleet or "the running server"
        self._seen: object = None
        self._fleet = self._digest = ""

    def bindings(self) -> list[InterfaceBinding]:
        """Return the bindings of the fleet.

        Raises:
            ConfigError: the file or the token cannot be read, or the bindings are no fleet's.
            ServerError: no server answers.
        """
        self._seen = self._state()  # Before the fleet: a change meanwhile is noticed afterwards.
        settings = local_fleet(self._settings)
        self._fleet, self._digest = settings.fleet, digest_of_file(settings.fleet)
        return bindings(fleet_of(settings))

    def note_bound(self) -> None:
        """Note for this host's process that the rules bind the fleet as it was read.

        Raises:
            ToolError: the note cannot be written.
        """
        if Path(self._fleet).name == VMS_NAME:
            note_bound(self._fleet, self._digest)
        else:
            forget_bound()

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
        settings = local_fleet(self._settings)
        if settings.fleet:
            return settings.fleet, file_state(Path(settings.fleet))
        return Client(self._settings.state).ask("GET", "/v1/vms?limit=1")["revision"]


def local_fleet(settings: Settings) -> Settings:
    """Return the settings with the VMs of this host of many as the fleet.

    Its process writes them into its state folder, as a fleet file; without it nothing changes.
    """
    path = Path(settings.state) / VMS_NAME
    is_host = not settings.fleet and bool(settings.state) and path.exists()
    return structs.replace(settings, fleet=str(path)) if is_host else settings


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
        if not dry_run:
            forget_bound()


@command.command("status")
@click.option(
    "--all", "is_all", is_flag=True, help="Show every host of the fleet, as control does."
)
@options("state")
@output_options("tables")
def status(*, is_all: bool, output: str, **flags: object) -> None:
    """Show the bound VMs, and count dropped packets by reason.

    With the --state of openimds host run, show first which control this host follows. Packets are
    counted since the rules were last written. The exit code is 1 where a part of the rules is
    missing or was changed.
    """
    settings = values(flags)
    if is_all:
        from openimds.cli.control import print_hosts

        print_hosts(Client(settings.state), output)
        return
    _require_root()
    standing = read_report(Path(settings.state)) if settings.state else None
    if standing and not output:
        for line in standing_lines(standing, time.time()):
            click.echo(line)
    state = host_report(read_state(run), expected_by(run))
    if not output:
        differs = "not as it should be" if state.is_there else "not here"
        click.echo(f"{IPV4} is " + ("here" if state.is_up else f"{differs}: openimds host up"))
    report = to_builtins(state) | ({"follow": standing} if standing else {})
    print_list(output, state.guests, _COLUMNS, _COLUMNS[0].cell, whole=report)
    for name, packets in state.dropped.items() if not output else ():
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
        path = Path(settings.fleet)
        # A fleet file without VMs is a mistake; a host without VMs is none.
        if path.name == VMS_NAME and path.is_file() and path.read_bytes() == NO_VMS:
            return []
        return read_fleet(settings.fleet).vms
    every = [*Client(settings.state).vms()]
    if any(_REDACTED in vm for vm in every):
        seen = "a token that does not see the reach of VMs"
        raise ConfigError(TOKEN_VARIABLE, seen, "a token of the role admin")
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
