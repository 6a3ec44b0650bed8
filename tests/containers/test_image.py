"""The image as a file: size, labels, contents and bill of materials."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from openimds import __version__
from tests.clients.kits import ROOT
from tests.containers.engine import IMAGE, archive, inspect, podman, running

LARGEST_BYTES = 150 * 10**6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tarfile.TarInfo]:
    """Every file of the image by its path."""
    exported = tmp_path_factory.mktemp("image") / "image.tar"
    name = podman("create", IMAGE)
    podman("export", f"--output={exported}", name)
    podman("rm", name)
    with tarfile.open(exported) as opened:
        return {member.name: member for member in opened}


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    return dict(json.loads(archive("sbom.cdx.json").read_bytes()))


def test_image_and_docker_archive_are_small() -> None:
    assert inspect(IMAGE)["Size"] <= LARGEST_BYTES
    assert archive("docker.tar").stat().st_size <= LARGEST_BYTES


def test_labels_name_version_licence_and_revision() -> None:
    labels = inspect(IMAGE)["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == __version__
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}title"] == "OpenIMDS"
    assert len(labels[f"{prefix}revision"]) == 40
    assert labels[f"{prefix}created"] == inspect(IMAGE)["Created"]


def test_image_runs_as_a_number_that_is_not_root() -> None:
    config = inspect(IMAGE)["Config"]
    assert config["User"] == "10001:0"
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8169/tcp"}
    assert inspect(IMAGE)["Healthcheck"]["Test"][0] == "CMD"


def test_no_package_source_tool_or_cache_is_inside(files: dict[str, tarfile.TarInfo]) -> None:
    for place in ("etc/apt", "var/lib/apt", "var/cache", "var/log", "root/.cache", "usr/lib/apt"):
        assert place not in files
    tools = {"apt", "apt-get", "dpkg", "pip", "pip3", "perl", "curl", "wget", "openssl"}
    assert not [path for path in files if Path(path).name in tools and "bin/" in path]
    assert not [path for path in files if path.endswith(("sources.list", ".sources", "pip.conf"))]
    assert not [path for path in files if "/ensurepip/" in path or "direct_url.json" in path]


def test_only_the_state_folder_is_writable(files: dict[str, tarfile.TarInfo]) -> None:
    by_all = {path for path, file in files.items() if file.mode & 0o002 and not file.issym()}
    assert {path for path in by_all if not path.startswith(("dev", "proc", "sys"))} == {
        "run/lock",
        "tmp",
        "var/tmp",
    }
    own = {path: file.mode & 0o7777 for path, file in files.items() if file.uid == 10001}
    assert own == {"var/lib/openimds": 0o770}


def test_no_file_raises_privilege(files: dict[str, tarfile.TarInfo]) -> None:
    assert not [path for path, file in files.items() if file.isfile() and file.mode & 0o6000]


def test_compiled_modules_need_no_writing(files: dict[str, tarfile.TarInfo]) -> None:
    ours = "usr/local/lib/python3.11/dist-packages/openimds"
    sources = [path for path in files if path.startswith(ours) and path.endswith(".py")]
    assert sources
    for path in sources:
        folder, _, name = path.rpartition("/")
        assert f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc" in files


def test_sbom_lists_each_debian_and_python_package(
    sbom: dict[str, Any], files: dict[str, tarfile.TarInfo]
) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    named = {(part["purl"].split("/")[0], part["name"]): part for part in sbom["components"]}
    assert named["pkg:pypi", "openimds"]["version"] == __version__
    with running() as container:
        status = container.run("cat", "/var/lib/dpkg/status")
        assert container.run("cat", "/usr/share/openimds/sbom.cdx.json") == json.dumps(
            sbom, indent=1
        )
    packages = {
        line.removeprefix("Package: ")
        for line in status.splitlines()
        if line.startswith("Package: ")
    }
    assert packages == {name for kind, name in named if kind == "pkg:deb"}
    metadata = {path.split("/")[-2] for path in files if path.endswith(".dist-info/METADATA")}
    assert len(metadata) == len([kind for kind, _ in named if kind == "pkg:pypi"])
    assert not {"hatchling", "editables", "pip"} & {name for _, name in named}


def test_python_packages_are_the_locked_ones(sbom: dict[str, Any]) -> None:
    lock = (ROOT / "requirements-packages.lock").read_text()
    parts = [part for part in sbom["components"] if part["purl"].startswith("pkg:pypi/")]
    others = [part for part in parts if part["name"] != "openimds"]
    assert others
    for part in others:
        assert re.search(rf"^{part['name']}(\[\w+\])?=={part['version']} ", lock, re.MULTILINE)


def test_control_can_speak_to_postgresql() -> None:
    load = "import psycopg.pq; print(psycopg.pq.version() > 130000)"
    assert podman("run", "--rm", "--entrypoint=python3", IMAGE, "-c", load) == "True"


def test_every_licence_text_is_inside(files: dict[str, tarfile.TarInfo]) -> None:
    assert [
        path
        for path in files
        if path.endswith("/openimds-" + __version__ + ".dist-info/licenses/LICENSE")
    ]
    assert [path for path in files if path.startswith("usr/share/doc/libc6/copyright")]


def test_oci_archive_can_be_loaded_and_run(tmp_path: Path) -> None:
    path = archive("oci.tar")
    with tarfile.open(path) as opened:
        index = json.load(opened.extractfile("index.json"))  # type: ignore[arg-type]
    (manifest,) = index["manifests"]
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    docker_image = inspect(IMAGE)["Id"]
    try:
        printed = podman("run", "--rm", f"oci-archive:{path}", "--version")
    finally:
        podman("tag", docker_image, IMAGE)  # The archive has the same name.
    assert printed == f"openimds, version {__version__}"


def test_base_containerfile_keeps_the_settings() -> None:
    folder = ROOT / "packaging" / "container"
    made, based = ((folder / name).read_text() for name in ("Containerfile", "Containerfile.base"))
    kept = [
        line
        for line in made.splitlines()
        if line.startswith(("EXPOSE", "USER", "WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "CMD"))
        or "OPENIMDS_" in line
    ]
    assert kept
    assert [line for line in kept if line not in based.splitlines()] == []
    assert "NOT EXECUTED" in based
    assert "FROM ${BASE}" in based


def test_commands_find_the_server_inside(tmp_path: Path) -> None:
    with running() as container:
        assert container.run("openimds", "vm", "list", "--json").startswith("[{")
