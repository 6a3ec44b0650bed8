"""Plan the steps to `up` or `down` on this host, and tell what differs."""

import shlex
from collections.abc import Iterator, Sequence

from msgspec import Struct

from openimds.errors import Error
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.host_state import (
    PRIORITY,
    PROTOCOL,
    ROUTES,
    HostState,
    Neighbour,
    bound_in,
)
from openimds.linux.host.nft_rules import (
    IPV4,
    IPV4_OF_LOCAL,
    IPV6,
    PACKET_MARK,
    TABLE,
    Rules,
    ruleset,
)
from openimds.linux.host.nft_state import FAMILIES, Expected, NftTable

_OLD_DEVICE, _OLD_ALIAS, _OLD_KINDS = "imds0", "openimds", ("dummy", "bridge")
"""The interface that had the address in 0.1.0, with its alias."""


class HostError(Error):
    """The address or the interface exists already and is not ours."""


class PlanStep(Struct, frozen=True):
    """A command and its stdin."""

    command: tuple[str, ...]
    text: str = ""

    @property
    def brief(self) -> str:
        """The command in one line."""
        line = shlex.join(self.command)
        return f"{line} ({self.text.count(chr(10))} lines)" if self.text else line

    def __str__(self) -> str:
        """Return the step as text to paste into a shell."""
        line = shlex.join(self.command)
        return f"{line} <<'RULES'\n{self.text}RULES" if self.text else line


def plan_up(
    state: HostState,
    bindings: Sequence[InterfaceBinding],
    expected: Expected,
    *,
    ipv6: bool = False,
    most_open: int = 0,
) -> list[PlanStep]:
    """Return the steps that make this host the metadata host of these VMs.

    The whole state is compared with the wanted one, so an `up` that was interrupted is completed,
    and changes of other programs are undone. `expected` is that of `nft_state`, `most_open` as in
    `ruleset`.

    Raises:
        HostError: the address is on an interface, or a cloud serves it.
        ToolError: the wanted rules cannot be tried.
    """
    _refuse_foreign(state)
    ipv6_interfaces = _ipv6_interfaces(state, bindings) if ipv6 else []
    # The address must not exist without rules, not even for a moment.
    steps = _remove_ipv6(state, set(state.ipv6_interfaces) - set(ipv6_interfaces))
    is_local = any(binding.is_local for binding in bindings)
    served = _served(is_local=is_local)
    gateways = _gateways(state, bindings)
    rules = ruleset(
        bindings, gateways, ipv6_interfaces, ipv6=ipv6, is_local=is_local, most_open=most_open
    )
    steps += [_way(address, "delete") for address in sorted(state.local - served)]
    steps += [_block(address, "delete") for address in sorted(state.blocked - served)]
    if not is_installed(state, rules, expected):
        steps.append(PlanStep(("nft", "-f", "-"), rules.text))
    if _old_device(state):
        steps.append(_ip("link", "delete", _OLD_DEVICE))
    steps += [_block(address, "add") for address in sorted(served - state.blocked)]
    steps += [_way(address, "add") for address in sorted(served - state.local)]
    if not state.has_rule:
        steps.append(_rule("add"))
    neighbours = wanted_neighbours(state, bindings, ipv6=ipv6)
    places = {(item.device, item.address) for item in neighbours}
    steps += [
        _forget(item)
        for item in sorted(state.neighbours)
        if (item.device, item.address) not in places
    ]
    steps += [_know(item) for item in sorted(neighbours - state.neighbours)]
    return steps + [
        _ip("address", "add", f"{IPV6}/64", "dev", name, "nodad")
        for name in ipv6_interfaces
        if not _has(state, name, IPV6)
    ]


def plan_down(state: HostState) -> list[PlanStep]:
    """Return the steps that undo `plan_up`, in whole or in part."""
    steps = _remove_ipv6(state, set(state.ipv6_interfaces))
    if _old_device(state):
        steps.append(_ip("link", "delete", _OLD_DEVICE))
    steps += map(_forget, sorted(state.neighbours))
    if state.has_rule:
        steps.append(_rule("delete"))
    steps += [_way(address, "delete") for address in sorted(state.local)]
    steps += [_block(address, "delete") for address in sorted(state.blocked)]
    # The rules go last, as they came first.
    return steps + [PlanStep(("nft", "delete", "table", family, TABLE)) for family in state.tables]


