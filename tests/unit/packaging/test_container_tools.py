import os
import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_private_engine_needs_root(tools: Path) -> None:
    ran = run(["scripts/private-engine", "true"], tools)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "scripts/private-engine: only root can start a private engine\n"


def test_containers_can_be_skipped_by_name(tools: Path) -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    ran = run(["make", "--no-print-directory", "containers", "CONTAINERS=skip"], tools)
    assert (ran.returncode, ran.stdout) == (0, "Containers are not tested: CONTAINERS=skip\n")
