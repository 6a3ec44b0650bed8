"""The manifests of Kubernetes without a cluster: commands, privileges, images, secrets."""

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml

from openimds import __version__
from openimds.cli.main import command
from scripts.generate_docs import ROOT

FOLDER = ROOT / "packaging" / "kubernetes"
CHART = FOLDER / "chart"
PAGE = ROOT / "docs" / "use" / "kubernetes.md"
ALLOWED = {
    "control": set(),
    "host": {"SYS_ADMIN", "NET_ADMIN", "NET_BIND_SERVICE"},
    "server": {"SYS_ADMIN", "NET_ADMIN", "NET_BIND_SERVICE"},
    "watcher": {"SYS_PTRACE"},
    "address": {"NET_ADMIN"},
    "imds": {"NET_BIND_SERVICE"},
    "app": set(),
}
"""The capabilities of each container, beside none."""
FOLDERS = {
    "openimds-host": {"/run/netns", "/var/lib/openimds-host"},
    "openimds-kubevirt": {"/run/netns", "/var/lib/openimds-kubevirt", "/proc"},
}
"""The folders of its node that a pod mounts."""


def objects() -> Iterator[dict[str, Any]]:
    """Yield every object of the manifests, KubeVirt's and the sidecar."""
    for path in (*sorted((FOLDER / "manifests").glob("*.yaml")), *sorted(FOLDER.glob("*.yaml"))):
        yield from yaml.safe_load_all(path.read_text("utf-8"))


def pods() -> dict[str, dict[str, Any]]:
    """Return the spec of each pod by the name of the object that has it."""
    specs = {}
    for row in objects():
        if row["kind"] == "Pod":
            specs[row["metadata"]["name"]] = row["spec"]
        elif "template" in row.get("spec", {}):
            specs[row["metadata"]["name"]] = row["spec"]["template"]["spec"]
    return specs


def containers() -> list[dict[str, Any]]:
    """Return every container of every pod."""
    return [
        container
        for spec in pods().values()
        for container in (*spec.get("initContainers", ()), *spec["containers"])
    ]


def command_of(words: list[str]) -> click.Command:
    """Return the command of a command line, whose options it reads.

    Raises:
        click.UsageError: it does not know one.
    """
    found: click.Command = command
    while isinstance(found, click.Group):
        name, *words = words
        found = found.get_command(click.Context(found), name) or pytest.fail(f"no command {name}")
    found.make_context(found.name, words)
    return found


def rows(text: str) -> dict[str, str]:
    """Return the defaults of values.yaml by their dotted names, as the page has them."""
    found = {}
    for section, value in yaml.safe_load(text).items():
        members = value.items() if isinstance(value, dict) else [("", value)]
        for name, default in members:
            found[f"{section}.{name}".rstrip(".")] = default
    return found


def test_manifests_have_these_pods_and_no_other() -> None:
    assert set(pods()) == {"openimds-control", "openimds-host", "openimds-kubevirt", "app"}


def test_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_every_image_has_a_release_as_its_tag() -> None:
    images = {container["image"] for container in containers()}
    assert images == {f"localhost/openimds:{__version__}", "localhost/my-program:1.0"}


@pytest.mark.parametrize("container", containers(), ids=lambda container: container["name"])
def test_container_has_no_privilege_beyond_those_named(container: dict[str, Any]) -> None:
    context = container["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"].get("add", ())) == ALLOWED[container["name"]]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert not context.get("privileged")
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name, spec", pods().items(), ids=list(pods()))
def test_pod_shares_no_namespace_of_its_node(name: str, spec: dict[str, Any]) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["enableServiceLinks"] is False
    folders = {volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    assert folders == FOLDERS.get(name, set())


def test_no_secret_is_in_the_manifests() -> None:
    assert "Secret" not in {row["kind"] for row in objects()}
    for container in containers():
        plain = {row["name"] for row in container.get("env", ()) if "value" in row}
        assert plain <= {"OPENIMDS_ADMIN"}
        for word in (*container.get("args", ()), *container.get("command", ())):
            name, _, value = word.partition("=")
            is_path = value.startswith("/run/openimds/")
            assert is_path or not re.search(r"(?i)password|token|key|://\S*@", word), name


def test_service_accounts_have_no_more_rights_than_these() -> None:
    (role,) = (row for row in objects() if row["kind"] == "Role")
    assert [
        (rule["resources"], rule["verbs"], rule.get("resourceNames")) for rule in role["rules"]
    ] == [
        (["pods"], ["get"], None),
        (["configmaps"], ["get", "patch"], ["openimds-root"]),
    ]
    rules = {
        row["metadata"]["name"]: [(rule["resources"], rule["verbs"]) for rule in row["rules"]]
        for row in objects()
        if row["kind"] == "ClusterRole"
    }
    assert rules == {
        "openimds:openimds:control": [(["tokenreviews"], ["create"])],
        "openimds:openimds:kubevirt": [(["virtualmachineinstances"], ["list", "watch"])],
    }


def test_every_command_line_is_one_of_openimds(monkeypatch: pytest.MonkeyPatch) -> None:
    read = set()
    for container in containers():
        words = container.get("args", [])
        if not words or container["name"] == "app":
            continue
        for row in container.get("env", ()):
            if "secretKeyRef" in row.get("valueFrom", {}):
                monkeypatch.setenv(row["name"], "postgresql://openimds@db-1/openimds")
        read.add(command_of(words).name)
    assert read == {"run", "serve", "follow"}


def test_page_has_every_value_with_its_default() -> None:
    shown = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    values = rows((CHART / "values.yaml").read_text())
    assert set(shown) == set(values)
    for name, default in values.items():
        text = yaml.safe_dump(default, default_flow_style=True, width=1000).split("\n")[0]
        is_empty = default in ("", [], {})
        assert shown[name] == ("" if is_empty else f"`{text}`"), name


def section(heading: str) -> str:
    """Return the text of a section of the page."""
    return PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_page_names_the_kind_recipe_as_not_executed() -> None:
    assert "not executed" in section("kind")


def test_page_names_each_container_that_is_root_on_its_node() -> None:
    powers = {"SYS_ADMIN", "SYS_PTRACE"}
    names = {name for name, added in ALLOWED.items() if added & powers}
    assert names == {"host", "server", "watcher"}
    assert "Count the pods of hosts as root of their node" in section("Install")
    assert "The watcher is as powerful as root on its node" in section("KubeVirt")
    assert "The server is as powerful" in section("KubeVirt")


def test_upgrade_of_the_page_has_hosts_follow_controls() -> None:
    text = section("Upgrade")
    strategies = re.findall(r"helm upgrade .* --set host\.updateStrategy=(\w+)\n", text)
    assert strategies == ["OnDelete", "RollingUpdate"]
    between = text.partition("=OnDelete")[2].partition("helm upgrade")[0]
    assert "kubectl rollout status deployment openimds-control" in between
    applied = re.findall(r"--filename ([\w.]+)", text)
    assert sorted(applied) == sorted(path.name for path in (FOLDER / "manifests").iterdir())
    assert applied[-2:] == ["control.yaml", "host.yaml"]
    assert "opens no listener" in " ".join(text.split())
