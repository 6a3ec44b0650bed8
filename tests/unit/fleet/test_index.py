import pytest

from openimds.errors import ConfigError
from openimds.facts.versions import catalog
from openimds.fleet.index import VM_LISTENER, FleetIndex
from openimds.fleet.vm_entry import Allowance, VmEntry
from openimds.vm.defaults import default_address
from openimds.vm.identities import default_tenant
from openimds.vm.types import Identities, Vm
from tests.support.talk import a_fleet


def nic(*addresses: str, v6: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "network": {
            "interface": [
                {
                    "ipv4": {"ipAddress": [{"privateIpAddress": text} for text in addresses]},
                    "ipv6": {"ipAddress": [{"privateIpAddress": text} for text in v6]},
                }
            ]
        }
    }


def fleet_index(**vms: dict[str, object]) -> FleetIndex[object]:
    fleet: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    fleet.apply(fleet.plan(a_fleet(**vms)))
    return fleet


def addresses(fleet: FleetIndex[object]) -> set[str]:
    return {*fleet._by_address, *fleet._presumed}


def name_of(entry: VmEntry[object] | None) -> str | None:
    return entry.name if entry else None


def test_fleet_of_one_answers_every_caller() -> None:
    alone = fleet_index(a={})
    assert name_of(alone.entry_at("203.0.113.9")) == name_of(alone.entry_at("")) == "a"


@pytest.mark.parametrize(
    "reach",
    [
        {"address": ["127.0.0.31"]},
        {"address": []},
        {"listen": ["unix:/a"]},
        {"interface": "tap-a"},
        {"interface": "tap-a", "mac": "02:00:00:00:00:04"},
    ],
)
def test_only_vm_with_a_reach_answers_its_own_callers(reach: dict[str, object]) -> None:
    alone = fleet_index(a={"reach": reach})
    assert alone.only is alone.entry_at("203.0.113.9") is alone.entry_at("") is None
    alone.compact()
    assert alone.entry_at("203.0.113.9") is None
    own = [*alone.by_name["a"].claims.addresses, alone.by_name["a"].claims.presumed]
    assert {name_of(alone.entry_at(address)) for address in own if address} <= {"a"}


def test_only_vm_with_an_empty_reach_answers_everybody() -> None:
    assert name_of(fleet_index(a={"reach": {}}).entry_at("203.0.113.9")) == "a"


def test_edit_of_the_only_vm_opens_and_closes_it() -> None:
    fleet = fleet_index(a={}, b={"reach": {"address": ["10.0.0.9"]}})
    fleet.apply(fleet.plan([], ["a"]))
    assert [name_of(fleet.entry_at(at)) for at in ("10.0.0.9", "10.0.0.8")] == ["b", None]
    fleet.apply(fleet.plan(a_fleet(b={})))
    assert name_of(fleet.entry_at("10.0.0.8")) == "b"
    generation = fleet.generation
    fleet.apply(fleet.plan(a_fleet(b={"reach": {"address": ["10.0.0.9"]}})))
    assert (fleet.entry_at("10.0.0.8"), fleet.generation) == (None, generation + 1)


def test_home_reaches_its_vm_unless_another_claims_it() -> None:
    fleet = fleet_index(a={}, b={})
    fleet.homes = {"127.0.0.1": "a"}
    assert [name_of(fleet.entry_at(at)) for at in ("127.0.0.1", "127.0.0.2")] == ["a", None]
    fleet.apply(fleet.plan(a_fleet(b={"reach": {"address": ["127.0.0.1"]}})))
    assert name_of(fleet.entry_at("127.0.0.1")) == "b"
    fleet.apply(fleet.plan(a_fleet(a={"reach": {"address": ["127.0.0.2"]}}), ["b"]))
    assert [name_of(fleet.entry_at(at)) for at in ("127.0.0.1", "127.0.0.2")] == [None, "a"]
    fleet.apply(fleet.plan([], ["a"]))
    assert fleet.entry_at("127.0.0.1") is None


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
def test_source_address_finds_its_vm(address: str, name: str | None) -> None:
    fleet = fleet_index(a=nic("10.0.0.4", "10.0.0.5"), b=nic("10.0.0.6", v6=("FD00::4",)))
    assert name_of(fleet.entry_at(address)) == name


