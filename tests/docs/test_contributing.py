"""The recipe of CONTRIBUTING.md for a new fact, played on a copy of the tree."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import Struct

from scripts.generate_docs import ROOT

ROW = re.compile(
    r"^ *```python\n *# (?P<file>\S+), in (?P<table>\w+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
VERSION, FIELD = "2099-01-01", "rackId"
VALUE = "0d3a9e77-52c1-4f0b-8f3e-94b6a1c7e2d5"
MOST_FILES = 6
COPIED = (
    "packaging/monitoring",
    "docs",
    "scripts",
    "src",
    "tests/golden",
    "tests/support",
    "tests/unit/facts",
    "tests/clients",
)
REDACT = f"""
from openimds.interop.transcript import redact
from tests.support.transcripts import a_document, a_transcript

document = {{"compute": {{"{FIELD}": "{VALUE}"}}}}
shared = redact(a_transcript(a_document("{VERSION}", document)))
print(shared.exchanges[0].answer.body)
"""


class Row(Struct, frozen=True):
    """A row of the recipe: its file, its table there, and its text."""

    file: str
    table: str
    text: str


ROWS = [
    Row(match["file"], match["table"], match["text"])
    for match in ROW.finditer((ROOT / "CONTRIBUTING.md").read_text())
]


def insert(row: Row, root: Path) -> None:
    """Insert a row at the end of its table."""
    path = root / row.file
    lines = path.read_text().splitlines(keepends=True)
    (table,) = [
        node
        for node in ast.parse("".join(lines)).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == row.table
    ]
    assert table.end_lineno
    lines.insert(table.end_lineno - 1, f"{row.text.rstrip()},\n")
    path.write_text("".join(lines))


def run(root: Path, *arguments: str) -> str:
    """Return the output of Python in the copy."""
    got = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert got.returncode == 0, got.stdout + got.stderr
    return got.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree with the rows, docs and goldens of the recipe."""
    root = tmp_path_factory.mktemp("recipe")
    for name in COPIED:
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    for path in (ROOT / "README.md", ROOT / "pyproject.toml", *ROOT.glob("requirements*.lock")):
        shutil.copy(path, root / path.name)
    for row in ROWS:
        insert(row, root)
    run(root, "scripts/generate_docs.py")
    run(root, "-m", "tests.golden.make")
    return root


def document(root: Path, version: str) -> dict[str, str]:
    """Return `compute` of a VM with the field in the fleet file, at a version."""
    (root / "fleet.yaml").write_text(f"vms: {{web-1: {{compute: {{{FIELD}: {VALUE}}}}}}}\n")
    arguments = ("vm", "show", "web-1", "--fleet", "fleet.yaml", "--json")
    wanted = ("--api-version", version) if version else ()
    compute: dict[str, str] = json.loads(run(root, "-m", "openimds", *arguments, *wanted))[
        "compute"
    ]
    return compute


def test_recipe_needs_few_files_by_hand() -> None:
    files = {row.file for row in ROWS} | {"CHANGELOG.md"}
    assert {row.table for row in ROWS} == {"GENERAL", "COMPUTE", "ADDED"}
    assert len(files) <= MOST_FILES


def test_document_and_fleet_file_have_the_new_field(copy: Path) -> None:
    assert document(copy, "")[FIELD] == VALUE
    assert FIELD not in document(copy, "2025-11-15")


def test_redaction_replaces_the_new_field(copy: Path) -> None:
    shared = json.loads(run(copy, "-c", REDACT))["compute"][FIELD]
    assert shared == "00000000-0000-0000-0000-000000000001"


def test_pages_show_the_new_version_and_field(copy: Path) -> None:
    fields = (copy / "docs/know/fields.md").read_text()
    assert f"| `compute.{FIELD}` | {VERSION} |" in fields
    assert f"| `{VERSION}` | observed | S30;" in (copy / "docs/know/fidelity.md").read_text()
    assert f"| `newest_version` | `{VERSION}` |" in (copy / "docs/use/settings.md").read_text()


def test_golden_files_follow_and_older_ones_stay(copy: Path) -> None:
    old, new = ROOT / "tests/golden/instance", copy / "tests/golden/instance"
    (added,) = {path.name for path in new.iterdir()} - {path.name for path in old.iterdir()}
    assert json.loads((new / added).read_text())["compute"][FIELD]
    assert added == f"{VERSION}.json"
    assert all(path.read_bytes() == (new / path.name).read_bytes() for path in old.iterdir())


def test_tests_of_facts_and_goldens_pass_with_the_new_rows(copy: Path) -> None:
    printed = run(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/golden", "tests/unit/facts"
    )
    assert "passed" in printed
