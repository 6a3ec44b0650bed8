import json

import pytest

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import ToolError
from openimds.linux.host.host_state import read_state
from openimds.linux.host.nft_rules import ruleset
from openimds.linux.host.nft_state import Element, expected_by, tables
from openimds.linux.host.status import Guest, HostReport, host_report, obstacles, route_to, sysctl
from tests.unit.linux.host.fake_host import (
    BRIDGE,
    IMDS0,
    RULE,
    TAP_A,
    FakeHost,
    counted,
    interface,
    made_tables,
    named,
    neighbour,
    stamp,
    ways,
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
    named("links", {"concat": ["tap-a", A.mac]}),
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


def test_tables_are_read_with_their_counters() -> None:
    by_family = tables(FakeHost(tables=BOTH))
    assert by_family["bridge"].stamp == "x"
    assert by_family["bridge"].dropped == {"forged_mac": 2, "unknown_interface": 1}
    assert by_family["bridge"].sets["gate"] == (Element(("tap-a", "02:00:00:00:00:01")),)
    assert by_family["inet"].sets["places"] == (Element(("br0",)),)
    assert by_family["inet"].bound == {
        ("tap-a", A.mac, "10.0.0.4"): "web a",
        ("tap-a", A.mac, "fe80::a"): "web a",
    }
    assert by_family["inet"].counted("bridged4", A.mac, "10.0.0.4") == 7
    assert by_family["inet"].counted("bridged4", A.mac, "10.0.0.5") == 0
    assert by_family["inet"].counted("none", "x") == 0


def report(host: FakeHost) -> HostReport:
    return host_report(read_state(host), expected_by(host))


def test_report_adds_up_all_tables() -> None:
    seen = report(FakeHost(BRIDGE, TAP_A, tables=BOTH))
    assert seen.guests == (_GUEST,)
    assert {name: count for name, count in seen.dropped.items() if count} == {
        "unknown_interface": 1,
        "forged_mac": 3,
    }


def test_guest_without_its_interface_stays_bound() -> None:
    (guest,) = report(FakeHost(tables=BOTH)).guests
    assert (guest.is_there, guest.on) == (False, "")


def test_whole_host_is_up() -> None:
    made = made_tables(ruleset([A], {}, ["br0"], ipv6=True).text)
    host = FakeHost(BRIDGE, TAP_A, tables=made, routes=ways(), rules=[RULE])
    seen = report(host)
    assert (seen.is_up, seen.is_there, seen.problems) == (True, True, ())
    host.rules = []
    seen = report(host)
    assert (seen.is_up, seen.is_there) == (False, True)
    assert seen.problems == ("the routing rule of the mark 0x6f696d64 is missing",)


@pytest.mark.parametrize(
    "host, is_there",
    [
        (FakeHost(), False),
        (FakeHost(IMDS0), True),
        (FakeHost(tables=BOTH), True),
        (FakeHost(routes=ways(), rules=[RULE]), True),
    ],
    ids=["nothing", "older version", "tables", "routes"],
)
def test_incomplete_host_is_not_up(host: FakeHost, is_there: bool) -> None:
    seen = report(host)
    assert (seen.is_up, seen.is_there) == (False, is_there)


def problems(*interfaces: dict[str, object], route: str = "br0", **settings: str) -> list[str]:
    state = read_state(FakeHost(*interfaces))
    sysctls = {tuple(name.split("__")): value for name, value in settings.items()}
    results = obstacles(state, [A], lambda _: route, lambda *name: sysctls.get(name, "0"))
    assert all(item.is_transient is ("does not exist" in item.problem) for item in results)
    return [*map(str, results)]


def test_guest_without_problems_has_no_obstacles() -> None:
    assert problems(BRIDGE, TAP_A) == []
    assert problems(interface("tap-a"), route="tap-a") == []


def test_route_over_a_vlan_of_the_bridge_is_accepted() -> None:
    assert problems(BRIDGE, TAP_A, interface("br0.10", kind="vlan"), route="br0.10") == []


def test_missing_neighbour_of_a_tied_guest_is_transient() -> None:
    host = FakeHost(BRIDGE, TAP_A, rules=[RULE])
    (found,) = obstacles(read_state(host), [A], lambda _: "br0", lambda *_: "0")
    assert found.is_transient
    assert str(found) == (
        "web a: other guests can block responses to 10.0.0.4 on br0; type openimds host up"
    )
    host.neighbours = [neighbour("br0", "10.0.0.4", A.mac)]
    assert obstacles(read_state(host), [A], lambda _: "br0", lambda *_: "0") == []


NOT_THERE = "the interface tap-a does not exist yet; type openimds host up once it does"
OVS = (
    "tap-a is a port of Open vSwitch, whose packets bypass nftables; put it on a Linux bridge, or "
    "write reach.listen"
)
MACVTAP = "tap-a is a macvtap, which cannot reach the host; use a tap"
ADD_ROUTE = "type ip route add 10.0.0.4/32 dev br0"
WRONG_ROUTE = f"responses to 10.0.0.4 would leave by eth0 and be dropped; {ADD_ROUTE}"
NO_ROUTE = f"responses to 10.0.0.4 have no route; {ADD_ROUTE}"


@pytest.mark.parametrize(
    "interfaces, route, expected",
    [
        ((), "br0", NOT_THERE),
        ((interface("ovs", kind="openvswitch"), interface("tap-a", master="ovs")), "ovs", OVS),
        ((interface("tap-a", kind="macvtap"),), "tap-a", MACVTAP),
        ((BRIDGE, TAP_A), "eth0", WRONG_ROUTE),
        ((BRIDGE, TAP_A), "", NO_ROUTE),
    ],
    ids=["not there", "ovs", "macvtap", "wrong route", "no route"],
)
def test_obstacle_has_its_problem_and_fix(
    interfaces: tuple[dict[str, object], ...], route: str, expected: str
) -> None:
    assert problems(*interfaces, route=route) == [f"web a: {expected}"]


@pytest.mark.parametrize("name", ["br0", "all"])
def test_arp_ignore_is_an_obstacle(name: str) -> None:
    setting = f"net.ipv4.conf.{name}.arp_ignore"
    expected = f"{setting} stops the host from answering ARP requests for 169.254.169.254"
    results = problems(BRIDGE, TAP_A, **{f"{name}__arp_ignore": "1"})
    assert results == [f"web a: {expected}; type sysctl -w {setting}=0"]


@pytest.mark.parametrize("name", ["br0", "all"])
def test_rp_filter_is_reported_with_a_wrong_route(name: str) -> None:
    strict = {f"{name}__rp_filter": "1"}
    assert problems(BRIDGE, TAP_A, **strict) == []
    wrong = (
        "responses to 10.0.0.4 would leave by eth0 and be dropped, and rp_filter drops its requests"
    )
    assert problems(BRIDGE, TAP_A, route="eth0", **strict) == [f"web a: {wrong}; {ADD_ROUTE}"]


def test_route_to_returns_the_kernels_interface() -> None:
    assert (
        route_to(lambda command, _: json.dumps([{"dst": command[-1], "dev": "br0"}]), "10.0.0.4")
        == "br0"
    )

    def unreachable(command: tuple[str, ...], _: str) -> str:
        raise ToolError("RTNETLINK answers: Network is unreachable")

    assert route_to(unreachable, "10.0.0.4") == ""


def test_sysctl_is_read_from_proc() -> None:
    assert sysctl("lo", "arp_ignore").isdecimal()
    assert sysctl("nowhere", "arp_ignore") == ""
