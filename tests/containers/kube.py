"""Pods of the manifests of Kubernetes, as `podman play kube` takes them.

Podman 4.3 knows no Deployment of two, no DaemonSet, no facts of a pod but its name, no projected
volumes and no addresses of Services. So a template becomes a Pod, and the test writes what the
kubelet and the cluster would: the facts, the folders, the names in /etc/hosts. Everything else is
the manifest's own. Probes are asked by the test, as the manifest has them.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field

from openimds.interop.kubernetes.api import SERVICE_ACCOUNT
from tests.clients.kits import ROOT
from tests.containers.engine import attempt, podman

FOLDER = ROOT / "packaging" / "kubernetes"
_ENDS = {"hostAliases", "restartPolicy"}
_READ = """
import http.client, json, sys
address, port, path, headers = sys.argv[1:]
connection = http.client.HTTPConnection(address, int(port), timeout=5)
connection.request("GET", path, headers=json.loads(headers))
response = connection.getresponse()
print(response.status, response.read().decode())
"""


class Cluster(Struct, frozen=True):
    """The facts that a cluster gives to a pod.

    Attributes:
        facts: a field of the pod to its value.
        folders: the name of a volume to the folder in its place.
        names: a name of a Service to its addresses.
        secrets: a Secret to its values.
        api: host and port of the cluster's API.
        account: the folder with the token for it, as pods have it mounted.
    """

    facts: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    api: tuple[str, int] = ("", 0)
    account: Path | None = None


def documents(path: str) -> list[dict[str, Any]]:
    """Return the objects of a file below packaging/kubernetes."""
    return list(yaml.safe_load_all((FOLDER / path).read_text("utf-8")))


def pod(name: str, template: dict[str, Any], cluster: Cluster, work: Path) -> dict[str, Any]:
    """Return a Pod that Podman takes, made of a template (or of a Pod).

    Files of Secrets and empty folders are made below a folder: Podman gives Secrets a mode of its
    own, and has one folder for all empty ones of a name.
    """
    spec: dict[str, Any] = json.loads(json.dumps(template["spec"]))
    assert not _ENDS & spec.keys()
    # Podman starts an init container again where the pod restarts its containers.
    spec["restartPolicy"] = "Never"
    spec["hostAliases"] = [
        {"ip": address, "hostnames": [host]}
        for host, addresses in cluster.names.items()
        for address in addresses
    ]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        _fill_in(container, cluster.facts)
    for volume in spec["volumes"]:
        _replace(volume, name, cluster, work)
    if cluster.api[0]:
        _name_api(spec, *cluster.api)
    if spec["automountServiceAccountToken"]:
        _mount_account(spec, cluster.account)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            # Else Podman removes an init container while it still counts as running.
            "annotations": {"io.podman.annotations.init.container.type": "always"},
        },
        "spec": spec,
    }


def _fill_in(container: dict[str, Any], facts: dict[str, str]) -> None:
    """Give a container the values of its variables and arguments, and take away its probes."""
    # Podman would publish the ports on the node, and ask by a curl that no image has.
    for member in ("ports", "readinessProbe", "livenessProbe"):
        container.pop(member, None)
    for row in container.get("env", ()):
        if "fieldRef" in row.get("valueFrom", {}):
            row["value"] = facts[row.pop("valueFrom")["fieldRef"]["fieldPath"]]
    container["args"] = _expanded(container)


def _replace(volume: dict[str, Any], pod: str, cluster: Cluster, work: Path) -> None:
    """Put a folder in the place of a volume that Podman lacks."""
    label, folder = volume["name"], cluster.folders.get(volume["name"])
    if "secret" in volume and not folder:
        folder = work / f"{pod}-{label}"
        values = cluster.secrets[volume["secret"]["secretName"]]
        write_secret(folder, values, volume["secret"]["defaultMode"])
    if "emptyDir" in volume and not folder:
        folder = work / f"{pod}-{label}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.chmod(0o777)
    if folder:
        volume.clear()
        volume |= {"name": label, "hostPath": {"path": str(folder), "type": "Directory"}}


def _expanded(container: dict[str, Any]) -> list[str]:
    """Return the arguments of a container with the values of variables that they name."""
    known = {row["name"]: row["value"] for row in container.get("env", ()) if "value" in row}
    return [
        re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], word)
        for word in container.get("args", ())
    ]


def _name_api(spec: dict[str, Any], host: str, port: int) -> None:
    """Give the containers of a pod the address of the cluster's API."""
    variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
    for container in spec["containers"]:
        own = container.setdefault("env", [])
        own += [{"name": key, "value": value} for key, value in variables.items()]


def _mount_account(spec: dict[str, Any], folder: Path | None) -> None:
    """Give the containers of a pod the token of its service account."""
    path = {"path": str(folder), "type": "Directory"}
    spec["volumes"].append({"name": "account", "hostPath": path})
    for container in spec["containers"]:
        mount = {"name": "account", "mountPath": str(SERVICE_ACCOUNT), "readOnly": True}
        container["volumeMounts"].append(mount)


def play(folder: Path, *objects: dict[str, Any], options: tuple[str, ...] = ()) -> None:
    """Have Podman run objects.

    Raises:
        EngineError: it refuses them.
    """
    path = folder / "play.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    podman("play", "kube", "--quiet", *options, str(path))


def write_secret(folder: Path, values: dict[str, str], mode: int) -> None:
    """Write the files of a Secret as links to a folder, as the kubelet does."""
    content = folder / "..2026_11_30"
    content.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        (content / key).write_text(value)
        (content / key).chmod(mode)
        if not (folder / key).is_symlink():
            (folder / key).symlink_to(f"..data/{key}")
    if not (folder / "..data").is_symlink():
        (folder / "..data").symlink_to(content.name)


def add_secret(folder: Path, name: str, values: dict[str, str]) -> None:
    """Make a Secret for variables of pods."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    path = folder / "secret.json"
    path.write_text(json.dumps(encoded))
    podman("secret", "create", name, str(path))


def remove(name: str) -> None:
    """End a pod, as a node that fails does."""
    attempt("pod", "rm", "--force", "--time=0", name)


def asked(probe: dict[str, Any], address: str, ports: list[dict[str, Any]]) -> int:
    """Return the status that a probe by HTTP gets, or 0 without an answer."""
    http_get = probe["httpGet"]
    (port,) = (row["containerPort"] for row in ports if row["name"] == http_get["port"])
    return status(address, port, http_get["path"], headers_of(http_get))


def headers_of(http_get: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a probe."""
    return {row["name"]: row["value"] for row in http_get.get("httpHeaders", ())}


def status(address: str, port: int, path: str, headers: dict[str, str]) -> int:
    """Return the status of a GET, or 0 without an answer."""
    return read(address, port, path, headers)[0]


def read(address: str, port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return status and body of a GET; 0 without an answer."""
    words = [sys.executable, "-I", "-c", _READ, address, str(port), path, json.dumps(headers)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode:
        return 0, ran.stderr
    code, _, body = ran.stdout.partition(" ")
    return int(code), body
