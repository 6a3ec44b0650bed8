"""The feature for dev containers, installed and started in a Debian.

No tool for dev containers and none of its images runs here. `start_container` is what the reference
implementation makes of a container's command: the entry points, then the command itself.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openimds import __version__
from scripts.build_deb import build
from tests.docs.story import file_block
from tests.package.chroot import Chroot, base
from tests.package.resolutions import ROOT
from tests.package.test_deb import architecture, chroot

# The first test makes the packages and a Debian.
pytestmark = pytest.mark.timeout(900)

FEATURE = ROOT / "packaging/devcontainer/openimds"
DESCRIPTION = json.loads((FEATURE / "devcontainer-feature.json").read_text("utf-8"))
PAGE = ROOT / "docs/use/devcontainer.md"
KNOWN = {
    *("id", "version", "name", "description", "documentationURL", "licenseURL", "keywords"),
    *("options", "containerEnv", "entrypoint", "installsAfter", "customizations"),
}
"""Fields of devContainerFeature.schema.json (devcontainers/spec) that ask for no privilege."""
FLEET = "vms: {ci-1: {compute: {location: westeurope}}, ci-2: {reach: {address: [127.0.0.9]}}}\n"
USER = "vscode"
COMMAND = """
{entrypoint}
exec "$@"
"""
ASK = """
url="$OPENIMDS_URL/metadata/instance/compute/name?api-version=2021-02-01&format=text"
curl -sS -H Metadata:true --interface "$1" "$url"; echo
curl -sS -o /dev/null -w '%{http_code}\\n' --interface "$1" \\
  -H Metadata:true -H 'Host: rebound.example' "$url"
