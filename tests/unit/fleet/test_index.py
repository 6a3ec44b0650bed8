import pytest

from openimds.errors import ConfigError
from openimds.facts.versions import catalog
from openimds.fleet.index import Allowance, FleetIndex, VmEntry
from openimds.vm.defaults import default_address
from openimds.vm.identities import default_tenant
from openimds.vm.types import Identities, Reach, Vm
from tests.support.talk import a_fleet


def nic(*addresses: str, v6: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "network": {
            "interface": [
                {
                    "ipv4": {"ipAddress": [{"privateIpAddress": one} for one in addresses]},
                    "ipv6": {"ipAddress": [{"privateIpAddress": one} for one in v6]},
                }
            ]
        }
    }


def fleet_index(**vms: dict[str, object]) -> FleetIndex[object]:
    made: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    made.apply(made.plan(a_fleet(**vms)))
    return made


def addresses(fleet: FleetIndex[object]) -> set[str]:
    return {*fleet._by_address, *fleet._presumed}


def name_of(entry: VmEntry[object] | None) -> str | None:
    return entry.name if entry else None


def test_one_vm_answers_every_caller() -> None:
    alone = fleet_index(a={})
    assert name_of(alone.entry_at("203.0.113.9")) == name_of(alone.entry_at("")) == "a"


@pytest.mark.parametrize(
    "address, name",
    [
        ("10.0.0.4", "a"),
        ("10.0.0.5", "a"),
        ("10.0.0.6", "b"),
        ("::ffff:10.0.0.6", "b"),
        ("fd00::4", "b"),
        ("fd00:0:0:0::4", "b"),
        ("fd00::4%eth0", "b"),
        ("10.0.0.7", None),
        ("not an address:", None),
        ("", None),
    ],
)
def test_a_fleet_is_told_apart_by_source_address(address: str, name: str | None) -> None:
    fleet = fleet_index(a=nic("10.0.0.4", "10.0.0.5"), b=nic("10.0.0.6", v6=("FD00::4",)))
    assert name_of(fleet.entry_at(address)) == name


def test_reach_replaces_the_private_addresses() -> None:
    fleet = fleet_index(
        a={**nic("10.0.0.4"), "reach": {"address": ["192.0.2.1"]}}, b=nic("10.0.0.5")
    )
    assert name_of(fleet.entry_at("192.0.2.1")) == "a"
    assert fleet.entry_at("10.0.0.4") is None


def test_reach_of_nothing_is_reached_by_no_address() -> None:
    fleet = fleet_index(a={"reach": {"address": [], "listen": ["127.0.0.1:1"]}}, b=nic("10.0.0.5"))
    assert addresses(fleet) == {"10.0.0.5"}
    assert fleet.listeners == {"127.0.0.1:1": "a"}


@pytest.mark.parametrize(
    "second, said",
    [
        (
            nic("10.0.0.4"),
            (
                "vms.b.reach.address: saw 10.0.0.4, which is also that of a, expected one VM "
                "to each. Give one of them another private address, or a reach of its own"
            ),
        ),
        (
            {"reach": {"listen": ["unix:/run/x"]}},
            (
                "vms.b.reach.listen: saw unix:/run/x, which is also that of a, expected one VM to "
                "each. Give one of them another private address, or a reach of its own"
            ),
        ),
        (
            {"reach": {"address": ["10.0.0.x"]}},
            'vms.b.reach.address: saw "10.0.0.x", expected an IPv4 or IPv6 address',
        ),
    ],
)
def test_two_vms_never_share_a_way_in(second: dict[str, object], said: str) -> None:
    first = {**nic("10.0.0.4"), "reach": {"address": ["10.0.0.4"], "listen": ["unix:/run/x"]}}
    with pytest.raises(ConfigError) as caught:
        fleet_index(a=first, b=second)
    assert str(caught.value) == said


def test_an_address_twice_in_one_vm_is_no_conflict() -> None:
    assert name_of(fleet_index(a=nic("10.0.0.4", "10.0.0.4"), b={}).entry_at("10.0.0.4")) == "a"


def test_a_default_address_reaches_its_vm() -> None:
    fleet = fleet_index(a={}, b={})
    assert name_of(fleet.entry_at(default_address(Vm("b")))) == "b"
    assert fleet.warnings() == []


def test_a_default_address_gives_way_to_a_written_one() -> None:
    taken = default_address(Vm("b"))
    fleet = fleet_index(b={}, a=nic(taken))
    assert name_of(fleet.entry_at(taken)) == "a"
    assert fleet.warnings() == [
        (
            f"b has no address of its own: its default {taken} is also that of a. "
            "Give it network.interface or reach"
        )
    ]


def test_a_captured_address_that_is_none_is_no_way_in() -> None:
    fleet = fleet_index(a=nic("X.X.X.X"), b=nic("10.0.0.5"))
    assert addresses(fleet) == {default_address(Vm("a")), "10.0.0.5"}


