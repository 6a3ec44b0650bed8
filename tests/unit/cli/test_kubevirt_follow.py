"""Following KubeVirt: instances of the API become VMs of a server, and nothing else changes."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest

from openimds.cli.client import ChangedError, MissingError, ServerError
from openimds.cli.kubevirt_follow import RESYNC_S, RETRY_S, KnownObjects, KubevirtFollower
from openimds.errors import Error
from openimds.interop.kubevirt import ANNOTATION, MARK, InstanceTemplate
from openimds.interop.kubevirt.reconcile import mark_of
from openimds.vm.fleet_file import merge_patch
from tests.support.replayed_cluster import Vmi, pod_uid, vmi


class FakeFleet:
    """The VMs of a server behind the calls of its admin API."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.failure: Error | None = None
        self.refused = ""
        self.has_hosts = False
        self._revision = 0

    def add(self, name: str, **members: Any) -> None:
        self._revision += 1
        self.by_name[name] = {"name": name, "revision": self._revision, "origin": "api", **members}

    def vms(self) -> Iterator[dict[str, Any]]:
        if self.failure:
            raise self.failure
        return iter([*self.by_name.values()])

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = "application/json",
        revision: int | None = None,
    ) -> Any:
        if path.startswith("/v1/hosts"):
            if not self.has_hosts:
                raise ServerError("This server has one host: itself")
            return {"items": [], "next": None}
        name = path.removeprefix("/v1/vms/")
        self.calls.append((method, name))
        if name == self.refused:
            raise ServerError("refused")
        present = self.by_name.get(name)
        if revision != (present["revision"] if present else 0):
            raise ChangedError("changed") if method != "DELETE" else MissingError("none")
        if method == "DELETE":
            del self.by_name[name]
            return None
        if method == "PATCH":
            assert media == "application/merge-patch+json"
            body = merge_patch(present, body)
        self.add(
            name,
            **{k: body[k] for k in body if k not in ("name", "revision", "origin") and body[k]},
        )
        return None


class Node:
    """A node: the instances that its watcher knows, its pods' namespaces, its server."""

    def __init__(
        self, name: str = "node-1", *, trusts: bool = False, trusts_firmware: bool = False
    ) -> None:
        self.denied: dict[str, int] = {}
        self.fleet = FakeFleet()
        self.netns = {pod_uid(n): f"cni-{n}" for n in range(1, 10)}
        self.reports: list[str] = []
        self.follower = KubevirtFollower(
            name,
            InstanceTemplate({"compute": {"location": "northeurope"}}),
            lambda: self.fleet,
            self,
            lambda message: self.reports.append(str(message)),
            trusts_annotations=trusts,
            trusts_firmware=trusts_firmware,
        )

    def names(self, pods: Collection[str]) -> Mapping[str, str]:
        return {pod: self.netns[pod] for pod in pods if pod in self.netns}

    def apply(self, *values: Any, is_whole: bool = True) -> bool:
        objects = {str(n): value for n, value in enumerate(values)}
        return self.follower.apply(objects, is_whole=is_whole)

    def listeners(self) -> dict[str, list[str]]:
        return {name: vm["reach"]["listen"] for name, vm in self.fleet.by_name.items()}


def migrated(value: Vmi, node: str, number: int) -> Vmi:
    """Return an instance after its migration, before the new node has reported its cards."""
    labels = {**value["metadata"]["labels"], "kubevirt.io/nodeName": node}
    pods = {**value["status"]["activePods"], pod_uid(number): node}
    status = {**value["status"], "nodeName": node, "activePods": pods, "interfaces": []}
    return {**value, "metadata": {**value["metadata"], "labels": labels}, "status": status}


def test_instances_of_this_node_become_vms() -> None:
    node = Node()
    assert node.apply(vmi("web", "node-1"), vmi("db", "node-2", number=2))
    assert node.listeners() == {"lab.web": ["netns:cni-1"]}
    assert node.fleet.by_name["lab.web"]["compute"]["location"] == "northeurope"
    assert node.reports == ["lab.web is bound to the network namespace cni-1"]


def test_second_comparison_changes_and_reports_nothing() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"))
    calls = len(node.fleet.calls)
    assert node.apply(vmi("web", "node-1"))
    assert (len(node.fleet.calls), len(node.reports)) == (calls, 1)


