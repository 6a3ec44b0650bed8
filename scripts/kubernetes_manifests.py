"""Write the manifests of packaging/kubernetes from the chart: `make manifests` calls this script.

    kubernetes_manifests.py HELM  render the chart by this program

`manifests` has a file for each template, with the default values, and `kubevirt.yaml` the watcher
of KubeVirt alone. The labels that only Helm reads are left out.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "packaging" / "kubernetes" / "chart"
MANIFESTS = ROOT / "packaging" / "kubernetes" / "manifests"
KUBEVIRT = MANIFESTS.with_name("kubevirt.yaml")
OF_KUBEVIRT = "--set=fleet.enabled=false,kubevirt.enabled=true"
NAMESPACE = "openimds"
_SOURCE = re.compile(r"^# Source: openimds/templates/([\w-]+\.yaml)\n", re.MULTILINE)
_OF_HELM = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
_HEAD = "# Made by `make manifests` from packaging/kubernetes/chart.\n"


def render(helm: str, *options: str, release: str = "openimds", namespace: str = NAMESPACE) -> str:
    """Return the objects of the chart as Helm prints them.

    Raises:
        CalledProcessError: Helm refuses the chart or its values.
    """
    command = [helm, "template", release, str(CHART), "--namespace", namespace, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests(rendered: str) -> dict[str, str]:
    """Return the text of each file by its name."""
    texts: dict[str, list[str]] = {}
    for document in _OF_HELM.sub("", rendered).split("---\n")[1:]:
        found = _SOURCE.match(document)
        assert found, f"a document without its source: {document[:80]}"
        texts.setdefault(found[1], []).append(document[found.end() :])
    return {name: _HEAD + "---\n".join(parts) for name, parts in sorted(texts.items())}


def main() -> None:
    """Write the files that the program of the command line renders."""
    if len(sys.argv[1:]) != 1:
        sys.exit(__doc__)
    MANIFESTS.mkdir(exist_ok=True)
    found = manifests(render(sys.argv[1]))
    for path in MANIFESTS.glob("*.yaml"):
        path.unlink()
    for name, text in found.items():
        (MANIFESTS / name).write_text(text, "utf-8")
    (text,) = manifests(render(sys.argv[1], OF_KUBEVIRT)).values()
    KUBEVIRT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