def test_an_entry_gives_back_its_vm() -> None:
    vm = Vm("a", document={"compute": {"zone": "1"}}, reach=Reach(("10.0.0.4",), ("unix:/x",)))
    entry: VmEntry[object] = VmEntry(vm)
    assert entry.vm == vm
    assert entry.vm.document == {"compute": {"zone": "1"}}


def test_limits_are_counted_apart_by_vm_and_class() -> None:
    limits = {"general": Allowance(2), "identity": Allowance(1, 3)}
    one: VmEntry[object] = VmEntry(Vm("a"))
    other: VmEntry[object] = VmEntry(Vm("b"))
    assert [one.grants("general", limits, 0.0) for _ in range(3)] == [True, True, False]
    assert [one.grants("identity", limits, 0.0) for _ in range(4)] == [True, True, True, False]
    assert other.grants("general", limits, 0.0)
    assert [one.grants("general", limits, at) for at in (0.9, 1.0)] == [False, True]


def test_a_class_without_allowance_is_not_limited() -> None:
    entry: VmEntry[object] = VmEntry(Vm("a"))
    assert all(entry.grants("general", {}, 0.0) for _ in range(100))


def test_a_step_changes_what_it_names_and_no_more() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"), c={})
    kept = fleet.by_name["b"]
    generation = fleet.generation
    fleet.apply(fleet.plan(a_fleet(a=nic("10.0.0.3"), d=nic("10.0.0.1")), ["c"]))
    assert fleet.by_name["b"] is kept
    assert fleet.generation == generation + 1
    names = {at: name_of(fleet.entry_at(at)) for at in ("10.0.0.1", "10.0.0.2", "10.0.0.3")}
    assert names == {"10.0.0.1": "d", "10.0.0.2": "b", "10.0.0.3": "a"}
    assert set(fleet.by_name) == {"a", "b", "d"}


def test_two_vms_may_swap_their_addresses_in_one_step() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"))
    fleet.apply(fleet.plan(a_fleet(a=nic("10.0.0.2"), b=nic("10.0.0.1"))))
    assert (name_of(fleet.entry_at("10.0.0.1")), name_of(fleet.entry_at("10.0.0.2"))) == ("b", "a")


def test_a_plan_that_fails_changes_nothing() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"))
    with pytest.raises(ConfigError, match=r"vms.c.reach.address: saw 10.0.0.2, which is also"):
        fleet.plan(a_fleet(a=nic("10.0.0.9"), c=nic("10.0.0.2")))
    assert name_of(fleet.entry_at("10.0.0.1")) == "a"
    assert set(fleet.by_name) == {"a", "b"}


def test_a_change_gives_nobody_a_new_budget() -> None:
    limits = {"general": Allowance(1)}
    fleet = fleet_index(a={}, b={})
    assert fleet.by_name["a"].grants("general", limits, 0.0)
    fleet.apply(fleet.plan(a_fleet(a={"compute": {"zone": "1"}})))
    assert not fleet.by_name["a"].grants("general", limits, 0.5)


def test_one_of_two_with_the_same_default_may_go() -> None:
    taken = default_address(Vm("b"))
    fleet = fleet_index(b={}, c={"reach": {"address": [taken]}}, d={})
    assert name_of(fleet.entry_at(taken)) == "c"
    fleet.apply(fleet.plan([], ["c"]))
    assert name_of(fleet.entry_at(taken)) == "b"
    fleet.apply(fleet.plan([], ["b", "nobody"]))
    assert name_of(fleet.entry_at(taken)) == "d"


def test_equal_defaults_reach_nobody_until_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.fleet.index.default_address", lambda _: "10.1.1.1")
    fleet = fleet_index(a={}, b={}, c={"reach": {"address": []}})
    assert fleet.entry_at("10.1.1.1") is None
    assert len(fleet.warnings()) == 2
    fleet.apply(fleet.plan([], ["a"]))
    assert name_of(fleet.entry_at("10.1.1.1")) == "b"
    assert fleet.warnings() == []


def test_tenants_of_other_clouds_are_known_and_whether_anybody_has_an_identity() -> None:
    fleet: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    fleet.apply(fleet.plan([Vm("a")]))
    assert (fleet.clouds, fleet.has_identities) == ({}, False)
    tenant = "11111111-2222-3333-4444-555555555555"
    said = Identities(system=True, tenant_id=tenant)
    fleet.apply(fleet.plan([Vm("b", cloud="AzureChinaCloud", identities=said)]))
    fleet.apply(fleet.plan([Vm("c", cloud="AzureUSGovernmentCloud")]))
    assert fleet.has_identities
    assert fleet.clouds == {
        tenant: "AzureChinaCloud",
        default_tenant("AzureUSGovernmentCloud"): "AzureUSGovernmentCloud",
    }
