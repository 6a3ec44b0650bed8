"""The commands of the installation page run in a new folder, with a package index."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.story import Block, expected, script
from tests.docs.test_pages import INSTALLATION
from tests.package.resolutions import ROOT
from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import clean_environment

PAGE = ROOT / INSTALLATION
NOT_LINKED = {"dist", "build"}
"""Folders in which a checkout builds: a test has its own."""


def needs_an_index(block: Block) -> bool:
    return block.needs_an_index


def needs_no_index(block: Block) -> bool:
    return not block.needs_an_index


def run(
    folder: Path, is_run: Callable[[Block], bool], *prefix: str, **environment: str
) -> dict[str, str]:
    """Run blocks of the page; return the output of each by its number."""
    binaries = f"{folder / 'env/bin'}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    for path in folder.glob("*.out"):
        path.unlink()
    ran = subprocess.run(
        [*prefix, "sh", "-c", script(PAGE, folder, is_run)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
        env=clean_environment({"PATH": binaries, "HOME": str(folder), **environment}),
    )
    outputs = {path.stem: path.read_text() for path in folder.glob("*.out")}
    assert ran.returncode == 0, (ran.stderr, outputs)
    return outputs


def test_page_about_installation_prints_what_it_shows(tmp_path: Path, versions: Path) -> None:
    if reason := why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    checkout = tmp_path / "openimds"
    checkout.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in NOT_LINKED:
            (checkout / entry.name).symlink_to(entry)
    run(tmp_path, needs_an_index, PIP_CONSTRAINT=str(versions))
    # Its servers listen on the default ports, so they have a network of their own.
    outputs = run(tmp_path, needs_no_index, *PRIVATE)
    for number, (block, pattern) in expected(PAGE, needs_no_index).items():
        printed = outputs[str(number)].strip()
        assert pattern.fullmatch(printed), f"line {block.line} prints {printed}"
    assert not (tmp_path / "env/bin/openimds").exists(), "the last command removes it"
