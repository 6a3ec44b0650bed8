import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers import kits
from tests.containers.engine import OTHER

ROOT = Path(__file__).parents[3]


def run(command: list[str], tools: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command for which the programs in a folder come first."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs, in which the user is not root."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    return tmp_path


def test_missing_engine_names_the_way_without_one(tools: Path) -> None:
    ran = run(["scripts/container-tools"], tools)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "No container engine can run here: only root may make namespaces, mounts and bridges. To "
        "leave containers out, type: make containers CONTAINERS=skip\n"
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with root's rights, and with none of the programs that are installed."""
    for name in ("dirname", "sh", "tail", "uname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$*" >> "$0.log"\nexit 1\n')
    for name in ("id", "apt-get"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def asked_for(script: str, fresh: Path, *arguments: str) -> set[str]:
    """Return the packages that a script asks for where all programs are missing."""
    # The scripts look into the folders of system programs by themselves.
    text = (ROOT / "scripts" / script).read_text().replace(":/usr/sbin:/sbin", "")
    (fresh / script).write_text(text)
    subprocess.run(
        ["sh", fresh / script, *arguments],
        env={"PATH": str(fresh)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    first = (fresh / "apt-get.log").read_text().splitlines()[0]
    return {word for word in first.split() if not word.startswith("-")} - {"install"}


def test_emulator_is_for_the_tests_of_containers_alone(fresh: Path) -> None:
    without = asked_for("container-tools", fresh)
    (fresh / "apt-get.log").unlink()
    assert asked_for("container-tools", fresh, "emulator") - without == {"qemu-user"}
    assert {"mmdebstrap", "podman"} <= without
    recipes = (ROOT / "Makefile").read_text()
    assert "\nimage: ## " in recipes
    image, containers = recipes.index("\nimage: "), recipes.index("\ncontainers: .venv")
    assert recipes[image:].splitlines()[2] == "\t@scripts/container-tools"
    assert recipes[containers:].splitlines()[2] == "\t@scripts/container-tools emulator"


@pytest.mark.parametrize(
    "argument, wanted, unwanted",
    [
        ("package", {"chromium", "mmdebstrap", "rpm"}, set[str]()),
        ("browser", {"chromium"}, {"mmdebstrap", "rpm"}),
        ("", {"nftables"}, {"chromium", "mmdebstrap", "rpm"}),
    ],
)
def test_host_tools_are_those_of_the_tests(
    argument: str, wanted: set[str], unwanted: set[str], fresh: Path
) -> None:
    asked = asked_for("host-tools", fresh, argument)
    assert wanted <= asked
    assert not unwanted & asked


def test_private_engine_needs_root(tools: Path) -> None:
    ran = run(["scripts/private-engine", "true"], tools)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "scripts/private-engine: only root can start a private engine\n"


def test_containers_can_be_skipped_by_name(tools: Path) -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    ran = run(["make", "--no-print-directory", "containers", "CONTAINERS=skip"], tools)
    assert (ran.returncode, ran.stdout) == (0, "Containers are not tested: CONTAINERS=skip\n")


def test_other_image_is_made_again_with_this_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[tuple[object, ...]]()
    monkeypatch.setattr(kits, "ROOT", tmp_path)
    monkeypatch.setattr(kits, "_run", lambda *words: ran.append(words))
    other = tmp_path / "dist" / OTHER / "openimds.oci.tar"
    for path in (tmp_path / "build/image/rootfs.tar", other, tmp_path / "build/image/stamp"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(tmp_path / "build/image/rootfs.tar", (1, 1))
    os.utime(other, (3, 3))
    os.utime(tmp_path / "build/image/stamp", (2, 2))
    kits.make_other_image()
    assert ran == []
    # The Makefile dates it when any file of the image changes, be it one that the root has not.
    os.utime(tmp_path / "build/image/stamp", (4, 4))
    kits.make_other_image()
    assert [OTHER in words for words in ran] == [True, True]
