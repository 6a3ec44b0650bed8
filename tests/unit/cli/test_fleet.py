"""`openimds fleet` on files of this test."""

import json
from pathlib import Path

import pytest

from openimds.cli.fleet import command
from openimds.fleet.file_schema import file_schema
from tests.unit.cli.runner import CliRunner

GOOD = """vms: {web-1: {compute: {vmSize: Standard_B2s}}, web-2: {}}
faults: [{effect: delay, delayS: 1}]
"""
MISSPELLED = "vms: {web-1: {compute: {vmsize: Standard_B2s}}}\n"
SHARED = "vms: {a: {reach: {address: [10.0.0.1]}}, b: {reach: {address: [10.0.0.1]}}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("good", GOOD), ("misspelled", MISSPELLED), ("shared", SHARED)):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_good_file_is_counted() -> None:
    got = CliRunner().invoke(command, ["check", "good.yaml"])
    assert (got.exit_code, got.stdout) == (0, "good.yaml: 2 VMs, 1 fault\n")


def test_each_bad_file_is_named_with_its_mistake() -> None:
    words = ["check", "misspelled.yaml", "good.yaml", "shared.yaml", "none.yaml"]
    got = CliRunner().invoke(command, words)
    assert got.exit_code == 2
    assert got.stdout == "good.yaml: 2 VMs, 1 fault\n"
    first, second, third = got.stderr.splitlines()
    assert first.startswith(
        'openimds: misspelled.yaml: vms.web-1.compute: saw unknown key "vmsize"'
    )
    assert 'Did you mean "vmSize"?' in first
    assert second.startswith("openimds: shared.yaml: vms.b.reach.address: saw 10.0.0.1, which is")
    assert third.startswith("openimds: none.yaml: saw no such file")


def test_json_has_an_object_for_each_file() -> None:
    got = CliRunner().invoke(command, ["check", "--json", "good.yaml", "misspelled.yaml"])
    assert got.exit_code == 2
    good, bad = json.loads(got.stdout)
    assert good == {"file": "good.yaml", "vms": 2, "events": 0, "faults": 1}
    assert bad.keys() == {"file", "error"}


def test_folder_is_one_fleet(folder: Path) -> None:
    (folder / "fleet").mkdir()
    for name in ("a", "b"):
        (folder / "fleet" / f"{name}.yaml").write_text(f"vms: {{{name}: {{}}}}\n")
    got = CliRunner().invoke(command, ["check", "fleet"])
    assert (got.exit_code, got.stdout) == (0, "fleet: 2 VMs\n")


def test_schema_is_printed_as_json() -> None:
    got = CliRunner().invoke(command, ["schema"])
    assert json.loads(got.stdout) == json.loads(json.dumps(file_schema()))
