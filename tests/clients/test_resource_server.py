"""A resource server with PyJWT accepts good tokens of the server, no forged one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from openimds.credentials.keys.keyring import Keyring
from tests.clients.fleet import APP, APP_IDS, SYSTEM_IDS, TENANT, a_vm
from tests.clients.programs.pyjwt_verifier import ResourceServer
from tests.clients.verdicts import PYJWT
from tests.system.process import Server, serving

pytestmark = [pytest.mark.system, pytest.mark.client("Python PyJWT")]

VAULT = "https://vault.azure.net"
OURS = "api://5e000000-0000-4000-8000-0000000000aa"
"""A resource whose tokens are of version 2.0."""
SOURCES = ["local", *PYJWT]
WELL_KNOWN = ".well-known/openid-configuration"


def source_address(source: str) -> str:
    """Return the source address of the VM with this source of tokens."""
    return f"127.0.1.{SOURCES.index(source) + 1}"


def fleet() -> dict[str, Any]:
    """Return a VM for each source of tokens."""
    return {
        "vms": {
            f"vm-{number}": {
                **a_vm(APP, system=True, source=source),
                "reach": {"address": [source_address(source)]},
            }
            for number, source in enumerate(SOURCES)
        }
    }


@contextmanager
def tenant(folder: Path, *arguments: str) -> Iterator[Server]:
    """Serve the fleet."""
    (folder / "fleet.json").write_text(json.dumps(fleet()))
    shared = ("--fleet", "fleet.json", "--public", "127.0.0.1:0", "--v2-resources", OURS)
    with serving(*shared, *arguments, cwd=folder) as server:
        yield server


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tokens name Azure as their issuer."""
    with tenant(tmp_path_factory.mktemp("azure")) as server:
        yield server
        assert server.stop() == (0, "")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tokens name its own discovery."""
    with tenant(tmp_path_factory.mktemp("public"), "--issuer", "public") as server:
        yield server
        assert server.stop() == (0, "")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no proxy for loopback."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def token(server: Server, source: str = "local", resource: str = VAULT, **more: str) -> str:
    """Return the token of a VM, with a check of the counter."""
    params = {"api-version": "2018-02-01", "resource": resource, **more}
    transport = httpx2.HTTPTransport(local_address=source_address(source))
    before = issued(server)
    # The first token of a forgery makes a key, in a thread that steps back on a busy machine.
    headers = {"Metadata": "true"}
    with httpx2.Client(transport=transport, headers=headers, timeout=60) as vm:
        got = vm.get(f"{server.url}/metadata/identity/oauth2/token", params=params)
    assert got.status_code == 200, got.text
    assert issued(server) == before + 1
    return str(got.json()["access_token"])


def issued(server: Server) -> float:
    """Return the number of issued tokens."""
    label = 'openimds_requests_total{endpoint="token",status="200"} '
    text = httpx2.get(f"{server.ready['admin']}/metrics").text
    return sum(float(line[len(label) :]) for line in text.splitlines() if line.startswith(label))


def discovery(server: Server, version: str = "") -> str:
    """Return the URL of the discovery document."""
    return f"{server.ready['public']}/{TENANT}/{version}{WELL_KNOWN}"


def test_version_1_token_is_accepted(azure: Server) -> None:
    claims = ResourceServer(discovery(azure), VAULT).accept(token(azure))
    assert (claims["ver"], claims["iss"]) == ("1.0", f"https://sts.windows.net/{TENANT}/")
    assert (claims["appid"], claims["oid"]) == (SYSTEM_IDS.client, SYSTEM_IDS.principal)


def test_version_2_token_is_accepted_by_its_own_discovery(azure: Server) -> None:
    given = token(azure, resource=OURS, client_id=APP_IDS.client)
    claims = ResourceServer(discovery(azure, "v2.0/"), OURS.removeprefix("api://")).accept(given)
    issuer = f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert (claims["ver"], claims["iss"], claims["azp"]) == ("2.0", issuer, APP_IDS.client)
    with pytest.raises(jwt.InvalidIssuerError):
        ResourceServer(discovery(azure), OURS.removeprefix("api://")).accept(given)


@pytest.mark.parametrize("resource", [VAULT, OURS], ids=["v1", "v2"])
@pytest.mark.parametrize("source, verdict", PYJWT.items(), ids=list(PYJWT))
def test_forged_token_is_refused_with_its_error(
    azure: Server, source: str, verdict: str, resource: str
) -> None:
    version = "v2.0/" if resource == OURS else ""
    server = ResourceServer(discovery(azure, version), resource.removeprefix("api://"))
    with pytest.raises(jwt.PyJWTError) as refused:
        server.accept(token(azure, source, resource))
    assert type(refused.value).__name__ == verdict
    # The same server accepts the token of another VM.
    assert server.accept(token(azure, resource=resource))["oid"] == SYSTEM_IDS.principal


def test_token_of_another_audience_is_refused(azure: Server) -> None:
    with pytest.raises(jwt.InvalidAudienceError):
        ResourceServer(discovery(azure), "https://storage.azure.com").accept(token(azure))


@pytest.mark.parametrize("resource, version", [(VAULT, "1.0"), (OURS, "2.0")])
def test_issuer_of_a_token_leads_to_its_discovery(
    public: Server, resource: str, version: str
) -> None:
    given = token(public, resource=resource)
    # This server knows only the issuer, by its configuration.
    issuer = jwt.decode(given, options={"verify_signature": False})["iss"]
    assert issuer.startswith(f"{public.ready['public']}/{TENANT}/")
    server = ResourceServer(f"{issuer.rstrip('/')}/{WELL_KNOWN}", resource.removeprefix("api://"))
    assert server.document["issuer"] == issuer
    assert server.accept(given)["ver"] == version


def test_rotated_key_is_found_and_the_old_one_still_accepted(tmp_path: Path) -> None:
    with tenant(tmp_path) as server:
        resource_server = ResourceServer(discovery(server), VAULT)
        old = token(server)
        assert resource_server.accept(old)["oid"] == SYSTEM_IDS.principal
        rotated = httpx2.post(f"{server.ready['admin']}/v1/keys", headers=server.authorization)
        assert rotated.status_code == 200
        new = token(server, bypass_cache="true")
        assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old)["kid"]
        for given in (new, old):
            assert resource_server.accept(given)["oid"] == SYSTEM_IDS.principal


def test_rotation_between_two_runs_keeps_old_tokens_valid(tmp_path: Path) -> None:
    kept = ("--state", "kept", "--issuer", "https://issuer.example")
    with tenant(tmp_path, *kept) as server:
        resource_server = ResourceServer(discovery(server), VAULT)
        old = token(server)
        claims = resource_server.accept(old)
        assert server.stop() == (0, "")
    Keyring.open(tmp_path / "kept" / "keys").rotate(claims["iat"])
    with tenant(tmp_path, *kept) as server:
        resource_server.keys.uri = ResourceServer(discovery(server), VAULT).keys.uri
        new = token(server)
        kids = [jwt.get_unverified_header(text)["kid"] for text in (old, new)]
        # It still has the old keys, and looks for the unknown one.
        assert resource_server.accept(new)["oid"] == claims["oid"]
        assert resource_server.accept(old) == claims
        fresh = ResourceServer(discovery(server), VAULT)
        assert fresh.accept(old) == claims
        assert sorted(key.key_id or "" for key in fresh.keys.get_signing_keys()) == sorted(kids)
    assert kids[0] != kids[1]