def problems(state: HostState, expected: Expected) -> list[str]:
    """Return the differences of this host from one that `up` has just left.

    The bindings are those of the rules in force, which may be another fleet's than today's.

    Raises:
        ToolError: the wanted rules cannot be tried.
    """
    missing = [family for family in FAMILIES if family not in state.tables]
    results = [f"the table {family} {TABLE} is missing" for family in missing]
    wanted = _wanted(state)
    if wanted:
        listings = expected(wanted.text)
        results += [
            f"the table {family} {TABLE} was changed"
            for family, table in state.tables.items()
            if table.listing != listings[family]
        ]
    elif not missing:
        results.append(f"the tables {TABLE} were changed, or are those of another version")
    is_local = wanted is not None and IPV4_OF_LOCAL in wanted.text
    served = _served(is_local=is_local)
    if not state.has_rule:
        results.append(f"the routing rule of the mark {PACKET_MARK:#x} is missing")
    results += [
        f"the route of {address} to this host is missing"
        for address in sorted(served - state.local)
    ]
    results += [
        f"the route that blocks {address} without the mark is missing"
        for address in sorted(served - state.blocked)
    ]
    results += [
        f"{address} is on {interface.name}"
        for interface in state.interfaces.values()
        for address in sorted(interface.addresses & {IPV4, IPV4_OF_LOCAL})
    ]
    return results


def _wanted(state: HostState) -> Rules | None:
    """Return the rules that the bindings in force come from, found by their fingerprint."""
    stamps = {table.stamp for table in state.tables.values()}
    candidates = _candidates(state, bound_in(state))
    return next((rules for rules in candidates if rules.stamp in stamps), None)


def _candidates(state: HostState, bindings: Sequence[InterfaceBinding]) -> Iterator[Rules]:
    """Yield the rules of bindings with the options that the rules in force may have."""
    gateways, known = _known_gateways(state), state.ipv6_interfaces
    most_open = state.tables.get("inet", NftTable()).most_open
    for ipv6 in (False, True):
        for is_local in (False, True):
            yield ruleset(
                bindings, gateways, known, ipv6=ipv6, is_local=is_local, most_open=most_open
            )


def wanted_neighbours(
    state: HostState, bindings: Sequence[InterfaceBinding], *, ipv6: bool
) -> frozenset[Neighbour]:
    """Return the permanent entries for guests whose interface is there.

    Without them a guest that poisons the table takes the responses of another away.
    """
    wanted = {
        Neighbour(device, address, binding.mac)
        for binding in bindings
        if (device := state.host_interface(binding)) and state.interfaces[device].is_up
        for address in (*binding.of(4), *(binding.of(6) if ipv6 else ()))
    }
    return frozenset(item for item in wanted if (item.device, item.address) not in state.fixed)


def matches(state: HostState, bindings: Sequence[InterfaceBinding], expected: Expected) -> bool:
    """Tell whether the rules in force are those of these VMs.

    They are with IPv6 or without, and with the address of Azure Local or without. Known bridges and
    IPv6 interfaces make no difference: interfaces come and go.
    """
    candidates = _candidates(state, bindings)
    return any(is_installed(state, rules, expected) for rules in candidates)


def outdated_gateways(state: HostState, bindings: Sequence[InterfaceBinding]) -> list[str]:
    """Return the interfaces whose bridge the rules do not know."""
    known = _known_gateways(state)
    gateways = _gateways(state, bindings)
    return [name for name, mac in gateways.items() if known.get(name) != mac]


def _known_gateways(state: HostState) -> dict[str, str]:
    elements = state.tables.get("bridge", NftTable()).sets.get("gate", ())
    return {element.parts[0]: element.parts[1] for element in elements}


