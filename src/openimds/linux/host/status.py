"""What a host does for its guests now, and what keeps it from doing it."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec.json
from msgspec import Struct

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run, ToolError
from openimds.linux.host.nft_rules import IPV4, REASONS
from openimds.linux.host.nft_state import FAMILIES, NftTable
from openimds.linux.host.plan import DEVICE, HostState, Interface

_OVS, _OVER_MAC = "openvswitch", ("macvtap", "macvlan", "ipvtap", "ipvlan")
_STRICT = "1"
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


class Guest(Struct, frozen=True):
    """One VM as the rules have it; packets are counted since the rules were last written.

    `on` is the bridge that its interface is a port of, or nothing.
    """

    vm: str
    interface: str
    is_there: bool
    on: str
    mac: str
    addresses: tuple[str, ...]
    accepted: int
    dropped: int


class HostReport(Struct, frozen=True):
    """The state of a host: whether it is up, its VMs, and dropped packets by reason."""

    is_up: bool
    device: str
    guests: tuple[Guest, ...]
    dropped: dict[str, int]


def host_report(seen: HostState) -> HostReport:
    """Return what stands, from the rules alone."""
    device = seen.interfaces.get(DEVICE)
    has_address = device is not None and device.is_up and IPV4 in device.addresses
    found = list(seen.tables.values())
    inet = seen.tables.get("inet", NftTable())
    by_port: dict[tuple[str, str, str], list[str]] = {}
    for (interface, mac, address), vm in inet.tied.items():
        by_port.setdefault((vm, interface, mac), []).append(address)
    return HostReport(
        has_address and len(found) == len(FAMILIES),
        device.kind if device else "",
        tuple(_guest(seen, *port, tuple(sorted(by_port[port]))) for port in sorted(by_port)),
        {name: sum(table.dropped.get(name, 0) for table in found) for name in REASONS},
    )


def _guest(seen: HostState, vm: str, interface: str, mac: str, addresses: tuple[str, ...]) -> Guest:
    own = seen.interfaces.get(interface)
    inet, all_of = seen.tables["inet"], seen.tables.values()
    accepted = 0
    for address in addresses:
        version = ip_address(address).version
        accepted += inet.counted(f"tied{version}", interface, mac, address)
        accepted += inet.counted(f"bridged{version}", mac, address)
    dropped = sum(table.counted("guests", interface) for table in all_of)
    on = own.master if own else ""
    return Guest(vm, interface, own is not None, on, mac, addresses, accepted, dropped)


def route_to(run: Run, address: str) -> str:
    """Return the interface by which packets to an address leave, or nothing."""
    try:
        found = msgspec.json.decode(run(("ip", "-j", "route", "get", address), ""))
    except ToolError:  # There is no route.
        return ""
    return str(found[0].get("dev", ""))


def sysctl(interface: str, name: str) -> str:
    """Return a setting of IPv4 on an interface, or nothing."""
    try:
        return (_SYSCTL / interface / name).read_text("ascii").strip()
    except OSError:
        return ""


class Obstacle(Struct, frozen=True):
    """What keeps a VM from its metadata although it is tied, and what to type.

    One that only `waits` goes away by itself, such as that a VM is not running.
    """

    vm: str
    problem: str
    fix: str
    is_transient: bool = False

    def __str__(self) -> str:
        return f"{self.vm}: {self.problem}; {self.fix}"


def obstacles(
    seen: HostState,
    tied: Sequence[InterfaceBinding],
    way: Callable[[str], str],
    setting: Callable[[str, str], str] = sysctl,
) -> list[Obstacle]:
    """Return what is in the way of each VM; `way` is `route_to`, `setting` is `sysctl`."""
    found = []
    for tie in tied:
        own = seen.interfaces.get(tie.interface)
        if own is None:
            said = f"there is no interface {tie.interface} yet"
            found.append(
                Obstacle(tie.vm, said, "when there is, type openimds host up", is_transient=True)
            )
            continue
        steps = [
            *_of_kind(own, seen),
            *_of_routes(tie, own, seen, way, setting),
            *_of_neighbours(seen.place(tie), setting),
        ]
        found += [Obstacle(tie.vm, *one) for one in steps]
    return found


def _of_kind(own: Interface, seen: HostState) -> Iterator[tuple[str, str]]:
    master = seen.interfaces.get(own.master)
    if _OVS in (own.kind, master.kind if master else ""):
        said = f"{own.name} is a port of Open vSwitch, where no rule of nftables sees it"
        yield said, "put it on a bridge of Linux, or write reach.listen"
    if own.kind in _OVER_MAC:
        yield f"{own.name} is a {own.kind}, which the host cannot talk to", "use a tap"


def _of_routes(
    tie: InterfaceBinding,
    own: Interface,
    seen: HostState,
    way: Callable[[str], str],
    setting: Callable[[str, str], str],
) -> Iterator[tuple[str, str]]:
    place = seen.place(tie)
    is_strict = _STRICT in (setting("all", "rp_filter"), setting(place, "rp_filter"))
    for address in tie.of(4):
        by = way(address)
        taken = seen.interfaces.get(by)
        if by in (own.name, place) or (taken and taken.kind == "vlan"):
            continue
        leaves = f"would leave by {by} and be dropped" if by else "have no route"
        said = f"answers to {address} {leaves}"
        if is_strict:
            said += ", and rp_filter drops its requests"
        yield said, f"type ip route add {address}/32 dev {place}"


def _of_neighbours(place: str, setting: Callable[[str, str], str]) -> Iterator[tuple[str, str]]:
    for interface in ("all", place):
        if setting(interface, "arp_ignore") not in ("", "0"):
            name = f"net.ipv4.conf.{interface}.arp_ignore"
            said = f"{name} keeps the host from saying where {IPV4} is"
            yield said, f"type sysctl -w {name}=0"
