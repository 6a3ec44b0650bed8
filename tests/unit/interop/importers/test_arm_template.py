"""ARM templates, and what `az group export` writes."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.interop.importers import Deployment, read, read_files
from tests.unit.interop.importers.documents import (
    COMPUTE,
    GROUP,
    a_vm,
    compute,
    document,
    load,
    only,
    unread,
)
from tests.unit.vm.refused import Refused, refused

TEMPLATE = load("template")
SYMBOLIC = load("template_symbolic")
VM = "Microsoft.Compute/virtualMachines"


def _template(**members: object) -> dict[str, Any]:
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    return {"$schema": schema, "contentVersion": "1.0.0.0", "resources": [], **members}


def _size(expression: object, **members: object) -> object:
    """Return the size of a VM that a template gives by an expression, or None."""
    properties = {"hardwareProfile": {"vmSize": expression}}
    vm = {"type": VM, "name": "one", "properties": properties}
    definition = only(_template(resources=[vm], **members)).definition.get("compute", {})
    assert isinstance(definition, dict)
    return definition.get("vmSize")


def test_exported_group_becomes_a_document() -> None:
    seen = document(only(TEMPLATE))
    compute = seen["compute"]
    assert (compute["name"], compute["vmSize"], compute["zone"]) == ("app", "Standard_D4s_v5", "1")
    assert (compute["publisher"], compute["sku"]) == ("Canonical", "server")
    assert compute["tagsList"] == [{"name": "env", "value": "test"}]
    assert compute["securityProfile"]["secureBootEnabled"] == "true"
    assert compute["publicKeys"] == [
        {"keyData": "ssh-rsa AAAA it''s", "path": "/home/azureuser/.ssh/authorized_keys"}
    ]
    assert compute["storageProfile"]["osDisk"]["managedDisk"]["id"] == f"{COMPUTE}/disks/app-os"
    (disk,) = compute["storageProfile"]["dataDisks"]
    assert (disk["name"], disk["diskSizeGB"], disk["isUltraDisk"]) == ("app-data", "64", "true")
    (nic,) = seen["network"]["interface"]
    assert nic["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.1.3.4"
    assert nic["ipv4"]["subnet"] == [{"address": "10.1.2.0", "dnsservers": [], "prefix": "23"}]


def test_exported_group_has_values_beside_the_document() -> None:
    definition = only(TEMPLATE).definition
    ops = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
    assert definition["identities"] == {"system": False, "user": [ops]}
    assert definition["availabilitySet"] == "as-app"
    assert definition["loadBalancer"] == {
        "publicIpAddresses": [{"frontendIpAddress": "20.5.6.7", "privateIpAddress": "10.1.3.4"}]
    }


def test_unread_value_is_apart_from_unmapped_ones() -> None:
    key = "[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'app')]"
    disk = "[resourceId('Microsoft.Compute/disks', 'app-data')]"
    group = "its id needs --subscription and --resource-group"
    assert unread(TEMPLATE) == {
        "resources[3].location": (
            "[resourceGroup().location]",
            "resourceGroup().location needs --location",
        ),
        "resources[3].tags.owner": (
            "[deployer().objectId]",
            "deployer(): only the deployment knows it",
        ),
        "resources[3].properties.storageProfile.dataDisks[0].managedDisk.id": (disk, group),
        f'resources[3].identity.userAssignedIdentities["{key}"]': (key, group),
    }
    assert only(TEMPLATE).unmapped == (
        "parameters.unused",
        "resources[0].location",
        "resources[0].sku.tier",
        "resources[0].properties.publicIPAddressVersion",
        "resources[1].location",
        "resources[1].properties.addressSpace",
        "resources[2].location",
        "resources[2].properties.ipConfigurations[0].properties.privateIPAllocationMethod",
        "resources[3].properties.osProfile.adminPassword",
        "resources[3].resources",
        "resources[4].properties.creationData",
        "resources[5]",
    )


def test_symbolic_names_and_nested_resources() -> None:
    one = only(SYMBOLIC)
    assert one.name == "lab-1"
    seen = document(one)
    assert seen["compute"]["location"] == "northeurope"
    first, second = seen["network"]["interface"]
    assert first["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.8.0.9"
    assert first["ipv4"]["subnet"][0]["prefix"] == "25"
    assert second["ipv4"]["subnet"][0]["address"] == "10.7.0.0"
    assert one.unmapped == ("resources.existing",)


PARAMETERS = {
    "a": {"type": "string", "defaultValue": "A"},
    "object": {"type": "object", "defaultValue": {"vmSize": "inner"}},
}


def test_expression_may_stand_for_a_mapping() -> None:
    vm = {
        "type": VM,
        "name": "one",
        "properties": {"hardwareProfile": "[parameters('object')]", "storageProfile": "[x()]"},
    }
    one = only(_template(resources=[vm], parameters=PARAMETERS))
    assert one.definition["compute"] == {"vmSize": "inner"}
    assert one.unmapped == ("parameters.a",)
    assert one.unread == (
        ("resources[0].properties.storageProfile", "[x()]", "the function x() is not read here"),
    )


def test_expression_may_stand_for_all_properties() -> None:
    value = {"hardwareProfile": {"vmSize": "inner"}}
    vm = {"type": VM, "name": "one", "properties": "[variables('vm')]"}
    assert compute(_template(resources=[vm], variables={"vm": value}))["vmSize"] == "inner"


def test_unevaluated_source_has_no_default() -> None:
    properties = {"storageProfile": {"imageReference": "[f()]", "osDisk": {}}, "osProfile": "[f()]"}
    vm = {"type": VM, "name": "one", "properties": {**properties, "dataDisks": []}}
    seen = compute(_template(resources=[vm]))
    assert (seen["publisher"], seen["osProfile"]["adminUsername"]) == ("canonical", "azureuser")


def test_reference_with_a_group_finds_its_resource() -> None:
    network = {
        "networkInterfaces": [
            {"id": "[resourceId('g', 'Microsoft.Network/networkInterfaces', 'n')]"}
        ]
    }
    nic = {
        "type": "Microsoft.Network/networkInterfaces",
        "name": "n",
        "properties": {"ipConfigurations": [{"properties": {"privateIPAddress": "10.0.0.8"}}]},
    }
    vm = {"type": VM, "name": "one", "properties": {"networkProfile": network}}
    definition = only(_template(resources=[vm, nic])).definition
    assert definition["network"] == {
        "interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.8"}]}}]
    }


def test_tags_may_be_scalars_and_named_by_expressions() -> None:
    tags = {"n": 5, "t": True, "[parameters('a')]": "x", "[f()]": "y", "": "z"}
    vm = {"type": VM, "name": "one", "tags": tags}
    one = only(_template(resources=[vm], parameters={"a": PARAMETERS["a"]}))
    assert one.definition["compute"] == {"tags": {"n": "5", "t": "true", "A": "x"}}
    assert one.unmapped == ('resources[0].tags[""]',)
    assert [row[:2] for row in one.unread] == [('resources[0].tags["[f()]"]', "[f()]")]


def test_only_vm_without_a_readable_name_is_refused() -> None:
    vm = {"type": VM, "name": "[concat('vm', copyIndex())]"}
    assert refused(only, _template(resources=[vm])) == Refused(
        "resources[0].name",
        "[concat('vm', copyIndex())]",
        "a VM, but this could not be read",
        "copyIndex() outside of its loop",
    )


def test_vm_without_a_readable_name_is_unread() -> None:
    vms = [{"type": VM, "name": "[newGuid()]"}, {"type": VM, "name": "b"}]
    one = only(_template(resources=vms))
    assert one.name == "b"
    assert one.unread == (
        ("resources[0].name", "[newGuid()]", "newGuid(): only the deployment knows it"),
    )
    assert one.unmapped == ()


def test_member_that_is_no_resource_is_skipped() -> None:
    vm = {"type": VM, "name": "one", "resources": 5}
    value = _template(resources=["x", {"type": 5}, vm])
    assert only(value).unmapped == ("resources[0]", "resources[1]", "resources[2].resources")
    vm["resources"] = [{"type": 5}, {"type": "extensions"}]
    assert only(value).unmapped == ("resources[0]", "resources[1]", "resources[2].resources")


def test_nested_resources_are_read_to_a_bounded_depth() -> None:
    inner: dict[str, Any] = {"type": VM, "name": "one"}
    for _ in range(6):
        inner = {"type": "A/b", "name": "x", "resources": [inner]}
    seen = refused(only, _template(resources=[inner])).seen
    assert seen == "an ARM template with resources of type A/b, Microsoft.Compute/virtualMachines"


def test_template_may_lack_its_schema() -> None:
    value = {"contentVersion": "1.0.0.0", "resources": [a_vm(location="[f()]")]}
    assert list(unread(value)) == ["resources[0].location"]


COMPILED = load("arm_compiled_functions")
LAB = Deployment("11111111-2222-4333-8444-555555555555", "lab", "westus")


def test_compiled_template_becomes_a_document() -> None:
    (one,) = read(COMPILED, LAB)
    seen = document(one)
    compute = seen["compute"]
    assert (one.name, one.unread) == ("lab-vm", ())
    assert (compute["location"], compute["vmSize"]) == ("westus", "Standard_D2s_v5")
    assert (compute["offer"], compute["sku"]) == ("0001-com-ubuntu-server-jammy", "22_04-lts-gen2")
    assert (compute["osType"], compute["osProfile"]["disablePasswordAuthentication"]) == (
        "Linux",
        "true",
    )
    assert compute["securityProfile"] == {
        "encryptionAtHost": "false",
        "secureBootEnabled": "true",
        "securityType": "TrustedLaunch",
        "virtualTpmEnabled": "true",
    }
    assert compute["resourceId"] == (
        "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/lab"
        "/providers/Microsoft.Compute/virtualMachines/lab-vm"
    )
    (nic,) = seen["network"]["interface"]
    assert nic["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.9.4.7"
    assert nic["ipv4"]["subnet"] == [{"address": "10.9.4.0", "dnsservers": [], "prefix": "24"}]


def test_compiled_template_without_flags_lacks_its_location() -> None:
    assert unread(COMPILED) == {
        "resources[2].location": (
            "[parameters('place')]",
            "resourceGroup().location needs --location",
        )
    }
    assert "resources[2].location" not in only(COMPILED).unmapped


def test_loop_makes_a_vm_for_each_number() -> None:
    vms = read(load("arm_copy_loop"))
    assert [one.name for one in vms] == ["node1", "node2", "node3"]
    assert {document(one)["compute"]["vmSize"] for one in vms} == {"Standard_B2s"}
    assert [one.unread for one in vms] == [(), (), ()]
    assert [one.unmapped for one in vms] == [(), (), ()]


def test_copies_of_different_members_are_listed_once() -> None:
    security = "createObject('securityType', 'TrustedLaunch', 'other', 1)"
    choice = f"[if(equals(copyIndex(), 0), null(), {security})]"
    vm = {
        "type": VM,
        "name": "[format('vm{0}', copyIndex())]",
        "copy": {"name": "l", "count": 3},
        "properties": {"securityProfile": choice},
    }
    first, *others = read(_template(resources=[vm]))
    assert first.unmapped == ("resources[0].properties.securityProfile.other",)
    assert [one.unmapped for one in others] == [(), ()]
    assert document(others[0])["compute"]["securityProfile"]["securityType"] == "TrustedLaunch"


def test_parameter_file_gives_values() -> None:
    file = {"parameters": {"Prefix": {"value": "db"}, "many": {"value": 1}}, "contentVersion": "1"}
    (one,) = read_files({"a": load("arm_copy_loop"), "p": file})
    assert one.name == "db1"


def test_parameter_that_the_template_lacks_is_refused() -> None:
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"
    file = {"$schema": schema, "parameters": {"prefex": {"value": "db"}}}
    assert refused(read_files, {"a": load("arm_copy_loop"), "p": file}) == Refused(
        "a: parameters", '"prefex"', "a parameter of the template", 'Did you mean "prefix"?'
    )


def test_parameter_of_a_key_vault_could_not_be_read() -> None:
    template = _template(
        parameters={"size": {"type": "string"}},
        resources=[_vm("one", "[parameters('size')]")],
    )
    file = {"contentVersion": "1", "parameters": {"size": {"reference": {"keyVault": {}}}}}
    (one,) = read_files({"t": template, "p": file})
    assert one.unread == (
        (
            "resources[0].properties.hardwareProfile.vmSize",
            "[parameters('size')]",
            "its value is in a key vault, not in the parameter file",
        ),
    )


def _vm(name: str, size: str = "S", **members: object) -> dict[str, object]:
    return {
        "type": VM,
        "name": name,
        "properties": {"hardwareProfile": {"vmSize": size}},
        **members,
    }


def test_resource_with_a_false_condition_is_not_deployed() -> None:
    template = _template(resources=[_vm("a", condition="[equals(1, 2)]"), _vm("b", condition=True)])
    assert (only(template).name, only(template).unmapped) == ("b", ())


def test_condition_that_could_not_be_read_is_listed() -> None:
    condition = "[equals(reference('x').y, 1)]"
    one = only(_template(resources=[_vm("a", condition=condition)]))
    assert one.unread == (
        ("resources[0].condition", condition, "reference(): only the deployment knows it"),
    )


def test_conditions_and_loops_of_other_resources_are_ignored() -> None:
    lock = {"type": "Microsoft.Authorization/locks", "name": "l", "condition": "[newGuid()]"}
    loop = {"name": "n", "count": "[newGuid()]"}
    module = _deployment("m", _template(resources=[{**lock, "copy": loop}]), **INNER)
    resources = [{**lock, "copy": loop}, lock, module, _vm("a")]
    one = only(_template(resources=resources))
    assert (one.name, one.unread) == ("a", ())


def test_loop_of_unreadable_count_is_listed() -> None:
    loop = {"name": "l", "count": "[parameters('n')]"}
    one = only(_template(resources=[_vm("a", copy=loop), _vm("b")], parameters={"n": {}}))
    reason = "the parameter n has no value: add a parameter file"
    assert (one.name, one.unread) == (
        "b",
        (("resources[0].copy.count", "[parameters('n')]", reason),),
    )


def test_stand_in_of_a_name_is_listed() -> None:
    one = only(_template(resources=[_vm("[concat('vm', uniqueString('a'))]")]))
    assert (len(one.name), one.stand_ins, one.unread) == (15, ("resources[0].name",), ())


def test_stand_in_without_a_place_is_not_listed() -> None:
    assert only(_template(resources=[_vm("a", etag="[uniqueString('a')]")])).stand_ins == ()


def _deployment(name: str, template: dict[str, Any], **properties: object) -> dict[str, Any]:
    return {
        "type": "Microsoft.Resources/deployments",
        "name": name,
        "properties": {"mode": "Incremental", "template": template, **properties},
    }


INNER = {"expressionEvaluationOptions": {"scope": "Inner"}}
MODULE = _template(
    parameters={"name": {"type": "string"}, "size": {"type": "string", "defaultValue": "small"}},
    resources=[_vm("[parameters('name')]", "[parameters('size')]")],
    outputs={"vm": {"type": "string", "value": "[parameters('name')]"}},
)


def test_module_has_its_own_parameters() -> None:
    module = _deployment("m", MODULE, parameters={"name": {"value": "[variables('x')]"}}, **INNER)
    one = only(_template(resources=[module], variables={"x": "web", "size": "big"}))
    assert (one.name, one.definition["compute"]) == ("web", {"vmSize": "small"})
    assert (one.unmapped, one.unread) == (("variables.size",), ())


def test_outer_scope_is_that_of_the_template_around() -> None:
    inner = _template(resources=[_vm("[variables('x')]")], variables={"x": "inner"})
    one = only(_template(resources=[_deployment("m", inner)], variables={"x": "outer"}))
    assert one.name == "outer"


def test_output_of_a_module_is_read() -> None:
    module = _deployment("m", MODULE, parameters={"name": {"value": "web"}}, **INNER)
    module_id = "resourceId('Microsoft.Resources/deployments', 'm')"
    name = f"[format('{{0}}-2', reference({module_id}).outputs.vm.value)]"
    vms = read(_template(resources=[_vm(name), module]))
    assert [one.name for one in vms] == ["web-2", "web"]


def test_symbolic_module_is_found_by_its_key() -> None:
    module = _deployment("long-name", MODULE, parameters={"name": {"value": "web"}}, **INNER)
    vm = _vm("[concat(reference('mod').outputs.vm.value, '-2')]")
    vms = read(_template(languageVersion="2.0", resources={"mod": module, "vm": vm}))
    assert [one.name for one in vms] == ["web", "web-2"]


def test_module_in_another_group_has_that_group() -> None:
    module = _deployment("m", MODULE, parameters={"name": {"value": "web"}}, **INNER)
    module |= {"resourceGroup": "other", "subscriptionId": "s"}
    (one,) = read(_template(resources=[module]), LAB)
    compute = one.definition["compute"]
    assert compute == {"vmSize": "small", "resourceGroupName": "other", "subscriptionId": "s"}


def test_module_of_a_key_vault_value_could_not_be_read() -> None:
    parameters = {"name": {"value": "web"}, "size": {"reference": {}}}
    module = _deployment("m", MODULE, parameters=parameters, **INNER)
    ((_, expression, reason),) = only(_template(resources=[module])).unread
    assert expression == "[parameters('size')]"
    assert reason == "its value is in a key vault, not in the template"


def test_module_with_an_unreadable_parameter_says_why() -> None:
    parameters = {"name": {"value": "web"}, "size": "[newGuid()]"}
    module = _deployment("m", MODULE, parameters=parameters, **INNER)
    ((_, _, reason),) = only(_template(resources=[module])).unread
    assert reason == "newGuid(): only the deployment knows it"


def test_linked_template_is_listed() -> None:
    linked = {
        "type": "Microsoft.Resources/deployments",
        "name": "l",
        "properties": {"templateLink": {"uri": "https://x"}},
    }
    empty = {"type": "Microsoft.Resources/deployments", "name": "e"}
    one = only(_template(resources=[linked, empty, _vm("a")]))
    assert one.unread == (
        ("resources[0].properties", "", "a template in another file: import it on its own"),
    )


def test_modules_inside_each_other_are_bounded() -> None:
    inner = _template(resources=[_vm("deep")])
    for number in range(6):
        inner = _template(resources=[_deployment(f"m{number}", inner)])
    inner["resources"].append(_vm("a"))
    one = only(inner)
    ((path, _, reason),) = one.unread
    assert (one.name, path.count("template")) == ("a", 4)
    assert reason == "a deployment that lies too deep: import it on its own"


SECURE = {"key": {"type": "securestring", "defaultValue": "hunter2"}}
LEAKS: list[dict[str, Any]] = [
    {"name": "[parameters('key')]"},
    {"name": "[format('{0}-vm', parameters('key'))]"},
    {"zones": [{"a": "[parameters('key')]"}]},
    {
        "properties": {
            "hibernate": 1,
            "additionalCapabilities": {"hibernationEnabled": "[parameters('key')]"},
        }
    },
    {"properties": {"userData": 5}},
    {"properties": {"userData": "[newGuid('hunter2')]"}},
    {"properties": {"osProfile": {"customData": "[base64(concat('hunter2', newGuid()))]"}}},
    {"properties": {"osProfile": {"adminPassword": "hunter2", "adminUsername": 5}}},
    {"properties": {"osProfile": "[parameters('key')]"}},
    {"properties": {"osProfile": "[createObject('adminPassword', 'hunter2', 'a', newGuid())]"}},
    {"tags": "[parameters('key')]"},
    {"tags": {"[parameters('key')]": []}},
    {"identity": {"principalId": "[parameters('key')]"}},
]


@pytest.mark.parametrize("members", LEAKS)
def test_no_message_has_a_secret(members: dict[str, Any]) -> None:
    template = _template(resources=[{**_vm("a"), **members}], parameters=SECURE)
    try:
        text = repr([(one.unmapped, one.unread) for one in read(template)])
    except ConfigError as error:
        text = str(error)
    assert "hunter2" not in text


def test_secret_with_a_place_is_taken() -> None:
    key = {"path": "/home/a/.ssh/authorized_keys", "keyData": "[parameters('key')]"}
    ssh = {"linuxConfiguration": {"ssh": {"publicKeys": [key]}}}
    vm = {"type": VM, "name": "a", "properties": {"osProfile": ssh}}
    seen = compute(_template(resources=[vm], parameters=SECURE))
    assert seen["publicKeys"][0]["keyData"] == "hunter2"


def test_type_of_a_name_is_checked() -> None:
    assert refused(only, _template(resources=[{"type": VM, "name": 5}])) == Refused(
        "resources[0].name", "the number 5", "a string"
    )


def test_unread_properties_are_listed_whole() -> None:
    one = only(_template(resources=[{"type": VM, "name": "a", "properties": "[newGuid()]"}]))
    reason = "newGuid(): only the deployment knows it"
    assert one.unread == (("resources[0].properties", "[newGuid()]", reason),)


def test_resource_that_is_too_deep_is_skipped() -> None:
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]
    vms = read(_template(resources=[_vm("a", etag=deep), _vm("b")]))
    assert [one.name for one in vms] == ["a", "b"]
