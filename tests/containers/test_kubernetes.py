"""The pods of the plain manifests and of the sidecar, run by `podman play kube`.

Two controls on a PostgreSQL outside, a host that joins, and two guests in network namespaces.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openimds import __version__
from tests.containers.engine import IMAGE, attempt, podman
from tests.containers.guest import build_guest
from tests.containers.kube import (
    Cluster,
    add_secret,
    asked,
    documents,
    play,
    pod,
    read,
    remove,
)
from tests.support.postgres import KEEPER, PostgresCluster, run
from tests.support.replayed_kubernetes import REVIEWS, ReplayedKubernetes, pod_token
from tests.support.waiting import until

SUBNET, GATEWAY = "10.89.7.0/24", "10.89.7.1"
CONTROLS = {"control-1": "10.89.7.11", "control-2": "10.89.7.12"}
HOST = "node-1"
PASSWORD = "pw of the keeper"
GUESTS = {"web-1": "cni-1", "web-2": "cni-2"}
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
ASK = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
url = "http://169.254.169.254" + sys.argv[1]
request = urllib.request.Request(url, headers={"Metadata": "true"})
print(opener.open(request, timeout=5).read().decode())
"""
WAIT_S = 90
MAP = "/api/v1/namespaces/openimds/configmaps/openimds-root"
POD = "openimds-host-7xk2p"


def template(name: str) -> dict[str, Any]:
    """Return the template of pods in the only object of a file."""
    (found,) = documents(f"manifests/{name}.yaml")
    row: dict[str, Any] = found["spec"]["template"]
    return row


def capabilities(container: str) -> set[int]:
    """Return the numbers of the capabilities of a container's first process."""
    rows = podman("exec", container, "cat", "/proc/1/status").splitlines()
    sets = {row.split(":")[0]: int(row.split()[1], 16) for row in rows if row.startswith("Cap")}
    assert sets["CapEff"] == sets["CapPrm"] == sets["CapBnd"]
    return {number for number in range(64) if sets["CapEff"] >> number & 1}


def wait_for(is_met: Callable[[], bool], container: str) -> None:
    """Wait for a condition; a failure shows the log of a container."""
    try:
        until(is_met, WAIT_S)
    except AssertionError as error:
        log = attempt("logs", "--tail=20", container)
        raise AssertionError(f"{error}: {container} logs {log.err} {log.out}") from None


