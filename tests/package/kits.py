"""The tools that check the chart of Kubernetes: Helm, and the schemas of the API.

Helm is built from its Go module, whose versions and digests `helm/go.mod` and `helm/go.sum` hold.
"""

import sys
from pathlib import Path

from tests.clients.kits import MADE, ROOT, Kit, _empty, _run, make

HERE = Path(__file__).parent / "helm"
_OWN = {"GOTOOLCHAIN": "local", "GOWORK": "off"}
"""An old Go must not fetch a newer one."""


def _download(place: Path) -> None:
    _empty(place)
    _run("go", "mod", "download", cwd=HERE, **_OWN)


def _build(place: Path) -> None:
    tool = "helm.sh/helm/v4/cmd/helm"
    _run("go", "build", "-mod=readonly", "-o", place / "helm", tool, cwd=HERE, **_OWN)


def _pip(place: Path) -> None:
    _empty(place)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    lock = ROOT / "requirements-kubernetes.lock"
    pip = (sys.executable, "-m", "pip", "install", *quiet, "--only-binary", ":all:")
    _run(*pip, "--no-deps", "--require-hashes", "--target", place, "-r", lock)


HELM = Kit(
    "helm",
    ("go",),
    ("tests/package/helm/go.mod", "tests/package/helm/go.sum"),
    _download,
    _build,
    target="test-package",
)
SCHEMAS = Kit(
    "kubernetes-schemas",
    (),
    ("requirements-kubernetes.lock",),
    _pip,
    target="test-package",
)

if __name__ == "__main__":
    MADE.mkdir(parents=True, exist_ok=True)
    make((HELM, SCHEMAS))
