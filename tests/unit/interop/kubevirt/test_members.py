"""VMs of instances: derived members, the operator's template, a trusted annotation, the mark."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.interop.kubevirt import (
    ANNOTATION,
    MARK,
    InstanceTemplate,
    VmMark,
    WantedVm,
    read_instance,
    read_template,
    wanted_vm,
)
from openimds.interop.kubevirt.members import ANNOTATION_CHARACTERS
from openimds.vm.fleet_file import parse_vm
from tests.support.replayed_cluster import vmi

APP = (
    "/subscriptions/6b0e1f4c-0000-4000-8000-000000000001/resourceGroups/team"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
)


def wanted(
    template: InstanceTemplate | None = None, annotation: str = "", *, trusts: bool = False
) -> WantedVm:
    notes = {ANNOTATION: annotation} if annotation else {}
    instance = read_instance(vmi("web", "node-1", annotations=notes))
    template = template or InstanceTemplate()
    return wanted_vm(instance, template, "cni-1", trusts_annotations=trusts)


def compute_of(vm: WantedVm) -> dict[str, Any]:
    compute: dict[str, Any] = vm.members["compute"]
    return compute


def test_derived_vm_has_name_group_id_and_network() -> None:
    vm = wanted()
    assert (vm.name, vm.listen) == ("lab.web", ("netns:cni-1",))
    address = {"ipAddress": [{"privateIpAddress": "10.244.0.1"}]}
    assert vm.members == {
        "compute": {
            "name": "web",
            "resourceGroupName": "lab",
            "vmId": "uid-1",
            "tags": {MARK: vm.mark.text},
        },
        "network": {"interface": [{"macAddress": "020000000001", "ipv4": address}]},
    }


def test_wanted_vm_is_one_that_the_server_takes() -> None:
    vm = wanted()
    members = {**vm.members, "reach": {"listen": [*vm.listen]}}
    assert parse_vm(vm.name, members).reach.listen == vm.listen


def test_template_of_the_namespace_stands_above_the_defaults() -> None:
    text = b"""
defaults: {compute: {location: northeurope, zone: "1", tags: {env: prod}}}
namespaces:
  lab: {compute: {zone: "2", resourceGroupName: team}, identities: {system: true}}
  other: {compute: {zone: "3"}}
