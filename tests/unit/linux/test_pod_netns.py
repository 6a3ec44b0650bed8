"""Named namespaces of pods, in folders that stand for /proc and /run/netns.

A file stands for a namespace, and a hard link to it for a second way to it. The paths of control
groups are those of containerd and CRI-O under systemd and cgroupfs, and as a process with a
control-group namespace of its own sees them.
"""

import os
from pathlib import Path

import pytest

from openimds.linux import pod_netns
from openimds.linux.pod_netns import PodNetns, PodNetnsError, pod_of

POD = "0f5a7c32-9d1e-4c6b-8f43-2b1f6a7e9d10"
OTHER = "aaaaaaaa-9d1e-4c6b-8f43-2b1f6a7e9d10"
SLICE = POD.replace("-", "_")


class Node:
    """A node: processes, and named namespaces."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.named = folder / "proc", folder / "netns"
        for path in (self.proc, self.named, folder / "hidden"):
            path.mkdir()
        self.hidden = folder / "hidden"
        (self.proc / "self").mkdir()
        self.netns = PodNetns(self.proc, self.named)

    def namespace(self, name: str, *, is_named: bool = True) -> Path:
        path = (self.named if is_named else self.hidden) / name
        path.write_text(name)
        return path

    def process(self, pid: int, pod: str, namespace: Path | None) -> None:
        folder = self.proc / str(pid)
        (folder / "ns").mkdir(parents=True)
        group = f"0::/kubepods.slice/kubepods-pod{pod.replace('-', '_')}.slice/cri-x.scope\n"
        (folder / "cgroup").write_text(group)
        if namespace:
            os.link(namespace, folder / "ns" / "net")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize(
    "cgroups",
    [
        f"0::/kubepods.slice/burstable.slice/burstable-pod{SLICE}.slice/cri-containerd-6a0c.scope\n",
        f"0::/kubepods.slice/kubepods-pod{SLICE}.slice/crio-6a0c.scope/container\n",
        f"12:memory:/kubepods/besteffort/pod{POD}/6a0c\n1:name=systemd:/x\n",
        f"0::/../../pod{POD}/6a0c\n",
        f"0::/../../kubepods-burstable-pod{SLICE}.slice/cri-containerd-6a0c.scope\n",
        f"0::/system.slice/containerd.service/kubepods-burstable-pod{SLICE}.slice:cri-containerd:6a\n",
    ],
)
def test_uid_of_a_pod_is_found_in_control_groups(cgroups: str) -> None:
    assert pod_of(cgroups) == POD


@pytest.mark.parametrize(
    "cgroups",
    [
        "",
        "0::/system.slice/containerd.service\n",
        f"0::/user.slice/mypod{POD}\n",
        f"0::/kubepods/pod{POD}0/6a0c\n",
        "0::/machine.slice/libpod-0123456789abcdef0123456789abcdef.scope\n",
    ],
)
def test_process_of_no_pod_has_no_uid(cgroups: str) -> None:
    assert pod_of(cgroups) == ""


def test_static_pod_has_a_digest_as_its_uid() -> None:
    digest = "0123456789abcdef" * 2
    assert pod_of(f"0::/kubepods.slice/kubepods-pod{digest}.slice/cri-x.scope\n") == digest


def test_name_is_that_of_the_namespace_of_the_pods_processes(node: Node) -> None:
    one, two = node.namespace("cni-1"), node.namespace("cni-2")
    for pid in (10, 11):
        node.process(pid, POD, one)
    node.process(12, OTHER, two)
    assert node.netns.names({POD}) == {POD: "cni-1"}
    assert node.netns.names({POD, OTHER}) == {POD: "cni-1", OTHER: "cni-2"}


def test_namespace_that_a_process_has_unshared_is_passed_over(node: Node) -> None:
    node.process(10, POD, node.namespace("own", is_named=False))
    assert node.netns.names({POD}) == {}
    node.process(11, POD, node.namespace("cni-1"))
    assert node.netns.names({POD}) == {POD: "cni-1"}


def test_pod_in_two_named_namespaces_has_none(node: Node) -> None:
    node.process(10, POD, node.namespace("cni-1"))
    node.process(11, POD, node.namespace("cni-2"))
    assert node.netns.names({POD}) == {}


def test_ended_process_and_unreadable_entry_are_passed_over(node: Node) -> None:
    node.process(10, POD, None)
    (node.proc / "11").mkdir()
    node.process(12, POD, node.namespace("cni-1"))
    assert node.netns.names({POD}) == {POD: "cni-1"}


def test_processes_that_may_not_be_looked_at_are_counted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So the kernel answers without SYS_PTRACE (EACCES), and profiles of SELinux and AppArmor do.
    for pid, pod in ((10, POD), (11, POD), (12, OTHER)):
        node.process(pid, pod, node.namespace(f"cni-{pid}"))
    closed = {node.proc / "10", node.proc / "11"}

    def stat(path: Path) -> os.stat_result:
        if path.parent.parent in closed:
            raise PermissionError(13, "Permission denied")
        return path.stat()

    monkeypatch.setattr(pod_netns, "_stat", stat)
    assert node.netns.names({POD, OTHER}) == {OTHER: "cni-12"}
    assert node.netns.denied == {POD: 2}
    closed.remove(node.proc / "10")
    assert node.netns.names({POD}) == {POD: "cni-10"}
    assert node.netns.denied == {}


def test_name_stays_while_it_means_the_same_namespace(node: Node) -> None:
    first = node.namespace("cni-1")
    node.process(10, POD, first)
    assert node.netns.names({POD}) == {POD: "cni-1"}
    (node.proc / "10" / "cgroup").unlink()
    assert node.netns.names({POD}) == {POD: "cni-1"}  # Without a look at its processes.
    (node.named / "cni-1").unlink()
    assert node.netns.names({POD}) == {}


def test_name_of_another_namespace_is_found_anew(node: Node) -> None:
    node.process(10, POD, node.namespace("cni-1"))
    node.netns.names({POD})
    (node.named / "cni-1").rename(node.hidden / "cni-1")
    node.namespace("cni-1")
    os.link(node.hidden / "cni-1", node.named / "cni-3")
    assert node.netns.names({POD}) == {POD: "cni-3"}


def test_pod_that_is_not_asked_for_is_forgotten(node: Node) -> None:
    node.process(10, POD, node.namespace("cni-1"))
    node.netns.names({POD})
    assert node.netns.names(()) == {}
    assert not node.netns._found


@pytest.mark.parametrize("folder", ["proc", "netns"])
def test_missing_folder_is_named(tmp_path: Path, folder: str) -> None:
    node = Node(tmp_path)
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(PodNetnsError, match=f"/{folder}: no such file or directory. Mount that"):
        node.netns.names({POD})
