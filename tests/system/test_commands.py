"""The commands that need no server."""

import json
import subprocess
from pathlib import Path

import pytest

from openimds.facts.versions import catalog
from tests.system.process import clean_environment, run

pytestmark = pytest.mark.system

FLEET = "vms: {web-1: {compute: {zone: '1'}}, db: {classic: true}}"
URL = "http://127.0.0.1:8169"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def test_a_vm_is_shown_as_a_guest_gets_it(fleet: Path) -> None:
    shown = run("vm", "show", "web-1", "--fleet", "fleet.yaml", cwd=fleet)
    compact = run("vm", "show", "web-1", "--fleet", "fleet.yaml", "--json", cwd=fleet)
    assert json.loads(shown.stdout) == json.loads(compact.stdout)
    assert json.loads(shown.stdout)["compute"]["physicalZone"] == "westeurope-az1"
    assert shown.stdout.count("\n") > 50
    assert compact.stdout.count("\n") == 1


def test_a_vm_is_shown_at_an_api_version(fleet: Path) -> None:
    got = run(
        "vm", "show", "web-1", "--api-version", "2017-03-01", cwd=fleet, OPENIMDS_FLEET="fleet.yaml"
    )
    nic = json.loads(got.stdout)["network"]["interface"][0]
    assert sorted(nic) == ["ipv4", "ipv6", "mac"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["web-2"], 'NAME: saw "web-2". Did you mean "web-1"? Expected one of web-1, db'),
        (
            ["db", "--api-version", "2020-01-01"],
            (
                '--api-version: saw "2020-01-01", expected an api-version such as '
                + ", ".join(catalog().newest_first)
            ),
        ),
    ],
)
def test_what_cannot_be_shown_is_said(fleet: Path, arguments: list[str], said: str) -> None:
    got = run("vm", "show", *arguments, "--fleet", "fleet.yaml", cwd=fleet)
    assert (got.returncode, got.stdout, got.stderr) == (2, "", f"openimds: {said}\n")


def test_env_is_for_a_shell_to_evaluate(tmp_path: Path) -> None:
    printed = run("env", cwd=tmp_path).stdout
    got = subprocess.run(
        ["sh", "-c", f'{printed}\nprintf %s "$AZURE_POD_IDENTITY_AUTHORITY_HOST"'],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment({}),
    )
    assert got.stdout == URL


def test_env_is_json_when_asked(tmp_path: Path) -> None:
    got = run("env", "--shell", "json", "--listen", "[::1]:99", cwd=tmp_path)
    assert set(json.loads(got.stdout).values()) == {"http://[::1]:99"}


def test_env_of_a_socket_file_is_refused(tmp_path: Path) -> None:
    got = run("env", "--listen", "unix:/run/x", cwd=tmp_path)
    assert got.returncode == 2
    assert (
        got.stderr == "openimds: listen: saw unix:/run/x, expected HOST:PORT: clients take a URL\n"
    )


def test_help_names_every_setting_with_its_variable(tmp_path: Path) -> None:
    from openimds.settings import SETTINGS

    text = run("serve", "--help", cwd=tmp_path).stdout
    for row in SETTINGS:
        assert row.flag in text
        assert row.variable in text
