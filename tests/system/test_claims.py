"""Own claims in tokens of the real process: roles, groups, and the setting for others."""

import json
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

ROLES = """\
# Application roles and groups in a token of the system-assigned identity.
vms:
  web-1: {identities: {system: true, details: {system: {roles: [Task.Read.All], \
groups: [33333333-3333-4333-8333-333333333333]}}}}
"""
UNSAFE = "vms: {web-1: {identities: {system: true, details: {system: {claims: {ver: '9', x: 1}}}}}}"
VAULT = "https://vault.azure.net"
TOKEN = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={VAULT}"


def token_claims(server: Server) -> dict[str, Any]:
    """Return the claims of a token that verifies by the published keys."""
    token = httpx2.get(server.url + TOKEN, headers={"Metadata": "true"}).json()["access_token"]
    tenant = jwt.decode(token, options={"verify_signature": False})["tid"]
    keys = httpx2.get(f"{server.ready['public']}/{tenant}/discovery/keys").json()
    (key,) = jwt.PyJWKSet.from_dict(keys).keys
    claims: dict[str, Any] = jwt.decode(token, key, ["RS256"], audience=VAULT)
    return claims


def test_roles_and_groups_of_a_file_are_in_the_token(tmp_path: Path) -> None:
    (tmp_path / "token-roles.yaml").write_text(ROLES)
    with serving("--fleet", "token-roles.yaml", cwd=tmp_path) as server:
        claims = token_claims(server)
        assert claims["roles"] == ["Task.Read.All"]
        assert claims["groups"] == ["33333333-3333-4333-8333-333333333333"]
        # A change takes effect with the next token, though the old one is cached.
        assigned = run(
            *("identity", "assign", "web-1", "--system", "--role", "Task.Write"),
            *("--claim", "level=3", "--json"),
            cwd=tmp_path,
            **server.variables,
        )
        (identity,) = json.loads(assigned.stdout)
        assert identity["claims"] == {"level": 3, "roles": ["Task.Write"]} | {
            "groups": claims["groups"]
        }
        claims = token_claims(server)
        assert (claims["roles"], claims["level"]) == (["Task.Write"], 3)


def test_claim_of_the_protocol_needs_the_flag(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(UNSAFE)
    refused = run("serve", "--fleet", "fleet.yaml", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "fleet.yaml: vms.web-1.identities.details.system.claims: saw the claim" in refused.stderr
    assert "--unsafe-claims" in refused.stderr
    state = ("--state", "kept")
    with serving("--fleet", "fleet.yaml", "--unsafe-claims", *state, cwd=tmp_path) as server:
        claims = token_claims(server)
        assert (claims["ver"], claims["x"]) == ("9", 1)
        server.stop()
    with serving(*state, cwd=tmp_path) as server:
        claims = token_claims(server)
        assert (claims["ver"], claims["x"]) == ("1.0", 1)
