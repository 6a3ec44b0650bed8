"""Write nftables rules that make a guest's source address trustworthy, for `nft -f`.

Three tables, all called `openimds`. `bridge` sees the frames of guests on a bridge, the only place
that knows their port; `inet` sees packets to the host itself: from routed interfaces, and from
bridges after `bridge`; `arp` sees ARP to the host. They enforce these facts:

- A request reaches the address only by the interface, from the hardware address and from the
  source address of one VM, and only at TCP port 80. Everything else to the address is dropped.
- Accepted packets get `PACKET_MARK`. The address is on no interface: a routing rule leads packets
  with the mark, and no others, to this host (`plan`). So without these tables nobody gets in.
- A packet that comes over a bridge has the mark of `bridge` already. A frame that hides its content
  from `bridge`, such as one with stacked VLAN tags, has none and is dropped in `inet`.
- A response leaves only by the interface of its VM, even if a guest has poisoned the bridge or the
  neighbour table. So a VM that pretends to be another one still gets no response.
- No guest can use the hardware address of another VM: the bridge would learn it, and send responses
  to a port where they are dropped.
- No guest can be the address: frames from it, and ARP that offers it, are dropped; requests for it
  go to no other port of a bridge.
- A VM opens only so many connections a second; the packets that would open more are dropped. If the
  operator wants it, each of its addresses also has only so many open connections.

No other traffic is touched. If the bridge of an interface is known, the map `gate` sends requests
to the host although the guest addressed them to another gateway.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import quote, unquote

from msgspec import Struct

from openimds.linux.host.bindings import InterfaceBinding

TABLE = "openimds"
STAMP = "stamp"
"""A counter that counts nothing: its comment has the fingerprint of the rules."""
IPV4, IPV6 = "169.254.169.254", "fe80::a9fe:a9fe"
IPV4_OF_LOCAL = "169.254.169.253"
"""The address of the metadata service of Azure Local."""
PACKET_MARK = 0x6F696D64
"""The mark of accepted packets; the kernel never sends it over a wire."""
_SET_MARK = f"meta mark set {PACKET_MARK:#x}"
_IPV6_HEX = "0xfe8000000000000000000000a9fea9fe"
_MAX_COMMENT = 120
"""nftables accepts 127 bytes."""
NEW_CONNECTIONS_PER_S = 100
"""New connections of a VM a second; Azure answers 5 requests a second (`facts.limits`)."""
NEW_CONNECTIONS_BURST = 300
"""New connections of a VM at once, after it has opened none for three seconds."""
_HALF_OPEN_S = 3
"""The life of a connection that the guest never completes (`dataplane.saved_syn`)."""
MOST_HALF_OPEN = NEW_CONNECTIONS_BURST + _HALF_OPEN_S * NEW_CONNECTIONS_PER_S
"""Half-open connections of a VM; the listener's queue has 4096 places and more."""

REASONS = {
    "unknown_interface": "from an interface of no VM",
    "forged_mac": "hardware address not that of the interface's VM",
    "forged_source": "source address not that of the VM",
    "hidden": "in frames that hide their content, such as those with stacked VLAN tags",
    "not_http": "not to TCP port 80",
    "too_many": f"new connections of a VM beyond {NEW_CONNECTIONS_PER_S} a second",
    "too_many_open": "new connections beyond those that one address may have open",
    "posing": "other frames with the hardware address of another VM",
    "false_service": "claimed to come from the address",
    "astray": "responses that would leave by another interface than the VM's",
    "host": "from the host itself",
}
"""The reasons for dropped packets, by the name of their counter."""


class _Ip(Struct, frozen=True):
    """A version of IP in the words of nftables, and the service's address there."""

    version: int
    word: str
    address: str

    @property
    def kind(self) -> str:
        return f"ipv{self.version}_addr"

    @property
    def answer(self) -> str:
        """The match for a response; neighbour discovery and group reports do not match."""
        return f"{self.word} saddr {self.address} meta l4proto tcp"


