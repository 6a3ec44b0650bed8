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


def test_vm_show_prints_the_document_of_the_guest(fleet: Path) -> None:
    shown = run("vm", "show", "web-1", "--fleet", "fleet.yaml", cwd=fleet)
    compact = run("vm", "show", "web-1", "--fleet", "fleet.yaml", "--json", cwd=fleet)
    assert json.loads(shown.stdout) == json.loads(compact.stdout)
    assert json.loads(shown.stdout)["compute"]["physicalZone"] == "westeurope-az1"
    assert shown.stdout.count("\n") > 50
    assert compact.stdout.count("\n") == 1


def test_vm_show_prints_the_document_at_an_api_version(fleet: Path) -> None:
    got = run(
        "vm", "show", "web-1", "--api-version", "2017-03-01", cwd=fleet, OPENIMDS_FLEET="fleet.yaml"
    )
    nic = json.loads(got.stdout)["network"]["interface"][0]
    assert sorted(nic) == ["ipv4", "ipv6", "mac"]


@pytest.mark.parametrize(
    "arguments, message",
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
def test_vm_show_of_an_unknown_name_or_version_is_refused(
    fleet: Path, arguments: list[str], message: str
) -> None:
    got = run("vm", "show", *arguments, "--fleet", "fleet.yaml", cwd=fleet)
    assert (got.returncode, got.stdout, got.stderr) == (2, "", f"openimds: {message}\n")


def test_env_can_be_evaluated_by_a_shell(tmp_path: Path) -> None:
    printed, unset = (run("env", *more, cwd=tmp_path).stdout for more in ((), ("--unset",)))
    show = 'printf "%s %s;" "$AZURE_POD_IDENTITY_AUTHORITY_HOST" "$AZURE_TOKEN_CREDENTIALS"'
    got = subprocess.run(
        ["sh", "-ec", f"{printed}\n{show}\n{unset}\n{show}"],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment({}),
    )
    assert got.stdout == f"{URL} ManagedIdentityCredential; ;"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("--for", "imsd"), '--for: saw "imsd". Did you mean "imds"? Expected one of '),
        (("--url", "imds:8169"), "--url: saw"),
    ],
)
def test_env_refuses_bad_input_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    got = run("env", *arguments, cwd=tmp_path)
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr.startswith(f"openimds: {says}")
    assert got.stderr.count("\n") == 1


def test_env_shell_json_prints_json(tmp_path: Path) -> None:
    got = run("env", "--shell", "json", "--listen", "[::1]:99", cwd=tmp_path)
    assert json.loads(got.stdout)["OPENIMDS_URL"] == "http://[::1]:99"


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