def test_deleted_or_ended_instance_takes_its_vm_along() -> None:
    for rest in ([], [vmi("web", "node-1", phase="Succeeded")]):
        node = Node()
        node.apply(vmi("web", "node-1"))
        assert node.apply(*rest)
        assert node.fleet.by_name == {}
        assert node.reports[-1] == "lab.web is removed: it does not run on node-1"


def test_vm_of_another_origin_is_left_alone() -> None:
    node = Node()
    node.fleet.add("lab.web", compute={"tags": {"team": "x"}})
    node.fleet.add("other")
    assert not node.apply(vmi("web", "node-1"))
    assert [*node.fleet.by_name] == ["lab.web", "other"]
    assert node.fleet.calls == []
    text = "lab.web: the server has a VM of this name that was not made for KubeVirt"
    assert node.reports == [text]
    assert node.apply()
    assert node.fleet.calls == []


def test_restarted_guest_keeps_its_vm_in_its_new_pod() -> None:
    node = Node()
    owners = [{"kind": "VirtualMachine", "uid": "o", "name": "web", "controller": True}]
    node.apply(vmi("web", "node-1", ownerReferences=owners))
    before = node.fleet.by_name["lab.web"]
    again = vmi("web", "node-1", ownerReferences=owners)
    again["metadata"]["uid"] = "uid-9"
    again["status"]["activePods"] = {pod_uid(9): "node-1"}
    assert node.apply(again)
    assert node.fleet.calls[-1] == ("PATCH", "lab.web")
    after = node.fleet.by_name["lab.web"]
    assert after["reach"] == {"listen": ["netns:cni-9"]}
    assert after["compute"] == before["compute"]


def test_migration_ends_on_one_node_and_begins_on_the_other() -> None:
    source, target = Node("node-1"), Node("node-2")
    value = vmi("web", "node-1")
    moving = migrated(value, "node-2", 2)
    for node in (source, target):
        node.apply(value)
    vm_id = source.fleet.by_name["lab.web"]["compute"]["vmId"]
    assert target.fleet.by_name == {}
    # The guest runs on node-2; its cards are not reported yet.
    assert source.apply(moving)
    assert not target.apply(moving)
    assert (source.fleet.by_name, target.fleet.by_name) == ({}, {})
    assert target.reports == [
        "lab.web: KubeVirt has not reported the hardware address of its masquerade interface yet"
    ]
    moving["status"]["interfaces"] = value["status"]["interfaces"]
    assert target.apply(moving)
    assert target.listeners() == {"lab.web": ["netns:cni-2"]}
    assert target.fleet.by_name["lab.web"]["compute"]["vmId"] == vm_id


def test_bound_vm_stays_while_its_cards_or_pod_are_unknown() -> None:
    node = Node()
    value = vmi("web", "node-1")
    node.apply(value)
    unwired = vmi("web", "node-1")
    unwired["status"]["interfaces"] = []
    assert not node.apply(unwired)
    node.netns.clear()
    assert not node.apply(value)
    assert node.listeners() == {"lab.web": ["netns:cni-1"]}
    pod = pod_uid(1)
    text = f"lab.web: its pod has no named network namespace on this node (pods: {pod})"
    assert node.reports[-1] == text


@pytest.mark.parametrize("ended", [[], [1], [2], [1, 2]])
def test_two_pods_on_a_node_leave_the_vm_as_it_is(ended: list[int]) -> None:
    # A user who may make pods can name the instance as its owner: it does not inherit the VM.
    node = Node()
    value = vmi("web", "node-1")
    node.apply(value)
    value["status"]["activePods"][pod_uid(2)] = "node-1"
    for number in ended:
        del node.netns[pod_uid(number)]  # Its processes have ended.
    calls = len(node.fleet.calls)
    assert not node.apply(value)
    assert "several of its pods run on this node" in node.reports[-1]
    assert (node.listeners(), len(node.fleet.calls)) == ({"lab.web": ["netns:cni-1"]}, calls)


def test_two_pods_on_a_node_make_no_vm() -> None:
    node = Node()
    value = vmi("web", "node-1")
    value["status"]["activePods"][pod_uid(2)] = "node-1"
    del node.netns[pod_uid(1)]
    assert not node.apply(value)
    assert node.fleet.by_name == {}


