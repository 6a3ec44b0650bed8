"""Identity libraries get tokens by each protocol of the real process."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.system.process import Server, clean_environment, run, serving

pytestmark = pytest.mark.system

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


def serving_protocols(folder: Path) -> AbstractContextManager[Server]:
    (folder / "fleet.json").write_text(json.dumps(FLEET))
    arguments = ("--fleet", "fleet.json", "--state", str(folder / "st"), "--msi-v2")
    return serving(
        *arguments, "--arc-folder", str(folder / "tokens"), "--no-rate-limit", cwd=folder
    )


def variables(server: Server, folder: Path, protocol: str) -> dict[str, str]:
    done = run(
        *(
            "env",
            "--for",
            protocol,
            "--vm",
            "web-1",
            "--shell",
            "json",
            "--state",
            str(folder / "st"),
        ),
        cwd=folder,
        OPENIMDS_ADMIN=server.ready["admin"],
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, str] = json.loads(done.stdout)
    return printed


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("protocols")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with every protocol, which prints nothing and ends well."""
    with serving_protocols(folder) as server:
        yield server
        assert server.stop() == (0, "")


@pytest.mark.parametrize("protocol", ["imds", "app-service", "azure-ml", "cloud-shell"])
def test_library_gets_a_token_by_each_protocol(server: Server, folder: Path, protocol: str) -> None:
    assert token(variables(server, folder, protocol)).count(".") == 2


def test_library_answers_the_challenge_of_arc(server: Server, folder: Path) -> None:
    pytest.importorskip("msal.managed_identity", reason="msal before 1.29 knows no Arc")
    tokens = folder / "tokens"
    environment = variables(server, folder, "arc")
    own = token(environment, str(tokens))
    chosen = token(environment, str(tokens), APP)
    assert own.count(".") == chosen.count(".") == 2
    assert own != chosen
    assert [*tokens.iterdir()] == []


def test_secret_is_private_and_survives_a_restart(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        with serving_protocols(tmp_path) as server:
            secrets.append(variables(server, tmp_path, "app-service")["IDENTITY_HEADER"])
            server.stop()
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 64
    files = [path for path in (tmp_path / "st").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_msi_v2_gives_a_certificate(server: Server, tmp_path: Path) -> None:
    csr = subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"),
            *("-keyout", str(tmp_path / "guest.pem"), "-outform", "DER"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    url = f"{server.url}/metadata/identity/issuecredential?cred-api-version=2.0"
    body = {"csr": b64encode(csr).decode(), "attestation_token": "t"}
    request = Request(url, json.dumps(body).encode(), {"Metadata": "true"})
    with urlopen(request, timeout=30) as got:
        credential = json.load(got)
    assert credential["identity_type"] == "SystemAssigned"
    assert credential["certificate"].startswith("MII")
