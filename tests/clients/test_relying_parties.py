"""Relying parties that discover the issuer of a token: Authlib and openid-client, unmodified.

The public listener stands behind a URL with a path, as behind a proxy that keeps it.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.fleet import BOTH, SYSTEM_IDS, TENANT, VAULT
from tests.clients.kits import KITS, NODE_MODULES, tool
from tests.clients.pins import npm
from tests.clients.private_server import (
    JS,
    PROGRAMS,
    REDIRECTED,
    CasesRun,
    PrivateServer,
    private_server,
)

pytestmark = [pytest.mark.system, pytest.mark.netns]

OURS = "api://5e000000-0000-4000-8000-0000000000aa"
PUBLIC = "127.0.0.1:8171"
BASE = f"http://{PUBLIC}/idp/v1"
COMMANDS = {
    "Python Authlib": [sys.executable, "-P", str(PROGRAMS / "authlib_verifier.py")],
    "JavaScript openid-client": [tool("node"), str(JS / "openid-client.mjs")],
}
CLIENTS = [
    pytest.param(client, marks=pytest.mark.client(client), id=client.partition(" ")[2])
    for client in COMMANDS
]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server whose tokens name its public URL, which has a path, as their issuer."""
    folder = tmp_path_factory.mktemp("issuer")
    own = ("--issuer", "public", "--public", PUBLIC, "--public-url", f"{BASE}/")
    fleet = {"vms": {"web-1": BOTH}}
    with private_server(fleet, *own, "--v2-resources", OURS, at=REDIRECTED, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


def verified(server: PrivateServer, client: str, *cases: dict[str, Any]) -> CasesRun:
    """Run a relying party for these issuers and resources."""
    asked = [{"imds": f"http://{REDIRECTED}", **case} for case in cases]
    variables = {"NO_PROXY": "127.0.0.1"} | KITS[client.partition(" ")[0]].variables()
    return server.run(COMMANDS[client], asked, **variables)


@pytest.mark.client("JavaScript openid-client")
def test_installed_openid_client_is_the_pinned_one() -> None:
    manifest = (NODE_MODULES / "openid-client" / "package.json").read_text()
    assert f'"version": "{npm("openid-client")}"' in manifest


@pytest.mark.parametrize("client", CLIENTS)
def test_issuer_of_a_token_is_discovered_and_verifies_it(
    issuer: PrivateServer, client: str
) -> None:
    first = {"issuer": f"{BASE}/{TENANT}/", "resource": VAULT, "audience": VAULT}
    # A token of version 2.0 names its audience by the bare id.
    bare = OURS.removeprefix("api://")
    second = {"issuer": f"{BASE}/{TENANT}/v2.0", "resource": OURS, "audience": bare}
    ran = verified(issuer, client, first, second)
    for result, case in zip(ran.results, (first, second), strict=True):
        assert result["metadata"]["issuer"] == result["claims"]["iss"] == case["issuer"]
        assert result["metadata"]["token_endpoint"].startswith(f"{BASE}/{TENANT}/oauth2/")
        assert result["claims"]["aud"] == case["audience"]
        assert result["claims"]["oid"] == SYSTEM_IDS.principal
    assert ran.moved == {"requests token 200": 2}


@pytest.mark.client("JavaScript openid-client")
def test_openid_client_refuses_the_blank_tenant(issuer: PrivateServer) -> None:
    # It makes an exception for Entra's own host only.
    ran = verified(
        issuer,
        "JavaScript openid-client",
        {"issuer": f"{BASE}/common/v2.0", "resource": VAULT, "audience": VAULT},
    )
    assert ran.results[0]["error"] == "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED"
    assert ran.moved == {}