def test_lacking_privilege_is_named() -> None:
    node = Node()
    node.netns.clear()
    node.denied[pod_uid(1)] = 3
    assert not node.apply(vmi("web", "node-1"))
    assert "/proc/PID/ns/net of 3 of its processes may not be read" in node.reports[0]
    assert "capability SYS_PTRACE" in node.reports[0]


def test_vm_id_of_another_instance_is_refused() -> None:
    node = Node(trusts_firmware=True)
    web = vmi("web", "node-1", creationTimestamp="2026-01-02T00:00:00Z")
    early = vmi("early", "node-1", number=2, creationTimestamp="2026-01-01T00:00:00Z")
    uuid = web["spec"]["domain"]["firmware"]["uuid"]
    early["spec"]["domain"]["firmware"]["uuid"] = uuid.upper()
    assert not node.apply(web, early)
    assert [*node.fleet.by_name] == ["lab.early"]
    text = f"its compute.vmId is {uuid}, which lab.early has: give each instance a UUID of its own"
    assert node.reports[-1] == f"lab.web: {text}"


def test_resource_id_of_another_namespace_is_refused() -> None:
    node = Node(trusts=True)
    note = {ANNOTATION: "compute: {resourceGroupName: LAB}"}
    other = vmi("web", "node-1", number=2, namespace="other", annotations=note)
    assert not node.apply(vmi("web", "node-1"), other)
    assert [*node.fleet.by_name] == ["lab.web"]
    assert "compute.resourceId" in node.reports[-1]
    assert node.reports[-1].startswith("other.web: ")
    other["metadata"]["annotations"] = {}
    assert node.apply(vmi("web", "node-1"), other)
    assert [*node.fleet.by_name] == ["lab.web", "other.web"]


def test_wrong_node_removes_nothing() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"))
    wrong = Node("node-2")
    wrong.fleet = node.fleet
    assert wrong.apply()
    assert not wrong.apply(vmi("web", "node-2"))
    assert wrong.listeners() == {"lab.web": ["netns:cni-1"]}
    assert "the watcher of another node has made" in wrong.reports[-1]


def test_control_of_many_hosts_is_refused() -> None:
    node = Node()
    node.fleet.has_hosts = True
    assert not node.apply(vmi("web", "node-1"))
    assert (node.fleet.by_name, node.fleet.calls) == ({}, [])
    error = "server: saw a control of many hosts, expected the server of this node"
    assert node.reports == [error]


def test_pause_doubles_while_the_trouble_stays_the_same() -> None:
    node = Node()
    node.fleet.failure = ServerError("no server answers")
    pauses = []
    for _ in range(5):
        node.apply(vmi("web", "node-1"))
        pauses.append(node.follower.pause_s)
    assert pauses == [RETRY_S, 2, 4, RESYNC_S, RESYNC_S]
    node.fleet.failure = ServerError("another trouble")
    node.apply(vmi("web", "node-1"))
    assert node.follower.pause_s == RETRY_S
    node.fleet.failure = None
    node.apply(vmi("web", "node-1"))
    assert node.follower.pause_s == RESYNC_S


def test_new_address_and_pod_leave_what_the_admin_api_has_set() -> None:
    node = Node()
    value = vmi("web", "node-1")
    card = value["status"]["interfaces"][0]
    # First the hardware address is known alone, then the address, then another one in a new pod.
    first = {key: card.pop(key) for key in ("ipAddress", "ipAddresses")}
    assert node.apply(value)
    (interface,) = node.fleet.by_name["lab.web"]["network"]["interface"]
    assert interface == {"macAddress": "020000000001"}
    node.fleet.by_name["lab.web"]["identities"] = {"system": True}
    node.fleet.by_name["lab.web"]["compute"]["tags"]["team"] = "web"
    for addresses in (first, {"ipAddress": "10.244.0.9", "ipAddresses": ["10.244.0.9"]}):
        card |= addresses
        assert node.apply(value)
        assert node.fleet.calls[-1] == ("PATCH", "lab.web")
        vm = node.fleet.by_name["lab.web"]
        (address,) = vm["network"]["interface"][0]["ipv4"]["ipAddress"]
        assert address == {"privateIpAddress": addresses["ipAddress"]}
        assert (vm["identities"], vm["compute"]["tags"]["team"]) == ({"system": True}, "web")
        value["status"]["activePods"] = {pod_uid(9): "node-1"}
    assert node.apply(value)
    assert node.listeners() == {"lab.web": ["netns:cni-9"]}
    calls = len(node.fleet.calls)
    assert node.apply(value)
    assert len(node.fleet.calls) == calls


