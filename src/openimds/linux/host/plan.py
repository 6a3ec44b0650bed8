"""Read the state of this host, and plan the steps to `up` or `down`."""

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import Error
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run, ToolError
from openimds.linux.host.nft_rules import IPV4, IPV4_OF_LOCAL, IPV6, TABLE, Rules, ruleset
from openimds.linux.host.nft_state import FAMILIES, NftTable, tables

DEVICE = "imds0"
MARK = "openimds"
"""The alias of the interface that `plan_up` makes."""
_DUMMY, _SUBSTITUTE = "dummy", "bridge"


class HostError(Error):
    """The address or the interface exists already and is not ours."""


class Interface(Struct, frozen=True):
    """One interface: its kind, its master (such as a bridge) and its addresses."""

    name: str
    kind: str
    mac: str
    master: str
    alias: str
    is_up: bool
    addresses: frozenset[str]


class HostState(Struct, frozen=True):
    """The present state of the host.

    `device_kind` is the kind of interface to make: `dummy`, or where the kernel has none, a bridge
    without ports, which does the same. `routes` are the interfaces with a route to a cloud's own
    metadata service.
    """

    interfaces: dict[str, Interface]
    routes: tuple[str, ...]
    tables: dict[str, NftTable]
    device_kind: str = _DUMMY

    @property
    def ipv6_interfaces(self) -> list[str]:
        """The interfaces that `up` gave the IPv6 address."""
        inet = self.tables.get("inet", NftTable())
        return [element.parts[0] for element in inet.sets.get("places", ())]

    def host_interface(self, binding: InterfaceBinding) -> str:
        """Return the host's own interface towards a guest: its bridge or its tap, or ""."""
        guest = self.interfaces.get(binding.interface)
        return guest.master or guest.name if guest else ""


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


def read_state(run: Run, *, probe: bool = False) -> HostState:
    """Read the present state; `probe` tries which kind of interface the kernel has.

    Raises:
        ToolError: a program is missing, or this process may not read the state.
    """
    listed = msgspec.json.decode(run(("ip", "-j", "-d", "address", "show"), ""))
    interfaces = {item["ifname"]: _interface(item) for item in listed if "ifname" in item}
    return HostState(
        interfaces,
        _routes(run),
        tables(run),
        _device_kind(run) if probe and DEVICE not in interfaces else _DUMMY,
    )


def _interface(listed: dict[str, Any]) -> Interface:
    return Interface(
        listed["ifname"],
        listed.get("linkinfo", {}).get("info_kind", ""),
        listed.get("address", ""),
        listed.get("master", ""),
        listed.get("ifalias", ""),
        "UP" in listed.get("flags", ()),
        frozenset(item["local"] for item in listed.get("addr_info", ()) if "local" in item),
    )


def _routes(run: Run) -> tuple[str, ...]:
    listed = msgspec.json.decode(run(("ip", "-j", "-4", "route", "show", "table", "all"), ""))
    ours = (IPV4, IPV4_OF_LOCAL)
    routes = [item for item in listed if item.get("dst") in ours and item.get("type") != "local"]
    return tuple(str(route.get("dev", "")) for route in routes)


def _device_kind(run: Run) -> str:
    """Return the kind of interface to make, tried in a throw-away namespace."""
    try:
        run(("unshare", "--net", "ip", "link", "add", DEVICE, "type", _DUMMY), "")
    except ToolError:
        return _SUBSTITUTE
    return _DUMMY