def is_installed(state: HostState, rules: Rules, expected: Expected) -> bool:
    """Tell whether all tables are in force with these rules, unchanged."""
    if len(state.tables) < len(FAMILIES):
        return False
    # The fingerprint spares a trial of rules that are certainly others.
    if any(table.stamp != rules.stamp for table in state.tables.values()):
        return False
    listings = expected(rules.text)
    return all(table.listing == listings[family] for family, table in state.tables.items())


def _ipv6_interfaces(state: HostState, bindings: Sequence[InterfaceBinding]) -> list[str]:
    """Return the host interfaces to give the IPv6 address, except those that had it before."""
    own = state.ipv6_interfaces
    names = sorted({state.host_interface(binding) for binding in bindings} - {""})
    return [name for name in names if name in own or not _has(state, name, IPV6)]


def _remove_ipv6(state: HostState, names: set[str]) -> list[PlanStep]:
    return [
        _ip("address", "delete", f"{IPV6}/64", "dev", name)
        for name in sorted(names)
        if _has(state, name, IPV6)
    ]


def _has(state: HostState, name: str, address: str) -> bool:
    return name in state.interfaces and address in state.interfaces[name].addresses


def _gateways(state: HostState, bindings: Sequence[InterfaceBinding]) -> dict[str, str]:
    """Return, by interface, the hardware address of its bridge."""
    masters = {
        binding.interface: state.interfaces.get(state.host_interface(binding))
        for binding in bindings
    }
    return {
        name: master.mac
        for name, master in masters.items()
        if master and master.kind == "bridge" and master.name != name
    }


def _ip(*words: str) -> PlanStep:
    return PlanStep(("ip", *words))


def _served(*, is_local: bool) -> frozenset[str]:
    return frozenset((IPV4, IPV4_OF_LOCAL) if is_local else (IPV4,))


def _rule(action: str) -> PlanStep:
    """Return the step that leads marked packets to our routing table, or no longer."""
    place = ("priority", PRIORITY, "protocol", PROTOCOL)
    return _ip("rule", action, "fwmark", f"{PACKET_MARK:#x}", "lookup", str(ROUTES), *place)


def _way(address: str, action: str) -> PlanStep:
    """Return the step that adds or deletes an address in our routing table."""
    more = ("dev", "lo", "table", str(ROUTES), "protocol", PROTOCOL)
    return _ip("route", action, "local", f"{address}/32", *more)


def _block(address: str, action: str) -> PlanStep:
    """Return the step that keeps packets without the mark from a gateway."""
    return _ip("route", action, "blackhole", f"{address}/32", "protocol", PROTOCOL)


def _know(entry: Neighbour) -> PlanStep:
    """Return the step that makes a permanent entry of the neighbour table."""
    more = ("lladdr", entry.mac, "dev", entry.device, "nud", "permanent", "protocol", PROTOCOL)
    return _ip("neighbour", "replace", entry.address, *more)


def _forget(entry: Neighbour) -> PlanStep:
    return _ip("neighbour", "delete", entry.address, "dev", entry.device)


def _old_device(state: HostState) -> bool:
    """Tell whether the interface of 0.1.0 is there, whole or half-made.

    One that an ended `up` had just made has no alias yet, and nothing else either.
    """
    device = state.interfaces.get(_OLD_DEVICE)
    if device is None or device.alias == _OLD_ALIAS:
        return device is not None
    has_ports = any(other.master == _OLD_DEVICE for other in state.interfaces.values())
    is_bare = not (device.alias or device.is_up or device.addresses or device.master or has_ports)
    return device.kind in _OLD_KINDS and is_bare


def _refuse_foreign(state: HostState) -> None:
    for route in state.routes:
        raise HostError(
            f"this machine is a VM of a cloud, with a route to {IPV4} over {route}, and would lose "
            "its own metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
        )
    for interface in state.interfaces.values():
        name = interface.name
        for address in (IPV4, IPV4_OF_LOCAL):
            if address in interface.addresses and not (name == _OLD_DEVICE and _old_device(state)):
                remedy = f"type ip address delete {address}/32 dev {name}"
                raise HostError(f"{address} is already on {name}; {remedy}")