class Lab:
    """The pods of the manifests, with a database and guests."""

    def __init__(self, folder: Path, engine: PostgresCluster, api: ReplayedKubernetes) -> None:
        self.folder, self.api = folder, api
        (self.api.objects[MAP],) = documents("manifests/configmap.yaml")
        self.control, self.host = template("control"), template("host")
        location = engine.location("")
        run(location, f"CREATE ROLE {KEEPER} LOGIN PASSWORD '{PASSWORD}'")
        run(location, f"CREATE DATABASE fleet OWNER {KEEPER}")
        url = f"postgresql://{KEEPER}@{GATEWAY}/fleet"
        self.secrets = {
            "openimds-store": {"url": url, "password": f"{PASSWORD}\n"},
            "openimds-key": {"fleet.key": "5a" * 32},
        }
        for name, values in self.secrets.items():
            add_secret(folder, name, values)
        self.folders = {name: folder / name for name in ("state", "join", "root")}
        for path in self.folders.values():
            path.mkdir()

    def start_control(self, name: str) -> None:
        """Run a pod of control, at the address that is its own."""
        address = CONTROLS[name]
        facts = {"metadata.namespace": "openimds", "status.podIP": address}
        cluster = Cluster(
            facts, secrets=self.secrets, api=(GATEWAY, self.api.port), account=self.api.folder
        )
        found = pod(name, self.control, cluster, self.folder)
        play(self.folder, found, options=("--network=lab", f"--ip={address}"))
        wait_for(lambda: self.probed(name, "readinessProbe") == 200, f"{name}-control")

    def probed(self, name: str, kind: str) -> int:
        """Return the status of a probe of a control."""
        (container,) = self.control["spec"]["containers"]
        return asked(container[kind], CONTROLS[name], container["ports"])

    def readiness(self, name: str) -> tuple[int, str]:
        """Return status and body of /readyz of a control."""
        return read(CONTROLS[name], 8170, "/readyz", {"Host": "localhost"})

    def leader(self) -> str:
        """Return the name of the control that leads, or ""."""
        leading = [name for name in CONTROLS if self.readiness(name)[0] == 200]
        return leading[0] if len(leading) == 1 else ""

    def ask_leader(self, *words: str) -> str:
        """Return the output of a command, typed where the leader is."""
        return podman("exec", f"{self.leader()}-control", "openimds", *words)

    def start_host(self) -> None:
        """Run the pod of a host, with the files that the kubelet mounts."""
        wait_for(lambda: "data" in self.api.objects[MAP], f"{self.leader()}-control")
        published = self.api.objects[MAP]["data"]["fingerprint"]
        (self.folders["root"] / "fingerprint").write_text(published)
        self.api.add(POD, HOST)
        (self.folders["join"] / "token").write_text(pod_token(POD))
        (self.folders["join"] / "token").chmod(0o400)
        names = {"openimds-control": list(CONTROLS.values())}
        cluster = Cluster({"spec.nodeName": HOST}, self.folders, names)
        found = pod(HOST, self.host, cluster, self.folder)
        play(self.folder, found, options=("--network=lab",))
        wait_for(self.is_host_ready, f"{HOST}-host")

    def is_host_ready(self) -> bool:
        """Tell whether the host passes its readiness probe."""
        (container,) = self.host["spec"]["containers"]
        command = container["readinessProbe"]["exec"]["command"]
        return attempt("exec", f"{HOST}-host", *command).code == 0

    def place(self, vms: dict[str, Any]) -> None:
        """Put VMs into the fleet, and wait until the host shows them."""
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump({"vms": vms}))
        control = f"{self.leader()}-control"
        podman("cp", str(self.folder / "fleet.yaml"), f"{control}:/var/lib/openimds/fleet.yaml")
        self.ask_leader("vm", "put", "/var/lib/openimds/fleet.yaml")
        wait_for(lambda: self.shows(len(GUESTS)), f"{HOST}-host")

    def shows(self, count: int) -> bool:
        """Tell whether the host shows its newest state, of so many VMs."""
        row = self.host_row()
        return bool(row["isSettled"]) and row["vms"] == count

    def host_row(self) -> dict[str, Any]:
        """Return the row of the host in control's list."""
        (row,) = json.loads(self.ask_leader("control", "host", "list", "--json"))
        return dict(row)


def ask(namespace: str, path: str = NAME) -> str:
    """Return the answer that a guest gets in its network namespace."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-I", "-c", ASK, path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return ran.stdout.strip() or ran.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two controls, a host and two guests, one of them younger than the pod."""
    folder = tmp_path_factory.mktemp("lab")
    folder.chmod(0o755)
    engine = PostgresCluster(listen="0.0.0.0")
    podman("network", "create", f"--subnet={SUBNET}", f"--gateway={GATEWAY}", "lab")
    try:
        with ReplayedKubernetes(folder, GATEWAY) as api:
            found = Lab(folder, engine, api)
            for name in CONTROLS:
                found.start_control(name)
            wait_for(lambda: found.leader() != "", "control-1-control")
            first, second = GUESTS.values()
            subprocess.run(["ip", "netns", "add", first], check=True)
            found.start_host()
            subprocess.run(["ip", "netns", "add", second], check=True)
            listening = {vm: {"listen": [f"netns:{name}"]} for vm, name in GUESTS.items()}
            found.place({vm: {"host": HOST, "reach": reach} for vm, reach in listening.items()})
            yield found
    finally:
        for name in (HOST, *CONTROLS):
            remove(name)
        for name in GUESTS.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        for name in ("openimds-store", "openimds-key"):
            attempt("secret", "rm", name)
        attempt("network", "rm", "--force", "lab")
        engine.stop()
        shutil.rmtree(engine.folder)


@pytest.mark.parametrize("vm", GUESTS)
def test_each_guest_gets_its_own_document(lab: Lab, vm: str) -> None:
    assert ask(GUESTS[vm]) == vm


def test_host_has_joined_under_the_name_of_its_node(lab: Lab) -> None:
    row = lab.host_row()
    assert (row["name"], row["state"], row["vms"]) == (HOST, "joined", 2)
    assert ("POST", REVIEWS) in lab.api.asked
    assert lab.api.objects[MAP]["metadata"]["name"] == "openimds-root"


