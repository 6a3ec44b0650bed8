"""The rules of nftables that make a guest's source address worth something, as text for `nft -f`.

Two tables, both called `openimds`. `bridge` sees the frames of guests on a bridge, where alone it
is known which port they came in by; `inet` sees what comes to the host itself: from routed
interfaces, and what `bridge` let through. Each holds the same three facts:

- A request reaches the address only by the interface, from the hardware address and from the
  source address of one VM, and only at TCP port 80. Everything else to the address is dropped.
- An answer leaves only by the interface of its VM, whatever was taught to the bridge or to the
  neighbour table. A VM that pretends to be another one gets nothing even so.
- Nobody else is the address: frames from it, and ARP that offers it, are dropped; requests for it
  go to no other port of a bridge.

No other traffic is touched. Where it is known which bridge an interface is on, `gate` sends its
requests to the host although the guest took them to a gateway elsewhere.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import quote

from msgspec import Struct

from openimds.linux.host.bindings import InterfaceBinding

TABLE = "openimds"
STAMP = "stamp"
"""A counter that counts nothing: its comment is the fingerprint of the rules."""
IPV4, IPV6 = "169.254.169.254", "fe80::a9fe:a9fe"
_IPV6_HEX = "0xfe8000000000000000000000a9fea9fe"
_LONGEST_COMMENT = 120
"""nftables takes 127 bytes."""

REASONS = {
    "unknown_interface": "came in by an interface of no VM",
    "forged_mac": "had a hardware address that its interface's VM has not",
    "forged_source": "had a source address that its VM has not",
    "not_http": "were for another port than 80, or no TCP",
    "false_service": "pretended to come from the address",
    "astray": "were answers that would have left by another way than that to their VM",
    "host": "came from the host itself",
}
"""Why packets are dropped: each has a counter, and says what the packets did."""


class _Ip(Struct, frozen=True):
    """One version of IP as nftables speaks of it, and the address of the service in it."""

    version: int
    word: str
    address: str

    @property
    def kind(self) -> str:
        return f"ipv{self.version}_addr"

    @property
    def answer(self) -> str:
        """What an answer is; an announcement of neighbours or groups is none."""
        return f"{self.word} saddr {self.address} meta l4proto tcp"


_V4, _V6 = _Ip(4, "ip", IPV4), _Ip(6, "ip6", IPV6)


class Rules(Struct, frozen=True):
    """What both tables have to be: the text that makes them so, its fingerprint, and its ties.

    `tied` has interface, hardware address and source address of each.
    """

    text: str
    stamp: str
    tied: frozenset[tuple[str, ...]]


def ruleset(
    tied: Sequence[InterfaceBinding],
    gates: Mapping[str, str],
    places: Sequence[str] = (),
    *,
    ipv6: bool = False,
) -> Rules:
    """Return the rules for these VMs; their text replaces both tables, whatever they were before.

    Args:
        tied: the VMs.
        gates: by interface, the hardware address of the bridge that it is on.
        places: interfaces that have got the IPv6 address; only kept, for whoever undoes it.
        ipv6: whether the IPv6 address is served as well.
    """
    versions = (_V4, _V6) if ipv6 else (_V4,)
    bridge = [*_sets(tied, versions), _set("gate", "ifname : ether_addr", _pairs(gates), "map")]
    inet = [*_sets(tied, versions), *_inet_sets(tied, versions)]
    inet.append(_set("places", "ifname", [f'"{one}"' for one in places]))
    tables = {
        "bridge": [*bridge, *_bridge_chains(versions)],
        "inet": [*inet, *_inet_chains(versions)],
    }
    stamp = sha256(str(tables).encode()).hexdigest()[:16]
    counters = [f"counter {name} {{ }}" for name in REASONS]
    counters.append(f'counter {STAMP} {{ comment "{stamp}" }}')
    text = "".join(_table(family, [*counters, *parts]) for family, parts in tables.items())
    keys = {(tie.interface, tie.mac, one) for ip in versions for tie, one in _each(tied, ip)}
    return Rules(text, stamp, frozenset(keys))


def _table(family: str, parts: list[str]) -> str:
    inner = "\n".join(f"  {line}" for part in parts for line in part.splitlines())
    # Declared first, so that there is something to delete; all of it happens at once.
    return (
        f"table {family} {TABLE}\ndelete table {family} {TABLE}\n"
        f"table {family} {TABLE} {{\n{inner}\n}}\n"
    )


def _set(name: str, kind: str, elements: list[str], word: str = "set", more: str = "") -> str:
    said = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"{word} {name} {{ type {kind};{more}{said} }}"


def _pairs(gates: Mapping[str, str]) -> list[str]:
    return [f'"{interface}" : {mac}' for interface, mac in sorted(gates.items())]


def _comment(tie: InterfaceBinding) -> str:
    return f'comment "{quote(tie.vm, safe=" ")[:_LONGEST_COMMENT]}"'


def _each(tied: Sequence[InterfaceBinding], ip: _Ip) -> list[tuple[InterfaceBinding, str]]:
    return [(tie, address) for tie in tied for address in tie.of(ip.version)]


def _sets(tied: Sequence[InterfaceBinding], versions: Sequence[_Ip]) -> list[str]:
    """Return the sets that both tables have; `guests` counts what is dropped of each VM."""
    guests = [f'"{tie.interface}" {_comment(tie)}' for tie in tied]
    links = [f'"{tie.interface}" . {tie.mac}' for tie in tied]
    found = [
        _set("guests", "ifname", guests, more=" counter;"),
        _set("links", "ifname . ether_addr", links),
    ]
    for ip in versions:
        elements = [
            f'"{tie.interface}" . {tie.mac} . {address} {_comment(tie)}'
            for tie, address in _each(tied, ip)
        ]
        kind = f"ifname . ether_addr . {ip.kind}"
        found.append(_set(f"tied{ip.version}", kind, elements, more=" counter;"))
    return found


def _inet_sets(tied: Sequence[InterfaceBinding], versions: Sequence[_Ip]) -> list[str]:
    """Return the sets for guests whose port the host cannot see any more, and for answers."""
    found = []
    for ip in versions:
        each = _each(tied, ip)
        bridged = [f"{tie.mac} . {address} {_comment(tie)}" for tie, address in each]
        homes = [f'"{tie.interface}" . {address}' for tie, address in each]
        kind = ip.kind
        found += [
            _set(f"bridged{ip.version}", f"ether_addr . {kind}", bridged, more=" counter;"),
            _set(f"homes{ip.version}", f"ifname . {kind}", homes),
            _set(f"addresses{ip.version}", kind, [address for _, address in each]),
        ]
    return found


def _chain(name: str, *rules: str, hook: str = "") -> str:
    base = [f"type filter hook {hook} priority -350; policy accept;"] if hook else []
    return "\n".join((f"chain {name} {{", *(f"  {rule}" for rule in (*base, *rules)), "}"))


_DISCOVERY = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
_OVER_BRIDGES = '{ "bridge", "vlan" }'
"""The kinds of interface by which the host meets guests of a bridge."""


def _refusals() -> list[str]:
    """Return the chains that say why; `guests` counts for the VM of the interface."""
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
        tied = f"iifname . ether saddr . {word} saddr @tied{v} goto welcome"
        requests.append(_chain(f"request{v}", tied, "goto reason"))
    ports.append(f"meta protocol arp arp saddr ip {IPV4} counter name false_service drop")
    between.append(f"meta protocol arp arp daddr ip {IPV4} drop")
    if _V6 in versions:
        # The target of neighbour discovery stands eight bytes into the message.
        target = f"@th,64,128 {_IPV6_HEX}"
        ports.append(f"icmpv6 type nd-neighbor-advert {target} counter name false_service drop")
        between.append(f"icmpv6 type nd-neighbor-solicit {target} drop")
    return [
        *_refusals(),
        _chain(
            "welcome",
            *([_DISCOVERY] if _V6 in versions else []),
            "tcp dport != 80 counter name not_http goto refuse",
            "meta l4proto != tcp counter name not_http goto refuse",
            "ether daddr set iifname map @gate meta pkttype set host",
        ),
        *requests,
        _chain("from_ports", *ports, hook="prerouting"),
        _chain("between_ports", *between, hook="forward"),
        _chain("to_ports", *out, hook="output"),
    ]


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
        whose = f"ether saddr . {word} saddr"
        requests.append(
            _chain(
                f"request{v}",
                f"iifname . {whose} @tied{v} goto welcome",
                f"meta iifkind {_OVER_BRIDGES} {whose} @bridged{v} goto welcome",
                "goto reason",
            )
        )
    return [
        *_refusals(),
        _chain(
            "welcome",
            *([_DISCOVERY] if _V6 in versions else []),
            "tcp dport != 80 counter name not_http goto refuse",
            "meta l4proto != tcp counter name not_http goto refuse",
        ),
        *requests,
        _chain("requests", *arriving, hook="prerouting"),
        _chain("answers", *leaving, hook="output"),
    ]
