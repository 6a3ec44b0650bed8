"""The import contracts of pyproject.toml, each broken on purpose in a copy of the package."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    row["id"]: row["name"]
    for row in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}
# For each contract: the module that gets a line, the line, and the import that is reported.
VIOLATIONS = {
    "rooms": ("facts/new.py", "import openimds.vm.types", "facts.new -> openimds.vm.types"),
    "circles": ("facts/refusal.py", "import openimds.facts.refusals", ".refusal -> .refusals"),
    "ground": ("errors.py", "import openimds.vm.types", "errors -> openimds.vm.types"),
    "private-files": ("private_files.py", "import openimds.vm.types", "private_files -> openimds"),
    "settings": ("settings.py", "import openimds.vm.types", "settings -> openimds.vm.types"),
    "log": ("log/new.py", "import openimds.settings", "log.new -> openimds.settings"),
    "vm": ("vm/new.py", "import openimds.settings", "vm.new -> openimds.settings"),
    "protocol": (
        "protocol/new.py",
        "import openimds.new_room",
        "protocol.new -> openimds.new_room",
    ),
    "index": (
        "fleet/index.py",
        "import openimds.fleet.store.port",
        "index -> openimds.fleet.store",
    ),
    "dataplane": ("dataplane/new.py", "import openimds.new_room", "new -> openimds.new_room"),
    "admin": ("admin/new.py", "import openimds.dataplane.observer", "new -> openimds.dataplane"),
    "linux": ("linux/new.py", "import openimds.new_room", "linux.new -> openimds.new_room"),
    "store": ("fleet/store/new.py", "import openimds.fleet.index", "new -> openimds.fleet.index"),
    "settings-readers": ("fleet/store/port.py", "import openimds.settings", "port -> openimds.set"),
    "pure": ("protocol/events/new.py", "import time", "protocol.events.new -> time"),
    "entra": ("linux/checks.py", "import azure.identity", "linux.checks -> azure"),
    "keys": ("new_room/keys.py", "import jwt", "new_room.keys -> jwt"),
    "database": ("new_room/database.py", "import sqlite3", "new_room.database -> sqlite3"),
    "postgres": ("new_room/postgres.py", "import psycopg", "new_room.postgres -> psycopg"),
    "http-server": ("new_room/web.py", "import starlette.routing", "new_room.web -> starlette"),
    "templates": ("admin/other.py", "import jinja2", "admin.other -> jinja2"),
    "parser": ("new_room/parser.py", "import httptools", "new_room.parser -> httptools"),
    "terminal": ("new_room/terminal.py", "import click", "new_room.terminal -> click"),
    "kernel": ("new_room/kernel.py", "import ctypes", "new_room.kernel -> ctypes"),
    "yaml": ("new_room/yaml.py", "import yaml", "new_room.yaml -> yaml"),
    "pytest": ("testing/imds.py", "import pytest", "testing.imds -> pytest"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report on a copy with every violation and a room without a layer."""
    copy = tmp_path_factory.mktemp("contracts")
    package = copy / "src" / "openimds"
    shutil.copytree(
        ROOT / "src" / "openimds", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (copy / "scripts").mkdir()
    for name in ("pyproject.toml", "scripts/import_contracts.py"):
        shutil.copy(ROOT / name, copy / name)
    (package / "new_room").mkdir()
    (package / "new_room" / "__init__.py").touch()
    for name, line, _ in VIOLATIONS.values():
        with (package / name).open("a") as module:
            module.write(f"{line}\n")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ]
    ran = subprocess.run(
        [*command, "--no-logo", "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{package.parent}:{copy}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


def test_each_contract_has_a_violation_here() -> None:
    assert VIOLATIONS.keys() == CONTRACTS.keys()


def section(report: str, key: str) -> str:
    """Return the lines of one broken contract."""
    _, details = report.split("Broken contracts", 1)
    begin = details.index(f"\n{CONTRACTS[key]}\n---")
    ends = [details.find(f"\n{name}\n---", begin + 1) for name in CONTRACTS.values()]
    return details[begin : min((end for end in ends if end > 0), default=len(details))]


@pytest.mark.parametrize("key", VIOLATIONS)
def test_a_broken_contract_names_the_import(report: str, key: str) -> None:
    assert VIOLATIONS[key][2] in section(report, key)


def test_a_room_without_a_layer_is_refused(report: str) -> None:
    assert "not listed as layers:\n\n- openimds.new_room" in section(report, "rooms")