def test_calls_to_the_cluster_are_those_that_its_role_allows(lab: Lab) -> None:
    (cluster_role,) = (
        row for row in documents("manifests/rbac.yaml") if row["kind"] == "ClusterRole"
    )
    (role,) = (row for row in documents("manifests/rbac.yaml") if row["kind"] == "Role")
    rules = (*cluster_role["rules"], *role["rules"])
    allowed = {
        (resource, verb) for row in rules for resource in row["resources"] for verb in row["verbs"]
    }
    verbs = {"GET": "get", "POST": "create", "PATCH": "patch"}
    asked = {
        (re.findall("tokenreviews|configmaps|pods", path)[-1], verbs[method])
        for method, path in lab.api.asked
    }
    assert ("tokenreviews", "create") in asked
    assert asked <= allowed


def test_both_controls_pass_their_probes_and_one_leads(lab: Lab) -> None:
    for kind in ("readinessProbe", "livenessProbe"):
        assert [lab.probed(name, kind) for name in CONTROLS] == [200, 200]
    leader = lab.leader()
    (other,) = CONTROLS.keys() - {leader}
    status, body = lab.readiness(other)
    assert status == 503
    assert f"ask the control that leads, at http://{CONTROLS[leader]}:8170" in body


def test_check_of_the_image_finds_the_control_that_leads(lab: Lab) -> None:
    command = ("python3", "-I", "/usr/local/lib/openimds/healthcheck.py")
    codes = {name: attempt("exec", f"{name}-control", *command).code for name in CONTROLS}
    assert codes == {name: int(name != lab.leader()) for name in CONTROLS}


def test_admin_api_answers_by_the_names_of_its_service(lab: Lab) -> None:
    address = CONTROLS[lab.leader()]
    service = ("", ".openimds", ".openimds.svc", ".openimds.svc.cluster.local")
    names = (*(f"openimds-admin{suffix}" for suffix in service), address, "a.example")
    answers = {name: read(address, 8170, "/v1/vms", {"Host": name})[0] for name in names}
    assert answers == {name: 421 if name == "a.example" else 401 for name in names}


def test_pods_have_the_privileges_of_their_manifests(lab: Lab) -> None:
    assert capabilities("control-1-control") == set()
    assert capabilities(f"{HOST}-host") == {10, 12, 21}  # NET_BIND_SERVICE, NET_ADMIN, SYS_ADMIN
    for container in ("control-1-control", f"{HOST}-host"):
        status = podman("exec", container, "cat", "/proc/1/status")
        assert "NoNewPrivs:\t1" in status
        written = attempt("exec", container, "touch", "/etc/openimds/x")
        assert "Read-only file system" in written.err
    assert podman("exec", "control-1-control", "id", "-u") == "10001"


def test_guests_are_served_while_the_other_control_takes_over(lab: Lab) -> None:
    ended = lab.leader()
    remove(ended)
    try:
        assert [ask(namespace) for namespace in GUESTS.values()] == [*GUESTS]
        until(lambda: lab.leader() not in {"", ended}, WAIT_S)
        until(lambda: lab.host_row()["isConnected"], WAIT_S)
    finally:
        lab.start_control(ended)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[None]:
    """The pod of sidecar.yaml, with the image of the other tests as its program."""
    build_guest()
    podman("tag", "localhost/my-program", "localhost/my-program:1.0")
    config, found = documents("sidecar.yaml")
    play(tmp_path, config, pod("app", found, Cluster(), tmp_path))
    try:
        yield
    finally:
        remove("app")


def test_unmodified_program_meets_the_address_beside_the_sidecar(sidecar: None) -> None:
    until(lambda: "this is" in attempt("logs", "app-app").out, WAIT_S)
    assert attempt("logs", "app-app").out == "this is app-1"
    assert capabilities("app-imds") == {10}
    assert capabilities("app-app") == set()
    assert podman("inspect", "--format={{.State.ExitCode}} {{.State.Status}}", "app-address") == (
        "0 exited"
    )
    variables = podman("exec", "app-app", "env")
    assert "169.254" not in variables


def test_image_has_the_tag_of_the_manifests() -> None:
    assert attempt("image", "exists", f"{IMAGE}:{__version__}").code == 0
