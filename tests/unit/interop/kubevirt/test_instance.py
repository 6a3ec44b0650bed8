"""Instances from objects of the API, in the shapes of kubevirt.io/v1."""

from typing import Any
from uuid import UUID

import pytest

from openimds.interop.kubevirt.instance import Card, Instance, InstanceError, read_instance
from tests.support.replayed_cluster import pod_uid, vmi


def test_running_instance_has_the_members_that_matter() -> None:
    assert read_instance(vmi("web", "node-1")) == Instance(
        "lab",
        "web",
        "uid-1",
        "node-1",
        "Running",
        "uid-1",
        (pod_uid(1),),
        (Card("020000000001", "10.244.0.1"),),
        firmware_uuid="5d307ca9-b3ef-428c-8861-06e72d69f201",
    )


def test_name_of_the_vm_has_the_namespace_first() -> None:
    assert read_instance(vmi("web.a", "node-1")).vm_name == "lab.web.a"


@pytest.mark.parametrize(
    "phase, runs",
    [("Scheduled", True), ("Running", True), ("Unknown", True), ("Succeeded", False)],
)
def test_phase_decides_whether_the_guest_runs(phase: str, runs: bool) -> None:
    instance = read_instance(vmi("web", "node-1", phase=phase))
    assert instance.runs_on("node-1") is runs
    assert not instance.runs_on("node-2")


def owned(name: str = "web", namespace: str = "lab", owner: str = "OWNER", uid: str = "u") -> str:
    """Return the vmId of an instance that names an owner."""
    owners = [
        {"kind": "Other", "uid": "x"},
        {"kind": "VirtualMachine", "uid": owner, "name": name, "controller": True},
    ]
    meta: dict[str, Any] = {"namespace": namespace, "ownerReferences": owners, "uid": uid}
    return read_instance(vmi(name, "node-1", **meta)).vm_id


def test_vm_id_stays_while_the_virtual_machine_restarts() -> None:
    assert owned(uid="u-1") == owned(uid="u-2")
    assert UUID(owned()).version == 5


def test_vm_id_of_another_is_not_had_by_naming_its_owner() -> None:
    # Owners and the UUID of the firmware are free text of the user who makes the instance.
    values = {owned(), owned(namespace="other"), owned("web-2"), owned(owner="o2")}
    assert len(values) == 4
    assert "owner" not in values


def test_vm_id_of_an_instance_without_an_owner_is_its_uid() -> None:
    assert read_instance(vmi("web", "node-1")).vm_id == "uid-1"


def test_pods_are_those_of_its_own_node() -> None:
    value = vmi("web", "node-1")
    value["status"]["activePods"] = {"b": "node-1", "a": "node-1", "c": "node-2"}
    assert read_instance(value).pods == ("a", "b")


@pytest.mark.parametrize("interfaces", [None, [], [{"name": "default", "mac": ""}]])
def test_instance_without_a_reported_card_is_not_wired(interfaces: Any) -> None:
    # So it is after a migration: KubeVirt empties status.interfaces.
    value = vmi("web", "node-1")
    value["status"]["interfaces"] = interfaces
    instance = read_instance(value)
    assert (instance.cards, instance.is_wired) == ((), False)


def test_card_without_masquerade_is_not_waited_for() -> None:
    value = vmi("web", "node-1")
    value["spec"]["domain"]["devices"]["interfaces"].append({"name": "fast", "sriov": {}})
    assert read_instance(value).is_wired


def test_cards_are_in_the_order_of_the_specification() -> None:
    value = vmi("web", "node-1")
    value["spec"]["domain"]["devices"]["interfaces"].insert(0, {"name": "net2", "bridge": {}})
    value["status"]["interfaces"] += [
        {"name": "net2", "mac": "02:00:00:00:01:aa", "ipAddresses": ["fe80::1", "fd00::2/64", "x"]},
        {"mac": "02:42:00:00:00:01", "interfaceName": "docker0", "infoSource": "guest-agent"},
    ]
    cards = (Card("0200000001AA", "", "fd00::2"), Card("020000000001", "10.244.0.1"))
    assert read_instance(value).cards == cards


def test_instance_that_is_not_scheduled_has_no_node() -> None:
    value = vmi("web", "node-1")
    del value["status"]
    instance = read_instance(value)
    assert (instance.node, instance.pods, instance.runs_on("node-1")) == ("", (), False)


@pytest.mark.parametrize(
    "path, value",
    [
        (("metadata", "uid"), None),
        (("metadata", "annotations"), ["x"]),
        (("spec", "domain"), None),
        (("status", "activePods"), {"a": 1}),
        (("status", "nodeName"), 7),
    ],
)
def test_wrong_member_is_named_by_its_path(path: tuple[str, str], value: object) -> None:
    wrong = vmi("web", "node-1")
    wrong[path[0]][path[1]] = value
    with pytest.raises(InstanceError, match=r"no VirtualMachineInstance: .*\$\." + path[0]):
        read_instance(wrong)
