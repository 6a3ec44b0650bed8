import pytest

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.nft_rules import ruleset
from openimds.linux.host.plan import (
    HostError,
    PlanStep,
    matches,
    outdated_gateways,
    plan_down,
    plan_up,
    read_state,
)
from tests.unit.linux.host.lister import (
    BRIDGE,
    IMDS0,
    TAP_A,
    TAP_B,
    Lister,
    counted,
    interface,
    named,
    stamp,
)

A = InterfaceBinding("a", "tap-a", "02:00:00:00:00:0a", ("10.0.0.4",))
B = InterfaceBinding("b", "tap-b", "02:00:00:00:00:0b", ("10.0.0.5",))
GATE = {"tap-a": "02:00:00:00:00:01"}


def commands(steps: list[PlanStep]) -> list[str]:
    return [" ".join(step.command) for step in steps]


def standing(*tied: InterfaceBinding, places: tuple[str, ...] = (), ipv6: bool = False) -> Lister:
    """A host where `plan_up` was done for these VMs."""
    rules = ruleset(tied, GATE, places, ipv6=ipv6)
    found = [
        stamp(rules.stamp),
        named("tied4", *(counted({"concat": [*parts]}, "a") for parts in sorted(rules.tied))),
        named("places", *places),
        named("gate", *([*pair] for pair in GATE.items()), word="map"),
    ]
    return Lister(BRIDGE, TAP_A, TAP_B, IMDS0, tables={"bridge": found, "inet": found})


def test_everything_is_made_where_nothing_is_there() -> None:
    steps = plan_up(read_state(Lister(BRIDGE, TAP_A, TAP_B), tries=True), [A, B])
    assert commands(steps) == [
        "nft -f -",
        "ip link add imds0 type dummy",
        "ip link set imds0 alias openimds",
        "ip link set imds0 up",
        "ip address add 169.254.169.254/32 dev imds0",
    ]
    assert steps[0].text == ruleset([A, B], GATE).text


def test_a_bridge_without_ports_stands_in_where_the_kernel_has_no_dummy() -> None:
    steps = plan_up(read_state(Lister(has_dummy=False), tries=True), [])
    assert "ip link add imds0 type bridge" in commands(steps)


def test_nothing_is_done_twice() -> None:
    host = standing(A, B)
    assert plan_up(read_state(host, tries=True), [A, B]) == []
    assert ("unshare", "--net") not in [one[:2] for one in host.asked]


@pytest.mark.parametrize(
    "tied",
    [[A], [A, InterfaceBinding("b", "tap-b", "02:00:00:00:00:0c", ("10.0.0.5",))], []],
    ids=["fewer", "another", "none"],
)
def test_another_fleet_has_other_rules_and_the_same_address(tied: list[InterfaceBinding]) -> None:
    assert commands(plan_up(read_state(standing(A, B)), tied)) == ["nft -f -"]


def test_rules_that_somebody_has_changed_are_written_anew() -> None:
    host = standing(A, B)
    host.tables["bridge"] = [one for one in host.tables["bridge"] if "set" not in one]
    assert commands(plan_up(read_state(host), [A, B])) == ["nft -f -"]
    del host.tables["bridge"]
    assert commands(plan_up(read_state(host), [A, B])) == ["nft -f -"]


def test_what_is_left_of_the_interface_is_mended() -> None:
    host = standing(A)
    host.interfaces[-1] = {**IMDS0, "flags": [], "addr_info": []}
    assert commands(plan_up(read_state(host), [A])) == [
        "ip link set imds0 up",
        "ip address add 169.254.169.254/32 dev imds0",
    ]


def test_the_ipv6_address_comes_where_guests_are_met_and_goes_again() -> None:
    seen = read_state(Lister(BRIDGE, TAP_A, TAP_B, IMDS0))
    steps = plan_up(seen, [A, B], ipv6=True)
    assert commands(steps) == [
        "nft -f -",
        "ip address add fe80::a9fe:a9fe/64 dev br0 nodad",
        "ip address add fe80::a9fe:a9fe/64 dev tap-b nodad",
    ]
    assert steps[0].text == ruleset([A, B], GATE, ["br0", "tap-b"], ipv6=True).text
    host = standing(A, B, places=("br0", "tap-b"), ipv6=True)
    host.interfaces[1:4] = [
        {**one, "addr_info": [{"local": "fe80::a9fe:a9fe"}]} for one in host.interfaces[1:4]
    ]
    assert plan_up(read_state(host), [A, B], ipv6=True) == []
    left = [
        "ip address delete fe80::a9fe:a9fe/64 dev br0",
        "ip address delete fe80::a9fe:a9fe/64 dev tap-b",
    ]
    assert commands(plan_up(read_state(host), [A, B])) == [*left, "nft -f -"]
    assert commands(plan_down(read_state(host)))[:2] == left


