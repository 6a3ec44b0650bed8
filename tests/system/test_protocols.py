"""Identity libraries take each way to a token, in the real process."""

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.system.process import Serving, clean_environment, run, serving

APP = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/app"
)
FLEET = {"vms": {"web-1": {"identities": {"system": True, "user": [APP]}}}}
ASK = """
import sys
from azure.identity import ManagedIdentityCredential

if len(sys.argv) > 1:
    from azure.identity._credentials import azure_arc
    import msal.managed_identity as msal_arc
    azure_arc._get_key_file_path = lambda: sys.argv[1]
    msal_arc._supported_arc_platforms_and_their_prefixes["linux"] = sys.argv[1]
options = {"identity_config": {"resource_id": sys.argv[2]}} if len(sys.argv) > 2 else {}
credential = ManagedIdentityCredential(**options)
print(credential.get_token("https://vault.azure.net/.default").token)
"""


def served(folder: Path) -> Any:
    (folder / "fleet.json").write_text(json.dumps(FLEET))
    arguments = ("--fleet", "fleet.json", "--state", str(folder / "st"), "--msi-v2")
    return serving(*arguments, "--arc-folder", str(folder / "tokens"), cwd=folder)


def variables(server: Serving, folder: Path, way: str) -> dict[str, str]:
    done = run(
        *("env", "--for", way, "--vm", "web-1", "--shell", "json", "--state", str(folder / "st")),
        cwd=folder,
        OPENIMDS_ADMIN=server.ready["admin"],
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def token(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(environment),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("way", ["imds", "app-service", "azure-ml", "cloud-shell"])
def test_a_library_finds_its_way(tmp_path: Path, way: str) -> None:
    with served(tmp_path) as server:
        found = variables(server, tmp_path, way)
        assert token(found).count(".") == 2
        code, said = server.stop()
    assert (code, said) == (0, "")


def test_a_library_answers_the_challenge_of_arc(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    with served(tmp_path) as server:
        found = variables(server, tmp_path, "arc")
        own = token(found, str(folder))
        chosen = token(found, str(folder), APP)
        assert own.count(".") == chosen.count(".") == 2
        assert own != chosen
        assert [*folder.iterdir()] == []
        code, said = server.stop()
    assert (code, said) == (0, "")


def test_a_secret_survives_a_restart_and_is_nobody_else_s(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        with served(tmp_path) as server:
            found.append(variables(server, tmp_path, "app-service")["IDENTITY_HEADER"])
            server.stop()
    assert found[0] == found[1]
    assert len(found[0]) == 64
    files = [path for path in (tmp_path / "st").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_version_2_gives_a_certificate(tmp_path: Path) -> None:
    csr = subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"),
            *("-keyout", str(tmp_path / "guest.pem"), "-outform", "DER"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    with served(tmp_path) as server:
        url = f"{server.url}/metadata/identity/issuecredential?cred-api-version=2.0"
        body = {"csr": b64encode(csr).decode(), "attestation_token": "t"}
        asked = Request(url, json.dumps(body).encode(), {"Metadata": "true"})
        with urlopen(asked, timeout=30) as got:
            said = json.load(got)
    assert said["identity_type"] == "SystemAssigned"
    assert said["certificate"].startswith("MII")