def plan_up(
    state: HostState, bindings: Sequence[InterfaceBinding], *, ipv6: bool = False
) -> list[PlanStep]:
    """Return the steps that make this host the metadata host of these VMs.

    Raises:
        HostError: the address or the interface exists and is not ours.
    """
    _refuse_foreign(state)
    ipv6_interfaces = _ipv6_interfaces(state, bindings) if ipv6 else []
    # The address must not exist without rules, not even for a moment.
    steps = _remove_ipv6(state, set(state.ipv6_interfaces) - set(ipv6_interfaces))
    is_local = any(binding.is_local for binding in bindings)
    gateways = _gateways(state, bindings)
    rules = ruleset(bindings, gateways, ipv6_interfaces, ipv6=ipv6, is_local=is_local)
    if not is_local and _has(state, DEVICE, IPV4_OF_LOCAL):
        steps.append(_ip("address", "delete", f"{IPV4_OF_LOCAL}/32", "dev", DEVICE))
    if not is_installed(state, rules):
        steps.append(PlanStep(("nft", "-f", "-"), rules.text))
    device = state.interfaces.get(DEVICE)
    if device is None:
        steps.append(_ip("link", "add", DEVICE, "type", state.device_kind))
        steps.append(_ip("link", "set", DEVICE, "alias", MARK))
    if device is None or not device.is_up:
        steps.append(_ip("link", "set", DEVICE, "up"))
    if device is None or IPV4 not in device.addresses:
        steps.append(_ip("address", "add", f"{IPV4}/32", "dev", DEVICE))
    if is_local and not _has(state, DEVICE, IPV4_OF_LOCAL):
        steps.append(_ip("address", "add", f"{IPV4_OF_LOCAL}/32", "dev", DEVICE))
    return steps + [
        _ip("address", "add", f"{IPV6}/64", "dev", name, "nodad")
        for name in ipv6_interfaces
        if not _has(state, name, IPV6)
    ]


def plan_down(state: HostState) -> list[PlanStep]:
    """Return the steps that undo `plan_up`, in whole or in part."""
    steps = _remove_ipv6(state, set(state.ipv6_interfaces))
    device = state.interfaces.get(DEVICE)
    if device and device.alias == MARK:
        steps.append(_ip("link", "delete", DEVICE))
    # The rules go last, as they came first.
    return steps + [PlanStep(("nft", "delete", "table", family, TABLE)) for family in state.tables]


def matches(state: HostState, bindings: Sequence[InterfaceBinding]) -> bool:
    """Tell whether the rules in force are those of these VMs.

    They are with IPv6 or without, and with the address of Azure Local or without. Known bridges and
    IPv6 interfaces make no difference: interfaces come and go.
    """
    gateways = _known_gateways(state)
    known = state.ipv6_interfaces
    candidates = (
        ruleset(bindings, gateways, known, ipv6=ipv6, is_local=is_local)
        for ipv6 in (False, True)
        for is_local in (False, True)
    )
    return any(is_installed(state, rules) for rules in candidates)


def outdated_gateways(state: HostState, bindings: Sequence[InterfaceBinding]) -> list[str]:
    """Return the interfaces whose bridge the rules do not know."""
    known = _known_gateways(state)
    gateways = _gateways(state, bindings)
    return [name for name, mac in gateways.items() if known.get(name) != mac]


def _known_gateways(state: HostState) -> dict[str, str]:
    elements = state.tables.get("bridge", NftTable()).sets.get("gate", ())
    return {element.parts[0]: element.parts[1] for element in elements}


def is_installed(state: HostState, rules: Rules) -> bool:
    """Tell whether both tables are in force with these rules and bindings."""
    return len(state.tables) == len(FAMILIES) and all(
        table.stamp == rules.stamp and table.bound.keys() == rules.keys
        for table in state.tables.values()
    )


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


def _refuse_foreign(state: HostState) -> None:
    for route in state.routes:
        raise HostError(
            f"this machine is a VM of a cloud, with a route to {IPV4} over {route}, and would lose "
            "its own metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
        )
    for interface in state.interfaces.values():
        name = interface.name
        for address in (IPV4, IPV4_OF_LOCAL):
            if name != DEVICE and address in interface.addresses:
                remedy = f"type ip address delete {address}/32 dev {name}"
                raise HostError(f"{address} is already on {name}; {remedy}")
    device = state.interfaces.get(DEVICE)
    if device and device.alias != MARK:
        raise HostError(
            f"the interface {DEVICE} exists and was not made by openimds; type ip link delete "
            f"{DEVICE} if it is not needed"
        )
