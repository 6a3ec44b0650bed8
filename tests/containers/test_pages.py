"""The pages about containers do what they say, with podman under the name `docker`."""

import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.clients.kits import ROOT
from tests.containers.engine import attempt, podman
from tests.containers.guest import build_guest
from tests.docs.story import blocks, expected, script
from tests.docs.test_pages import CONTAINERS

DOCKER = """#!/bin/bash
if [ "$1" = compose ]; then shift; exec docker-compose "$@"; fi
podman "$@" 2> >(grep -v "systemd connection" >&2)
"""
"""Podman has timers of systemd run its health checks, and reports that none is here."""
EVERY_PAGE = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("name", CONTAINERS)
def test_page_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    if "compose" in name:
        build_guest()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    folder = tmp_path / "lab"
    folder.mkdir()
    shutil.copytree(ROOT / "dist", folder / "dist", copy_function=os.symlink)
    ran = subprocess.run(
        ["sh", "-c", script(ROOT / name, folder)],
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
    for number, (block, pattern) in expected(ROOT / name).items():
        printed = outputs[str(number)].strip()
        assert pattern.fullmatch(printed), f"line {block.line} prints {printed}"
    assert attempt("ps", "--all", "--quiet").out == ""
    assert podman("network", "ls", "--format={{.Name}}") == "podman"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_command_publishes_beyond_loopback(page: Path) -> None:
    for block in blocks(page):
        words = block.text.replace("=", " ").split()
        published = [
            value
            for option, value in pairwise(words)
            if option in {"-p", "--publish"} and ":" in value
        ]
        assert [value for value in published if not value.startswith("127.0.0.1:")] == []
        assert "--network host" not in block.text.replace("=", " ")
        assert "network_mode: host" not in block.text.replace('"', "")
        assert "--publish-all" not in block.text