awk '$4 == "0A" {print $2}' /proc/net/tcp | sort -u
cat /proc/net/tcp6 | awk '$4 == "0A"'
ps -eo user=,args= | awk '/ serve --listen/ && !/awk/ {print $1}' | sort -u
runuser -u vscode -- openimds vm list --json > /srv/vms.json
"""


@pytest.fixture(scope="module")
def packages(
    index: None, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Path]]:
    """Return the files that a user copies beside install.sh, by the kind of the package."""
    folder = tmp_path_factory.mktemp("packages")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    needs = folder / "needs"
    lock = ROOT / "requirements.lock"
    words = ("download", "--only-binary=:all:", "--python-version=3.11", "--no-deps")
    subprocess.run([*pip, *words, "--dest", needs, "--require-hashes", "-r", lock], check=True)
    return {
        "deb": [build(folder / "work", architecture(), folder)],
        "pyz": [pyz(wheel, folder)],
        "whl": [wheel, *needs.iterdir()],
    }


def pyz(wheel: Path, folder: Path) -> Path:
    """Make the single file for this Python."""
    words = [sys.executable, "scripts/build_pyz.py", str(wheel), str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.pyz")
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ...]]:
    """Yield the layers of an image with Python and a user of its own."""
    with chroot(tmp_path_factory.mktemp("image"), base()) as layer:
        layer.run("apt-get", "install", "--yes", "--quiet", "python3", "procps")
        layer.run("useradd", "--create-home", "--shell", "/bin/sh", USER)
        yield layer.layers


@pytest.fixture
def system(image: tuple[Path, ...], tmp_path: Path) -> Iterator[Chroot]:
    """Yield that image for one test."""
    with chroot(tmp_path, *image) as layer:
        yield layer


def install(system: Chroot, *files: Path, **options: str) -> "subprocess.CompletedProcess[str]":
    """Run install.sh with options, as a tool does that makes an image."""
    given = {name: str(row["default"]) for name, row in DESCRIPTION["options"].items()} | options
    place = system.folder / "upper/srv/feature"
    shutil.copytree(FEATURE, place, dirs_exist_ok=True)
    for path in files:
        shutil.copy(path, place)
    (place / "fleet.yaml").write_text(FLEET)
    return system.try_run(
        "/srv/feature/install.sh",
        **{name.upper(): value for name, value in given.items()},
        **DESCRIPTION["containerEnv"],
        _REMOTE_USER=USER,
        _CONTAINER_USER="root",
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="/srv/feature",
    )


def start_container(system: Chroot, script: str, *arguments: str) -> str:
    """Run a script in a container that starts, and return its output."""
    command = COMMAND.format(entrypoint=DESCRIPTION["entrypoint"])
    words = ("sh", "-c", command, "-", "sh", "-euc", script, "sh", *arguments)
    return system.run(*words, **DESCRIPTION["containerEnv"])


@pytest.mark.parametrize("kind", ["deb", "pyz", "whl"])
def test_sdk_finds_a_server_when_the_container_has_started(
    kind: str, packages: dict[str, list[Path]], system: Chroot
) -> None:
    ran = install(system, *packages[kind], fleet="fleet.yaml", arguments="--no-rate-limit")
    assert ran.returncode == 0, ran.stderr
    assert f"openimds, version {__version__}" in ran.stdout
    printed = start_container(system, ASK, "127.0.0.9").splitlines()
    assert printed[0] == "ci-2"
    assert printed[1] == "403"
    # 127.0.0.1, with the ports of the data plane, the admin API and the published keys.
    assert set(printed[2:5]) == {"0100007F:1FE9", "0100007F:1FEA", "0100007F:1FEB"}
    assert printed[5:] == [USER]
    listed = json.loads((system.folder / "upper/srv/vms.json").read_text())
    assert {row["name"] for row in listed} == {"ci-1", "ci-2"}


def test_fleet_file_of_the_workspace_is_read_at_each_start(
    packages: dict[str, list[Path]], system: Chroot
) -> None:
    assert install(system, *packages["deb"], fleet="/workspaces/app/fleet.yaml").returncode == 0
    missing = start_container(system, "echo the container runs")
    assert missing.startswith("the container runs\nopenimds: the server is not ready; ")
    assert "/workspaces/app/fleet.yaml" in missing
    system.write("/workspaces/app/fleet.yaml", "vms: {of-the-workspace: {}}\n")
    assert start_container(system, ASK, "127.0.0.1").startswith("of-the-workspace\n")


def test_faults_of_the_installation_name_what_to_do(
    packages: dict[str, list[Path]], system: Chroot
) -> None:
    ran = install(system)
    assert ran.returncode == 1
    assert "there is no package in /srv/feature: make one by 'make pyz', " in ran.stderr
    ran = install(system, *packages["pyz"], version="9.9.9")
    assert "there is no package of version 9.9.9 in /srv/feature" in ran.stderr
    ran = install(system, *packages["pyz"], fleet="flet.yaml")
    assert "option fleet: there is no flet.yaml in /srv/feature" in ran.stderr
    ran = install(system, *packages["pyz"], *packages["deb"])
    assert ran.returncode == 1
    assert "several packages fit: openimds_" in ran.stderr


@pytest.mark.parametrize(
    "version, chosen",
    [
        ("latest", "0.10.0"),
        ("0.1.0", "0.1.0"),
        ("0.2.0rc1", "0.2.0rc1"),
        ("0.1", None),
        ("0.10.0*", None),
    ],
)
def test_version_is_that_between_the_separators(
    version: str, chosen: str | None, tmp_path: Path
) -> None:
    place = tmp_path / "a folder"
    place.mkdir()
    for name in ("0.1.0", "0.10.0", "0.10.0.dev1", "0.2.0rc1", "0.2.0"):
        (place / f"openimds-{name}-cp311-linux_x86_64.pyz").touch()
    shutil.copy(FEATURE / "install.sh", place)
    # Nothing is installed: `install` ends it, and a program of this name is here.
    (tmp_path / "install").write_text('#!/bin/sh\necho "$3"\nexit 1\n')
    (tmp_path / "install").chmod(0o755)
    (tmp_path / "python3").symlink_to("install")
    ran = subprocess.run(
        ["sh", place / "install.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    if chosen:
        assert ran.stdout == f"{place}/openimds-{chosen}-cp311-linux_x86_64.pyz\n"
    else:
        assert f"there is no package of version {version} in {place}" in ran.stderr


def test_options_stay_as_they_were_written(packages: dict[str, list[Path]], system: Chroot) -> None:
    words = r"--names a\nb 'c' $HOME"
    assert install(system, *packages["pyz"], arguments=words).returncode == 0
    print_them = '. /usr/local/share/openimds/options; printf %s "$arguments"'
    assert system.run("sh", "-euc", print_them) == words


def test_description_keeps_the_specification() -> None:
    assert {"id", "version", "name"} <= DESCRIPTION.keys() <= KNOWN
    assert DESCRIPTION["id"] == FEATURE.name
    assert DESCRIPTION["version"] == __version__
    for option in DESCRIPTION["options"].values():
        assert option["type"] == "string"
        assert option.keys() == {"type", "proposals", "default", "description"}
        assert option["default"] in option["proposals"]
    assert os.access(FEATURE / "install.sh", os.X_OK)
    assert all(isinstance(value, str) for value in DESCRIPTION["containerEnv"].values())


def test_variables_are_those_of_the_command() -> None:
    words = ["openimds", "env", "--url", "http://127.0.0.1:8169", "--no-chain-pin"]
    program = Path(sys.executable).with_name(words[0])
    ran = subprocess.run([program, *words[1:], "--shell", "json"], capture_output=True, check=True)
    assert DESCRIPTION["containerEnv"] == json.loads(ran.stdout)


def test_page_names_the_feature_and_its_options() -> None:
    shown = json.loads(file_block(PAGE, "devcontainer.json"))
    (options,) = shown["features"].values()
    assert list(shown["features"]) == ["./openimds"]
    assert options.keys() <= DESCRIPTION["options"].keys()
