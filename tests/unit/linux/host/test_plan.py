import pytest
from msgspec import structs

from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.commands import ToolError
from openimds.linux.host.host_state import read_state
from openimds.linux.host.nft_rules import ruleset
from openimds.linux.host.nft_state import expected_by
from openimds.linux.host.plan import (
    HostError,
    PlanStep,
    matches,
    outdated_gateways,
    plan_down,
    plan_up,
    problems,
)
from tests.unit.linux.host.fake_host import (
    BRIDGE,
    IMDS0,
    RULE,
    TAP_A,
    TAP_B,
    FakeHost,
    interface,
    made_tables,
    neighbour,
    ways,
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
    routes = [*ways(), *(ways("169.254.169.253") if is_local else ())]
    made = made_tables(rules.text)
    known = [
        neighbour("br0" if binding.vm == "a" else "tap-b", address, binding.mac)
        for binding in bindings
        for address in binding.addresses
    ]
    return FakeHost(
        BRIDGE, TAP_A, TAP_B, tables=made, routes=routes, rules=[RULE], neighbours=known
    )


def up(host: FakeHost, bindings: list[InterfaceBinding], *, ipv6: bool = False) -> list[PlanStep]:
    return plan_up(read_state(host), bindings, expected_by(host), ipv6=ipv6)


def differences(host: FakeHost) -> list[str]:
    return problems(read_state(host), expected_by(host))


def test_up_makes_rules_then_routes_then_the_way() -> None:
    steps = up(FakeHost(BRIDGE, TAP_A, TAP_B), [A, B])
    assert commands(steps) == [
        "nft -f -",
        "ip route add blackhole 169.254.169.254/32 protocol 169",
        "ip route add local 169.254.169.254/32 dev lo table 16925 protocol 169",
        "ip rule add fwmark 0x6f696d64 lookup 16925 priority 169 protocol 169",
        f"ip neighbour replace 10.0.0.4 lladdr {A.mac} dev br0 nud permanent protocol 169",
        f"ip neighbour replace 10.0.0.5 lladdr {B.mac} dev tap-b nud permanent protocol 169",
    ]
    assert steps[0].text == ruleset([A, B], GATE).text


@pytest.mark.parametrize("can_unshare", [True, False], ids=["root", "user namespace"])
def test_second_up_has_no_steps(can_unshare: bool) -> None:
    host = installed(A, B)
    host.can_unshare = can_unshare
    assert up(host, [A, B]) == []
    assert up(host, [B, A]) == []
    assert differences(host) == []


def test_rules_that_cannot_be_tried_are_an_error() -> None:
    host = installed(A)

    def refuse(command: tuple[str, ...], text: str) -> str:
        raise ToolError("unshare failed: Operation not permitted")

    with pytest.raises(ToolError, match="not permitted"):
        plan_up(read_state(host), [A], expected_by(refuse))


KNOW = "ip neighbour replace {0} lladdr {1} dev {2} nud permanent protocol 169".format
FORGET_A, FORGET_B = (
    "ip neighbour delete 10.0.0.4 dev br0",
    "ip neighbour delete 10.0.0.5 dev tap-b",
)


@pytest.mark.parametrize(
    "bindings, neighbours",
    [
        ([A], [FORGET_B]),
        (
            [A, InterfaceBinding("b", "tap-b", "02:00:00:00:00:0c", ("10.0.0.5",))],
            [KNOW("10.0.0.5", "02:00:00:00:00:0c", "tap-b")],
        ),
        ([], [FORGET_A, FORGET_B]),
    ],
    ids=["fewer", "another", "none"],
)
def test_changed_fleet_replaces_rules_and_neighbours(
    bindings: list[InterfaceBinding], neighbours: list[str]
) -> None:
    assert commands(up(installed(A, B), bindings)) == ["nft -f -", *neighbours]


def test_permanent_neighbour_of_others_stays() -> None:
    host = installed(A, B)
    host.neighbours[1] = neighbour("tap-b", "10.0.0.5", "02:00:00:00:00:99", protocol="")
    assert up(host, [A, B]) == []
    assert FORGET_B not in commands(plan_down(read_state(host)))


def test_guest_whose_bridge_is_down_has_no_neighbour_yet() -> None:
    host = installed(A)
    host.neighbours.clear()
    host.interfaces[1] = {**BRIDGE, "flags": []}
    assert up(host, [A]) == []
    host.interfaces[1] = BRIDGE
    assert commands(up(host, [A])) == [KNOW("10.0.0.4", A.mac, "br0")]


@pytest.mark.parametrize("family", ["arp", "bridge", "inet"])
def test_any_difference_of_a_table_replaces_the_rules(family: str) -> None:
    host = installed(A, B)
    accept = {"rule": {"chain": "x", "family": family, "expr": "accept"}}
    host.tables[family] = [*host.tables[family], accept]
    assert differences(host) == [f"the table {family} openimds was changed"]
    assert commands(up(host, [A, B])) == ["nft -f -"]
    del host.tables[family]
    assert f"the table {family} openimds is missing" in differences(host)
    assert commands(up(host, [A, B])) == ["nft -f -"]


def test_order_of_rules_is_a_difference_and_that_of_elements_not() -> None:
    host = installed(A, B)
    table = host.tables["inet"]
    (tied,) = (item["set"]["elem"] for item in table if item.get("set", {}).get("name") == "tied4")
    tied.reverse()
    for item in table:
        next(iter(item.values()))["handle"] = 7
    assert differences(host) == []
    places = [i for i, item in enumerate(table) if "rule" in item]
    table[places[0]], table[places[1]] = table[places[1]], table[places[0]]
    assert differences(host) == ["the table inet openimds was changed"]


def test_unknown_fingerprint_is_a_difference() -> None:
    host = installed(A)
    host.tables = {
        family: [{"counter": {"name": "stamp", "comment": "x"}}] for family in host.tables
    }
    assert differences(host) == [
        "the tables openimds were changed, or are those of another version"
    ]


def test_missing_way_is_a_difference_and_comes_back() -> None:
    host = installed(A)
    host.routes, host.rules = [], []
    assert differences(host) == [
        "the routing rule of the mark 0x6f696d64 is missing",
        "the route of 169.254.169.254 to this host is missing",
        "the route that blocks 169.254.169.254 without the mark is missing",
    ]
    assert [command.split()[1] for command in commands(up(host, [A]))] == ["route", "route", "rule"]


def test_address_on_an_interface_is_a_difference() -> None:
    host = installed(A)
    host.interfaces.append(interface("eth0", "169.254.169.254"))
    assert differences(host) == ["169.254.169.254 is on eth0"]


@pytest.mark.parametrize(
    "old",
    [
        IMDS0,
        interface("imds0", kind="bridge", flags=[]),
        interface("imds0", kind="dummy", flags=[]),
    ],
    ids=["whole", "half-made bridge", "half-made dummy"],
)
def test_interface_of_an_older_version_is_removed(old: dict[str, object]) -> None:
    host = installed(A)
    host.interfaces.append(old)
    assert commands(up(host, [A])) == ["ip link delete imds0"]
    assert commands(plan_down(read_state(host)))[0] == "ip link delete imds0"


@pytest.mark.parametrize(
    "foreign",
    [
        [interface("imds0", kind="bridge")],
        [interface("imds0", "10.1.1.1", kind="bridge", flags=[])],
        [interface("imds0", kind="bridge", flags=[]), interface("tap-x", master="imds0")],
        [interface("imds0", kind="bridge", flags=[], ifalias="mine")],
        [interface("imds0", kind="veth", flags=[])],
    ],
    ids=["up", "address", "port", "alias", "kind"],
)
def test_foreign_interface_of_that_name_stays(foreign: list[dict[str, object]]) -> None:
    host = installed(A)
    host.interfaces += foreign
    assert up(host, [A]) == []


def test_ipv6_address_is_added_and_removed() -> None:
    host = installed(A, B)
    host.tables = {}
    steps = up(host, [A, B], ipv6=True)
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
    assert up(host, [A, B], ipv6=True) == []
    removal = [
        "ip address delete fe80::a9fe:a9fe/64 dev br0",
        "ip address delete fe80::a9fe:a9fe/64 dev tap-b",
    ]
    assert commands(up(host, [A, B])) == [*removal, "nft -f -"]
    assert commands(plan_down(read_state(host)))[:2] == removal


def test_address_of_azure_local_comes_and_goes_with_its_vms() -> None:
    local = structs.replace(B, is_local=True)
    added = up(installed(A, B), [A, local])
    assert commands(added) == [
        "nft -f -",
        "ip route add blackhole 169.254.169.253/32 protocol 169",
        "ip route add local 169.254.169.253/32 dev lo table 16925 protocol 169",
    ]
    assert added[0].text == ruleset([A, local], GATE, is_local=True).text
    host = installed(A, local, is_local=True)
    state = read_state(host)
    assert up(host, [A, local]) == []
    assert differences(host) == []
    assert matches(state, [A, B], expected_by(host)), "a running server does not know the kinds"
    # The address must not exist without rules, not even for a moment.
    assert commands(up(host, [A, B])) == [
        "ip route delete local 169.254.169.253/32 dev lo table 16925 protocol 169",
        "ip route delete blackhole 169.254.169.253/32 protocol 169",
        "nft -f -",
    ]


def test_address_of_azure_local_elsewhere_is_refused() -> None:
    bridge = {**BRIDGE, "addr_info": [{"local": "169.254.169.253"}]}
    with pytest.raises(HostError, match=r"169\.254\.169\.253 is already on br0; type ip address"):
        up(FakeHost(bridge, TAP_A), [A])


def test_existing_ipv6_address_is_not_recorded_as_ours() -> None:
    bridge = {**BRIDGE, "addr_info": [{"local": "fe80::a9fe:a9fe"}]}
    step = up(FakeHost(bridge, TAP_A), [A], ipv6=True)[0]
    assert "set places { type ifname; }" in step.text


def test_down_removes_the_work_of_up() -> None:
    assert commands(plan_down(read_state(installed(A)))) == [
        FORGET_A,
        "ip rule delete fwmark 0x6f696d64 lookup 16925 priority 169 protocol 169",
        "ip route delete local 169.254.169.254/32 dev lo table 16925 protocol 169",
        "ip route delete blackhole 169.254.169.254/32 protocol 169",
        "nft delete table arp openimds",
        "nft delete table bridge openimds",
        "nft delete table inet openimds",
    ]
    assert plan_down(read_state(FakeHost(BRIDGE, TAP_A))) == []


TAKEN = "169.254.169.254 is already on eth0; type ip address delete 169.254.169.254/32 dev eth0"
CLOUD = (
    "this machine is a VM of a cloud, with a route to 169.254.169.254 over eth0, and would lose "
    "its own metadata; give each VM a network namespace (reach.listen: netns:NAME) instead"
)
ROUTE = {"dst": "169.254.169.254", "gateway": "10.0.0.1", "dev": "eth0"}


@pytest.mark.parametrize(
    "host, message",
    [
        (FakeHost(interface("eth0", "169.254.169.254")), TAKEN),
        (FakeHost(routes=[ROUTE]), CLOUD),
    ],
    ids=["address", "cloud"],
)
def test_up_refuses_foreign_address_and_route(host: FakeHost, message: str) -> None:
    with pytest.raises(HostError) as caught:
        up(host, [A])
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


@pytest.mark.parametrize("ipv6", [False, True])
def test_rules_in_force_are_compared_with_a_fleet(ipv6: bool) -> None:
    host = installed(A, ipv6_interfaces=("br0",) if ipv6 else (), ipv6=ipv6)
    # Missing interfaces make no difference.
    del host.interfaces[2]
    expected = expected_by(host)
    assert matches(read_state(host), [A], expected)
    assert not matches(read_state(host), [A, B], expected)
    assert not matches(read_state(FakeHost()), [A], expected)


def test_interface_of_an_unknown_bridge_is_named() -> None:
    host = installed(A, B)
    assert outdated_gateways(read_state(host), [A, B]) == []
    host.interfaces[3] = {**TAP_B, "master": "br0"}
    assert outdated_gateways(read_state(host), [A, B]) == ["tap-b"]
    assert outdated_gateways(read_state(FakeHost(BRIDGE, TAP_A)), [A]) == ["tap-a"]
