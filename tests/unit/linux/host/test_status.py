import json

import pytest

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import ToolError
from openimds.linux.host.nft_state import Element, tables
from openimds.linux.host.plan import read_state
from openimds.linux.host.status import Guest, host_report, obstacles, route_to, sysctl
from tests.unit.linux.host.lister import (
    BRIDGE,
    IMDS0,
    TAP_A,
    Lister,
    counted,
    interface,
    named,
    stamp,
)

A = InterfaceBinding("web a", "tap-a", "02:00:00:00:00:0a", ("10.0.0.4", "fe80::a"))
KEY_4 = {"concat": ["tap-a", A.mac, "10.0.0.4"]}
KEY_6 = {"concat": ["tap-a", A.mac, "fe80::a"]}


def drops(**packets: int) -> list[dict[str, object]]:
    return [{"counter": {"name": name, "packets": count}} for name, count in packets.items()]


BRIDGE_TABLE = [
    stamp("x"),
    *drops(forged_mac=2, unknown_interface=1),
    named("guests", counted("tap-a", "web%20a", 2)),
    named("tied4", counted(KEY_4, "web%20a", 30)),
    named("gate", ["tap-a", "02:00:00:00:00:01"], word="map"),
]
INET_TABLE = [
    stamp("x"),
    *drops(forged_mac=1),
    named("guests", counted("tap-a", "web%20a", 1)),
    named("tied4", counted(KEY_4, "web%20a", 0)),
    named("tied6", counted(KEY_6, "web%20a", 5)),
    named("bridged4", counted({"concat": [A.mac, "10.0.0.4"]}, "web%20a", 7)),
    named("places", "br0"),
]
BOTH = {"bridge": BRIDGE_TABLE, "inet": INET_TABLE}


_GUEST = Guest(
    vm="web a",
    interface="tap-a",
    is_there=True,
    on="br0",
    mac=A.mac,
    addresses=A.addresses,
    accepted=12,
    dropped=3,
)


def test_tables_are_read_with_what_they_have_counted() -> None:
    found = tables(Lister(tables=BOTH))
    assert found["bridge"].stamp == "x"
    assert found["bridge"].dropped == {"forged_mac": 2, "unknown_interface": 1}
    assert found["bridge"].sets["gate"] == (Element(("tap-a", "02:00:00:00:00:01")),)
    assert found["inet"].sets["places"] == (Element(("br0",)),)
    assert found["inet"].tied == {
        ("tap-a", A.mac, "10.0.0.4"): "web a",
        ("tap-a", A.mac, "fe80::a"): "web a",
    }
    assert found["inet"].counted("bridged4", A.mac, "10.0.0.4") == 7
    assert found["inet"].counted("bridged4", A.mac, "10.0.0.5") == 0
    assert found["inet"].counted("none", "x") == 0


def test_a_report_adds_up_both_tables() -> None:
    found = host_report(read_state(Lister(BRIDGE, TAP_A, IMDS0, tables=BOTH)))
    assert found.is_up
    assert found.device == "dummy"
    assert found.guests == (_GUEST,)
    assert {name: count for name, count in found.dropped.items() if count} == {
        "unknown_interface": 1,
        "forged_mac": 3,
    }


def test_a_guest_whose_interface_is_gone_is_still_tied() -> None:
    (guest,) = host_report(read_state(Lister(IMDS0, tables=BOTH))).guests
    assert (guest.is_there, guest.on) == (False, "")


@pytest.mark.parametrize(
    "host",
    [
        Lister(),
        Lister(IMDS0),
        Lister(tables=BOTH),
        Lister(IMDS0, tables={"inet": INET_TABLE}),
        Lister({**IMDS0, "flags": []}, tables=BOTH),
        Lister({**IMDS0, "addr_info": []}, tables=BOTH),
    ],
)
def test_a_host_that_lacks_something_is_not_up(host: Lister) -> None:
    assert not host_report(read_state(host)).is_up