def test_object_that_cannot_be_read_keeps_its_vm() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"), vmi("db", "node-1", number=2))
    wrong = vmi("web", "node-1")
    wrong["status"]["activePods"] = 7
    assert not node.apply(wrong)
    assert node.listeners() == {"lab.web": ["netns:cni-1"]}
    assert node.reports[-1].startswith("lab.web: an object is no VirtualMachineInstance")


def test_nothing_is_removed_by_a_list_that_is_not_confirmed() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"))
    node.apply(is_whole=False)
    assert [*node.fleet.by_name] == ["lab.web"]
    node.apply()
    assert node.fleet.by_name == {}


def test_server_that_is_away_is_reported_once_and_caught_up() -> None:
    node = Node()
    node.fleet.failure = ServerError("no server answers")
    assert not node.apply(vmi("web", "node-1"))
    assert not node.apply(vmi("web", "node-1"))
    assert node.reports == ["no server answers"]
    node.fleet.failure = None
    assert node.apply(vmi("web", "node-1"))
    assert [*node.fleet.by_name] == ["lab.web"]


def test_server_without_its_vms_gets_them_anew() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"))
    node.fleet = FakeFleet()  # Started anew, without a state.
    assert node.apply(vmi("web", "node-1"))
    assert node.listeners() == {"lab.web": ["netns:cni-1"]}


def test_new_watcher_finds_the_vms_of_the_one_before() -> None:
    node = Node()
    node.apply(vmi("web", "node-1"), vmi("db", "node-1", number=2))
    again = Node()
    again.fleet = node.fleet
    assert again.apply(vmi("web", "node-1"))
    assert again.listeners() == {"lab.web": ["netns:cni-1"]}
    assert again.reports == ["lab.db is removed: it does not run on node-1"]


def test_refused_vm_does_not_hold_up_the_others() -> None:
    node = Node()
    node.fleet.refused = "lab.web"
    assert not node.apply(vmi("web", "node-1"), vmi("db", "node-1", number=2))
    assert [*node.fleet.by_name] == ["lab.db"]
    assert node.reports == [
        "lab.db is bound to the network namespace cni-2",
        "lab.web: refused",
    ]


def test_token_that_does_not_see_all_changes_nothing() -> None:
    node = Node()
    node.fleet.add("lab.web", redacted=["reach"], compute={"tags": {MARK: "x"}})
    assert not node.apply()
    assert [*node.fleet.by_name] == ["lab.web"]
    assert node.reports == ["token: saw one that does not see all, expected one of the role admin"]


@pytest.mark.parametrize("trusts", [True, False])
def test_annotation_is_read_where_it_is_trusted(trusts: bool) -> None:
    node = Node(trusts=trusts)
    text = "identities: {system: true}"
    assert node.apply(vmi("web", "node-1", annotations={ANNOTATION: text}))
    assert node.fleet.by_name["lab.web"].get("identities") == ({"system": True} if trusts else None)
    note = "lab.web: its annotation openimds/vm is not trusted, and not read"
    assert (note in node.reports) is not trusts
    node.apply(vmi("web", "node-1", annotations={ANNOTATION: text}))
    assert node.reports.count(note) == (not trusts)


def test_annotation_that_does_not_fit_keeps_the_vm() -> None:
    node = Node(trusts=True)
    node.apply(vmi("web", "node-1"))
    mark = mark_of(node.fleet.by_name["lab.web"])
    assert not node.apply(vmi("web", "node-1", annotations={ANNOTATION: "compute: 7"}))
    assert mark_of(node.fleet.by_name["lab.web"]) == mark
    assert node.reports[-1].startswith("lab.web: ")


def test_objects_are_handed_from_thread_to_thread() -> None:
    known = KnownObjects()
    assert known.get() == (None, False)
    known.fill_by(lambda: known.publish({"a": {}}, is_whole=True))
    known.wait(60)
    assert known.get() == ({"a": {}}, True)


def test_failure_of_the_watching_thread_ends_the_command() -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    known = KnownObjects()
    known.fill_by(fail)
    with pytest.raises(RuntimeError, match="a fault"):
        known.wait(60)
