"""Following KubeVirt: instances of the API become VMs of a server, and nothing else changes."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest

from openimds.cli.client import ChangedError, MissingError, ServerError
from openimds.cli.kubevirt_follow import KnownObjects, KubevirtFollower
from openimds.errors import Error
from openimds.interop.kubevirt import ANNOTATION, MARK, InstanceTemplate
from openimds.interop.kubevirt.reconcile import mark_of
from tests.support.replayed_cluster import Vmi, pod_uid, vmi


class FakeFleet:
    """The VMs of a server behind the calls of its admin API."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.failure: Error | None = None
        self.refused = ""
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
        name = path.removeprefix("/v1/vms/")
        self.calls.append((method, name))
        if name == self.refused:
            raise ServerError("refused")
        present = self.by_name.get(name)
        if revision != (present["revision"] if present else 0):
            raise ChangedError("changed") if method != "DELETE" else MissingError("none")
        if method == "DELETE":
            del self.by_name[name]
            return
        if method == "PATCH":
            assert media == "application/merge-patch+json"
            body = {**(present or {}), **body}
        self.add(name, **{key: body[key] for key in body if key not in ("name", "revision")})


class Node:
    """A node: the instances that its watcher knows, its pods' namespaces, its server."""

    def __init__(self, name: str = "node-1", *, trusts: bool = False) -> None:
        self.fleet = FakeFleet()
        self.netns = {pod_uid(n): f"cni-{n}" for n in range(1, 10)}
        self.reports: list[str] = []
        self.follower = KubevirtFollower(
            name,
            InstanceTemplate({"compute": {"location": "northeurope"}}),
            lambda: self.fleet,
            self.namespaces,
            lambda message: self.reports.append(str(message)),
            trusts_annotations=trusts,
        )

    def namespaces(self, pods: Collection[str]) -> Mapping[str, str]:
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
    node.apply(vmi("web", "node-1"))
    before = node.fleet.by_name["lab.web"]
    again = vmi("web", "node-1")
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


def test_two_pods_on_a_node_leave_the_vm_as_it_is() -> None:
    value = vmi("web", "node-1")
    value["status"]["activePods"][pod_uid(2)] = "node-1"
    node = Node()
    assert not node.apply(value)
    assert node.fleet.by_name == {}
    assert "several of its pods run on this node" in node.reports[0]
    del node.netns[pod_uid(2)]  # Its processes have ended.
    assert node.apply(value)
    assert node.listeners() == {"lab.web": ["netns:cni-1"]}


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