_V4, _V6 = _Ip(4, "ip", IPV4), _Ip(6, "ip6", IPV6)
_V4_OF_LOCAL = _Ip(4, "ip", f"{{ {IPV4}, {IPV4_OF_LOCAL} }}")


class Rules(Struct, frozen=True):
    """The wanted tables: their text and its fingerprint."""

    text: str
    stamp: str


def ruleset(  # noqa: PLR0913 - the options of `openimds host up`
    bindings: Sequence[InterfaceBinding],
    gateways: Mapping[str, str],
    ipv6_interfaces: Sequence[str] = (),
    *,
    ipv6: bool = False,
    is_local: bool = False,
    most_open: int = 0,
) -> Rules:
    """Return the rules for these bindings; their text replaces all tables as a whole.

    Equal bindings have equal text, in any order.

    Args:
        bindings: the VMs.
        gateways: by interface, the hardware address of its bridge.
        ipv6_interfaces: interfaces that `up` gave the IPv6 address; recorded for `down`.
        ipv6: whether the IPv6 address is served as well.
        is_local: whether the address of Azure Local is served as well.
        most_open: the most open connections of each address; 0: the kernel counts none.
    """
    ipv4 = _V4_OF_LOCAL if is_local else _V4
    versions = (ipv4, _V6) if ipv6 else (ipv4,)
    bindings = sorted(bindings, key=lambda binding: binding.interface)
    bridge = [
        *_sets(bindings, versions),
        _ports(bindings),
        _set("macs", "ether_addr", sorted({binding.mac for binding in bindings})),
        _set("gate", "ifname : ether_addr", _pairs(gateways), "map"),
    ]
    inet = [*_sets(bindings, versions), *_inet_sets(bindings, versions)]
    inet.append(_set("places", "ifname", [f'"{name}"' for name in ipv6_interfaces]))
    counting = _counting(bindings, versions, most_open) if most_open else []
    tables = {
        "arp": [_ports(bindings), _arp_chain(ipv4)],
        "bridge": [*bridge, *_bridge_chains(versions)],
        "inet": [*inet, *_inet_chains(versions), *counting],
    }
    stamp = sha256(str(tables).encode()).hexdigest()[:16]
    counters = [f"counter {name} {{ }}" for name in REASONS]
    counters.append(f'counter {STAMP} {{ comment "{stamp}" }}')
    text = "".join(_table(family, [*counters, *parts]) for family, parts in tables.items())
    return Rules(text, stamp)


def _table(family: str, parts: list[str]) -> str:
    inner = "\n".join(f"  {line}" for part in parts for line in part.splitlines())
    # Declared first, so that the deletion never fails; nft applies all of it at once.
    return (
        f"table {family} {TABLE}\ndelete table {family} {TABLE}\n"
        f"table {family} {TABLE} {{\n{inner}\n}}\n"
    )


def _set(name: str, kind: str, elements: list[str], word: str = "set", more: str = "") -> str:
    content = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"{word} {name} {{ type {kind};{more}{content} }}"


def _pairs(gateways: Mapping[str, str]) -> list[str]:
    return [f'"{interface}" : {mac}' for interface, mac in sorted(gateways.items())]


def _comment(binding: InterfaceBinding) -> str:
    """Return the comment of a VM: the start of its name, escaped reversibly."""
    text = quote(binding.vm, safe=" ")[:_MAX_COMMENT]
    while quote(unquote(text), safe=" ") != text:
        text = text[:-1]
    return f'comment "{text}"'


def _each(bindings: Sequence[InterfaceBinding], ip: _Ip) -> list[tuple[InterfaceBinding, str]]:
    return [
        (binding, address) for binding in bindings for address in sorted(binding.of(ip.version))
    ]


def _ports(bindings: Sequence[InterfaceBinding]) -> str:
    """Return the set of interfaces; unlike `guests` it counts nothing."""
    return _set("ports", "ifname", [f'"{binding.interface}"' for binding in bindings])