"""
    vm = wanted(read_template(text, "template.yaml"))
    compute = compute_of(vm)
    assert [compute[key] for key in ("location", "zone", "resourceGroupName", "name")] == [
        "northeurope",
        "2",
        "team",
        "web",
    ]
    assert compute["tags"] == {"env": "prod", MARK: vm.mark.text}
    assert vm.members["identities"] == {"system": True}


def test_annotation_counts_only_if_it_is_trusted() -> None:
    text = f"identities: {{user: [{APP}]}}\ncompute: {{tags: {{team: web}}}}"
    assert "identities" not in wanted(annotation=text).members
    vm = wanted(annotation=text, trusts=True)
    assert vm.members["identities"] == {"user": [APP]}
    assert compute_of(vm)["tags"] == {"team": "web", MARK: vm.mark.text}


def test_digest_changes_with_the_definition_and_not_with_the_pod() -> None:
    instance = read_instance(vmi("web", "node-1"))
    there = wanted_vm(instance, InstanceTemplate(), "cni-2", trusts_annotations=False)
    assert there.mark == wanted().mark
    other = InstanceTemplate({"compute": {"zone": "1"}})
    assert wanted(other).mark.definition != there.mark.definition
    assert wanted(other).mark.network == there.mark.network


def test_address_and_node_leave_the_digest_of_the_definition() -> None:
    value = vmi("web", "node-2")
    value["status"]["interfaces"][0] |= {"ipAddress": "10.244.1.9", "ipAddresses": []}
    there = wanted_vm(read_instance(value), InstanceTemplate(), "c", trusts_annotations=False)
    assert there.mark.definition == wanted().mark.definition
    assert there.mark.network != wanted().mark.network
    assert there.mark.node != wanted().mark.node
    assert "node-2" not in there.mark.text
    assert VmMark.read(there.mark.text) == there.mark


def test_firmware_gives_the_vm_id_only_if_it_is_trusted() -> None:
    instance = read_instance(vmi("web", "node-1"))
    uuid = "5d307ca9-b3ef-428c-8861-06e72d69f201"
    vm = wanted_vm(
        instance, InstanceTemplate(), "c", trusts_annotations=False, trusts_firmware=True
    )
    assert compute_of(vm)["vmId"] == uuid
    assert ("compute.vmId", uuid) in vm.claims
    assert compute_of(wanted())["vmId"] == "uid-1"


@pytest.mark.parametrize("text", ["web", "5d307ca9b3ef428c886106e72d69f201", "x" * 999])
def test_firmware_that_shows_no_uuid_is_refused(text: str) -> None:
    value = vmi("web", "node-1")
    value["spec"]["domain"]["firmware"]["uuid"] = text
    instance, template = read_instance(value), InstanceTemplate()
    with pytest.raises(ConfigError, match=r'firmware\.uuid: saw "\w{3,80}", expected a UUID'):
        wanted_vm(instance, template, "c", trusts_annotations=False, trusts_firmware=True)


def test_claims_are_the_ids_that_guests_and_verifiers_see() -> None:
    names = [member for member, _ in wanted().claims]
    assert names == ["compute.vmId", "compute.resourceId"]
    group = "resourcegroups/lab/providers/microsoft.compute/virtualmachines/web"
    assert wanted().claims[1][1].endswith(group)
    text = "attested: {vmId: SIGNED}"
    assert ("compute.vmId", "signed") in wanted(annotation=text, trusts=True).claims


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "the annotation openimds/vm: saw"),
        ("text", "saw str, expected members of a VM"),
        ("reach: {address: [10.0.0.1]}", r"openimds/vm\.reach: saw a value, expected nothing"),
        ("host: node-2", r"openimds/vm\.host: saw a value"),
        ("compute: {vmsize: A}", "vmSize"),
        ("compute: {tags: 'b:1;a:2'}", r"lab\.web\.compute\.tags: saw a string"),
        ("#" * (ANNOTATION_CHARACTERS + 1), "saw 16,385 characters, expected at most 16,384"),
    ],
)
def test_annotation_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wanted(annotation=text, trusts=True)


@pytest.mark.parametrize(
    "text, message",
    [
        (b"[]", "t.yaml: saw list"),
        (b"default: {}", r't.yaml: default: saw an unknown key. Did you mean "defaults"\?'),
        (b"namespaces: [a]", "t.yaml: namespaces: saw no mapping"),
        (b"defaults: {reach: {}}", r"t.yaml: defaults\.reach: saw a value"),
        (b"defaults: {compute: {resourceGroupName: g}}", "saw one group for all namespaces"),
        (b"defaults: {compute: {vmId: v}}", r"t.yaml: defaults\.compute\.vmId: saw a value for"),
        (b"namespaces: {a: {compute: {name: n}}}", r"namespaces\.a\.compute\.name: saw a value"),
        (b"namespaces: {a: {host: n}}", r"t.yaml: namespaces\.a\.host: saw a value"),
        (b"defaults: {compute: {vmsize: A}}", "t.yaml: .*vmSize"),
        (b"namespaces: {a: {compute: {vmsize: A}}}", "t.yaml: .*vmSize"),
        (b"\xff", "t.yaml: saw bytes that are not UTF-8"),
    ],
)
def test_template_that_does_not_fit_is_refused_with_its_file(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_template(text, "t.yaml")


def test_empty_template_is_one() -> None:
    assert read_template(b"namespaces: {lab: }", "t.yaml").namespaces == {"lab": {}}
