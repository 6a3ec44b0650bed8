"""An installation by pip beside a checkout, with nothing but what the package requires."""

import json
from pathlib import Path

import pytest

from tests.package.resolutions import ROOT
from tests.package.user import User

TRUSTED = "vms: {web-1: {identities: {system: true}}}\n"
ENTRA = "vms: {web-1: {identities: {system: true, source: entra}}}\n"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
VISIT = f"""
import json, sys, urllib.request
def get(path):
    request = urllib.request.Request(sys.argv[1] + path, headers={{"Metadata": "true"}})
    with urllib.request.urlopen(request, timeout=10) as got:
        return json.load(got)
compute = get("/metadata/instance/compute?api-version=2021-02-01")
print(compute["name"])
print(get("{TOKEN}")["token_type"])
open("document", "w").write(json.dumps(get("{ATTESTED}")))
print(len(get("/metadata/scheduledevents?api-version=2020-07-01")["Events"]))
"""
OLD_PYTEST = "pytest==7.4.4"


def test_no_package_of_an_extra_is_installed(plain: User) -> None:
    listed = plain.prints(plain.python, "-m", "pip", "list", "--format", "json")
    names = {row["name"].lower() for row in json.loads(listed)}
    assert "openimds" in names
    assert not names & {"azure-identity", "msal", "pytest", "requests"}


def test_everything_of_the_core_works_without_extras(plain: User) -> None:
    (plain.home / "fleet.yaml").write_text(TRUSTED)
    command = ("openimds", "serve", "--fleet", "fleet.yaml", "--record", "100", "--no-rate-limit")
    with plain.serving(*command) as ready:
        found = {"OPENIMDS_ADMIN": ready["admin"], "OPENIMDS_TOKEN_FILE": ready["token_file"]}

        def types(*words: str) -> str:
            return plain.prints("openimds", *words, **found)

        types("event", "schedule", "Reboot", "--vm", "web-1", "--in", "600")
        visited = plain.prints(plain.python, "-c", VISIT, ready["imds"])
        assert visited.splitlines() == ["web-1", "Bearer", "1"]
        (plain.home / "bundle.pem").write_text(types("attest", "ca"))
        assert "signature" in types("attest", "verify", "document", "--trust", "bundle.pem")
        assert json.loads(types("vm", "list", "--json"))[0]["name"] == "web-1"
        types("fault", "set", "throttled")
        assert "throttled" in types("fault", "list")
        types("fault", "clear")
        assert json.loads(types("requests", "--json"))
        assert types("identity", "list")
        types("capture", "--url", ready["imds"], "--per-s", "1000", "--output", "captured.json")
        assert (plain.home / "captured.json").stat().st_size


@pytest.mark.parametrize(
    "settings, fleet, extra",
    [
        (("--entra", "az"), ENTRA, "entra"),
    ],
)
def test_feature_of_a_missing_extra_says_what_to_type(
    plain: User, settings: tuple[str, ...], fleet: str, extra: str
) -> None:
    (plain.home / "fleet.yaml").write_text(fleet)
    ran = plain.run("openimds", "serve", "--fleet", "fleet.yaml", "--listen", ":0", *settings)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert f"Type pip install './openimds[{extra}]' beside a checkout" in line


def test_extra_test_brings_the_plugin_and_requests(tester: User, tmp_path: Path) -> None:
    (tmp_path / "test_region.py").write_text(_example())
    printed = tester.prints("pytest", "-q", "test_region.py", cwd=tmp_path)
    assert "1 passed" in printed


def _example() -> str:
    """Return the test that the README shows."""
    text = (ROOT / "README.md").read_text()
    (example,) = [
        block.partition("```")[0]
        for block in text.split("```python\n")[1:]
        if block.startswith("# test_region.py")
    ]
    return example


def test_older_pytest_of_a_project_is_not_disturbed(plain: User, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    pip = (plain.python, "-m", "pip", "install", "--quiet", "--target", str(folder), OLD_PYTEST)
    plain.prints(*pip)
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    ran = plain.prints(plain.python, "-m", "pytest", cwd=tmp_path, PYTHONPATH=str(folder))
    assert "1 passed" in ran
