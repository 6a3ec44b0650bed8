"""`openimds identity`: assignments show in the next token of a running server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

GROUP = "/subscriptions/s/resourceGroups/Lab/providers"
CLIENT = "c0000000-0000-0000-0000-000000000001"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"


class IdentityLab:
    """A server with one VM, a guest of it, and its operator."""

    def __init__(self, server: Server, folder: Path, guest: httpx2.Client) -> None:
        self.server, self.folder, self.guest = server, folder, guest

    def identity(self, *arguments: str, fails: int = 0) -> tuple[str, str]:
        """Run `openimds identity`; return its stdout and its stderr."""
        got = run(
            "identity",
            *arguments,
            cwd=self.folder,
            **self.server.variables,
        )
        assert got.returncode == fails, got.stderr
        return got.stdout, got.stderr

    def token(self, more: str = "", status: int = 200) -> dict[str, Any]:
        """Request a token as a guest does; return the body."""
        got = self.guest.get(TOKEN + more)
        assert got.status_code == status, got.text
        body: dict[str, Any] = got.json()
        return body

    def text(self, more: str = "") -> str:
        """Return the token itself."""
        return str(self.token(more)["access_token"])

    def keys(self) -> set[str]:
        """Return the names of the published keys."""
        tenant = jwt.decode(self.text(), options={"verify_signature": False})["tid"]
        body = httpx2.get(f"{self.server.ready['public']}/{tenant}/discovery/keys").json()
        return {key["kid"] for key in body["keys"]}


@contextmanager
def a_lab(folder: Path, *flags: str) -> Iterator[IdentityLab]:
    (folder / "plain.yaml").write_text("vms: {vm-1: {}}")
    with (
        serving("--no-rate-limit", "--fleet", "plain.yaml", *flags, cwd=folder) as server,
        httpx2.Client(base_url=server.url, headers={"Metadata": "true"}) as guest,
    ):
        yield IdentityLab(server, folder, guest)


def test_identity_gives_tokens_from_assign_to_remove(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        refused = {"error": "invalid_request", "error_description": "Identity not found"}
        assert lab.token(status=400) == refused
        _, stderr = lab.identity("token", "vm-1", "--resource", "https://a", fails=1)
        assert stderr == (
            "openimds: vm-1 has no managed identity; type: openimds identity assign vm-1 --system\n"
        )
        printed, _ = lab.identity("assign", "vm-1", "--system", "--json")
        (system,) = json.loads(printed)
        assert lab.token()["client_id"] == system["clientId"]
        _, err = lab.identity("assign", "vm-1", "--user", APP, "--client-id", CLIENT)
        assert err == f"vm-1 has the identity {APP}, client id {CLIENT} (revision 3)\n"
        assert lab.token(f"&client_id={CLIENT}")["client_id"] == CLIENT
        assert lab.token("&msi_res_id=" + APP.lower())["client_id"] == CLIENT
        asked = ("token", "vm-1", "--resource", "https://vault.azure.net")
        assert lab.identity(*asked) == (f"{lab.text()}\n", "")
        printed, _ = lab.identity(*asked, "--user", APP, "--json")
        whole = lab.token(f"&client_id={CLIENT}")
        assert {**json.loads(printed), "expires_in": whole["expires_in"]} == whole
        rows = json.loads(lab.identity("list", "--json")[0])
        assert [(row["vm"], row["kind"]) for row in rows] == [("vm-1", "system"), ("vm-1", "user")]
        listed, _ = lab.identity("list", "--vm", "vm-1")
        assert listed.splitlines()[2].split("\t")[2] == CLIENT
        assert lab.identity("remove", "vm-1", "--user", APP)[1] == (
            f"vm-1 has lost the identity {APP} (revision 4)\n"
        )
        assert lab.token(f"&client_id={CLIENT}", status=400) == refused
        lab.identity("remove", "vm-1", "--system")
        assert lab.token(status=400) == refused
        _, err = lab.identity("remove", "vm-1", "--system", fails=1)
        assert err.startswith("openimds: vm-1 does not have the system-assigned identity; ")


@pytest.mark.parametrize("flags, is_kept", [([], True), (["--forget-tokens"], False)])
def test_cached_token_outlives_its_identity_as_on_azure(
    tmp_path: Path, flags: list[str], is_kept: bool
) -> None:
    with a_lab(tmp_path, *flags) as lab:
        lab.identity("assign", "vm-1", "--system")
        first = lab.text()
        assert lab.text() == first
        lab.identity("remove", "vm-1", "--system")
        lab.token(status=400)
        lab.identity("assign", "vm-1", "--system")
        assert (lab.text() == first) is is_kept


def test_concurrent_assignments_are_all_kept(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab, ThreadPoolExecutor(4) as pool:
        names = [f"{APP}-{number}" for number in range(4)]
        list(pool.map(lambda name: lab.identity("assign", "vm-1", "--user", name), names))
        rows = json.loads(lab.identity("list", "--json")[0])
        assert {row["resourceId"] for row in rows} == {*names}


def test_forged_source_gives_bad_tokens_and_a_warning(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        lab.identity("assign", "vm-1", "--system")
        good = lab.text()
        lab.identity("assign", "vm-1", "--system", "--source", "forge:expired")
        bad = jwt.decode(lab.text(), options={"verify_signature": False})
        assert bad["exp"] < jwt.decode(good, options={"verify_signature": False})["iat"]
        listed, err = lab.identity("list")
        assert "forge:expired" in listed
        assert err == "1 of these give forged tokens: see the column SOURCE\n"
        lab.identity("assign", "vm-1", "--system", "--source", "local")
        assert lab.text() == good
        _, err = lab.identity("assign", "vm-1", "--system", "--source", "forge:x", fails=1)
        assert "vms.vm-1.identities.details.system.source" in err


def test_rotated_key_signs_and_the_old_one_stays_published(tmp_path: Path) -> None:
    with a_lab(tmp_path, "--state", "lab") as lab:
        lab.identity("assign", "vm-1", "--system")
        old = jwt.get_unverified_header(lab.text())["kid"]
        printed, _ = lab.identity("rotate", "--json")
        new, before = json.loads(printed)
        assert (new["retired"], before["kid"]) == (None, old)
        assert jwt.get_unverified_header(lab.text())["kid"] == old
        fresh = lab.text("&bypass_cache=true")
        assert jwt.get_unverified_header(fresh)["kid"] == new["kid"]
        assert lab.keys() == {old, new["kid"]}
        listed = (tmp_path / "lab" / "keys" / "keyring.json").read_text()
        assert [row["kid"] for row in json.loads(listed)["keys"]] == [new["kid"], old]


def test_source_entra_without_a_setting_names_the_setting(tmp_path: Path) -> None:
    fleet = {"vms": {"vm-1": {"identities": {"system": True, "source": "entra"}}}}
    (tmp_path / "fleet.json").write_text(json.dumps(fleet))
    with a_lab(tmp_path, "--fleet", "fleet.json") as lab:
        for _ in range(2):
            assert lab.token(status=500)["error"] == "unknown"
        code, err = lab.server.stop()
    assert code == 0
    assert err.count("Set entra to federation, service-principal or az") == 1


def test_issuer_that_entra_cannot_fetch_from_is_a_warning(tmp_path: Path) -> None:
    with a_lab(tmp_path, "--entra", "federation", "--issuer", "public") as lab:
        public = lab.server.ready["public"]
        _, err = lab.server.stop()
    assert f"Entra rejects tokens of the issuer {public}: it fetches" in err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--entra", "x"], '--entra: saw "x", expected one of federation, service-principal, az'),
        (["--entra", "federation"], 'entra: saw "federation" with the issuer azure, expected an'),
        (
            ["--entra", "federation", "--issuer", "public", "--public", "none"],
            'entra: saw "federation" with the issuer public without a public',
        ),
        (["--entra", "service-principal"], 'entra: saw "service-principal" without AZURE_TENANT'),
    ],
)
def test_unusable_entra_setting_stops_the_start(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    got = run("serve", "--listen", "127.0.0.1:0", "--admin", "none", *flags, cwd=tmp_path)
    assert got.returncode == 2
    assert got.stderr.startswith(f"openimds: {message}")
