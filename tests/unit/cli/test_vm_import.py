"""`openimds vm import`: files, their bytes, and the lines about their values."""

import json
from pathlib import Path

import pytest

from openimds.cli import vm
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner

VM = {
    "name": "one",
    "type": "Microsoft.Compute/virtualMachines",
    "hardwareProfile": {"vmSize": "Standard_B1s"},
}
TEMPLATE = {
    "contentVersion": "1.0.0.0",
    "resources": [
        {
            "type": "Microsoft.Compute/virtualMachines",
            "name": "[concat('vm', uniqueString('a'))]",
            "location": "[resourceGroup().location]",
            "zones": ["[newGuid()]"],
        }
    ],
}


def _import(*arguments: object) -> tuple[int, str, str]:
    got = CliRunner().invoke(vm.command, ["import", "--dry-run", *map(str, arguments)])
    error = str(got.exception) if isinstance(got.exception, ConfigError) else ""
    return got.exit_code, got.stdout, got.stderr + error


def test_output_in_utf_16_is_read(tmp_path: Path) -> None:
    file = tmp_path / "vm.json"
    file.write_bytes(json.dumps(VM).encode("utf-16"))
    code, printed, _ = _import(file)
    assert code == 0
    assert json.loads(printed)["vms"]["one"] == {"compute": {"vmSize": "Standard_B1s"}}


def test_file_of_more_than_the_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm, "_LARGEST_IMPORT", 10**6)
    file = tmp_path / "vm.json"
    file.write_bytes(b" " * 10**6)
    assert "more than" not in _import(file)[2]
    file.write_bytes(b" " * (10**6 + 1))
    code, _, err = _import(file)
    assert code != 0
    assert f"{file}: saw more than 1 MB, expected a file of at most 1 MB" in err


def test_bound_of_a_file_is_100_mb() -> None:
    assert vm._LARGEST_IMPORT == 100_000_000


def test_source_of_a_template_names_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "main.bicep"
    file.write_text("param a string\nresource vm 'Microsoft.Compute/x@2023' = {\n}\n")
    code, _, err = _import(file)
    assert code != 0
    assert "It looks like Bicep: import the output of az bicep build" in err


COMMENTED = """\
// made by hand
{
  "name": "one", /* the "name" of
  the VM */ "type": "Microsoft.Compute/virtualMachines",
  "licenseType": "a // b /* c */ \\" d",
  "plan": {"name": "two
lines"}
}
"""


def test_comments_and_lines_of_a_template_are_read(tmp_path: Path) -> None:
    file = tmp_path / "main.json"
    file.write_text(COMMENTED)
    code, printed, _ = _import(file)
    assert code == 0
    assert json.loads(printed)["vms"]["one"]["compute"] == {
        "licenseType": 'a // b /* c */ " d',
        "plan": {"name": "two\nlines"},
    }


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a": "x', "{// no end", '{"a": 1} // b\n}'])
def test_broken_json_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "main.json"
    file.write_text(text)
    code, _, err = _import(file)
    assert code != 0
    assert err.endswith("expected JSON text")


def test_broken_xml_names_its_file(tmp_path: Path) -> None:
    file = tmp_path / "web.xml"
    file.write_text("<domain>")
    assert f"{file}: top level: saw XML that is broken" in _import(file)[2]


def test_values_that_were_not_taken_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "main.json"
    file.write_text(json.dumps(TEMPLATE))
    code, printed, err = _import(file)
    assert (code, printed) == (3, "")
    name, *_ = err.partition(":")
    lines = [line.removeprefix(f"{name}: ") for line in err.splitlines()]
    assert lines == [
        "resources[0].name holds a stand-in for uniqueString() or guid(): Azure makes another",
        (
            "resources[0].zones[0] could not be read: [newGuid()]: newGuid(): only the deployment "
            "knows it"
        ),
        (
            "resources[0].location could not be read: [resourceGroup().location]: "
            "resourceGroup().location needs --location"
        ),
        (
            "openimds: 2 values could not be read, and nothing was imported. "
            "Give what is missing, or --partial to import without"
        ),
    ]
    code, printed, _ = _import(file, "--partial", "--location", "westus")
    assert code == 0
    assert json.loads(printed)["vms"][name] == {"compute": {"location": "westus"}}


def test_long_expression_is_shortened(tmp_path: Path) -> None:
    template = json.loads(json.dumps(TEMPLATE))
    template["resources"][0] |= {"name": "a", "location": f"[newGuid('{'x' * 300}')]", "zones": []}
    file = tmp_path / "main.json"
    file.write_text(json.dumps(template))
    line = _import(file)[2].splitlines()[0]
    assert f"[newGuid('{'x' * 190}…: newGuid(): only" in line
