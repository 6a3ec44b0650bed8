"""The ids of identities: written, or derived from the name, always alike."""

from typing import Any
from uuid import UUID

import pytest

from openimds.credentials.tokens.jwt import FORGERIES as FORGED
from openimds.errors import ConfigError
from openimds.facts.faults import FORGERIES
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.identities import SOURCES, Principal, default_tenant, principals
from openimds.vm.serialize import vm_to_value

C1, C2, P1, T = (f"{n}0000000-0000-0000-0000-00000000000a" for n in (1, 2, 3, 4))
GROUP = "/subscriptions/s/resourceGroups/g"
APP = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/App"
OPS = APP.replace("App", "ops")


def held(name: str = "web-1", compute: dict[str, Any] | None = None, **identities: Any) -> Any:
    one = parse_vm(name, {"compute": compute or {}, "identities": identities})
    return principals(one)


def test_a_vm_has_no_identities_by_default() -> None:
    assert held() == ()


def test_the_system_assigned_identity_comes_first() -> None:
    compute = {"subscriptionId": "s", "resourceGroupName": "lab"}
    first, second = held(compute=compute, system=True, user=[APP])
    assert (first.is_system, second.is_system) == (True, False)
    assert first.mirid == (
        "/subscriptions/s/resourcegroups/lab/providers/Microsoft.Compute/virtualMachines/web-1"
    )
    assert (first.carrier, second.carrier) == ("", first.mirid)
    assert second.mirid == APP.replace("resourceGroups", "resourcegroups")


def test_ids_are_guids_and_all_different() -> None:
    found = held(system=True, user=[APP, OPS])
    ids = [text for one in found for text in (one.client_id, one.object_id)]
    assert len(set(ids)) == 6
    assert all(str(UUID(text)) == text for text in ids)
    assert {one.tenant_id for one in found} == {default_tenant()}


def test_a_user_assigned_identity_is_the_same_on_every_vm() -> None:
    (a,), (b,) = held("a", user=[APP]), held("b", user=[APP.lower()])
    assert (a.client_id, a.object_id) == (b.client_id, b.object_id)
    assert a.carrier != b.carrier


def test_a_system_assigned_identity_is_unique_to_its_vm() -> None:
    (a,), (b,) = held("a", system=True), held("b", system=True)
    assert a.client_id != b.client_id


def test_uniform_instances_share_the_identity_of_their_set() -> None:
    compute = {"vmScaleSetName": "pool", "subscriptionId": "s", "resourceGroupName": "g"}
    (a,), (b,) = held("pool_0", compute, system=True), held("pool_1", compute, system=True)
    assert a == b
    assert a.mirid.endswith("/providers/Microsoft.Compute/virtualMachineScaleSets/pool")


def test_written_ids_win() -> None:
    details = {
        "system": {"clientId": C1, "principalId": P1},
        APP.upper(): {"clientId": C2.upper(), "source": "entra"},
    }
    first, second = held(
        system=True, user=[APP], tenantId=T, source="forge:expired", details=details
    )
    assert first == Principal(C1, P1, T, first.mirid, "", "forge:expired")
    assert (second.client_id, second.tenant_id, second.source) == (C2, T, "entra")


def test_a_repeated_identity_counts_once() -> None:
    assert len(held(user=[APP, APP, APP.upper()])) == 1


def test_a_detail_of_an_unassigned_identity_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_vm("a", {"identities": {"user": [APP], "details": {APP + "s": {}}}})
    assert str(caught.value) == (
        f'vms.a.identities.details: saw "{APP}s". Did you mean "{APP}"? Expected system, or a '
        "resource id that stands under user"
    )


def test_details_may_come_from_the_defaults() -> None:
    shared = {"identities": {"user": [APP], "details": {APP: {"clientId": C1}}}}
    one = parse_fleet({"defaults": shared, "vms": {"a": {"identities": {"system": True}}}}).vms["a"]
    assert [two.client_id for two in principals(one)][1] == C1


@pytest.mark.parametrize(
    "identities",
    [
        {"system": True, "tenantId": T, "source": "entra"},
        {"user": [APP], "details": {APP: {"clientId": C1, "principalId": P1, "source": "local"}}},
        {"details": {"system": {"source": "forge:unsigned"}}},
    ],
)
def test_written_identities_are_read_back(identities: dict[str, Any]) -> None:
    one = parse_vm("a", {"identities": identities})
    assert vm_to_value(one)["identities"] == identities
    assert parse_vm("a", vm_to_value(one)) == one


def test_an_unknown_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match='Did you mean "forge:expired"'):
        parse_vm("a", {"identities": {"source": "forge:expird"}})


def test_every_forgery_of_the_schema_can_be_made() -> None:
    assert sorted(FORGERIES) == sorted(FORGED)
    assert {f"forge:{name}" for name in FORGED} <= {*SOURCES}


@pytest.mark.parametrize(
    "identities, where",
    [
        ({"tenantId": "contoso.onmicrosoft.com"}, "tenantId"),
        ({"system": True, "details": {"system": {"clientId": "x"}}}, "details.system.clientId"),
        ({"user": [APP], "details": {APP: {"principalId": C1 + "0"}}}, "principalId"),
    ],
)
def test_a_malformed_guid_is_refused(identities: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match="expected a GUID") as caught:
        parse_vm("a", {"identities": identities})
    assert where in str(caught.value)


def test_a_client_id_is_not_taken_for_the_id_of_a_resource() -> None:
    with pytest.raises(ConfigError, match="Its client id stands under details") as caught:
        parse_vm("a", {"identities": {"user": [APP, C1]}})
    assert caught.value.where == "vms.a.identities.user"


def test_no_tenant_is_in_two_clouds_by_default() -> None:
    assert default_tenant() != default_tenant("AzureChinaCloud")
