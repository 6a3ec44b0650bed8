"""Scale sets: a VM for each of their instances."""

from typing import Any

from openimds.interop.importers import Deployment, read
from openimds.interop.importers.scale_set import MOST_INSTANCES
from tests.unit.interop.importers.documents import COMPUTE, NETWORK, document, load, unread
from tests.unit.vm.refused import refused

POOL = load("arm_scale_set")
LAB = Deployment("11111111-2222-4333-8444-555555555555", "lab", "westus")
SET = (
    f"/subscriptions/{LAB.subscription}/resourceGroups/lab"
    "/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
)


def _set(capacity: object = 2, **members: object) -> dict[str, Any]:
    """Return a scale set as `az vmss show` prints it."""
    return {
        "id": f"{COMPUTE}/virtualMachineScaleSets/pool",
        "name": "pool",
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "sku": {"name": "Standard_B1s", "capacity": capacity},
        **members,
    }


def test_uniform_instances_are_numbered() -> None:
    vms = read(POOL)
    assert [one.name for one in vms] == ["pool_0", "pool_1"]
    compute = document(vms[1])["compute"]
    assert (compute["vmSize"], compute["location"]) == ("Standard_D2s_v5", "northeurope")
    assert (compute["name"], compute["vmScaleSetName"]) == ("pool_1", "pool")
    assert compute["osProfile"]["computerName"] == "pool000001"
    assert compute["osProfile"]["adminUsername"] == "ops"
    assert compute["resourceId"].endswith("/virtualMachineScaleSets/pool/virtualMachines/1")
    assert [(one.unmapped, one.unread) for one in vms] == [((), ()), ((), ())]


def test_place_of_the_deployment_is_in_the_ids() -> None:
    compute = document(read(POOL, LAB)[0])["compute"]
    assert compute["resourceId"] == f"{SET}/virtualMachines/0"
    assert (compute["subscriptionId"], compute["resourceGroupName"]) == (LAB.subscription, "lab")


def _flexible() -> dict[str, Any]:
    template: dict[str, Any] = load("arm_scale_set")
    template["resources"][0]["properties"]["orchestrationMode"] = "Flexible"
    return template


def test_flexible_instances_have_stand_ins_for_names() -> None:
    first, second = read(_flexible(), LAB)
    assert first.name != second.name
    assert (len(first.name), first.name[:5]) == (13, "pool_")
    assert first.stand_ins == ("resources[0].name",)
    assert second.stand_ins == ()
    compute = document(first)["compute"]
    assert compute["virtualMachineScaleSet"]["id"] == SET
    assert compute["vmScaleSetName"] == ""
    assert compute["osProfile"]["computerName"] == first.name.replace("_", "-")


def test_flexible_set_without_flags_lacks_its_id() -> None:
    assert unread(_flexible()) == {
        "resources[0].name": ("", "the set's id needs --subscription and --resource-group")
    }


def test_zones_are_spread() -> None:
    vms = read(_set(3, zones=["1", "3"]))
    assert [document(one)["compute"]["zone"] for one in vms] == ["1", "3", "1"]


def test_profile_of_a_set_has_the_rows_of_a_vm() -> None:
    configuration = {
        "name": "c",
        "properties": {"subnet": {"id": f"{NETWORK}/virtualNetworks/v/subnets/s"}},
    }
    nic = {"name": "n", "properties": {"primary": True, "ipConfigurations": [configuration]}}
    profile = {
        "priority": "Spot",
        "osProfile": {"linuxConfiguration": {"disablePasswordAuthentication": True}},
        "storageProfile": {"osDisk": {"caching": "ReadOnly"}, "dataDisks": [{"lun": 1}]},
        "networkProfile": {"networkInterfaceConfigurations": [nic]},
    }
    subnet = {
        "id": f"{NETWORK}/virtualNetworks/v/subnets/s",
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "addressPrefix": "10.5.0.0/24",
    }
    vms = read([_set(virtualMachineProfile=profile), subnet])
    for one in vms:
        seen = document(one)
        assert (seen["compute"]["priority"], seen["compute"]["osType"]) == ("Spot", "Linux")
        assert seen["compute"]["storageProfile"]["osDisk"]["caching"] == "ReadOnly"
        assert seen["compute"]["storageProfile"]["dataDisks"][0]["lun"] == "1"
        (card,) = seen["network"]["interface"]
        assert card["ipv4"]["subnet"][0]["address"] == "10.5.0.0"
    assert document(vms[0])["compute"]["resourceId"].endswith("/pool/virtualMachines/0")


def test_capacity_is_bounded() -> None:
    assert len(read(_set(MOST_INSTANCES))) == MOST_INSTANCES
    reason = f"it is not a whole number from 0 to {MOST_INSTANCES}"
    vm = {"id": "/x/virtualMachines/a", "hardwareProfile": {}}
    for capacity in (MOST_INSTANCES + 1, -1, "many"):
        assert unread([_set(capacity), vm]) == {"[0].sku.capacity": ("", reason)}


def test_set_without_a_capacity_has_no_vms() -> None:
    sets = _set(sku={"name": "Standard_B1s"})
    vm = {"id": "/x/virtualMachines/a", "hardwareProfile": {}}
    assert [one.name for one in read([sets, vm])] == ["a"]


def test_set_without_a_name_is_refused() -> None:
    sets = _set()
    del sets["name"]
    assert refused(read, sets).seen == "a scale set without a name"


def test_set_with_a_secret_name_is_refused() -> None:
    template = load("arm_scale_set")
    template["parameters"] = {"key": {"type": "securestring", "defaultValue": "hunter2"}}
    template["resources"][0]["name"] = "[concat(parameters('key'), '-set')]"
    assert refused(read, template).seen == "a name made of a secret"


def test_set_without_instances_is_refused() -> None:
    seen = refused(read, _set(0)).seen
    assert seen == (
        "the output of az vm show with resources of type Microsoft.Compute/virtualMachineScaleSets"
    )