def _sets(bindings: Sequence[InterfaceBinding], versions: Sequence[_Ip]) -> list[str]:
    """Return the sets of both tables.

    `guests` counts the dropped packets of each VM. A look-up in `hasty` succeeds for the packets
    beyond the limit of the VM's interface: each element has a limit of its own.
    """
    limit = (
        f" limit rate over {NEW_CONNECTIONS_PER_S}/second burst {NEW_CONNECTIONS_BURST} packets;"
    )
    guests = [f'"{binding.interface}" {_comment(binding)}' for binding in bindings]
    links = [f'"{binding.interface}" . {binding.mac}' for binding in bindings]
    sets = [
        _set("guests", "ifname", guests, more=" counter;"),
        _set("hasty", "ifname", [f'"{binding.interface}"' for binding in bindings], more=limit),
        _set("links", "ifname . ether_addr", links),
    ]
    for ip in versions:
        elements = [
            f'"{binding.interface}" . {binding.mac} . {address} {_comment(binding)}'
            for binding, address in _each(bindings, ip)
        ]
        kind = f"ifname . ether_addr . {ip.kind}"
        sets.append(_set(f"tied{ip.version}", kind, elements, more=" counter;"))
    return sets


def _inet_sets(bindings: Sequence[InterfaceBinding], versions: Sequence[_Ip]) -> list[str]:
    """Return the sets for guests behind a bridge, whose port is lost, and for responses."""
    sets = []
    for ip in versions:
        each = _each(bindings, ip)
        bridged = [f"{binding.mac} . {address} {_comment(binding)}" for binding, address in each]
        homes = [f'"{binding.interface}" . {address}' for binding, address in each]
        kind = ip.kind
        sets += [
            _set(f"bridged{ip.version}", f"ether_addr . {kind}", bridged, more=" counter;"),
            _set(f"homes{ip.version}", f"ifname . {kind}", homes),
            _set(f"addresses{ip.version}", kind, [address for _, address in each]),
        ]
    return sets


def _chain(name: str, *rules: str, hook: str = "", priority: int = -350) -> str:
    base = [f"type filter hook {hook} priority {priority}; policy accept;"] if hook else []
    return "\n".join((f"chain {name} {{", *(f"  {rule}" for rule in (*base, *rules)), "}"))


_DISCOVERY = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
_OVER_BRIDGES = '{ "bridge", "vlan" }'
"""The kinds of host interfaces that have the guests of a bridge behind them."""


_NEW_CONNECTIONS = (
    "tcp flags & (syn | ack) != syn accept",
    "iifname @hasty counter name too_many goto refuse",
)
"""Limits the packets that open a connection.

- By interface: a VM has one, but maybe many addresses. In `inet`, the interface of a bridged guest
  is the bridge, which is not in `hasty`; its packets were limited in `bridge`.
- A packet without readable flags, such as a fragment, counts as one that opens a connection.
- Dropped, not rejected: an answer to each packet of a flood would double its cost. A client beyond
  the limit sends its packet again after a second, and does not fail.
- Open connections are not counted: that takes connection tracking, a cost for all packets. The
  server bounds the open connections of each VM itself.
"""


def _refusals() -> list[str]:
    """Return the chains that count reasons; `guests` counts for the interface's VM."""
    return [
        _chain(
            "reason",
            'iifname "lo" counter name host drop',
            "iifname != @guests counter name unknown_interface drop",
            "iifname . ether saddr != @links counter name forged_mac goto refuse",
            "counter name forged_source goto refuse",
        ),
        _chain("refuse", "iifname @guests drop", "drop"),
    ]


