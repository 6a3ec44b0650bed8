"""Guests that forge addresses get their own metadata or none, and are counted.

The first test shows that the attack works before `openimds host up`: so it is the rules that stop
it afterwards.
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
    UNKNOWN_CALLERS,
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
    with lab(tmp_path) as guests:
        yield guests


@pytest.fixture
def bound(here: Lab) -> Iterator[Lab]:
    """The lab after `openimds host up`, with a server that meets no unknown caller."""
    here.up()
    with here.serving() as server:
        yield here
        assert server.counter(UNKNOWN_CALLERS) == 0
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


def test_forged_source_address_works_without_rules(here: Lab) -> None:
    here.host.shell(f"ip address add {IMDS}/32 dev lo")
    take(here, "a", IPS["b"])
    with here.serving():
        here.host.shell("ip -n b link set eth0 down")
        assert here.asks("a", "--interface", IPS["b"]) == "web-b"


def test_each_guest_gets_its_own_metadata(bound: Lab) -> None:
    assert {name: bound.asks(name) for name in "abd"} == OWN
    assert bound.knocks("c") == ""
    assert bound.dropped() == {"unknown_interface": 1}
    accepted = {item["vm"]: item["accepted"] for item in bound.status()["guests"]}
    assert all(accepted[name] > 0 for name in OWN.values())


@pytest.mark.parametrize("is_on", ["0", "1"])
def test_rules_hold_with_bridge_netfilter(bound: Lab, is_on: str) -> None:
    setting = "net.bridge.bridge-nf-call-iptables"
    if bound.host.run("sysctl", "-qw", f"{setting}={is_on}", code=None).returncode:
        pytest.skip("this kernel has no br_netfilter")
    bound.host.shell("ip -n a route replace default via 10.0.0.66")
    assert {name: bound.asks(name) for name in "abd"} == OWN
    take(bound, "a", IPS["b"])
    assert bound.knocks("a", "--interface", IPS["b"]) == ""
    assert bound.dropped() == {"forged_source": 1}


def test_forged_source_address_gets_no_response(bound: Lab) -> None:
    for name in "ad":
        take(bound, name, IPS["b"])
        assert bound.knocks(name, "--interface", IPS["b"]) == ""
    assert bound.dropped() == {"forged_source": 2}
    guests = {item["vm"]: item for item in bound.status()["guests"]}
    assert {name: item["dropped"] for name, item in guests.items()} == {
        "web-a": 1,
        "web-b": 0,
        "web-d": 1,
    }
    assert {name: item["accepted"] for name, item in guests.items()} == dict.fromkeys(guests, 0)


@pytest.mark.parametrize("name", ["a", "d"])
def test_forged_hardware_address_gets_no_response(bound: Lab, name: str) -> None:
    if name == "a":
        take_mac(bound, "a", MACS["b"])
    else:
        bound.host.shell("ip -n d link set eth0 down; ip -n d link set eth0 address " + MACS["b"])
        bound.host.shell("ip -n d link set eth0 up; ip -n d route add 10.9.0.1 dev eth0")
        bound.host.shell("ip -n d route add default via 10.9.0.1; ip neigh flush all")
    assert bound.knocks(name) == ""
    assert bound.dropped() == {"forged_mac": 1}


def test_both_addresses_forged_get_no_response(bound: Lab) -> None:
    take_mac(bound, "a", MACS["b"])
    take(bound, "a", IPS["b"])
    assert bound.knocks("a", "--interface", IPS["b"]) == ""
    assert bound.dropped() == {"forged_mac": 1}


def test_unbound_interface_gets_no_response(bound: Lab) -> None:
    assert bound.knocks("c") == ""
    take(bound, "c", IPS["b"])
    assert bound.knocks("c", "--interface", IPS["b"]) == ""
    take_mac(bound, "c", MACS["b"])
    assert bound.knocks("c", "--interface", IPS["b"]) == ""
    assert bound.dropped() == {"unknown_interface": 3}


@pytest.mark.parametrize("tag", [None, 0, 7])
@pytest.mark.parametrize("name", ["a", "c"])
def test_forged_frame_gets_no_response_with_or_without_tag(
    bound: Lab, name: str, tag: int | None
) -> None:
    with bound.hearing(name) as frames:
        bound.sends(name, to_host(MACS["b"], IPV4, syn(IPS["b"], IMDS), tag))
        assert bound.asks("b") == "web-b"
    assert [item for item in frames if is_tcp(item)] == []
    reason = "forged_mac" if name == "a" else "unknown_interface"
    assert bound.dropped() == {reason: 1}


@pytest.mark.parametrize(
    "lie",
    [
        "ip neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:0a dev br0 nud permanent",
        "bridge fdb replace 02:00:00:00:00:0b dev pa master static sticky",
    ],
    ids=["neighbour table", "bridge"],
)
def test_response_does_not_go_to_a_guest_that_poisoned_the_host(here: Lab, lie: str) -> None:
    # Host and guest know each other, as after an earlier request; then the host is poisoned.
    here.host.shell(f"""
        ip -n b neighbour replace 10.0.0.1 lladdr {BRIDGE} dev eth0
        ip neighbour replace 10.0.0.5 lladdr {MACS["b"]} dev br0
        ip address add {IMDS}/32 dev lo
        {lie}
    """)

    def stolen() -> list[bytes]:
        with here.hearing("a") as frames:
            assert here.knocks("b") == ""
        return [item for item in frames if is_tcp(item)]

    with here.serving():
        assert stolen(), "the attack does not work without rules"
    here.host.shell(f"ip address delete {IMDS}/32 dev lo")
    here.up()
    with here.serving():
        assert stolen() == []
    assert here.dropped().keys() == {"astray"}


def test_guest_cannot_claim_the_service_address(bound: Lab) -> None:
    lies = [
        frame(EVERYBODY, MACS["a"], ARP, is_at(IMDS, MACS["a"])),
        frame(MACS["b"], MACS["a"], IPV4, syn(IMDS, IPS["b"], 40000)),
    ]
    with bound.hearing("b") as frames:
        bound.sends("a", *lies)
        assert bound.asks("b") == "web-b"
    assert [item for item in frames if item in lies] == []
    assert bound.dropped() == {"false_service": 2}


def test_requests_reach_no_other_port_of_the_bridge(bound: Lab) -> None:
    # Guest a believes that c is its gateway, and the address a neighbour of its own.
    bound.host.shell("ip -n a route replace default via 10.0.0.66")
    with bound.hearing("c") as frames:
        assert bound.asks("a") == "web-a"
        bound.host.shell(f"ip -n a route add {IMDS} dev eth0; ip -n a neigh flush all")
        assert bound.asks("a") == "web-a"
    # The host broadcasts ARP requests for a, but none for the address.
    assert [item for item in frames if is_tcp(item)] == []
    assert [item for item in frames if kind_of(item) == ARP and item.endswith(PACKED)] == []


def test_only_http_reaches_the_address(bound: Lab) -> None:
    other = f"http://{IMDS}:8170/healthz"
    assert bound.host.guest("a", "curl", "-sS", "-m", "0.5", other, code=None) == ""
    bound.host.guest("d", sys.executable, "-c", SEND_UDP)
    assert bound.dropped() == {"not_http": 2}


def test_headers_do_not_change_the_identity_of_a_guest(bound: Lab) -> None:
    refused = '{ "error": "Bad request: . X-Forwarded-For header is not allowed" }'
    assert bound.asks("a", "-H", "X-Forwarded-For: 10.0.0.5") == refused
    for words in (
        ("-H", "Host: 10.0.0.5"),
        ("-H", "Host: web-b"),
        ("-H", "Forwarded: for=10.0.0.5", "-H", "X-Real-IP: 10.0.0.5"),
        ("--request-target", f"http://10.0.0.5{NAME}"),
        ("--request-target", f"http://web-b{NAME}"),
    ):
        assert bound.asks("a", *words) == "web-a"
    assert bound.dropped() == {}


@pytest.fixture
def bound_6(here: Lab) -> Iterator[Lab]:
    """The lab with the IPv6 address, and a server there."""
    here.up("--ipv6")
    listen = ",".join((f"{IMDS}:80", f"[{IMDS_6}%br0]:80", f"[{IMDS_6}%pd]:80"))
    with here.serving("--listen", listen) as server:
        yield here
        assert server.counter(UNKNOWN_CALLERS) == 0


def test_each_guest_gets_its_own_metadata_over_ipv6(bound_6: Lab) -> None:
    assert {name: bound_6.asks_6(name) for name in "abd"} == OWN
    assert {name: bound_6.asks(name) for name in "abd"} == OWN
    assert bound_6.dropped() == {}
    assert bound_6.asks_6("c", "-m", "0.5") == ""
    assert bound_6.dropped().keys() == {"unknown_interface"}


def test_forged_ipv6_addresses_get_no_response(bound_6: Lab) -> None:
    lies = (
        to_host(MACS["a"], IPV6, syn(IPS_6["b"], IMDS_6)),
        to_host(MACS["b"], IPV6, syn(IPS_6["b"], IMDS_6)),
        frame(MACS["b"], MACS["a"], IPV6, syn(IMDS_6, IPS_6["b"], 40000)),
        frame("33:33:00:00:00:01", MACS["a"], IPV6, advert(IMDS_6, MACS["a"], IPS_6["a"])),
    )
    with bound_6.hearing("b") as frames:
        bound_6.sends("a", *lies)
        assert bound_6.asks_6("b") == "web-b"
    assert [item for item in frames if item in lies] == []
    assert bound_6.dropped() == {"forged_source": 1, "forged_mac": 1, "false_service": 2}
