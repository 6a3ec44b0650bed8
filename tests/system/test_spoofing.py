"""Guests that spoof: each gets its own metadata or none, and dropped packets are counted.

The first test shows that the attack works before `openimds host up`: the rules stop it.
"""

import json
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.system.frames import (
    ARP,
    BROADCAST,
    IPV4,
    IPV6,
    arp_reply,
    frame,
    is_tcp,
    kind_of,
    neighbour_advertisement,
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

ALL_NODES = "33:33:00:00:00:01"
PACKED = ip_address(IMDS).packed
SEND_UDP = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'?', ('{IMDS}', 80))"
OWN = {"a": "web-a", "b": "web-b", "d": "web-d"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as here:
        yield here


@pytest.fixture
def tied(here: Lab) -> Iterator[Lab]:
    """The lab after `openimds host up`, with a server; no unknown caller reaches it."""
    here.up()
    with here.serving() as server:
        yield here
        assert server.counter(UNKNOWN_CALLERS) == 0
        assert server.stop() == (0, "")


def claim(here: Lab, name: str, address: str) -> None:
    """Give a guest an address that is not its own."""
    here.host.shell(f"ip -n {name} address add {address}/32 dev eth0")


def claim_mac(here: Lab, name: str, mac: str) -> None:
    """Give a guest a hardware address that is not its own."""
    here.host.shell(f"""
        ip -n {name} link set eth0 down
        ip -n {name} link set eth0 address {mac}
        ip -n {name} link set eth0 up
        ip -n {name} route replace default via 10.0.0.1
    """)


def test_forged_source_address_works_without_rules(here: Lab) -> None:
    here.host.shell(f"ip address add {IMDS}/32 dev lo")
    claim(here, "a", IPS["b"])
    with here.serving():
        here.host.shell("ip -n b link set eth0 down")
        assert here.request("a", "--interface", IPS["b"]) == "web-b"


def test_each_guest_gets_its_own(tied: Lab) -> None:
    assert {name: tied.request(name) for name in "abd"} == OWN
    assert tied.request_in_vain("c") == ""
    assert tied.dropped() == {"unknown_interface": 1}
    accepted = {guest["vm"]: guest["accepted"] for guest in tied.status()["guests"]}
    assert all(accepted[name] > 0 for name in OWN.values())


@pytest.mark.parametrize("is_on", ["0", "1"])
def test_rules_hold_with_and_without_bridge_netfilter(tied: Lab, is_on: str) -> None:
    setting = "net.bridge.bridge-nf-call-iptables"
    if tied.host.run("sysctl", "-qw", f"{setting}={is_on}", code=None).returncode:
        pytest.skip("this kernel has no br_netfilter")
    tied.host.shell("ip -n a route replace default via 10.0.0.66")
    assert {name: tied.request(name) for name in "abd"} == OWN
    claim(tied, "a", IPS["b"])
    assert tied.request_in_vain("a", "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"forged_source": 1}


def test_a_forged_source_address_gets_nothing(tied: Lab) -> None:
    for name in "ad":
        claim(tied, name, IPS["b"])
        assert tied.request_in_vain(name, "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"forged_source": 2}
    guests = {guest["vm"]: guest for guest in tied.status()["guests"]}
    assert {name: guest["dropped"] for name, guest in guests.items()} == {
        "web-a": 1,
        "web-b": 0,
        "web-d": 1,
    }
    assert {name: guest["accepted"] for name, guest in guests.items()} == dict.fromkeys(guests, 0)


@pytest.mark.parametrize("name", ["a", "d"])
def test_a_forged_hardware_address_gets_nothing(tied: Lab, name: str) -> None:
    if name == "a":
        claim_mac(tied, "a", MACS["b"])
    else:
        tied.host.shell("ip -n d link set eth0 down; ip -n d link set eth0 address " + MACS["b"])
        tied.host.shell("ip -n d link set eth0 up; ip -n d route add 10.9.0.1 dev eth0")
        tied.host.shell("ip -n d route add default via 10.9.0.1; ip neigh flush all")
    assert tied.request_in_vain(name) == ""
    # On a bridge it is already its ARP that is dropped.
    assert tied.dropped().keys() == {"posing" if name == "a" else "forged_mac"}


def test_both_addresses_of_another_guest_get_nothing(tied: Lab) -> None:
    claim_mac(tied, "a", MACS["b"])
    claim(tied, "a", IPS["b"])
    assert tied.request_in_vain("a", "--interface", IPS["b"]) == ""
    assert tied.dropped().keys() == {"posing"}


def test_unknown_interface_gets_nothing_by_any_address(tied: Lab) -> None:
    assert tied.request_in_vain("c") == ""
    claim(tied, "c", IPS["b"])
    assert tied.request_in_vain("c", "--interface", IPS["b"]) == ""
    claim_mac(tied, "c", MACS["b"])
    assert tied.request_in_vain("c", "--interface", IPS["b"]) == ""
    assert tied.dropped() == {"unknown_interface": 3}


@pytest.mark.parametrize("name", ["a", "c"])
def test_forged_frame_gets_nothing_with_or_without_a_vlan(tied: Lab, name: str) -> None:
    reason = "forged_mac" if name == "a" else "unknown_interface"
    with tied.capturing(name) as frames:
        for number, tag in enumerate((None, 0, 7), 1):
            tied.send(name, to_host(MACS["b"], IPV4, syn(IPS["b"], IMDS), tag))
            assert tied.request("b") == "web-b"
            assert tied.dropped() == {reason: number}
    assert [frame for frame in frames if is_tcp(frame)] == []


@pytest.mark.parametrize(
    "poison",
    [
        "ip neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:0a dev br0 nud permanent",
        "bridge fdb replace 02:00:00:00:00:0b dev pa master static sticky",
    ],
    ids=["neighbour table", "bridge"],
)
def test_response_does_not_follow_poisoned_tables(here: Lab, poison: str) -> None:
    # Host and guest know each other, as after an earlier request; then a table is poisoned.
    here.host.shell(f"""
        ip -n b neighbour replace 10.0.0.1 lladdr {BRIDGE} dev eth0
        ip neighbour replace 10.0.0.5 lladdr {MACS["b"]} dev br0
        ip address add {IMDS}/32 dev lo
        {poison}
    """)

    def stolen() -> list[bytes]:
        with here.capturing("a") as frames:
            assert here.request_in_vain("b") == ""
        return [frame for frame in frames if is_tcp(frame)]

    with here.serving():
        assert stolen(), "the attack does not work without rules"
    here.host.shell(f"ip address delete {IMDS}/32 dev lo")
    here.up()
    with here.serving():
        assert stolen() == []
    assert here.dropped().keys() == {"astray"}


def test_poisoned_arp_takes_no_service_from_another_guest(tied: Lab) -> None:
    # The kernel accepts a reply that changes an entry of the last second only with this setting.
    tied.host.shell("sysctl -qw net.ipv4.neigh.br0.locktime=0")
    for name in "ac":
        assert tied.request("b") == "web-b"
        tied.send(name, to_host(MACS[name], ARP, arp_reply(IPS["b"], MACS[name])))
        assert tied.request("b") == "web-b"
    assert "astray" not in tied.dropped()


def test_poisoned_bridge_takes_no_service_from_another_guest(tied: Lab) -> None:
    assert tied.request("b") == "web-b"
    posing = [
        frame(BROADCAST, MACS["b"], ARP, arp_reply(IPS["b"], MACS["b"])),
        frame(MACS["a"], MACS["b"], IPV4, syn(IPS["b"], IPS["d"])),
    ]
    tied.send("a", *posing)
    entries = json.loads(tied.host.shell("bridge -j fdb show br br0"))
    places = {entry["ifname"] for entry in entries if entry["mac"] == MACS["b"]}
    assert places == {"pb"}
    assert tied.dropped() == {"posing": len(posing)}
    assert tied.request("b") == "web-b"


def test_foreign_hardware_address_of_no_vm_passes(tied: Lab) -> None:
    # Such as those of containers inside of a guest.
    sent = frame(BROADCAST, "02:00:00:00:00:77", ARP, arp_reply("10.0.0.77", "02:00:00:00:00:77"))
    with tied.capturing("b") as frames:
        tied.send("a", sent)
        assert tied.request("b") == "web-b"
    assert sent in frames
    assert tied.dropped() == {}


def test_guest_cannot_pose_as_the_service(tied: Lab) -> None:
    forged = [
        frame(BROADCAST, MACS["a"], ARP, arp_reply(IMDS, MACS["a"])),
        frame(MACS["b"], MACS["a"], IPV4, syn(IMDS, IPS["b"], 40000)),
    ]
    with tied.capturing("b") as frames:
        tied.send("a", *forged)
        assert tied.request("b") == "web-b"
    assert [frame for frame in frames if frame in forged] == []
    assert tied.dropped() == {"false_service": 2}


def test_requests_for_the_address_go_to_no_other_port(tied: Lab) -> None:
    # Guest a believes that c is its gateway, and the address a neighbour of its own.
    tied.host.shell("ip -n a route replace default via 10.0.0.66")
    with tied.capturing("c") as frames:
        assert tied.request("a") == "web-a"
        tied.host.shell(f"ip -n a route add {IMDS} dev eth0; ip -n a neigh flush all")
        assert tied.request("a") == "web-a"
    # The host looks for guest a at every port; no guest looks for the address.
    assert [frame for frame in frames if is_tcp(frame)] == []
    assert [frame for frame in frames if kind_of(frame) == ARP and frame.endswith(PACKED)] == []


def test_only_http_is_reached_at_the_address(tied: Lab) -> None:
    other = f"http://{IMDS}:8170/healthz"
    assert tied.host.guest("a", "curl", "-sS", "-m", "0.5", other, code=None) == ""
    tied.host.guest("d", sys.executable, "-c", SEND_UDP)
    assert tied.dropped() == {"not_http": 2}


def test_no_header_or_target_selects_another_vm(tied: Lab) -> None:
    refused = tied.request("a", "-H", "X-Forwarded-For: 10.0.0.5")
    assert "<Code>InvalidHeaderValue</Code>" in refused
    for words in (
        ("-H", "Host: 10.0.0.5"),
        ("-H", "Host: web-b"),
        ("-H", "Forwarded: for=10.0.0.5", "-H", "X-Real-IP: 10.0.0.5"),
        ("--request-target", f"http://10.0.0.5{NAME}"),
        ("--request-target", f"http://web-b{NAME}"),
    ):
        assert tied.request("a", *words) == "web-a"
    assert tied.dropped() == {}


@pytest.fixture
def tied_6(here: Lab) -> Iterator[Lab]:
    """The lab with the IPv6 address, and a server there."""
    here.up("--ipv6")
    listeners = ",".join((f"{IMDS}:80", f"[{IMDS_6}%br0]:80", f"[{IMDS_6}%pd]:80"))
    with here.serving("--listen", listeners) as server:
        yield here
        assert server.counter(UNKNOWN_CALLERS) == 0


def test_over_ipv6_each_guest_gets_its_own(tied_6: Lab) -> None:
    assert {name: tied_6.request_6(name) for name in "abd"} == OWN
    assert {name: tied_6.request(name) for name in "abd"} == OWN
    assert tied_6.dropped() == {}
    assert tied_6.request_6("c", "-m", "0.5") == ""
    assert tied_6.dropped().keys() == {"unknown_interface"}


def test_poisoned_neighbour_takes_no_ipv6_service(tied_6: Lab) -> None:
    assert tied_6.request_6("b") == "web-b"
    poison = neighbour_advertisement(IPS_6["b"], MACS["a"], IPS_6["a"])
    tied_6.send("a", frame(ALL_NODES, MACS["a"], IPV6, poison))
    assert tied_6.request_6("b") == "web-b"
    assert tied_6.dropped() == {}


def test_over_ipv6_no_guest_poses_as_another_or_the_service(tied_6: Lab) -> None:
    forged = (
        to_host(MACS["a"], IPV6, syn(IPS_6["b"], IMDS_6)),
        to_host(MACS["b"], IPV6, syn(IPS_6["b"], IMDS_6)),
        frame(MACS["b"], MACS["a"], IPV6, syn(IMDS_6, IPS_6["b"], 40000)),
        frame(
            ALL_NODES,
            MACS["a"],
            IPV6,
            neighbour_advertisement(IMDS_6, MACS["a"], IPS_6["a"]),
        ),
    )
    with tied_6.capturing("b") as frames:
        tied_6.send("a", *forged)
        assert tied_6.request_6("b") == "web-b"
    assert [frame for frame in frames if frame in forged] == []
    assert tied_6.dropped() == {"forged_source": 1, "forged_mac": 1, "false_service": 2}
