"""The pages about containers do what they say, with podman under the name `docker`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.kits import ROOT
from tests.containers.engine import attempt, podman
from tests.containers.guest import build_guest
from tests.docs.story import Block, expected, script
from tests.docs.test_pages import CONTAINERS

DOCKER = """#!/bin/bash
if [ "$1" = compose ]; then shift; exec docker-compose "$@"; fi
podman "$@" 2> >(grep -v "systemd connection" >&2)
"""
"""Podman has timers of systemd run its health checks, and reports that none is here."""


def is_run(block: Block) -> bool:
    return "make -C openimds image" not in block.text  # It was made before the engine was started.


@pytest.mark.parametrize("name", CONTAINERS)
def test_page_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    if "compose" in name:
        build_guest()
    networks = podman("network", "ls", "--format={{.Name}}")  # `play kube` makes one for good.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    folder = tmp_path / "lab"
    folder.mkdir()
    shutil.copytree(ROOT / "dist", folder / "openimds" / "dist", copy_function=os.symlink)
    ran = subprocess.run(
        ["sh", "-c", script(ROOT / name, folder, is_run)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        timeout=110,
        check=False,
    )
    outputs = {path.stem: path.read_text() for path in folder.glob("*.out")}
    assert ran.returncode == 0, (ran.stderr, outputs)
    for number, (block, pattern) in expected(ROOT / name, is_run).items():
        printed = outputs[str(number)].strip()
        assert pattern.fullmatch(printed), f"line {block.line} prints {printed}"
    assert attempt("ps", "--all", "--quiet").out == ""
    assert podman("network", "ls", "--format={{.Name}}") == networks
