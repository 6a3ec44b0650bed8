"""Prometheus discovers machines of Azure with our tokens: its package, and the whole program.

Resource Manager is a fake (`programs/discovery.py`), but the token that it receives has to verify.
"""

from typing import Any

import pytest

from tests.clients.fleet import APP_IDS, BOTH, NONE, NOT_FOUND, SYSTEM_IDS, TENANT
from tests.clients.kits import KITS
from tests.clients.private_server import REAL, PrivateServer

pytestmark = [
    pytest.mark.system,
    pytest.mark.netns,
    pytest.mark.parametrize("served", [REAL], indirect=True, ids=["real"]),
]

PACKAGE, PROGRAM = "Go prometheus/discovery/azure", "Go Prometheus"
WHERE = {
    PACKAGE: {"DISCOVERY": str(KITS["Go"].place / "discovery")},
    PROGRAM: {"PROMETHEUS": str(KITS["Prometheus"].place / "usr" / "bin" / "prometheus")},
}
AUDIENCE = {
    PACKAGE: "https://management.core.windows.net/",
    PROGRAM: "https://management.azure.com/",
}
EACH = pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, marks=pytest.mark.client(client), id=client.split("/")[0])
        for client in WHERE
    ],
)
MANAGED = {"authentication_method": "ManagedIdentity"}
LABELS = {
    "__address__": "10.0.0.9:80",
    "__meta_azure_machine_computer_name": "web-9",
    "__meta_azure_machine_location": "westeurope",
    "__meta_azure_machine_name": "web-9",
    "__meta_azure_machine_private_ip": "10.0.0.9",
    "__meta_azure_machine_size": "Standard_D2s_v5",
    "__meta_azure_machine_tag_env": "prod",
}


def verified(served: PrivateServer, token: str, audience: str) -> dict[str, Any]:
    """Verify a token and return its claims."""
    where = f"{served.ready['public']}/{TENANT}/.well-known/openid-configuration"
    case = {"token": token, "discovery": where, "audience": audience}
    (result,) = served.python("pyjwt_verifier.py", [case]).results
    claims: dict[str, Any] = result["claims"]
    return claims


@EACH
@pytest.mark.parametrize(
    "more, ids",
    [({}, SYSTEM_IDS), ({"client_id": APP_IDS.client}, APP_IDS)],
    ids=["system", "user"],
)
def test_machines_are_discovered_with_a_verified_token(
    served: PrivateServer, client: str, more: dict[str, str], ids: Any
) -> None:
    served.put("web-1", BOTH)
    ran = served.python("discovery.py", [{**MANAGED, **more}], **WHERE[client])
    (result,) = ran.results
    (target,) = result["targets"]
    assert {name: target[name] for name in LABELS} == LABELS
    # Machines, scale sets and an interface are requested with the same token.
    assert len(result["tokens"]) == 3
    (token,) = set(result["tokens"])
    claims = verified(served, token, AUDIENCE[client])
    assert (claims["appid"], claims["oid"]) == (ids.client, ids.principal)
    assert ran.moved == {"requests token 200": 1}


@EACH
def test_missing_token_is_logged_with_its_reason(served: PrivateServer, client: str) -> None:
    served.put("web-1", NONE)
    ran = served.python("discovery.py", [MANAGED], **WHERE[client])
    (result,) = ran.results
    assert (result["targets"], result["tokens"]) == ([], [])
    assert "Unable to refresh target groups" in result["log"]
    assert NOT_FOUND in result["log"]
    assert ran.moved == {"requests token 400": 1, "refusals identity_not_found": 1}