def _bridge_chains(versions: Sequence[_Ip]) -> list[str]:
    ports, between, out, requests = [], [], [], []
    for ip in versions:
        word, address, v = ip.word, ip.address, ip.version
        ports += [
            f"{word} daddr {address} goto request{v}",
            f"{word} saddr {address} counter name false_service drop",
        ]
        between.append(f"{word} daddr {address} drop")
        out += [
            f"{ip.answer} oifname . ether daddr . {word} daddr @tied{v} accept",
            f"{ip.answer} counter name astray drop",
        ]
        match = f"iifname . ether saddr . {word} saddr @tied{v} goto welcome"
        requests.append(_chain(f"request{v}", match, "goto reason"))
    ipv4 = versions[0].address
    ports.append(f"meta protocol arp arp saddr ip {ipv4} counter name false_service drop")
    ports.append(f"meta protocol arp arp daddr ip {ipv4} iifname @ports {_SET_MARK}")
    between.append(f"meta protocol arp arp daddr ip {ipv4} drop")
    ports.append(
        "iifname @ports ether saddr @macs iifname . ether saddr != @links "
        "counter name posing goto refuse"
    )
    if _V6 in versions:
        # The target of neighbour discovery is eight bytes into the message.
        target = f"@th,64,128 {_IPV6_HEX}"
        ports.append(f"icmpv6 type nd-neighbor-advert {target} counter name false_service drop")
        between.append(f"icmpv6 type nd-neighbor-solicit {target} drop")
    return [
        *_refusals(),
        _chain(
            "welcome",
            _SET_MARK,
            *([_DISCOVERY] if _V6 in versions else []),
            "tcp dport != 80 counter name not_http goto refuse",
            "meta l4proto != tcp counter name not_http goto refuse",
            "ether daddr set iifname map @gate meta pkttype set host",
            *_NEW_CONNECTIONS,
        ),
        *requests,
        _chain("from_ports", *ports, hook="prerouting"),
        _chain("between_ports", *between, hook="forward"),
        _chain("to_ports", *out, hook="output"),
    ]


def _counting(
    bindings: Sequence[InterfaceBinding], versions: Sequence[_Ip], most_open: int
) -> list[str]:
    """Return the parts that bound the open connections of each address.

    The elements of the sets are the addresses of VMs alone, so that the sets do not grow. Counting
    takes the kernel's connection tracking, which then tracks all connections of the host.
    """
    parts, rules = [], []
    for ip in versions:
        addresses = [address for _, address in _each(bindings, ip)]
        name = f"open{ip.version}"
        parts.append(_set(name, ip.kind, addresses, more=f" ct count over {most_open};"))
        new = f"meta mark {PACKET_MARK:#x} ct state new {ip.word} saddr @{name}"
        rules.append(f"{new} counter name too_many_open drop")
    # Behind connection tracking, at -200.
    return [*parts, _chain("open_connections", *rules, hook="prerouting", priority=-150)]


def _arp_chain(ip: _Ip) -> str:
    """Return the chain that lets the host answer ARP of guests on routed interfaces."""
    asks = f"arp daddr ip {ip.address} iifname @ports {_SET_MARK}"
    return _chain("asked", asks, hook="input")


def _inet_chains(versions: Sequence[_Ip]) -> list[str]:
    arriving, leaving, requests = [], [], []
    for ip in versions:
        word, address, v = ip.word, ip.address, ip.version
        arriving += [
            f"{word} daddr {address} goto request{v}",
            f"{word} saddr {address} counter name false_service drop",
        ]
        leaving += [
            f"{ip.answer} oifname . {word} daddr @homes{v} accept",
            f"{ip.answer} meta oifkind {_OVER_BRIDGES} {word} daddr @addresses{v} accept",
            f"{ip.answer} {word} daddr {address} counter name host drop",
            f"{ip.answer} counter name astray drop",
        ]
        source = f"ether saddr . {word} saddr"
        bridged = f"meta iifkind {_OVER_BRIDGES} {source} @bridged{v}"
        requests.append(
            _chain(
                f"request{v}",
                f"iifname . {source} @tied{v} goto welcome",
                f"meta mark {PACKET_MARK:#x} {bridged} goto welcome",
                f"{bridged} counter name hidden drop",
                "goto reason",
            )
        )
    return [
        *_refusals(),
        _chain(
            "welcome",
            _SET_MARK,
            *([_DISCOVERY] if _V6 in versions else []),
            "tcp dport != 80 counter name not_http goto refuse",
            "meta l4proto != tcp counter name not_http goto refuse",
            *_NEW_CONNECTIONS,
        ),
        *requests,
        _chain("requests", *arriving, hook="prerouting"),
        _chain("answers", *leaving, hook="output"),
    ]
