"""The present state of this host: interfaces, routes, neighbours, and the rules in force."""

from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import Run
from openimds.linux.host.nft_rules import IPV4, IPV4_OF_LOCAL, PACKET_MARK
from openimds.linux.host.nft_state import NftTable, tables

ROUTES = 16925
"""The number of the routing table in which the address is this host's."""
PROTOCOL = "169"
"""The originator of our routes, as the kernel records it; no other program is known to use it."""
PRIORITY = "169"
"""The place of our routing rule, before those that choose a way out of the host."""


class Interface(Struct, frozen=True):
    """One interface: its kind, its master (such as a bridge) and its addresses."""

    name: str
    kind: str
    mac: str
    master: str
    alias: str
    is_up: bool
    addresses: frozenset[str]


class Neighbour(Struct, frozen=True, order=True):
    """A permanent entry of the neighbour table: no packet of a guest changes it."""

    device: str
    address: str
    mac: str


class HostState(Struct, frozen=True):
    """The present state of the host.

    `routes` are the interfaces with a route to a cloud's own metadata service. `has_rule` tells
    that packets with our mark use the routing table in which the addresses of `local` are this
    host's; `blocked` are the addresses that have no way without the mark. `neighbours` are the
    permanent entries that `up` made, `fixed` the devices and addresses that have one of others.
    """

    interfaces: dict[str, Interface]
    routes: tuple[str, ...]
    tables: dict[str, NftTable]
    has_rule: bool = False
    local: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    fixed: frozenset[tuple[str, str]] = frozenset()

    @property
    def ipv6_interfaces(self) -> list[str]:
        """The interfaces that `up` gave the IPv6 address."""
        inet = self.tables.get("inet", NftTable())
        return [element.parts[0] for element in inet.sets.get("places", ())]

    def host_interface(self, binding: InterfaceBinding) -> str:
        """Return the host's own interface towards a guest: its bridge or its tap, or ""."""
        guest = self.interfaces.get(binding.interface)
        return guest.master or guest.name if guest else ""


def read_state(run: Run) -> HostState:
    """Read the present state.

    Raises:
        ToolError: a program is missing, or this process may not read the state.
    """
    listed = msgspec.json.decode(run(("ip", "-j", "-d", "address", "show"), ""))
    interfaces = {item["ifname"]: _interface(item) for item in listed if "ifname" in item}
    routes = msgspec.json.decode(run(("ip", "-j", "-4", "route", "show", "table", "all"), ""))
    routes = [item for item in routes if item.get("dst") in (IPV4, IPV4_OF_LOCAL)]
    own = [item for item in routes if item.get("protocol") == PROTOCOL]
    rules = msgspec.json.decode(run(("ip", "-j", "-4", "rule", "show"), ""))
    permanent = msgspec.json.decode(run(("ip", "-j", "neighbour", "show", "nud", "permanent"), ""))
    ours = [item for item in permanent if item.get("protocol") == PROTOCOL]
    return HostState(
        interfaces,
        tuple(
            str(item.get("dev", ""))
            for item in routes
            if item.get("protocol") != PROTOCOL and item.get("type") != "local"
        ),
        tables(run),
        any(map(_is_our_rule, rules)),
        frozenset(item["dst"] for item in own if item.get("type") == "local"),
        frozenset(item["dst"] for item in own if item.get("type") == "blackhole"),
        frozenset(Neighbour(item["dev"], item["dst"], item.get("lladdr", "")) for item in ours),
        frozenset(
            (item["dev"], item["dst"]) for item in permanent if item.get("protocol") != PROTOCOL
        ),
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


def _is_our_rule(listed: dict[str, Any]) -> bool:
    wanted = {"fwmark": f"{PACKET_MARK:#x}", "table": str(ROUTES), "priority": int(PRIORITY)}
    return all(listed.get(key) == value for key, value in wanted.items())


def bound_in(state: HostState) -> list[InterfaceBinding]:
    """Return the bindings of the rules in force, sorted by name."""
    inet = state.tables.get("inet", NftTable())
    macs = {link.parts[0]: link.parts[1] for link in inet.sets.get("links", ())}
    addresses: dict[str, list[str]] = {}
    for interface, _, address in inet.bound:
        addresses.setdefault(interface, []).append(address)
    bound = [
        InterfaceBinding(
            guest.vm,
            guest.parts[0],
            macs.get(guest.parts[0], ""),
            tuple(sorted(addresses.get(guest.parts[0], ()))),
        )
        for guest in inet.sets.get("guests", ())
    ]
    return sorted(bound, key=lambda binding: binding.vm)
