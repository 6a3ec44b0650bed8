import pytest
from msgspec import structs

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.nft_rules import REASONS, Rules, ruleset

A = InterfaceBinding("web-1", "tap-a", "02:00:00:00:00:0a", ("10.0.0.4", "fe80::a"))
B = InterfaceBinding('w"eb; ü', "tap-b", "02:00:00:00:00:0b", ("10.0.0.5",))


def lines(rules: Rules) -> list[str]:
    return [line.strip() for line in rules.text.splitlines()]


def test_table_is_replaced_as_a_whole() -> None:
    text = lines(ruleset([A], {}))
    for family in ("arp", "bridge", "inet"):
        first = text.index(f"table {family} openimds")
        assert text[first + 1 : first + 3] == [
            f"delete table {family} openimds",
            f"table {family} openimds {{",
        ]
    assert text.count("}") == sum(line.endswith("{") for line in text)


def test_vm_names_are_escaped_in_comments() -> None:
    text = ruleset([A, B], {"tap-a": "02:00:00:00:00:01"}).text
    assert '"tap-a" . 02:00:00:00:00:0a . 10.0.0.4 comment "web-1"' in text
    assert '"tap-b" . 02:00:00:00:00:0b . 10.0.0.5 comment "w%22eb%3B %C3%BC"' in text
    assert (
        'map gate { type ifname : ether_addr; elements = { "tap-a" : 02:00:00:00:00:01 }; }' in text
    )


def test_long_vm_name_is_cut_to_the_limit_of_comments() -> None:
    binding = InterfaceBinding("ü" * 200, "tap-a", A.mac, ("10.0.0.4",))
    comments = [part.split('"')[1] for part in ruleset([binding], {}).text.split("comment ")[1:]]
    assert max(map(len, comments)) == 120
    # A name that was cut and read back has the same comment.
    odd = InterfaceBinding("x" + "ü" * 200, "tap-a", A.mac, ("10.0.0.4",))
    text = ruleset([odd], {}).text
    assert f'comment "x{"%C3%BC" * 19}"' in text


def test_without_vms_all_packets_to_the_address_are_dropped() -> None:
    text = lines(ruleset([], {}))
    assert "set tied4 { type ifname . ether_addr . ipv4_addr; counter; }" in text
    assert text.count("iifname != @guests counter name unknown_interface drop") == 2


def test_each_interface_has_a_limit_of_new_connections() -> None:
    text = lines(ruleset([A, B], {}))
    limit = "limit rate over 100/second burst 300 packets"
    elements = 'elements = { "tap-a", "tap-b" }'
    assert text.count(f"set hasty {{ type ifname; {limit}; {elements}; }}") == 2
    for place in (i for i, line in enumerate(text) if line == "chain welcome {"):
        chain = text[place : text.index("}", place)]
        # Only open connections are exempt, and only at the end: all other checks come first.
        assert chain[-2:] == [
            "tcp flags & (syn | ack) != syn accept",
            "iifname @hasty counter name too_many goto refuse",
        ]


def test_open_connections_are_counted_only_if_bounded() -> None:
    assert "ct " not in ruleset([A, B], {}).text
    text = lines(ruleset([A, B], {}, most_open=64))
    elements = "elements = { 10.0.0.4, 10.0.0.5 }"
    assert f"set open4 {{ type ipv4_addr; ct count over 64; {elements}; }}" in text
    rule = "meta mark 0x6f696d64 ct state new ip saddr @open4 counter name too_many_open drop"
    place = text.index(rule)
    assert text[place - 1] == "type filter hook prerouting priority -150; policy accept;"


def test_every_reason_has_a_counter_in_each_table() -> None:
    text = lines(ruleset([A], {}))
    for reason in REASONS:
        assert text.count(f"counter {reason} {{ }}") == 3


def test_order_of_vms_and_addresses_makes_no_difference() -> None:
    turned = structs.replace(A, addresses=A.addresses[::-1])
    assert ruleset([B, turned], {}, ipv6=True) == ruleset([A, B], {}, ipv6=True)


def test_bridged_packet_without_the_mark_is_dropped() -> None:
    text = lines(ruleset([A], {}))
    bridged = 'meta iifkind { "bridge", "vlan" } ether saddr . ip saddr @bridged4'
    place = text.index(f"{bridged} counter name hidden drop")
    assert text[place - 1] == f"meta mark 0x6f696d64 {bridged} goto welcome"
    for place in (i for i, line in enumerate(text) if line == "chain welcome {"):
        assert text[place + 1] == "meta mark set 0x6f696d64"


@pytest.mark.parametrize("ipv6", [False, True])
def test_ipv6_rules_exist_only_if_ipv6_is_served(ipv6: bool) -> None:
    rules = ruleset([A], {}, ["br0"], ipv6=ipv6)
    for word in ("fe80::a9fe:a9fe", "tied6", "icmpv6", "ip6 ", "fe80::a "):
        assert (word in rules.text) is ipv6, word
    assert 'set places { type ifname; elements = { "br0" }; }' in rules.text


def test_fingerprint_depends_on_the_rules() -> None:
    first = ruleset([A], {})
    assert f'counter stamp {{ comment "{first.stamp}" }}' in lines(first)
    assert ruleset([A], {}) == first
    others = [ruleset([B], {}), ruleset([A], {"tap-a": B.mac}), ruleset([A], {}, ["br0"])]
    assert len({first.stamp, *(rules.stamp for rules in others)}) == 4