def test_sources_of_vms_are_the_addresses_that_reach_them() -> None:
    fleet = fleet_index(
        a={"reach": {"address": ["10.0.0.1", "2001:db8::1"]}},
        b={"reach": {"address": ["10.0.0.2"]}},
        c={},
        d={"reach": {"address": []}},
    )
    fleet.homes = {"127.0.0.1": "c", "10.0.0.1": "d"}
    assert fleet.sources_of({"a"}) == frozenset({"10.0.0.1", "2001:db8::1"})
    assert fleet.sources_of({"b", "d", "nobody"}) == frozenset({"10.0.0.2"})
    of_c = fleet.sources_of({"c"})
    assert of_c is not None
    assert "127.0.0.1" in of_c
    found = [fleet.entry_at(address) for address in of_c]
    assert {entry and entry.name for entry in found} == {"c"}
    assert len(found) == 2  # The default address, too.
    assert fleet.sources_of(set()) == frozenset()


def test_only_vm_has_every_source() -> None:
    fleet = fleet_index(a={})
    assert fleet.sources_of({"a"}) is None
    assert fleet.sources_of({"b"}) == frozenset()


def test_reach_replaces_the_private_addresses() -> None:
    fleet = fleet_index(
        a={**nic("10.0.0.4"), "reach": {"address": ["192.0.2.1"]}}, b=nic("10.0.0.5")
    )
    assert name_of(fleet.entry_at("192.0.2.1")) == "a"
    assert fleet.entry_at("10.0.0.4") is None


def test_listener_on_a_host_named_vm_is_its_owners() -> None:
    fleet = fleet_index(a={"reach": {"listen": ["vm:8080"]}}, **{"8080": {}})
    assert name_of(fleet.entry_of("vm:8080")) == "a"
    assert name_of(fleet.entry_of(VM_LISTENER + "8080")) == "8080"


def test_empty_reach_has_no_address() -> None:
    fleet = fleet_index(a={"reach": {"address": [], "listen": ["127.0.0.1:1"]}}, b=nic("10.0.0.5"))
    assert addresses(fleet) == {"10.0.0.5"}
    assert fleet.listeners == {"127.0.0.1:1": "a"}


