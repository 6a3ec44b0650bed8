"""azure-identity and msal, unmodified, against the real process."""

from typing import Any

import pytest

from openimds.facts.tokens import TENANT_NAME
from tests.clients.fleet import (
    AMBIGUOUS,
    APP,
    APP_IDS,
    BOTH,
    NONE,
    NOT_FOUND,
    ONLY_APP,
    REASONS,
    SYSTEM_IDS,
    TENANT,
    THROTTLED,
    TWO,
    UNKNOWN_ID,
    UNKNOWN_RESOURCE,
    VAULT,
    Ids,
    a_vm,
    check_token,
)
from tests.clients.private_server import REAL, PrivateServer
from tests.clients.verdicts import PYJWT

pytestmark = [pytest.mark.system, pytest.mark.netns]

AZURE, MSAL = "azure_identity.py", "msal_python.py"
IS_AZURE = pytest.mark.client("Python azure-identity")
IS_MSAL = pytest.mark.client("Python msal")
UNAVAILABLE = "CredentialUnavailableError"
BY_ID = [
    ({"client_id": APP_IDS.client}, APP_IDS),
    ({"identity_config": {"object_id": APP_IDS.principal}}, APP_IDS),
    ({"client_id": SYSTEM_IDS.client.upper()}, SYSTEM_IDS),
    ({"identity_config": {"object_id": SYSTEM_IDS.principal}}, SYSTEM_IDS),
]
TOKENS = [
    ("managed", [({}, SYSTEM_IDS), *BY_ID, ({"identity_config": {"resource_id": APP}}, APP_IDS)]),
    # The asynchronous credential takes the names of the service, not its own.
    ("aio", [({}, SYSTEM_IDS), *BY_ID, ({"identity_config": {"msi_res_id": APP}}, APP_IDS)]),
    ("imds", [({}, SYSTEM_IDS), *BY_ID]),
    ("default", [({}, SYSTEM_IDS), ({"managed_identity_client_id": APP_IDS.client}, APP_IDS)]),
]


def probes(stage: PrivateServer, kind: str, number: int) -> dict[str, int]:
    """Return the counts of probes of IMDS, which have no header."""
    # Where the variable names IMDS, azure-identity does not probe.
    is_probed = kind in ("imds", "default") and stage.at == REAL
    return {"refusals header_missing": number, "requests token 400": number} if is_probed else {}


@IS_AZURE
@pytest.mark.parametrize("kind, wanted", TOKENS, ids=[kind for kind, _ in TOKENS])
def test_azure_identity_gets_a_token_for_each_identity(
    served: PrivateServer, kind: str, wanted: list[tuple[dict[str, Any], Ids]]
) -> None:
    served.put("web-1", BOTH)
    cases = [{"kind": kind, "identity": by, "resource": VAULT} for by, _ in wanted]
    ran = served.python(AZURE, cases)
    for result, (_, ids) in zip(ran.results, wanted, strict=True):
        check_token(result, ids, VAULT)
    assert ran.moved == {"requests token 200": len(wanted), **probes(served, kind, len(wanted))}


REFUSED = [
    (BOTH, [{"client_id": UNKNOWN_ID}, {"identity_config": {"object_id": UNKNOWN_ID}}], NOT_FOUND),
    (NONE, [{}, {"client_id": APP_IDS.client}], NOT_FOUND),
    (TWO, [{}], AMBIGUOUS),
]
KINDS = ("managed", "aio", "imds")


@IS_AZURE
@pytest.mark.parametrize("vm, identities, message", REFUSED, ids=["unknown", "none", "ambiguous"])
def test_azure_identity_is_unavailable_with_the_reason(
    served: PrivateServer, vm: dict[str, Any], identities: list[dict[str, Any]], message: str
) -> None:
    served.put("web-1", vm)
    cases = [
        {"kind": kind, "identity": by, "resource": VAULT} for kind in KINDS for by in identities
    ]
    ran = served.python(AZURE, cases)
    for result in ran.results:
        assert result["error"] == UNAVAILABLE
        assert message in result["message"]
    probed = probes(served, "imds", len(identities))
    assert ran.moved == {
        **probed,
        "requests token 400": len(cases) + probed.get("requests token 400", 0),
        f"refusals {REASONS[message]}": len(cases),
    }


@IS_AZURE
def test_default_chain_skips_a_vm_without_identity(served: PrivateServer) -> None:
    served.put("web-1", NONE)
    ran = served.python(AZURE, [{"kind": "default", "identity": {}, "resource": VAULT}])
    (result,) = ran.results
    assert result["error"] == "ClientAuthenticationError"
    assert f"Token request error: (invalid_request) {NOT_FOUND}" in result["message"]
    # The next credential of the chain was tried.
    assert "AzureCliCredential: Azure CLI not found on path" in result["message"]
    assert ran.moved["refusals identity_not_found"] == 1


