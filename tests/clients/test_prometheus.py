"""Prometheus discovers machines of Azure with a token of ours: its package of today, and all of it.

Resource Manager is played (`programs/discovery.py`), but the token that it is shown has to verify.
"""

from typing import Any

import pytest

from tests.clients.fleet import APP_IDS, BOTH, NONE, NOT_FOUND, SYSTEM_IDS, TENANT
from tests.clients.kits import KITS
from tests.clients.rig import REAL, Stage

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
    "who", [pytest.param(who, marks=pytest.mark.client(who), id=who.split("/")[0]) for who in WHERE]
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


def verified(served: Stage, token: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token, as somebody sees them who verifies it."""
    where = f"{served.ready['public']}/{TENANT}/.well-known/openid-configuration"
    asked = {"token": token, "discovery": where, "audience": audience}
    (result,) = served.python("pyjwt_verifier.py", [asked]).results
    claims: dict[str, Any] = result["claims"]
    return claims


@EACH
@pytest.mark.parametrize(
    "more, whose",
    [({}, SYSTEM_IDS), ({"client_id": APP_IDS.client}, APP_IDS)],
    ids=["system", "user"],
)
def test_it_discovers_machines_with_a_token_that_verifies(
    served: Stage, who: str, more: dict[str, str], whose: Any
) -> None:
    served.put("web-1", BOTH)
    ran = served.python("discovery.py", [{**MANAGED, **more}], **WHERE[who])
    (result,) = ran.results
    (target,) = result["targets"]
    assert {name: target[name] for name in LABELS} == LABELS
    # Machines, scale sets, an interface: each was asked for with the same token.
    assert len(result["tokens"]) == 3
    (token,) = set(result["tokens"])
    claims = verified(served, token, AUDIENCE[who])
    assert (claims["appid"], claims["oid"]) == (whose.client, whose.principal)
    assert ran.moved == {"requests token 200": 1}


@EACH
def test_it_logs_why_it_has_no_token(served: Stage, who: str) -> None:
    served.put("web-1", NONE)
    ran = served.python("discovery.py", [MANAGED], **WHERE[who])
    (result,) = ran.results
    assert (result["targets"], result["tokens"]) == ([], [])
    assert "Unable to refresh target groups" in result["log"]
    assert NOT_FOUND in result["log"]
    assert ran.moved == {"requests token 400": 1, "refusals identity_not_found": 1}
