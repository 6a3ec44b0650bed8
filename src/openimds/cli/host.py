"""`openimds host`: the address of the service on this host, and who reaches it."""

from typing import Any

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.config import read_fleet
from openimds.linux.host.bindings import InterfaceBinding, bindings
from openimds.linux.host.commands import host_lock, may_configure, run
from openimds.linux.host.nft_rules import IPV4, IPV6, REASONS
from openimds.linux.host.plan import HostError, PlanStep, plan_down, plan_up, read_state
from openimds.linux.host.status import Guest, host_report, obstacles, route_to
from openimds.vm.fleet_file import vm as read_vm
from openimds.vm.types import Vm

_READ_ONLY = ("name", "revision", "origin")
dry_run = click.option("--dry-run", is_flag=True, help="Print the commands, and do nothing.")


@click.group("host")
def command() -> None:
    """Make this host the metadata host of its guests (needs root).

    169.254.169.254 comes onto an interface of its own, and rules of nftables see to it that it is
    reached by the VMs of the fleet alone, each from its interface (reach.interface), its hardware
    address and its source addresses. Then `openimds serve --listen 169.254.169.254:80` answers.
    """


@command.command("up")
@options("fleet", "state")
@click.option("--ipv6", is_flag=True, help=f"{IPV6} on the bridges of the VMs as well.")
@dry_run
def host_up(*, ipv6: bool, dry_run: bool, **flags: object) -> None:
    """InterfaceBinding the VMs of a fleet to their interfaces, and put the address here.

    The fleet is that of --fleet, else that of the running server. What is there already is left
    as it is; type it again whenever the fleet has changed.
    """
    _refuse_the_unprivileged()
    tied = bindings(fleet_of(values(flags)))
    with host_lock():
        _do(plan_up(read_state(run, tries=True), tied, ipv6=ipv6), is_dry=dry_run)
    _warn(tied)
    if not dry_run:
        click.echo(f"{IPV4} is here for {len(tied)} VMs: openimds serve --listen {IPV4}:80")


@command.command("down")
@dry_run
def host_down(*, dry_run: bool) -> None:
    """Undo `host up`, whatever of it is there, and nothing else."""
    _refuse_the_unprivileged()
    with host_lock():
        _do(plan_down(read_state(run)), is_dry=dry_run)


@command.command("status")
@json_instead_of("tables")
def status(*, is_json: bool) -> None:
    """Show which VMs are tied, and what was dropped since the rules were written.

    Exits with 1 where the address or the rules are not there.
    """
    _refuse_the_unprivileged()
    seen = read_state(run)
    found = host_report(seen)
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        is_here = f"is here ({found.device})" if found.is_up else "is not here: openimds host up"
        click.echo(f"{IPV4} {is_here}")
        head = ("NAME", "INTERFACE", "ON", "HARDWARE", "ADDRESSES", "ACCEPTED", "DROPPED")
        print_table(head, map(_row, found.guests))
        for name, packets in found.dropped.items():
            if packets:
                click.echo(f"{packets} packets dropped that {REASONS[name]}")
    _warn([InterfaceBinding(one.vm, one.interface, one.mac, one.addresses) for one in found.guests])
    if not found.is_up:
        raise SystemExit(1)


def _row(guest: Guest) -> tuple[str, ...]:
    on = guest.on or ("-" if guest.is_there else "not there")
    counted = (str(guest.accepted), str(guest.dropped))
    return (guest.vm, guest.interface, on, guest.mac, ", ".join(guest.addresses), *counted)


def _do(steps: list[PlanStep], *, is_dry: bool) -> None:
    """Print the steps, all of them first, and do them."""
    for step in steps:
        click.echo(str(step) if is_dry else step.brief)
    if not steps:
        click.echo("Nothing to do")
    for step in () if is_dry else steps:
        run(step.command, step.text)


def _warn(tied: list[InterfaceBinding]) -> None:
    for one in obstacles(read_state(run), tied, lambda address: route_to(run, address)):
        click.echo(f"openimds: {one}", err=True)


def fleet_of(known: dict[str, Any]) -> list[Vm]:
    """Return the VMs of the fleet file, or of the running server.

    Raises:
        ConfigError: the file cannot be read, or there is no token.
        ServerError: no server answers.
    """
    if known["fleet"]:
        return read_fleet(known["fleet"]).vms
    return [
        read_vm(one["name"], {key: one[key] for key in one if key not in _READ_ONLY})
        for one in Client(known["state"]).vms()
    ]


def _refuse_the_unprivileged() -> None:
    if not may_configure():
        raise HostError("openimds host needs root (CAP_NET_ADMIN): type sudo before it")
