"""VMs on hosts: what they claim there."""

import pytest

from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex, IndexUpdate
from openimds.fleet.placement import claims_on, hosts_of, placed_claims, vm_on
from openimds.fleet.vm_entry import unpack
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.serialize import vm_to_value
from openimds.vm.types import Vm

ADDRESS = "10.0.0.4"


def vm(name: str = "web", host: str = "a", next_host: str = "", **reach: object) -> Vm:
    value: dict[str, object] = {"reach": reach or {"address": [ADDRESS]}}
    value |= {"host": host} if host else {}
    value |= {"nextHost": next_host} if next_host else {}
    return parse_vm(name, value)


def planned(*vms: Vm) -> IndexUpdate:
    index: FleetIndex[object] = FleetIndex(catalog(NEWEST), 1 << 20, placed_claims)
    for one in vms[:-1]:
        index.apply(index.plan([one]))
    return index.plan([vms[-1]])


def test_one_address_on_two_hosts_is_no_conflict() -> None:
    update = planned(vm("web", "a"), vm("db", "b"))
    assert update.puts["db"].claims.addresses == (f"{ADDRESS} on b",)


def test_one_address_on_one_host_names_host_and_owner() -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.4 on a, which is also that of web"):
        planned(vm("web", "a"), vm("db", "a"))


def test_move_to_a_host_where_the_address_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="on b, which is also that of db"):
        planned(vm("db", "b"), vm("web", "a", "b"))


def test_listener_is_free_on_another_host() -> None:
    listen = ["127.0.0.1:9001"]
    update = planned(vm("web", "a", listen=listen), vm("db", "b", listen=listen))
    assert update.listeners == {
        "127.0.0.1:9001 on a": "web",
        "127.0.0.1:9001 on b": "db",
    }


def test_vm_on_no_host_claims_nothing() -> None:
    claims = placed_claims(vm(host=""))
    assert (claims.addresses, claims.listeners, claims.presumed, claims.hosts) == ((), (), "", ())


def test_moving_vm_claims_on_both_hosts() -> None:
    moving = vm("web", "a", "b")
    assert hosts_of(moving) == ("a", "b")
    claims = placed_claims(moving)
    assert claims.hosts == ("a", "b")
    for host in "ab":
        assert claims_on(host, claims).addresses == (ADDRESS,)
    assert claims_on("c", claims).addresses == ()


def test_host_named_like_the_end_of_another_is_another() -> None:
    claims = placed_claims(vm("web", "rack-1"))
    assert claims_on("1", claims).addresses == ()


def test_default_address_is_that_of_the_host() -> None:
    claims = placed_claims(parse_vm("web", {"host": "a"}))
    assert claims.presumed.endswith(" on a")
    on_host = claims_on("a", claims)
    assert on_host.presumed == claims.presumed.removesuffix(" on a")


def test_vm_on_its_host_does_not_answer_every_caller() -> None:
    entry = planned(parse_vm("web", {"host": "a"})).puts["web"]
    on_host = vm_on("a", "web", entry.packed, entry.claims)
    index: FleetIndex[object] = FleetIndex(catalog(NEWEST), 1 << 20)
    index.apply(IndexUpdate({"web": on_host}, frozenset(), {}, {}, has_identities=False))
    assert index.only is None
    assert unpack(on_host.packed).host == "a"


def test_scope_of_events_stands_beside_the_hosts() -> None:
    value = {
        "host": "a",
        "availabilitySet": "as-1",
        "compute": {"subscriptionId": "s", "resourceGroupName": "g"},
    }
    assert placed_claims(parse_vm("web", value)).scope == "set:s/g/as-1"


def test_placement_survives_the_store() -> None:
    moving = vm("web", "a", "b")
    value = vm_to_value(moving)
    assert (value["host"], value["nextHost"]) == ("a", "b")
    assert parse_vm("web", value) == moving


@pytest.mark.parametrize(
    "value, sentence",
    [
        ({"host": "a b"}, r'vms\.web\.host: saw the string "a b", expected the name of a host'),
        ({"host": "a", "nextHost": "/"}, r"vms\.web\.nextHost"),
        ({"nextHost": "b"}, "a next host without a host"),
        ({"host": "a", "nextHost": "a"}, "another host than the present one"),
    ],
)
def test_wrong_placement_names_the_member(value: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_vm("web", value)


def test_next_host_of_all_vms_is_refused_and_host_is_not() -> None:
    assert parse_fleet({"defaults": {"host": "a"}, "vms": {"web": {}}}).vms["web"].host == "a"
    with pytest.raises(ConfigError, match=r"defaults\.nextHost"):
        parse_fleet({"defaults": {"host": "a", "nextHost": "b"}, "vms": {"web": {}}})
