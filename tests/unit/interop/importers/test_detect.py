"""Detection of the input, refusals, and properties that hold for any input."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openimds.errors import ConfigError
from openimds.interop import importers
from openimds.interop.importers import read, read_files
from tests.support.transcripts import a_document, a_transcript, an_answer, an_exchange, compact
from tests.unit.interop.importers.documents import (
    INPUTS,
    NAMES,
    a_nic,
    a_vm,
    document,
    load,
    nics,
    only,
)
from tests.unit.vm.refused import Refused, refused

CAPTURED = {
    "compute": {"name": "web-1", "vmId": "v", "tags": "a:b", "brandNew": "x"},
    "network": {"interface": []},
}


def test_room_exports_its_names() -> None:
    assert importers.__all__ == [
        "Deployment",
        "ImportedVm",
        "parse_text",
        "read",
        "read_files",
        "source_hint",
        "without_comments",
    ]


def test_captured_document_keeps_its_values() -> None:
    one = only(CAPTURED)
    assert (one.name, one.unmapped) == ("web-1", ("compute.brandNew",))
    assert one.definition["compute"] == {"name": "web-1", "vmId": "v", "tags": {"a": "b"}}
    assert document(one)["network"] == {"interface": []}


def test_transcript_gives_the_vm_with_its_load_balancer() -> None:
    body = compact({"loadbalancer": {"inboundRules": [{"frontendPort": 80}]}})
    held = a_transcript(
        a_document("2021-02-01", CAPTURED),
        an_exchange("/metadata/loadbalancer?api-version=2021-02-01", an_answer(body)),
    )
    one = only(json.loads(held.to_bytes()))
    assert (one.name, one.unmapped) == ("web-1", ("compute.brandNew",))
    assert one.definition["loadBalancer"] == {"inboundRules": [{"frontendPort": 80}]}
    assert one.definition["compute"] == {"name": "web-1", "vmId": "v", "tags": {"a": "b"}}


def test_compute_body_alone_is_a_captured_document() -> None:
    one = only(load("captured_compute_only"))
    assert (one.name, one.unmapped, one.unread) == ("only-compute", (), ())
    seen = document(one)["compute"]
    assert (seen["vmSize"], seen["zone"], seen["sku"]) == (
        "Standard_D2s_v5",
        "1",
        "22_04-lts-gen2",
    )
    assert seen["subscriptionId"] == "11111111-2222-4333-8444-555555555555"


def test_hidden_value_of_a_dump_could_not_be_read() -> None:
    body = {"compute": {"name": "a", "userData": "redacted for non-root user"}}
    one = only({"ds": {"meta_data": {"imds": body}}})
    path = "ds.meta_data.imds.compute.userData"
    assert one.unread == ((path, "", "the file hides it"),)


def test_captured_document_of_a_classic_vm_is_read() -> None:
    one = only({"Network": {"interface": [{"mac": "000D3A00FA89"}]}})
    assert (one.name, one.definition["classic"]) == ("vm-1", True)


AZ_VM = (
    "a VM, as az vm show prints it: with hardwareProfile, or of type "
    "Microsoft.Compute/virtualMachines"
)
ARM_VM = "a resource of type Microsoft.Compute/virtualMachines"
TERRAFORM_VM = "a resource such as azurerm_linux_virtual_machine"
EXTENSION = {"type": "Microsoft.Compute/sshPublicKeys", "name": "e"}
KEYS = {"type": "azurerm_ssh_public_key", "instances": []}
DEEP = {"a": {"b": {"c": {"d": {"e": {"f": {"g": a_vm()}}}}}}}
WITHOUT_A_VM: list[tuple[object, str, str, str]] = [
    (None, "nothing (null)", AZ_VM, ""),
    ("x", "a text", AZ_VM, ""),
    ([], "a list of 0", AZ_VM, ""),
    ({}, "a mapping with no members", AZ_VM, ""),
    (
        DEEP,
        "the output of az vm show with resources of type Microsoft.Compute/virtualMachines",
        AZ_VM,
        "",
    ),
    (
        [a_nic("a")],
        "the output of az vm show with resources of type Microsoft.Network/networkInterfaces",
        AZ_VM,
        "",
    ),
    (
        {"network": []},
        "a mapping with network",
        "compute and network",
        "The nearest kind of file is a captured body of /metadata/instance",
    ),
    (
        {"terraform_version": "1", "resources": []},
        "a Terraform state with no resources",
        TERRAFORM_VM,
        "",
    ),
    (
        {"terraform_version": "1", "resources": [KEYS]},
        "a Terraform state with resources of type azurerm_ssh_public_key",
        TERRAFORM_VM,
        "",
    ),
    ({"contentVersion": "1", "resources": []}, "an ARM template with no resources", ARM_VM, ""),
    (
        [EXTENSION],
        "the output of az vm show with resources of type Microsoft.Compute/sshPublicKeys",
        AZ_VM,
        "",
    ),
    (
        {"virtualMachines": [{"id": "/x/virtualMachines/a"}]},
        "the output of az vm show with no resources",
        AZ_VM,
        "",
    ),
    (
        {"lineage": "x", "serial": 3},
        "a mapping with lineage, serial",
        TERRAFORM_VM,
        "The nearest kind of file is a Terraform state",
    ),
]


@pytest.mark.parametrize("value, seen, expected, hint", WITHOUT_A_VM)
def test_value_without_a_vm_is_refused_with_what_it_is(
    value: object, seen: str, expected: str, hint: str
) -> None:
    assert refused(read, value) == Refused("top level", seen, expected, hint)


def test_types_that_a_refusal_names_are_few() -> None:
    types = [{"type": f"a/{letter}"} for letter in "bcdefghij"] * 2
    seen = refused(read, {"contentVersion": "1", "resources": types}).seen
    assert seen == "an ARM template with resources of type a/b, a/c, a/d, a/e, a/f"


def test_search_of_types_for_a_refusal_is_bounded() -> None:
    value = {"contentVersion": "1", "resources": [{"x": 1}] * 10_000 + [{"type": "a/b"}]}
    assert refused(read, value).seen == "an ARM template with no resources"


def test_parameter_file_alone_is_refused() -> None:
    value = {"contentVersion": "1", "parameters": {"a": {"value": 1}}}
    assert refused(read, value) == Refused(
        "top level", "values of parameters alone", "an ARM template beside them"
    )


def test_vm_of_az_is_joined_with_the_nic_of_another_file() -> None:
    files = {
        "vm": a_vm(networkProfile=nics("a")),
        "nic": a_nic("a", {"privateIPAddress": "10.1.1.1"}),
    }
    (one,) = read_files(files)
    assert one.definition["network"] == {
        "interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.1.1.1"}]}}]
    }


def test_files_of_several_kinds_are_read_each_by_itself() -> None:
    vms = read_files({"a.json": CAPTURED, "b.json": load("template"), "c.json": a_vm()})
    assert [one.name for one in vms] == ["web-1", "app", "one"]


def test_one_name_in_two_files_is_refused() -> None:
    assert refused(read_files, {"a": CAPTURED, "b": CAPTURED}) == Refused(
        "b",
        'a second VM with the name "web-1"',
        "a name of its own for each VM",
        "The first is in a",
    )


def test_error_names_its_file() -> None:
    assert refused(read_files, {"a": CAPTURED, "b": {}})[0] == "b: top level"


def test_two_vms_of_one_name_are_refused() -> None:
    assert refused(read, [a_vm(), {"x": a_vm()}]) == Refused(
        "[1].x",
        'a second VM with the name "one"',
        "a name of its own for each VM",
        "The first is at [0]: put them into two files",
    )


def test_vm_without_a_name_is_refused() -> None:
    assert refused(read, [{"hardwareProfile": {}}]) == Refused(
        "[0]", "a VM without a name", "a member name, or id"
    )


def test_impossible_value_is_refused_with_its_path() -> None:
    assert refused(read, [a_vm(name="a/b")])[:2] == ("[0]: vms", 'the name the string "a/b"')
    (named,) = read({"compute": {"name": "a/b"}})
    assert named.definition["compute"] == {"name": "a/b"}
    assert named.name == "vm-1"


MAPPING = "a mapping of names to values"
WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"vmId": 5}, "vmId", "the number 5", "a string"),
    ({"vmId": "\ud800"}, "vmId", "half of a surrogate pair", "text that UTF-8 can carry"),
    ({"hardwareProfile": 5}, "hardwareProfile", "the number 5", MAPPING),
    ({"tags": []}, "tags", "a list of 0", MAPPING),
    ({"tags": {"a": []}}, "tags.a", "a list of 0", "a string"),
    ({"zones": {}}, "zones", "a mapping with no members", "a list"),
    (
        {"platformFaultDomain": 0.5},
        "platformFaultDomain",
        "the number 0.5",
        "a whole number",
    ),
    (
        {"platformFaultDomain": True},
        "platformFaultDomain",
        "the boolean true",
        "a whole number",
    ),
    (
        {"platformFaultDomain": 2**70},
        "platformFaultDomain",
        "a number of more than 64 bits",
        "a whole number",
    ),
    (
        {"additionalCapabilities": {"hibernationEnabled": "maybe"}},
        "additionalCapabilities.hibernationEnabled",
        'the string "maybe"',
        "true or false",
    ),
    (
        {"macAddresses": "00-0D"},
        "macAddresses",
        'the string "00-0D"',
        "12 hex digits, such as 00-0D-3A-AC-B2-2A",
    ),
    ({"privateIps": 5}, "privateIps", "the number 5", "a string, with commas between its words"),
]


@pytest.mark.parametrize("members, where, seen, expected", WRONG)
def test_wrong_type_is_refused_with_its_path(
    members: dict[str, Any], where: str, seen: str, expected: str
) -> None:
    assert refused(read, a_vm(**members)) == Refused(where, seen, expected)


def test_malformed_range_is_refused() -> None:
    nic = a_nic("a", {"subnet": {"addressPrefix": "10.0.0.0/99"}})
    assert refused(read, [a_vm(networkProfile=nics("a")), nic]) == Refused(
        "[1].ipConfigurations[0].subnet.addressPrefix",
        'the string "10.0.0.0/99"',
        "a range such as 10.0.0.0/24",
    )


LENIENT: list[tuple[dict[str, Any], dict[str, object]]] = [
    ({"platformFaultDomain": 2.0}, {"platformFaultDomain": "2"}),
    ({"platformFaultDomain": "3"}, {"platformFaultDomain": "3"}),
    ({"platformFaultDomain": -1}, {}),
    ({"location": "", "zones": "", "tags": "", "extendedLocation": ""}, {}),
    ({"securityProfile": {"encryptionAtHost": ""}}, {}),
    (
        {"securityProfile": {"encryptionAtHost": "TRUE"}},
        {"securityProfile": {"encryptionAtHost": "true"}},
    ),
    (
        {"storageProfile": {"dataDisks": [{"diskMBpsReadWrite": "some"}]}},
        {"bytesPerSecondThrottle": "some"},
    ),
    ({"tags": {"a": 1.5, "b": "", "c": None}}, {"tags": {"a": "1.5", "b": ""}}),
]


@pytest.mark.parametrize("members, expected", LENIENT)
def test_values_of_other_spelling_are_read(
    members: dict[str, Any], expected: dict[str, object]
) -> None:
    definition = only(a_vm(**members)).definition["compute"]
    assert isinstance(definition, dict)
    plain = {"resourceId", "subscriptionId", "resourceGroupName"}
    values = {name: value for name, value in definition.items() if name not in plain}
    if "storageProfile" in values:
        values = values["storageProfile"]["dataDisks"][0]
    assert values == expected


def test_empty_values_are_ignored() -> None:
    value = a_vm(
        availabilitySet={"id": ""},
        identity={"type": "", "systemAssignedIdentity": ""},
        osProfile={"customData": ""},
        networkProfile={"networkInterfaces": [{"id": "", "primary": ""}]},
        macAddresses="",
        id="",
    )
    assert only(value).definition == {}
    assert only(value).unmapped == ()


def test_id_of_another_form_gives_only_itself() -> None:
    definition = only(a_vm(id="/subscriptions", availabilitySet={"id": "as/"})).definition
    assert definition == {"compute": {"resourceId": "/subscriptions"}}


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_read_and_lists_each_path_once(name: str) -> None:
    vms = read(load(name))
    paths = [path for one in vms for path in one.unmapped]
    assert len(paths) == len(set(paths))
    for one in vms:
        json.dumps(document(one)).encode()


letters = st.characters(exclude_categories=[])  # halves of surrogate pairs too: JSON can say them
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(letters, max_size=5)
words = st.sampled_from(
    [
        *("compute", "network", "interface", "resources", "values", "root_module", "type", "name"),
        *("$schema", "contentVersion", "terraform_version", "instances", "attributes", "id"),
        *("properties", "hardwareProfile", "storageProfile", "osDisk", "dataDisks", "tags"),
        *("networkProfile", "networkInterfaces", "ipConfigurations", "identity", "parameters"),
    ]
)
values = st.sampled_from(
    [
        *("Microsoft.Compute/virtualMachines", "Microsoft.Network/networkInterfaces"),
        *("azurerm_linux_virtual_machine", "azurerm_network_interface", "[parameters('a')]"),
    ]
)
anything = st.recursive(
    scalars | values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(words | st.text(letters, max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)


def _holds(value: object) -> None:
    """Check that a value is refused, or read to VMs that can be served."""
    try:
        vms = read(value)
    except ConfigError:
        return
    assert vms
    for one in vms:
        json.dumps(document(one), ensure_ascii=False).encode()


@given(anything)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_is_read_or_refused(value: object) -> None:
    _holds(value)


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Return every place of a value that can be changed: the owner and the key."""
    found: list[tuple[Any, Any]] = []
    rest = [value]
    while rest:
        owner = rest.pop()
        pairs = owner.items() if isinstance(owner, dict) else enumerate(owner)
        for key, member in pairs:
            found.append((owner, key))
            if isinstance(member, dict | list):
                rest.append(member)
    return found


@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_broken_input_is_read_or_refused(name: str, data: st.DataObject) -> None:
    value = json.loads((INPUTS / f"{name}.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        owner, key = data.draw(st.sampled_from(_nodes(value)))
        owner[key] = data.draw(anything)
    _holds(value)


def test_deep_nesting_is_read_or_refused() -> None:
    deep: Any = {}
    for _ in range(50_000):
        deep = {"properties": deep} if len(deep) % 2 else [deep]
    value = a_vm(deep=deep)
    assert only(value).unmapped == ()
    assert refused(read, deep)[2] == AZ_VM