@pytest.mark.parametrize(
    "second, message",
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
def test_conflicting_or_invalid_reach_is_rejected(second: dict[str, object], message: str) -> None:
    first = {**nic("10.0.0.4"), "reach": {"address": ["10.0.0.4"], "listen": ["unix:/run/x"]}}
    with pytest.raises(ConfigError) as caught:
        fleet_index(a=first, b=second)
    assert str(caught.value) == message


def test_repeated_address_in_one_vm_is_no_conflict() -> None:
    assert name_of(fleet_index(a=nic("10.0.0.4", "10.0.0.4"), b={}).entry_at("10.0.0.4")) == "a"


def test_default_address_reaches_its_vm() -> None:
    fleet = fleet_index(a={}, b={})
    assert name_of(fleet.entry_at(default_address(Vm("b")))) == "b"
    assert fleet.warnings() == []


def test_default_address_yields_to_a_configured_one() -> None:
    taken = default_address(Vm("b"))
    fleet = fleet_index(b={}, a=nic(taken))
    assert name_of(fleet.entry_at(taken)) == "a"
    assert fleet.warnings() == [
        (
            f"b has no address of its own: its default {taken} is also that of a. "
            "Give it network.interface or reach"
        )
    ]


def test_invalid_captured_address_is_ignored() -> None:
    fleet = fleet_index(a=nic("X.X.X.X"), b=nic("10.0.0.5"))
    assert addresses(fleet) == {default_address(Vm("a")), "10.0.0.5"}


def test_update_changes_only_the_named_vms() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"), c={})
    untouched = fleet.by_name["b"]
    generation = fleet.generation
    fleet.apply(fleet.plan(a_fleet(a=nic("10.0.0.3"), d=nic("10.0.0.1")), ["c"]))
    assert fleet.by_name["b"] is untouched
    assert fleet.generation == generation + 1
    names = {at: name_of(fleet.entry_at(at)) for at in ("10.0.0.1", "10.0.0.2", "10.0.0.3")}
    assert names == {"10.0.0.1": "d", "10.0.0.2": "b", "10.0.0.3": "a"}
    assert set(fleet.by_name) == {"a", "b", "d"}


def test_two_vms_may_swap_their_addresses_in_one_update() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"))
    fleet.apply(fleet.plan(a_fleet(a=nic("10.0.0.2"), b=nic("10.0.0.1"))))
    assert (name_of(fleet.entry_at("10.0.0.1")), name_of(fleet.entry_at("10.0.0.2"))) == ("b", "a")


def test_failed_plan_changes_nothing() -> None:
    fleet = fleet_index(a=nic("10.0.0.1"), b=nic("10.0.0.2"))
    with pytest.raises(ConfigError, match=r"vms.c.reach.address: saw 10.0.0.2, which is also"):
        fleet.plan(a_fleet(a=nic("10.0.0.9"), c=nic("10.0.0.2")))
    assert name_of(fleet.entry_at("10.0.0.1")) == "a"
    assert set(fleet.by_name) == {"a", "b"}


def test_update_keeps_the_limits_of_a_vm() -> None:
    limits = {"general": Allowance(1)}
    fleet = fleet_index(a={}, b={})
    assert fleet.by_name["a"].grants("general", limits, 0.0)
    fleet.apply(fleet.plan(a_fleet(a={"compute": {"zone": "1"}})))
    assert not fleet.by_name["a"].grants("general", limits, 0.5)


def test_default_address_returns_when_its_holder_leaves() -> None:
    taken = default_address(Vm("b"))
    fleet = fleet_index(b={}, c={"reach": {"address": [taken]}}, d={})
    assert name_of(fleet.entry_at(taken)) == "c"
    fleet.apply(fleet.plan([], ["c"]))
    assert name_of(fleet.entry_at(taken)) == "b"
    fleet.apply(fleet.plan([], ["b", "nobody"]))
    assert name_of(fleet.entry_at(taken)) == "d"


def test_shared_default_address_reaches_no_vm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.fleet.address_claims.default_address", lambda _: "10.1.1.1")
    fleet = fleet_index(a={}, b={}, c={"reach": {"address": []}})
    assert fleet.entry_at("10.1.1.1") is None
    assert len(fleet.warnings()) == 2
    fleet.apply(fleet.plan([], ["a"]))
    assert name_of(fleet.entry_at("10.1.1.1")) == "b"
    assert fleet.warnings() == []


def test_compact_keeps_vms_callers_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.fleet.index._BLOCK", 2)
    listen: dict[str, object] = {"reach": {"address": [], "listen": ["unix:/e"]}}
    fleet = fleet_index(d=nic("10.0.0.4", "10.0.0.5"), c={}, b=nic("10.0.0.2"), e=listen, a={})
    before = {name: (entry.vm, entry.claims) for name, entry in fleet.by_name.items()}
    old, reached = {*fleet.by_name.values()}, addresses(fleet)
    generation = fleet.generation
    fleet.compact()
    after = {name: (entry.vm, entry.claims) for name, entry in fleet.by_name.items()}
    assert [*after.items()] == [*before.items()]
    assert addresses(fleet) == reached
    for address, name in (("10.0.0.5", "d"), (default_address(Vm("c")), "c")):
        assert fleet.entry_at(address) is fleet.by_name[name]
    assert fleet.entry_of("unix:/e") is fleet.by_name["e"]
    assert old.isdisjoint(fleet.by_name.values())
    assert fleet.generation > generation


def test_compact_keeps_the_only_vm() -> None:
    fleet = fleet_index(a={})
    fleet.compact()
    assert fleet.entry_at("203.0.113.9") is fleet.only is fleet.by_name["a"]


def test_clouds_and_identities_are_collected() -> None:
    fleet: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    fleet.apply(fleet.plan([Vm("a")]))
    assert (fleet.clouds, fleet.has_identities) == ({}, False)
    tenant = "11111111-2222-3333-4444-555555555555"
    identities = Identities(system=True, tenant_id=tenant)
    fleet.apply(fleet.plan([Vm("b", cloud="AzureChinaCloud", identities=identities)]))
    fleet.apply(fleet.plan([Vm("c", cloud="AzureUSGovernmentCloud")]))
    assert fleet.has_identities
    assert fleet.clouds == {
        tenant: "AzureChinaCloud",
        default_tenant("AzureUSGovernmentCloud"): "AzureUSGovernmentCloud",
    }
