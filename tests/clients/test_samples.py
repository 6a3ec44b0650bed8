"""The sample programs of Microsoft's document run unmodified under `openimds exec`."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.fleet import DESCRIBED
from tests.clients.kits import MADE
from tests.clients.samples import ROWS, SAMPLES, Sample
from tests.swagger.files import DOCUMENT, NO_DOCUMENT
from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import clean_environment

VM_ID = DESCRIBED["compute"]["vmId"]
GENERATION = "2023"
"""The samples take one address of an issuer from the leaf; leaves of 2026 have two, as Azure's."""
_TABLE = re.compile(r"^\| ([^|]+) \| https://github\.com/(\S+)$", re.MULTILINE)
_START = '"$0" -m openimds attest ca --root > root.pem; '


def run(sample: Sample, folder: Path) -> str:
    """Run a sample under `openimds exec` and return its output."""
    (folder / "fleet.json").write_text(json.dumps({"vms": {"web-1": DESCRIBED}}))
    program = folder / sample.name
    program.write_text(sample.text())
    # A sample installs curl and jq, which are here: its sudo does nothing.
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "sudo").write_text("#!/bin/sh\n")
    (binaries / "sudo").chmod(stat.S_IRWXU)
    environment = clean_environment({"HOME": str(folder), "GOCACHE": str(MADE / "go-build")})
    environment["PATH"] = f"{binaries}:{os.environ.get('PATH', os.defpath)}"
    shell = ("sh", "-c", _START + sample.command, sys.executable, str(program))
    serve = ("exec", "--fleet", "fleet.json", "--attest-generation", GENERATION)
    got = subprocess.run(
        [sys.executable, "-m", "openimds", *serve, "--", *shell],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    # The exit status is that of the last line of a sample, which looks for a root of 2021.
    assert VM_ID in got.stdout, got.stderr
    return got.stdout


@pytest.mark.system
@pytest.mark.netns
@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(row, marks=pytest.mark.client(f"{row.language} {row.name}"), id=row.name)
        for row in ROWS
    ],
)
def test_sample_program_reads_the_vm(sample: Sample, tmp_path: Path) -> None:
    if reason := sample.why_not() or why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    text = run(sample, tmp_path)
    # Of the two roots in its text, the first is ours; the other one is not there.
    assert text.count("signer.pem: OK") == sample.verifies


@pytest.mark.skipif(not DOCUMENT.exists(), reason=NO_DOCUMENT)
def test_rows_are_those_of_the_table_of_the_document() -> None:
    table = {
        language.strip(): path.removesuffix("|").rsplit("/", 1)[-1]
        for language, path in _TABLE.findall(DOCUMENT.read_text("utf-8"))
        if "azureimds" in path.lower() or "azuremetadata" in path
    }
    expected = {row.language: row.name for row in ROWS} | {"Puppet": "azuremetadata"}
    assert table.items() <= expected.items()
    assert set(table) | {"Puppet"} == {row.language for row in ROWS}


def test_another_text_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.clients.samples.SAMPLES", tmp_path)
    sample = ROWS[0]
    assert sample.why_not().startswith("no text in ")
    (tmp_path / sample.name).write_text("echo")
    assert sample.why_not().startswith("another text, whose SHA-256 is ")


def test_texts_lie_in_a_folder_that_git_ignores() -> None:
    root = Path(__file__).parents[2]
    ignored: Any = subprocess.run(
        ["git", "check-ignore", "-q", str(SAMPLES / "x")], cwd=root, check=False
    )
    if ignored.returncode == 128:
        pytest.skip("not a repository of git")
    assert ignored.returncode == 0