def test_an_ipv6_address_that_was_there_before_is_not_ours_to_take_away() -> None:
    mine = {**BRIDGE, "addr_info": [{"local": "fe80::a9fe:a9fe"}]}
    (step,) = plan_up(read_state(Lister(mine, TAP_A, IMDS0)), [A], ipv6=True)
    assert "set places { type ifname; }" in step.text


def test_down_takes_away_what_up_has_made() -> None:
    assert commands(plan_down(read_state(standing(A)))) == [
        "ip link delete imds0",
        "nft delete table bridge openimds",
        "nft delete table inet openimds",
    ]
    assert plan_down(read_state(Lister(BRIDGE, TAP_A))) == []


def test_down_leaves_an_interface_that_is_not_ours() -> None:
    assert plan_down(read_state(Lister(interface("imds0", "169.254.169.254")))) == []


TAKEN = "169.254.169.254 is on eth0 already; type ip address delete 169.254.169.254/32 dev eth0"
NOT_OURS = (
    "there is an interface imds0 that openimds has not made; type ip link delete imds0 if nobody "
    "needs it"
)
CLOUD = (
    "this machine reaches 169.254.169.254 over eth0: it is a guest of a cloud itself, and would "
    "lose its metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
)
ROUTE = {"dst": "169.254.169.254", "gateway": "10.0.0.1", "dev": "eth0"}


@pytest.mark.parametrize(
    "host, said",
    [
        (Lister(interface("eth0", "169.254.169.254")), TAKEN),
        (Lister(interface("imds0")), NOT_OURS),
        (Lister(routes=[ROUTE]), CLOUD),
    ],
    ids=["address", "interface", "cloud"],
)
def test_what_is_there_and_not_ours_is_left_alone(host: Lister, said: str) -> None:
    with pytest.raises(HostError) as caught:
        plan_up(read_state(host), [A])
    assert str(caught.value) == said


def test_our_own_local_route_is_no_clouds() -> None:
    local = {"dst": "169.254.169.254", "type": "local", "dev": "imds0"}
    other = {"dst": "169.254.0.0/16", "dev": "eth0"}
    assert read_state(Lister(routes=[local, other])).routes == ()


def test_a_step_can_be_pasted_and_said_in_a_line() -> None:
    step = PlanStep(("nft", "-f", "-"), "table inet x\ndelete table inet x\n")
    assert str(step) == "nft -f - <<'RULES'\ntable inet x\ndelete table inet x\nRULES"
    assert step.brief == "nft -f - (2 lines)"
    assert str(PlanStep(("ip", "link", "add", "a b"))) == "ip link add 'a b'"
    assert PlanStep(("ip", "link")).brief == "ip link"


def test_who_only_looks_tries_nothing() -> None:
    host = Lister(has_dummy=False)
    assert read_state(host).kind == "dummy"
    assert "unshare" not in [command[0] for command in host.asked]


@pytest.mark.parametrize("ipv6", [False, True])
def test_what_stands_is_compared_with_a_fleet(ipv6: bool) -> None:
    host = standing(A, places=("br0",) if ipv6 else (), ipv6=ipv6)
    # Which interfaces are there makes no difference.
    del host.interfaces[2]
    assert matches(read_state(host), [A])
    assert not matches(read_state(host), [A, B])
    assert not matches(read_state(Lister()), [A])


def test_a_port_whose_bridge_is_not_known_yet_is_named() -> None:
    host = standing(A, B)
    assert outdated_gateways(read_state(host), [A, B]) == []
    host.interfaces[3] = {**TAP_B, "master": "br0"}
    assert outdated_gateways(read_state(host), [A, B]) == ["tap-b"]
    assert outdated_gateways(read_state(Lister(BRIDGE, TAP_A)), [A]) == ["tap-a"]
