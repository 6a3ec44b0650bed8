"""The chart of Kubernetes, judged by Helm and by the schemas of the API."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts.kubernetes_manifests import (
    CHART,
    KUBEVIRT,
    MANIFESTS,
    NAMESPACE,
    OF_KUBEVIRT,
    manifests,
    render,
)
from scripts.release.chart import pack
from tests.clients.kits import Kit
from tests.docs.test_kubernetes import command_of
from tests.package.kits import HELM, SCHEMAS

VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.36", "1.37")
SERVER = ["SYS_ADMIN", "NET_ADMIN", "NET_BIND_SERVICE"]
"""The capabilities of a server that enters the namespaces of guests."""
SIDECAR = CHART.with_name("sidecar.yaml")
EVERYTHING = """
fullnameOverride: imds
image:
  repository: registry.example/imds
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullPolicy: Always
  pullSecrets: [{name: registry}]
store: {secret: my-store}
keys: {secret: my-key}
control:
  replicas: 3
  fleetConfigMap: my-fleet
  adminTLSSecret: my-tls
  adminHosts: [imds.example]
  publicURL: http://imds-control.lab.svc:8171
  metrics: true
  extraArgs: [--event-hook=http://hook.lab.svc/, --history-days=7]
  podAnnotations: {team: "7"}
  nodeSelector: {kubernetes.io/os: linux}
  tolerations: [{key: control, operator: Exists, effect: NoSchedule}]
  affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  priorityClassName: high
host:
  hostNetwork: true
  listen: "127.0.0.1:8169,169.254.169.254:80"
  joinTokenSecret: join-tokens
  metrics: true
  extraArgs: [--max-connections=100]
  podAnnotations: {team: "8"}
  priorityClassName: system-node-critical
  maxUnavailable: 10%
"""
ONLY_KUBEVIRT = """
fleet: {enabled: false}
kubevirt:
  enabled: true
  templateConfigMap: my-template
  trustAnnotations: true
  trustFirmwareUuid: true
  fleetConfigMap: my-fleet
  serverArgs: [--record=100]
  priorityClassName: system-node-critical
"""
VALUES = {
    "default": "",
    "everything": EVERYTHING,
    "one": "control: {replicas: 1}",
    "kubevirt": ONLY_KUBEVIRT,
}
VALIDATE = """
import sys, yaml, kubernetes_validate
for found in yaml.safe_load_all(sys.stdin):
    kubernetes_validate.validate(found, sys.argv[1], strict=sys.argv[2] == "strict")
    print(found["kind"])
"""


def needed(kit: Kit) -> None:
    """Skip where a kit cannot be had; in CI that is a failure."""
    if reason := kit.why_not():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def helm() -> str:
    needed(HELM)
    return str(HELM.place / "helm")


@pytest.fixture(scope="module")
def validated() -> Callable[[str, str], "subprocess.CompletedProcess[str]"]:
    """A function that judges objects by the schemas of a version of Kubernetes."""
    needed(SCHEMAS)

    def run(text: str, version: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", VALIDATE, version, "strict"],
            input=text,
            env={**os.environ, "PYTHONPATH": str(SCHEMAS.place)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture(params=VALUES)
def values(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / f"{request.param}.yaml"
    path.write_text(VALUES[request.param])
    return f"--values={path}"


def test_chart_passes_helm_lint(helm: str, values: str) -> None:
    linted = subprocess.run(
        [helm, "lint", "--strict", values, str(CHART)], capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "[WARNING]" not in linted.stdout + linted.stderr


def test_packed_chart_renders_as_its_folder(helm: str, tmp_path: Path) -> None:
    path, again = tmp_path / "chart.tgz", tmp_path / "again.tgz"
    for target in (path, again):
        pack(CHART, target, 1_800_000_000)
    assert path.read_bytes() == again.read_bytes()
    words = [helm, "template", "openimds", str(path), "--namespace", NAMESPACE]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == render(helm)


def test_manifests_are_those_of_the_chart(helm: str) -> None:
    written = {path.name: path.read_text("utf-8") for path in MANIFESTS.iterdir()}
    assert written == manifests(render(helm)), "type: make manifests"
    (rendered,) = manifests(render(helm, OF_KUBEVIRT)).values()
    assert KUBEVIRT.read_text("utf-8") == rendered, "type: make manifests"


@pytest.mark.parametrize("version", VERSIONS)
def test_rendered_objects_fit_the_schemas(
    helm: str,
    values: str,
    version: str,
    validated: Callable[[str, str], "subprocess.CompletedProcess[str]"],
) -> None:
    rendered = render(helm, values, f"--kube-version={version}.0")
    judged = validated(rendered, version)
    assert judged.returncode == 0, judged.stderr
    assert {"ServiceAccount", "DaemonSet", "ClusterRole"} <= set(judged.stdout.split())


@pytest.mark.parametrize("version", VERSIONS)
def test_sidecar_fits_the_schemas(
    version: str, validated: Callable[[str, str], "subprocess.CompletedProcess[str]"]
) -> None:
    judged = validated(SIDECAR.read_text(), version)
    assert (judged.returncode, judged.stdout.split()) == (0, ["ConfigMap", "Pod"]), judged.stderr


def test_misspelled_member_does_not_fit_the_schemas(
    validated: Callable[[str, str], "subprocess.CompletedProcess[str]"],
) -> None:
    text = SIDECAR.read_text().replace("initContainers:", "initContainer:")
    judged = validated(text, VERSIONS[-1])
    assert judged.returncode == 1
    assert "initContainer" in judged.stderr


def test_every_value_reaches_an_object(helm: str, tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(EVERYTHING)
    rendered = render(helm, f"--values={path}")
    found = {(row["kind"], row["metadata"]["name"]): row for row in yaml.safe_load_all(rendered)}
    control = found["Deployment", "imds-control"]["spec"]["template"]
    (container,) = control["spec"]["containers"]
    assert container["image"].startswith("registry.example/imds@sha256:0123")
    assert "--fleet=/run/openimds/fleet/fleet.yaml" in container["args"]
    assert "--admin-cert=/run/openimds/admin/tls.crt" in container["args"]
    assert container["args"][-1] == "--history-days=7"
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert not [word for word in container["args"] if "service-account" in word]
    ports = {row["name"] for row in found["Service", "imds-control"]["spec"]["ports"]}
    assert ports == {"hosts", "public", "metrics"}
    host = found["DaemonSet", "imds-host"]["spec"]["template"]["spec"]
    assert (host["hostNetwork"], host["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert "--join-token-file=/run/openimds/join/$(NODE_NAME)" in host["containers"][0]["args"]


def test_values_of_kubevirt_make_its_pod_alone(helm: str, tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(ONLY_KUBEVIRT)
    found = list(yaml.safe_load_all(render(helm, f"--values={path}")))
    kinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet"]
    assert sorted(row["kind"] for row in found) == sorted(kinds)
    (spec,) = (row["spec"]["template"]["spec"] for row in found if row["kind"] == "DaemonSet")
    server, watcher = spec["containers"]
    for container, added in ((server, SERVER), (watcher, ["SYS_PTRACE"])):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": added}
        words = [word.replace("$(NODE_NAME)", "node-1") for word in container["args"]]
        assert command_of(words).name in {"serve", "follow"}
    assert "account" not in {mount["name"] for mount in server["volumeMounts"]}
    assert {"--trust-annotations", "--trust-firmware-uuid"} <= {*watcher["args"]}


def test_names_that_look_like_numbers_stay_texts(
    helm: str, validated: Callable[[str, str], "subprocess.CompletedProcess[str]"]
) -> None:
    names = (
        "store.secret",
        "keys.secret",
        "control.priorityClassName",
        "control.fleetConfigMap",
        "control.adminTLSSecret",
        "host.priorityClassName",
        "host.joinTokenSecret",
        "kubevirt.priorityClassName",
        "kubevirt.templateConfigMap",
        "kubevirt.fleetConfigMap",
    )
    options = ["--set-string", ",".join(f"{name}=123" for name in names)]
    options += ["--set-string", "nameOverride=on", "--set", "kubevirt.enabled=true"]
    rendered = render(helm, *options, release="123", namespace="456")
    judged = validated(rendered, VERSIONS[-1])
    assert judged.returncode == 0, judged.stderr
    found = {(row["kind"], row["metadata"]["name"]): row for row in yaml.safe_load_all(rendered)}
    labels = found["Deployment", "123-on-control"]["spec"]["selector"]["matchLabels"]
    assert labels["app.kubernetes.io/name"] == "on"
    assert labels["app.kubernetes.io/instance"] == "123"
    (subject,) = found["RoleBinding", "123-on-control"]["subjects"]
    assert subject["namespace"] == "456"


def test_no_two_releases_have_a_cluster_role_of_one_name(helm: str) -> None:
    names: list[str] = []
    for release, namespace in (("imds-openimds", "team"), ("openimds", "team-imds")):
        rendered = render(helm, "--set=kubevirt.enabled=true", release=release, namespace=namespace)
        found = list(yaml.safe_load_all(rendered))
        roles = [row["metadata"]["name"] for row in found if row["kind"] == "ClusterRole"]
        bindings = [row for row in found if row["kind"] == "ClusterRoleBinding"]
        assert [row["metadata"]["name"] for row in bindings] == roles
        assert [row["roleRef"]["name"] for row in bindings] == roles
        names += roles
    assert len(names) == len(set(names)) == 4


def test_hosts_stay_as_they_are_by_the_first_step_of_an_upgrade(helm: str) -> None:
    def strategies(*options: str) -> dict[str, dict[str, object]]:
        rows = yaml.safe_load_all(render(helm, *options))
        return {
            row["metadata"]["name"]: row["spec"].get("updateStrategy") or row["spec"]["strategy"]
            for row in rows
            if row["kind"] in {"DaemonSet", "Deployment"}
        }

    first, second = strategies("--set=host.updateStrategy=OnDelete"), strategies()
    assert first["openimds-host"] == {"type": "OnDelete"}
    assert second["openimds-host"]["type"] == "RollingUpdate"
    assert first["openimds-control"] == second["openimds-control"]
    assert first["openimds-control"]["type"] == "RollingUpdate"


def test_admin_api_knows_every_name_of_its_service(helm: str) -> None:
    rows = yaml.safe_load_all(render(helm, "--set-string=control.adminHosts={imds.example}"))
    (control,) = (row for row in rows if row["kind"] == "Deployment")
    (words,) = (
        word.removeprefix("--admin-hosts=")
        for word in control["spec"]["template"]["spec"]["containers"][0]["args"]
        if word.startswith("--admin-hosts=")
    )
    service = ["openimds-admin"]
    for suffix in (".$(POD_NAMESPACE)", ".svc", ".cluster.local"):
        service.append(service[-1] + suffix)
    assert words.split(",") == [*service, "$(POD_IP)", "imds.example"]


@pytest.mark.parametrize(
    "value, place, reason",
    [
        ("image.tag=latest", "/image/tag", "'not' failed"),
        ("control.replicas=0", "/control/replicas", "minimum: got 0, want 1"),
        ("control.replicas=two", "/control/replicas", "got string, want integer"),
        ("control.repicas=2", "/control", "additional properties 'repicas' not allowed"),
        ("host.stateFolder=state", "/host/stateFolder", "'state' does not match pattern"),
        ("host.netnsFolder=/run/../etc", "/host/netnsFolder", "'/run/../etc' does not match"),
        ("kubevirt.stateFolder=/run/./x", "/kubevirt/stateFolder", "does not match pattern"),
        ("host.listen=127.0.0.1:80\n-x:80", "/host/listen", "does not match pattern"),
        ("host.updateStrategy=Never", "/host/updateStrategy", "must be one of"),
        ("store.secret=My_Store", "/store/secret", "'My_Store' does not match pattern"),
        ("hosts.x=1", "", "additional properties 'hosts' not allowed"),
        ("control.publicURL=example.org", "/control/publicURL", "does not match pattern"),
    ],
)
def test_wrong_value_is_refused_by_its_name(helm: str, value: str, place: str, reason: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(helm, "--set", value)
    assert f"at '{place}'" in refused.value.stderr
    assert reason in refused.value.stderr
