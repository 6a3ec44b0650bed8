"""The pod of KubeVirt's watcher, run by `podman play kube` against a replayed API.

Guests' pods are containers, each in a namespace that has a name and a control group of its pod, as
containerd makes them. The watcher reads the real /proc of the engine's own namespace of processes.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.containers.engine import IMAGE, attempt, podman
from tests.containers.kube import Cluster, documents, play, pod, remove
from tests.containers.test_kubernetes import WAIT_S, ask, capabilities, wait_for
from tests.support.replayed_api import ReplayedApi
from tests.support.replayed_cluster import ReplayedCluster, pod_uid, vmi
from tests.support.waiting import until

SUBNET, GATEWAY = "10.89.8.0/24", "10.89.8.1"
NODE, POD = "node-1", "kubevirt-1"
GUESTS = {"web": 1, "db": 2}


def launch(number: int) -> None:
    """Run a process in a named namespace and a control group of a guest's pod."""
    name = f"launcher-{number}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    parent = f"--cgroup-parent=/libpod_parent/kubepods/pod{pod_uid(number)}"
    network = f"--network=ns:/run/netns/{name}"
    sleep = ("--entrypoint=sleep", IMAGE, "600")
    podman("run", "--detach", f"--name={name}", parent, network, *sleep)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayedCluster]:
    """The cluster in which the pod runs; its second guest comes later."""
    folder = tmp_path_factory.mktemp("kubevirt")
    folder.chmod(0o755)
    (found,) = (row for row in documents("kubevirt.yaml") if row["kind"] == "DaemonSet")
    replayed = ReplayedCluster()
    podman("network", "create", f"--subnet={SUBNET}", f"--gateway={GATEWAY}", "kubevirt")
    try:
        api = ReplayedApi(folder, replayed.answer, GATEWAY)
        account = folder / "account"
        account.mkdir()
        api.token_file.rename(account / "token")
        api.ca.path.rename(account / "ca.crt")
        state = folder / "state"
        state.mkdir()
        launch(1)
        replayed.put(vmi("web", NODE))
        facts, folders = {"spec.nodeName": NODE}, {"state": state, "account": account}
        made = Cluster(facts, folders, api=(GATEWAY, api.port))
        with api.running():
            play(
                folder,
                pod(POD, found["spec"]["template"], made, folder),
                options=("--network=kubevirt",),
            )
            launch(2)
            replayed.put(vmi("db", NODE, number=2))
            yield replayed
            replayed.close()
    finally:
        remove(POD)
        for number in GUESTS.values():
            attempt("rm", "--force", "--time=0", f"launcher-{number}")
            name = f"launcher-{number}"
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        attempt("network", "rm", "--force", "kubevirt")


def test_each_guest_is_met_in_the_namespace_of_its_pod(cluster: ReplayedCluster) -> None:
    for name, number in GUESTS.items():
        wait_for(lambda: ask(f"launcher-{number}") == name, f"{POD}-watcher")  # noqa: B023 - called here


def test_guest_that_ends_is_no_longer_served(cluster: ReplayedCluster) -> None:
    wait_for(lambda: ask("launcher-1") == "web", f"{POD}-watcher")
    cluster.delete(vmi("web", NODE))
    try:
        until(lambda: ask("launcher-1") != "web", WAIT_S)
    finally:
        cluster.put(vmi("web", NODE))


def test_server_and_watcher_have_the_privileges_of_the_manifest(cluster: ReplayedCluster) -> None:
    assert capabilities(f"{POD}-server") == {10, 12, 21}
    assert capabilities(f"{POD}-watcher") == {19}  # SYS_PTRACE
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    assert attempt("exec", f"{POD}-server", "cat", token).code != 0
    assert podman("exec", f"{POD}-watcher", "cat", token) == "token-1"


def test_server_passes_its_readiness_probe(cluster: ReplayedCluster) -> None:
    (found,) = (row for row in documents("kubevirt.yaml") if row["kind"] == "DaemonSet")
    server, _ = found["spec"]["template"]["spec"]["containers"]
    command = server["readinessProbe"]["exec"]["command"]
    until(lambda: attempt("exec", f"{POD}-server", *command).code == 0, WAIT_S)
