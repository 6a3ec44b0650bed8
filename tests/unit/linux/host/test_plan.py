import pytest
from msgspec import structs

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
from tests.unit.linux.host.fake_host import (
    BRIDGE,
    IMDS0,
    TAP_A,
    TAP_B,
    FakeHost,
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


def installed(
    *bindings: InterfaceBinding,
    ipv6_interfaces: tuple[str, ...] = (),
    ipv6: bool = False,
    is_local: bool = False,
) -> FakeHost:
    """Return a host on which `up` was run for these VMs."""
    rules = ruleset(bindings, GATE, ipv6_interfaces, ipv6=ipv6, is_local=is_local)
    objects = [
        stamp(rules.stamp),
        named("tied4", *(counted({"concat": [*parts]}, "a") for parts in sorted(rules.keys))),
        named("places", *ipv6_interfaces),
        named("gate", *([*pair] for pair in GATE.items()), word="map"),
    ]
    return FakeHost(BRIDGE, TAP_A, TAP_B, IMDS0, tables={"bridge": objects, "inet": objects})


def test_up_makes_rules_interface_and_address() -> None:
    steps = plan_up(read_state(FakeHost(BRIDGE, TAP_A, TAP_B), probe=True), [A, B])
    assert commands(steps) == [
        "nft -f -",
        "ip link add imds0 type dummy",
        "ip link set imds0 alias openimds",
        "ip link set imds0 up",
        "ip address add 169.254.169.254/32 dev imds0",
    ]
    assert steps[0].text == ruleset([A, B], GATE).text


def test_bridge_replaces_a_missing_dummy_interface() -> None:
    steps = plan_up(read_state(FakeHost(has_dummy=False), probe=True), [])
    assert "ip link add imds0 type bridge" in commands(steps)


def test_second_up_has_no_steps() -> None:
    host = installed(A, B)
    assert plan_up(read_state(host, probe=True), [A, B]) == []
    assert ("unshare", "--net") not in [command[:2] for command in host.commands]


@pytest.mark.parametrize(
    "bindings",
    [[A], [A, InterfaceBinding("b", "tap-b", "02:00:00:00:00:0c", ("10.0.0.5",))], []],
    ids=["fewer", "another", "none"],
)
def test_changed_fleet_replaces_only_the_rules(bindings: list[InterfaceBinding]) -> None:
    assert commands(plan_up(read_state(installed(A, B)), bindings)) == ["nft -f -"]


def test_changed_rules_are_rewritten() -> None:
    host = installed(A, B)
    host.tables["bridge"] = [item for item in host.tables["bridge"] if "set" not in item]
    assert commands(plan_up(read_state(host), [A, B])) == ["nft -f -"]
    del host.tables["bridge"]
    assert commands(plan_up(read_state(host), [A, B])) == ["nft -f -"]


def test_incomplete_interface_is_completed() -> None:
    host = installed(A)
    host.interfaces[-1] = {**IMDS0, "flags": [], "addr_info": []}
    assert commands(plan_up(read_state(host), [A])) == [
        "ip link set imds0 up",
        "ip address add 169.254.169.254/32 dev imds0",
    ]


def test_ipv6_address_is_added_and_removed() -> None:
    state = read_state(FakeHost(BRIDGE, TAP_A, TAP_B, IMDS0))
    steps = plan_up(state, [A, B], ipv6=True)
    assert commands(steps) == [
        "nft -f -",
        "ip address add fe80::a9fe:a9fe/64 dev br0 nodad",
        "ip address add fe80::a9fe:a9fe/64 dev tap-b nodad",
    ]
    assert steps[0].text == ruleset([A, B], GATE, ["br0", "tap-b"], ipv6=True).text
    host = installed(A, B, ipv6_interfaces=("br0", "tap-b"), ipv6=True)
    host.interfaces[1:4] = [
        {**item, "addr_info": [{"local": "fe80::a9fe:a9fe"}]} for item in host.interfaces[1:4]
    ]
    assert plan_up(read_state(host), [A, B], ipv6=True) == []
    removal = [
        "ip address delete fe80::a9fe:a9fe/64 dev br0",
        "ip address delete fe80::a9fe:a9fe/64 dev tap-b",
    ]
    assert commands(plan_up(read_state(host), [A, B])) == [*removal, "nft -f -"]
    assert commands(plan_down(read_state(host)))[:2] == removal


def test_address_of_azure_local_comes_and_goes_with_its_vms() -> None:
    local = structs.replace(B, is_local=True)
    added = plan_up(read_state(installed(A, B)), [A, local])
    assert commands(added) == ["nft -f -", "ip address add 169.254.169.253/32 dev imds0"]
    assert added[0].text == ruleset([A, local], GATE, is_local=True).text
    host = installed(A, local, is_local=True)
    addresses = [*IMDS0["addr_info"], {"local": "169.254.169.253"}]
    host.interfaces[-1] = {**IMDS0, "addr_info": addresses}
    state = read_state(host)
    assert plan_up(state, [A, local]) == []
    assert matches(state, [A, B]), "a running server does not know the kinds"
    # The address must not exist without rules, not even for a moment.
    assert commands(plan_up(state, [A, B])) == [
        "ip address delete 169.254.169.253/32 dev imds0",
        "nft -f -",
    ]


def test_address_of_azure_local_elsewhere_is_refused() -> None:
    bridge = {**BRIDGE, "addr_info": [{"local": "169.254.169.253"}]}
    with pytest.raises(HostError, match=r"169\.254\.169\.253 is already on br0; type ip address"):
        plan_up(read_state(FakeHost(bridge, TAP_A)), [A])


def test_existing_ipv6_address_is_not_recorded_as_ours() -> None:
    bridge = {**BRIDGE, "addr_info": [{"local": "fe80::a9fe:a9fe"}]}
    (step,) = plan_up(read_state(FakeHost(bridge, TAP_A, IMDS0)), [A], ipv6=True)
    assert "set places { type ifname; }" in step.text


def test_down_removes_the_work_of_up() -> None:
    assert commands(plan_down(read_state(installed(A)))) == [
        "ip link delete imds0",
        "nft delete table bridge openimds",
        "nft delete table inet openimds",
    ]
    assert plan_down(read_state(FakeHost(BRIDGE, TAP_A))) == []


def test_down_leaves_a_foreign_interface() -> None:
    assert plan_down(read_state(FakeHost(interface("imds0", "169.254.169.254")))) == []


TAKEN = "169.254.169.254 is already on eth0; type ip address delete 169.254.169.254/32 dev eth0"
NOT_OURS = (
    "the interface imds0 exists and was not made by openimds; type ip link delete imds0 if it is "
    "not needed"
)
CLOUD = (
    "this machine is a VM of a cloud, with a route to 169.254.169.254 over eth0, and would lose "
    "its own metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
)
ROUTE = {"dst": "169.254.169.254", "gateway": "10.0.0.1", "dev": "eth0"}


@pytest.mark.parametrize(
    "host, message",
    [
        (FakeHost(interface("eth0", "169.254.169.254")), TAKEN),
        (FakeHost(interface("imds0")), NOT_OURS),
        (FakeHost(routes=[ROUTE]), CLOUD),
    ],
    ids=["address", "interface", "cloud"],
)
def test_up_refuses_foreign_address_interface_and_route(host: FakeHost, message: str) -> None:
    with pytest.raises(HostError) as caught:
        plan_up(read_state(host), [A])
    assert str(caught.value) == message


def test_local_route_is_not_a_clouds() -> None:
    local = {"dst": "169.254.169.254", "type": "local", "dev": "imds0"}
    other = {"dst": "169.254.0.0/16", "dev": "eth0"}
    assert read_state(FakeHost(routes=[local, other])).routes == ()


def test_step_is_shell_text_or_one_line() -> None:
    step = PlanStep(("nft", "-f", "-"), "table inet x\ndelete table inet x\n")
    assert str(step) == "nft -f - <<'RULES'\ntable inet x\ndelete table inet x\nRULES"
    assert step.brief == "nft -f - (2 lines)"
    assert str(PlanStep(("ip", "link", "add", "a b"))) == "ip link add 'a b'"
    assert PlanStep(("ip", "link")).brief == "ip link"


def test_read_state_without_probe_runs_no_unshare() -> None:
    host = FakeHost(has_dummy=False)
    assert read_state(host).device_kind == "dummy"
    assert "unshare" not in [command[0] for command in host.commands]


@pytest.mark.parametrize("ipv6", [False, True])
def test_rules_in_force_are_compared_with_a_fleet(ipv6: bool) -> None:
    host = installed(A, ipv6_interfaces=("br0",) if ipv6 else (), ipv6=ipv6)
    # Missing interfaces make no difference.
    del host.interfaces[2]
    assert matches(read_state(host), [A])
    assert not matches(read_state(host), [A, B])
    assert not matches(read_state(FakeHost()), [A])


def test_interface_of_an_unknown_bridge_is_named() -> None:
    host = installed(A, B)
    assert outdated_gateways(read_state(host), [A, B]) == []
    host.interfaces[3] = {**TAP_B, "master": "br0"}
    assert outdated_gateways(read_state(host), [A, B]) == ["tap-b"]
    assert outdated_gateways(read_state(FakeHost(BRIDGE, TAP_A)), [A]) == ["tap-a"]