def said(*interfaces: dict[str, object], way: str = "br0", **settings: str) -> list[str]:
    seen = read_state(Lister(*interfaces))
    known = {tuple(name.split("__")): value for name, value in settings.items()}
    found = obstacles(seen, [A], lambda _: way, lambda *name: known.get(name, "0"))
    assert all(one.is_transient is ("no interface" in one.problem) for one in found)
    return [*map(str, found)]


def test_nothing_is_in_the_way() -> None:
    assert said(BRIDGE, TAP_A) == []
    assert said(interface("tap-a"), way="tap-a") == []


def test_an_answer_over_a_vlan_of_the_bridge_is_on_its_way() -> None:
    assert said(BRIDGE, TAP_A, interface("br0.10", kind="vlan"), way="br0.10") == []


NOT_THERE = "there is no interface tap-a yet; when there is, type openimds host up"
OVS = (
    "tap-a is a port of Open vSwitch, where no rule of nftables sees it; put it on a bridge of "
    "Linux, or write reach.listen"
)
MACVTAP = "tap-a is a macvtap, which the host cannot talk to; use a tap"
ADD_ROUTE = "type ip route add 10.0.0.4/32 dev br0"
WRONG_WAY = f"answers to 10.0.0.4 would leave by eth0 and be dropped; {ADD_ROUTE}"
NO_WAY = f"answers to 10.0.0.4 have no route; {ADD_ROUTE}"


@pytest.mark.parametrize(
    "interfaces, way, expected",
    [
        ((), "br0", NOT_THERE),
        ((interface("ovs", kind="openvswitch"), interface("tap-a", master="ovs")), "ovs", OVS),
        ((interface("tap-a", kind="macvtap"),), "tap-a", MACVTAP),
        ((BRIDGE, TAP_A), "eth0", WRONG_WAY),
        ((BRIDGE, TAP_A), "", NO_WAY),
    ],
    ids=["not there", "ovs", "macvtap", "wrong way", "no way"],
)
def test_what_is_in_the_way_is_said(
    interfaces: tuple[dict[str, object], ...], way: str, expected: str
) -> None:
    assert said(*interfaces, way=way) == [f"web a: {expected}"]


@pytest.mark.parametrize("name", ["br0", "all"])
def test_a_host_that_says_to_nobody_where_the_address_is(name: str) -> None:
    setting = f"net.ipv4.conf.{name}.arp_ignore"
    expected = f"{setting} keeps the host from saying where 169.254.169.254 is"
    found = said(BRIDGE, TAP_A, **{f"{name}__arp_ignore": "1"})
    assert found == [f"web a: {expected}; type sysctl -w {setting}=0"]


@pytest.mark.parametrize("name", ["br0", "all"])
def test_strict_filtering_is_said_where_it_matters(name: str) -> None:
    strict = {f"{name}__rp_filter": "1"}
    assert said(BRIDGE, TAP_A, **strict) == []
    wrong = (
        "answers to 10.0.0.4 would leave by eth0 and be dropped, and rp_filter drops its requests"
    )
    assert said(BRIDGE, TAP_A, way="eth0", **strict) == [f"web a: {wrong}; {ADD_ROUTE}"]


def test_the_way_to_an_address_is_what_the_kernel_says() -> None:
    assert (
        route_to(lambda command, _: json.dumps([{"dst": command[-1], "dev": "br0"}]), "10.0.0.4")
        == "br0"
    )

    def unreachable(command: tuple[str, ...], _: str) -> str:
        raise ToolError("RTNETLINK answers: Network is unreachable")

    assert route_to(unreachable, "10.0.0.4") == ""


def test_a_setting_is_read_from_the_kernel() -> None:
    assert sysctl("lo", "arp_ignore").isdecimal()
    assert sysctl("nowhere", "arp_ignore") == ""
