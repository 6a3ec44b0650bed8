"""ARM templates, and what `az group export` writes."""

from typing import Any

import pytest

from tests.unit.interop.importers.documents import (
    COMPUTE,
    GROUP,
    a_vm,
    compute,
    document,
    load,
    only,
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


def test_unevaluated_values_are_unmapped() -> None:
    key = "[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'app')]"
    assert only(TEMPLATE).unmapped == (
        "parameters.adminPassword",
        "parameters.unused",
        "resources[0].location",
        "resources[0].sku.tier",
        "resources[0].properties.publicIPAddressVersion",
        "resources[1].location",
        "resources[1].properties.addressSpace",
        "resources[2].location",
        "resources[2].properties.ipConfigurations[0].properties.privateIPAllocationMethod",
        "resources[3].location",
        "resources[3].tags.owner",
        f'resources[3].identity.userAssignedIdentities["{key}"]',
        "resources[3].properties.osProfile.adminPassword",
        "resources[3].properties.osProfile.customData",
        "resources[3].properties.osProfile.linuxConfiguration.disablePasswordAuthentication",
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
    assert one.unmapped == (
        "resources.vm.properties.storageProfile.osDisk.managedDisk",
        "resources.existing",
    )


PARAMETERS = {
    "a": {"type": "string", "defaultValue": "A"},
    "object": {"type": "object", "defaultValue": {"vmSize": "inner"}},
    "self": {"type": "string", "defaultValue": "[parameters('self')]"},
    "none": {"type": "string"},
    "odd": 5,
}
VARIABLES = {
    "b": "[concat(parameters('a'), 'B')]",
    "long": "[concat(variables('long'), variables('long'))]",
}
EXPRESSIONS = {
    "Standard_B1s": "Standard_B1s",
    "[parameters('a')]": "A",
    "[ PARAMETERS( 'A' ) ]": "A",
    "[variables('b')]": "AB",
    "[concat('x', 1, variables('b'))]": "x1AB",
    "[concat('it''s')]": "it's",
    "['literal']": "literal",
    "[[escaped]": "[escaped]",
    "[not closed": "[not closed",
    "[parameters('none')]": None,
    "[parameters('odd')]": None,
    "[parameters('unknown')]": None,
    "[parameters('a', 'a')]": None,
    "[parameters('self')]": None,
    "[variables('long')]": None,
    "[parameters('a').b]": None,
    "[parameters('a') 'x']": None,
    "[parameters 'a']": None,
    "[concat('a']": None,
    "[concat('a' 'b')]": None,
    "[concat(parameters('object'))]": None,
    "[parameters]": None,
    "[uniqueString('a')]": None,
    "[]": None,
    "[concat(]": None,
    "[concat(,]": None,
    "[resourceId('a')]": None,
    "[resourceId('A/b')]": None,
    "[resourceId('A/b', 'x', 'y')]": None,
    "[resourceId('A/b', 'x')]": None,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_only_plain_expressions_are_evaluated(expression: str) -> None:
    size = _size(expression, parameters=PARAMETERS, variables=VARIABLES)
    assert size == EXPRESSIONS[expression]


def test_expression_may_stand_for_a_mapping() -> None:
    vm = {
        "type": VM,
        "name": "one",
        "properties": {"hardwareProfile": "[parameters('object')]", "storageProfile": "[x()]"},
    }
    one = only(_template(resources=[vm], parameters=PARAMETERS))
    assert one.definition["compute"] == {"vmSize": "inner"}
    assert one.unmapped == (
        "resources[0].properties.storageProfile",
        "parameters.a",
        "parameters.self",
        "parameters.none",
        "parameters.odd",
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
    assert one.unmapped == ('resources[0].tags["[f()]"]', 'resources[0].tags[""]')


def test_unevaluated_name_is_refused() -> None:
    vm = {"type": VM, "name": "[concat('vm', copyIndex())]"}
    assert refused(only, _template(resources=[vm])) == Refused(
        "resources[0].name",
        "the string \"[concat('vm', copyIndex())]\"",
        "a name that stands in the template",
        "Give its parameters a defaultValue, or write the name there",
    )


def test_member_that_is_no_resource_is_skipped() -> None:
    vm = {"type": VM, "name": "one", "resources": 5}
    value = _template(resources=["x", {"type": 5}, vm])
    assert only(value).unmapped == ("resources[0]", "resources[1]", "resources[2].resources")


def test_nested_resources_are_read_to_a_bounded_depth() -> None:
    inner: dict[str, Any] = {"type": VM, "name": "one"}
    for _ in range(6):
        inner = {"type": "A/b", "name": "x", "resources": [inner]}
    seen = refused(only, _template(resources=[inner])).seen
    assert seen == "a mapping with $schema, contentVersion, resources"


def test_template_may_lack_its_schema() -> None:
    value = {"contentVersion": "1.0.0.0", "resources": [a_vm(location="[f()]")]}
    assert "resources[0].location" in only(value).unmapped
