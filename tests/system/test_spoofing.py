"""Guests that pretend: each gets its own metadata or nothing, and what they sent is counted.

The first tests show that the attack works as long as `openimds host up` has not been typed: what is
stopped afterwards is stopped by it.
"""

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.system.frames import (
    ARP,
    EVERYBODY,
    IPV4,
    IPV6,
    advert,
    frame,
    is_at,
    is_tcp,
    kind_of,
    syn,
)
from tests.system.lab import (
    BRIDGE,
    IMDS,
    IMDS_6,
    IPS,
    IPS_6,
    MACS,
    NAME,
    STRANGERS,
    Lab,
    lab,
    to_host,
)

pytestmark = [pytest.mark.system, pytest.mark.netns]

PACKED = ip_address(IMDS).packed
SEND_UDP = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'?', ('{IMDS}', 80))"
OWN = {"a": "web-a", "b": "web-b", "d": "web-d"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as one:
        yield one


@pytest.fixture
def tied(here: Lab) -> Iterator[Lab]:
    """The lab after `openimds host up`, with a server; what nobody may do has not been done."""
    here.up()
    with here.serving() as server:
        yield here
        assert server.counter(STRANGERS) == 0
        assert server.stop() == (0, "")


def take(here: Lab, name: str, address: str) -> None:
    """Give a guest an address that is not its own."""
    here.host.shell(f"ip -n {name} address add {address}/32 dev eth0")


def take_mac(here: Lab, name: str, mac: str) -> None:
    """Give a guest a hardware address that is not its own."""
    here.host.shell(f"""
        ip -n {name} link set eth0 down
        ip -n {name} link set eth0 address {mac}
        ip -n {name} link set eth0 up
        ip -n {name} route replace default via 10.0.0.1
    """)


def test_without_rules_a_forged_source_address_is_believed(here: Lab) -> None:
    here.host.shell(f"ip address add {IMDS}/32 dev lo")
    take(here, "a", IPS["b"])
    with here.serving():
        here.host.shell("ip -n b link set eth0 down")
        assert here.asks("a", "--interface", IPS["b"]) == "web-b"


def test_each_guest_gets_its_own(tied: Lab) -> None:
    assert {name: tied.asks(name) for name in "abd"} == OWN
    assert tied.knocks("c") == ""
    assert tied.dropped() == {"unknown_interface": 1}
    accepted = {one["vm"]: one["accepted"] for one in tied.status()["guests"]}
    assert all(accepted[name] > 0 for name in OWN.values())


@pytest.mark.parametrize("is_on", ["0", "1"])
def test_it_is_the_same_where_bridges_are_filtered_as_routes_are(tied: Lab, is_on: str) -> None:
    setting = "net.bridge.bridge-nf-call-iptables"
    if tied.host.run("sysctl", "-qw", f"{setting}={is_on}", code=None).returncode:
        pytest.skip("this kernel has no br_netfilter")
    tied.host.shell("ip -n a route replace default via 10.0.0.66")
    assert {name: tied.asks(name) for name in "abd"} == OWN
    take(tied, "a", IPS["b"])
    assert tied.knocks("a", "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"forged_source": 1}


def test_a_forged_source_address_gets_nothing(tied: Lab) -> None:
    for name in "ad":
        take(tied, name, IPS["b"])
        assert tied.knocks(name, "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"forged_source": 2}
    guests = {one["vm"]: one for one in tied.status()["guests"]}
    assert {name: one["dropped"] for name, one in guests.items()} == {
        "web-a": 1,
        "web-b": 0,
        "web-d": 1,
    }
    assert {name: one["accepted"] for name, one in guests.items()} == dict.fromkeys(guests, 0)


@pytest.mark.parametrize("name", ["a", "d"])
def test_a_forged_hardware_address_gets_nothing(tied: Lab, name: str) -> None:
    if name == "a":
        take_mac(tied, "a", MACS["b"])
    else:
        tied.host.shell("ip -n d link set eth0 down; ip -n d link set eth0 address " + MACS["b"])
        tied.host.shell("ip -n d link set eth0 up; ip -n d route add 10.9.0.1 dev eth0")
        tied.host.shell("ip -n d route add default via 10.9.0.1; ip neigh flush all")
    assert tied.knocks(name) == ""
    assert tied.dropped() == {"forged_mac": 1}


def test_both_addresses_of_another_guest_get_nothing(tied: Lab) -> None:
    take_mac(tied, "a", MACS["b"])
    take(tied, "a", IPS["b"])
    assert tied.knocks("a", "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"forged_mac": 1}


def test_a_third_interface_gets_nothing_whoever_it_claims_to_be(tied: Lab) -> None:
    assert tied.knocks("c") == ""
    take(tied, "c", IPS["b"])
    assert tied.knocks("c", "--interface", IPS["b"]) == ""
    take_mac(tied, "c", MACS["b"])
    assert tied.knocks("c", "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"unknown_interface": 3}


@pytest.mark.parametrize("tag", [None, 0, 7])
@pytest.mark.parametrize("name", ["a", "c"])
def test_a_forged_frame_gets_nothing_tagged_or_not(tied: Lab, name: str, tag: int | None) -> None:
    with tied.hearing(name) as heard:
        tied.sends(name, to_host(MACS["b"], IPV4, syn(IPS["b"], IMDS), tag))
        assert tied.asks("b") == "web-b"
    assert [one for one in heard if is_tcp(one)] == []
    reason = "forged_mac" if name == "a" else "unknown_interface"
    assert tied.dropped() == {reason: 1}


@pytest.mark.parametrize(
    "lie",
    [
        "ip neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:0a dev br0 nud permanent",
        "bridge fdb replace 02:00:00:00:00:0b dev pa master static sticky",
    ],
    ids=["neighbour table", "bridge"],
)
def test_an_answer_does_not_go_to_who_has_taught_the_host_wrong(here: Lab, lie: str) -> None:
    # Both know where the other is, as after any earlier request; then the host is lied to.
    here.host.shell(f"""
        ip -n b neighbour replace 10.0.0.1 lladdr {BRIDGE} dev eth0
        ip neighbour replace 10.0.0.5 lladdr {MACS["b"]} dev br0
        ip address add {IMDS}/32 dev lo
        {lie}
    """)

    def stolen() -> list[bytes]:
        with here.hearing("a") as heard:
            assert here.knocks("b") == ""
        return [one for one in heard if is_tcp(one)]

    with here.serving():
        assert stolen(), "there is nothing to be stopped"
    here.host.shell(f"ip address delete {IMDS}/32 dev lo")
    here.up()
    with here.serving():
        assert stolen() == []
    assert here.dropped().keys() == {"astray"}


def test_nobody_else_is_the_service(tied: Lab) -> None:
    lies = [
        frame(EVERYBODY, MACS["a"], ARP, is_at(IMDS, MACS["a"])),
        frame(MACS["b"], MACS["a"], IPV4, syn(IMDS, IPS["b"], 40000)),
    ]
    with tied.hearing("b") as heard:
        tied.sends("a", *lies)
        assert tied.asks("b") == "web-b"
    assert [one for one in heard if one in lies] == []
    assert tied.dropped() == {"false_service": 2}


def test_requests_for_the_address_go_to_no_other_port(tied: Lab) -> None:
    # Guest a believes that c is its gateway, and the address a neighbour of its own.
    tied.host.shell("ip -n a route replace default via 10.0.0.66")
    with tied.hearing("c") as heard:
        assert tied.asks("a") == "web-a"
        tied.host.shell(f"ip -n a route add {IMDS} dev eth0; ip -n a neigh flush all")
        assert tied.asks("a") == "web-a"
    # The host asks every port where a is; nobody is asked where the address is.
    assert [one for one in heard if is_tcp(one)] == []
    assert [one for one in heard if kind_of(one) == ARP and one.endswith(PACKED)] == []


def test_only_http_is_reached_at_the_address(tied: Lab) -> None:
    other = f"http://{IMDS}:8170/healthz"
    assert tied.host.guest("a", "curl", "-sS", "-m", "0.5", other, code=None) == ""
    tied.host.guest("d", sys.executable, "-c", SEND_UDP)
    assert tied.dropped() == {"not_http": 2}


def test_no_word_of_a_request_makes_it_another_guests(tied: Lab) -> None:
    refused = '{ "error": "Bad request: . X-Forwarded-For header is not allowed" }'
    assert tied.asks("a", "-H", "X-Forwarded-For: 10.0.0.5") == refused
    for words in (
        ("-H", "Host: 10.0.0.5"),
        ("-H", "Host: web-b"),
        ("-H", "Forwarded: for=10.0.0.5", "-H", "X-Real-IP: 10.0.0.5"),
        ("--request-target", f"http://10.0.0.5{NAME}"),
        ("--request-target", f"http://web-b{NAME}"),
    ):
        assert tied.asks("a", *words) == "web-a"
    assert tied.dropped() == {}


@pytest.fixture
def tied_6(here: Lab) -> Iterator[Lab]:
    """The lab with the IPv6 address, and a server there."""
    here.up("--ipv6")
    places = ",".join((f"{IMDS}:80", f"[{IMDS_6}%br0]:80", f"[{IMDS_6}%pd]:80"))
    with here.serving("--listen", places) as server:
        yield here
        assert server.counter(STRANGERS) == 0


def test_over_ipv6_each_guest_gets_its_own(tied_6: Lab) -> None:
    assert {name: tied_6.asks_6(name) for name in "abd"} == OWN
    assert {name: tied_6.asks(name) for name in "abd"} == OWN
    assert tied_6.dropped() == {}
    assert tied_6.asks_6("c", "-m", "0.5") == ""
    assert tied_6.dropped().keys() == {"unknown_interface"}


def test_over_ipv6_nobody_is_another_guest_or_the_service(tied_6: Lab) -> None:
    lies = (
        to_host(MACS["a"], IPV6, syn(IPS_6["b"], IMDS_6)),
        to_host(MACS["b"], IPV6, syn(IPS_6["b"], IMDS_6)),
        frame(MACS["b"], MACS["a"], IPV6, syn(IMDS_6, IPS_6["b"], 40000)),
        frame("33:33:00:00:00:01", MACS["a"], IPV6, advert(IMDS_6, MACS["a"], IPS_6["a"])),
    )
    with tied_6.hearing("b") as heard:
        tied_6.sends("a", *lies)
        assert tied_6.asks_6("b") == "web-b"
    assert [one for one in heard if one in lies] == []
    assert tied_6.dropped() == {"forged_source": 1, "forged_mac": 1, "false_service": 2}
