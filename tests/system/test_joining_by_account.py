"""Pods join by their service accounts: real controls, a real host, and a replayed API.

The test does what the kubelet does: it mounts the ConfigMap and the token as files.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.replayed_kubernetes import OF_CONTROL, ReplayedKubernetes, pod_token
from tests.support.waiting import until
from tests.system.fleet_of_hosts import WAIT_S, FleetOfHosts, HostProcess

pytestmark = pytest.mark.system

MAP = "/api/v1/namespaces/openimds/configmaps/openimds-root"
NODE = "node-1"


class Cluster:
    """A fleet whose host is a pod of a cluster."""

    def __init__(self, folder: Path, api: ReplayedKubernetes) -> None:
        self.api, self.folder = api, folder
        self.fleet = FleetOfHosts(
            folder,
            *("--join-service-account", "openimds/openimds-host"),
            *("--publish-root", "openimds/openimds-root"),
            *("--kubernetes-api", api.url, "--kubernetes-folder", str(api.folder)),
        )
        self.token, self.fingerprint = folder / "pod-token", folder / "fingerprint"
        self.host = HostProcess(
            folder,
            NODE,
            self.fleet.controls,
            *("--join-service-account-token", str(self.token)),
            *("--control-fingerprint", str(self.fingerprint)),
        )

    def start_control(self) -> None:
        for control in self.fleet.controls:
            control.start()
        for control in self.fleet.controls:
            control.wait()

    def mount(self) -> None:
        """Write the ConfigMap's file once control has published it."""
        until(lambda: MAP in self.api.objects, WAIT_S)
        self.fingerprint.write_text(self.api.objects[MAP]["data"]["fingerprint"])

    def replace_pod(self, name: str) -> None:
        """Start a pod with a new token and without the state of the one before."""
        self.host.kill()
        shutil.rmtree(self.host.state, ignore_errors=True)
        self.api.pods.clear()
        self.api.add(name, NODE)
        self.token.write_text(pod_token(name))
        self.host.start()

    def logs(self) -> str:
        files = (self.host, *self.fleet.controls)
        return "".join(f.err.read_text() + f.out.read_text() for f in files)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ReplayedKubernetes(tmp_path) as api:
        made = Cluster(tmp_path, api)
        try:
            yield made
        finally:
            made.host.kill()
            made.fleet.stop()


def test_pod_joins_serves_and_joins_again(cluster: Cluster) -> None:
    fleet, host = cluster.fleet, cluster.host
    # The pod is there first: its host waits for the ConfigMap, for control and for its token.
    cluster.token.write_text(pod_token("host-x"))
    host.start()
    until(lambda: "--control-fingerprint" in host.err.read_text(), WAIT_S)
    cluster.start_control()
    cluster.mount()
    until(lambda: "is not accepted" in host.err.read_text(), WAIT_S)
    cluster.api.add("host-x", NODE)
    address = fleet.address()
    fleet.put("web-1", NODE, address)
    host.wait()
    assert host.name_at(address) == "web-1"
    assert fleet.standings()[NODE]["state"] == "joined"

    cluster.replace_pod("host-y")
    host.wait()
    assert host.name_at(address) == "web-1"

    fleet.change("DELETE", f"/v1/hosts/{NODE}")
    cluster.replace_pod("host-z")
    until(lambda: "was revoked at" in host.err.read_text(), WAIT_S)
    assert fleet.standings()[NODE]["state"] == "revoked"
    fleet.change("POST", "/v1/hosts", {"name": NODE})
    host.wait()
    assert host.name_at(address) == "web-1"

    logs = cluster.logs()
    assert f"the host {NODE} has joined by the service account openimds/openimds-host" in logs
    for secret in (OF_CONTROL, *map(pod_token, ("host-x", "host-y", "host-z"))):
        assert secret not in logs