@IS_AZURE
@IS_MSAL
def test_only_user_assigned_identity_needs_no_name(served: PrivateServer) -> None:
    served.put("web-1", ONLY_APP)
    ran = served.python(AZURE, [{"kind": "managed", "identity": {}, "resource": VAULT}])
    check_token(ran.results[0], APP_IDS, VAULT)
    ran = served.python(MSAL, [{"identity": {}, "resource": VAULT}])
    check_token(ran.results[0], APP_IDS, VAULT)
    assert ran.moved == {"requests token 200": 1}


@IS_MSAL
def test_msal_gets_and_caches_a_token_for_each_identity(served: PrivateServer) -> None:
    served.put("web-1", BOTH)
    wanted = [
        ({}, SYSTEM_IDS),
        ({"client_id": APP_IDS.client}, APP_IDS),
        ({"object_id": APP_IDS.principal}, APP_IDS),
        ({"resource_id": APP}, APP_IDS),
        ({"resource_id": APP.upper()}, APP_IDS),
        ({"client_id": SYSTEM_IDS.client}, SYSTEM_IDS),
    ]
    ran = served.python(MSAL, [{"identity": by, "resource": VAULT} for by, _ in wanted])
    for result, (_, ids) in zip(ran.results, wanted, strict=True):
        check_token(result, ids, VAULT)
        assert (result["source"], result["again"]) == ("identity_provider", "cache")
    assert ran.moved == {"requests token 200": len(wanted)}


@IS_MSAL
@pytest.mark.parametrize(
    "vm, identities, message",
    [
        (BOTH, [{"client_id": UNKNOWN_ID}, {"resource_id": f"{APP}2"}], NOT_FOUND),
        (NONE, [{}, {"object_id": APP_IDS.principal}], NOT_FOUND),
        (TWO, [{}], AMBIGUOUS),
    ],
    ids=["unknown", "none", "ambiguous"],
)
def test_msal_passes_on_the_refusal(
    served: PrivateServer, vm: dict[str, Any], identities: list[dict[str, Any]], message: str
) -> None:
    served.put("web-1", vm)
    ran = served.python(MSAL, [{"identity": by, "resource": VAULT} for by in identities])
    assert ran.results == [{"error": "invalid_request", "message": message}] * len(identities)
    assert ran.moved == {
        "requests token 400": len(identities),
        f"refusals {REASONS[message]}": len(identities),
    }


@IS_AZURE
@IS_MSAL
def test_unknown_resource_gets_the_error_of_entra(served: PrivateServer) -> None:
    served.put("web-1", BOTH)
    ran = served.python(MSAL, [{"identity": {}, "resource": "nonsense"}])
    (result,) = ran.results
    assert result["error"] == "invalid_resource"
    assert result["message"].startswith(f"{UNKNOWN_RESOURCE} named {TENANT_NAME}.")
    ran = served.python(AZURE, [{"kind": "managed", "identity": {}, "resource": "nonsense"}])
    assert ran.results[0]["error"] == UNAVAILABLE
    assert f"(invalid_resource) {UNKNOWN_RESOURCE}" in ran.results[0]["message"]
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize(
    "program", [pytest.param(AZURE, marks=IS_AZURE), pytest.param(MSAL, marks=IS_MSAL)]
)
def test_throttled_client_gets_the_refusal(limited: PrivateServer, program: str) -> None:
    # A new resource each time: these clients cache a refusal.
    cases = [
        {"kind": "managed", "identity": {}, "resource": f"{VAULT}/{number}"} for number in range(12)
    ]
    ran = limited.python(program, cases)
    refused = [result for result in ran.results if "error" in result]
    check_token(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
    assert refused
    for result in refused:
        assert THROTTLED in result["message"]
        assert result["error"] == (UNAVAILABLE if program == AZURE else "invalid_request")
    assert ran.moved == {
        "requests token 200": len(cases) - len(refused),
        "requests token 429": len(refused),
        "refusals throttled": len(refused),
        "throttled identity": len(refused),
    }


SOURCES = ["local", "forge:expired", "forge:bad-signature"]


@IS_AZURE
@pytest.mark.client("Python PyJWT")
def test_forged_token_is_passed_on_and_fails_verification(served: PrivateServer) -> None:
    tokens = []
    for source in SOURCES:
        served.put("web-1", a_vm(system=True, source=source))
        ran = served.python(AZURE, [{"kind": "managed", "identity": {}, "resource": VAULT}])
        tokens.append(ran.results[0]["token"])
        assert ran.moved == {"requests token 200": 1}
    where = f"{served.ready['public']}/{TENANT}/.well-known/openid-configuration"
    ran = served.python(
        "pyjwt_verifier.py",
        [{"token": token, "discovery": where, "audience": VAULT} for token in tokens],
    )
    good, *bad = ran.results
    assert good["claims"]["oid"] == SYSTEM_IDS.principal
    assert [result["error"] for result in bad] == [PYJWT[source] for source in SOURCES[1:]]
    # Keys are not served by the data plane.
    assert ran.moved == {}
