"""The status of the host rules: guests, counters, and obstacles."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec.json
from msgspec import Struct

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run, ToolError
from openimds.linux.host.host_state import HostState, Interface, bound_in
from openimds.linux.host.nft_rules import IPV4, REASONS
from openimds.linux.host.nft_state import Expected
from openimds.linux.host.plan import plan_down, problems, wanted_neighbours

_OVS, _MAC_BASED = "openvswitch", ("macvtap", "macvlan", "ipvtap", "ipvlan")
_STRICT = "1"
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


class Guest(Struct, frozen=True, rename="camel"):
    """One bound VM; packets are counted since the rules were last written.

    `on` is the bridge of its interface, or empty.
    """

    vm: str
    interface: str
    is_there: bool
    on: str
    mac: str
    addresses: tuple[str, ...]
    accepted: int
    dropped: int


class HostReport(Struct, frozen=True, rename="camel"):
    """The status of a host: its VMs, and the dropped packets by reason.

    `is_up` means that everything of `openimds host up` is there and unchanged; otherwise `problems`
    has the differences. `is_there` tells whether any part is there.
    """

    is_up: bool
    is_there: bool
    problems: tuple[str, ...]
    guests: tuple[Guest, ...]
    dropped: dict[str, int]


def host_report(state: HostState, expected: Expected) -> HostReport:
    """Return the status, computed from the rules in force.

    Raises:
        ToolError: the rules cannot be compared with the wanted ones.
    """
    tables = list(state.tables.values())
    found = tuple(problems(state, expected))
    return HostReport(
        not found,
        bool(plan_down(state)),
        found,
        tuple(_guest(state, binding) for binding in bound_in(state)),
        {name: sum(table.dropped.get(name, 0) for table in tables) for name in REASONS},
    )


def _guest(state: HostState, binding: InterfaceBinding) -> Guest:
    interface, mac, addresses = binding.interface, binding.mac, binding.addresses
    link = state.interfaces.get(interface)
    inet, tables = state.tables["inet"], state.tables.values()
    accepted = 0
    for address in addresses:
        version = ip_address(address).version
        accepted += inet.counted(f"tied{version}", interface, mac, address)
        accepted += inet.counted(f"bridged{version}", mac, address)
    dropped = sum(table.counted("guests", interface) for table in tables)
    on = link.master if link else ""
    return Guest(binding.vm, interface, link is not None, on, mac, addresses, accepted, dropped)


def route_to(run: Run, address: str) -> str:
    """Return the interface of the route to an address, or an empty string."""
    try:
        routes = msgspec.json.decode(run(("ip", "-j", "route", "get", address), ""))
    except ToolError:  # There is no route.
        return ""
    return str(routes[0].get("dev", ""))


def sysctl(interface: str, name: str) -> str:
    """Return a sysctl of IPv4 on an interface, or an empty string."""
    try:
        return (_SYSCTL / interface / name).read_text("ascii").strip()
    except OSError:
        return ""


class Obstacle(Struct, frozen=True):
    """A problem between a bound VM and its metadata, and the fix to type.

    A transient one goes away by itself, for instance when the VM starts.
    """

    vm: str
    problem: str
    fix: str
    is_transient: bool = False

    def __str__(self) -> str:
        return f"{self.vm}: {self.problem}; {self.fix}"


def obstacles(
    state: HostState,
    bindings: Sequence[InterfaceBinding],
    route: Callable[[str], str],
    setting: Callable[[str, str], str] = sysctl,
) -> list[Obstacle]:
    """Return the obstacles of each VM; `route` is `route_to`, `setting` is `sysctl`."""
    results = []
    for binding in bindings:
        guest = state.interfaces.get(binding.interface)
        if guest is None:
            problem = f"the interface {binding.interface} does not exist yet"
            fix = "type openimds host up once it does"
            results.append(Obstacle(binding.vm, problem, fix, is_transient=True))
            continue
        problems = [
            *_kind_problems(guest, state),
            *_route_problems(binding, guest, state, route, setting),
            *_arp_problems(state.host_interface(binding), setting),
        ]
        results += [Obstacle(binding.vm, *problem) for problem in problems]
        # Before `up` there is none.
        wanted = wanted_neighbours(state, [binding], ipv6=False) if state.has_rule else frozenset()
        for entry in sorted(wanted - state.neighbours):
            problem = f"other guests can block responses to {entry.address} on {entry.device}"
            fix = "type openimds host up"
            results.append(Obstacle(binding.vm, problem, fix, is_transient=True))
    return results


def _kind_problems(guest: Interface, state: HostState) -> Iterator[tuple[str, str]]:
    master = state.interfaces.get(guest.master)
    if _OVS in (guest.kind, master.kind if master else ""):
        problem = f"{guest.name} is a port of Open vSwitch, whose packets bypass nftables"
        yield problem, "put it on a Linux bridge, or write reach.listen"
    if guest.kind in _MAC_BASED:
        yield f"{guest.name} is a {guest.kind}, which cannot reach the host", "use a tap"


def _route_problems(
    binding: InterfaceBinding,
    guest: Interface,
    state: HostState,
    route: Callable[[str], str],
    setting: Callable[[str, str], str],
) -> Iterator[tuple[str, str]]:
    device = state.host_interface(binding)
    is_strict = _STRICT in (setting("all", "rp_filter"), setting(device, "rp_filter"))
    for address in binding.of(4):
        name = route(address)
        routed = state.interfaces.get(name)
        if name in (guest.name, device) or (routed and routed.kind == "vlan"):
            continue
        fate = f"would leave by {name} and be dropped" if name else "have no route"
        problem = f"responses to {address} {fate}"
        if is_strict:
            problem += ", and rp_filter drops its requests"
        yield problem, f"type ip route add {address}/32 dev {device}"


def _arp_problems(device: str, setting: Callable[[str, str], str]) -> Iterator[tuple[str, str]]:
    for interface in ("all", device):
        if setting(interface, "arp_ignore") not in ("", "0"):
            name = f"net.ipv4.conf.{interface}.arp_ignore"
            problem = f"{name} stops the host from answering ARP requests for {IPV4}"
            yield problem, f"type sysctl -w {name}=0"
