"""azure-identity and msal, unmodified, against the real process."""

from typing import Any

import pytest

from tests.clients.fleet import (
    AMBIGUOUS,
    APP,
    APP_IDS,
    BOTH,
    NOBODY,
    NONE,
    NOT_FOUND,
    ONLY_APP,
    REASONS,
    SYSTEM_IDS,
    TENANT,
    THROTTLED,
    TWO,
    UNKNOWN_RESOURCE,
    VAULT,
    Ids,
    a_vm,
    is_for,
)
from tests.clients.rig import REAL, Stage
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
    # This one hands on the names of the service, not its own.
    ("aio", [({}, SYSTEM_IDS), *BY_ID, ({"identity_config": {"msi_res_id": APP}}, APP_IDS)]),
    ("imds", [({}, SYSTEM_IDS), *BY_ID]),
    ("default", [({}, SYSTEM_IDS), ({"managed_identity_client_id": APP_IDS.client}, APP_IDS)]),
]


def probes(stage: Stage, kind: str, number: int) -> dict[str, int]:
    """Return the counts of the questions whether IMDS is there, which come without the header."""
    # Where the variable says where IMDS is, azure-identity does not doubt it.
    is_asked = kind in ("imds", "default") and stage.at == REAL
    return {"refusals header_missing": number, "requests token 400": number} if is_asked else {}


@IS_AZURE
@pytest.mark.parametrize("kind, wanted", TOKENS, ids=[kind for kind, _ in TOKENS])
def test_azure_identity_gets_a_token_for_each_identity(
    served: Stage, kind: str, wanted: list[tuple[dict[str, Any], Ids]]
) -> None:
    served.put("web-1", BOTH)
    cases = [{"kind": kind, "identity": by, "resource": VAULT} for by, _ in wanted]
    ran = served.python(AZURE, cases)
    for result, (_, whose) in zip(ran.results, wanted, strict=True):
        is_for(result, whose, VAULT)
    assert ran.moved == {"requests token 200": len(wanted), **probes(served, kind, len(wanted))}


REFUSED = [
    (BOTH, [{"client_id": NOBODY}, {"identity_config": {"object_id": NOBODY}}], NOT_FOUND),
    (NONE, [{}, {"client_id": APP_IDS.client}], NOT_FOUND),
    (TWO, [{}], AMBIGUOUS),
]
KINDS = ("managed", "aio", "imds")


@IS_AZURE
@pytest.mark.parametrize("vm, asked, said", REFUSED, ids=["unknown", "none", "ambiguous"])
def test_azure_identity_is_unavailable_and_says_why(
    served: Stage, vm: dict[str, Any], asked: list[dict[str, Any]], said: str
) -> None:
    served.put("web-1", vm)
    cases = [{"kind": kind, "identity": by, "resource": VAULT} for kind in KINDS for by in asked]
    ran = served.python(AZURE, cases)
    for result in ran.results:
        assert result["error"] == UNAVAILABLE
        assert said in result["message"]
    probed = probes(served, "imds", len(asked))
    assert ran.moved == {
        **probed,
        "requests token 400": len(cases) + probed.get("requests token 400", 0),
        f"refusals {REASONS[said]}": len(cases),
    }


@IS_AZURE
def test_the_default_chain_passes_on_a_vm_without_identity(served: Stage) -> None:
    served.put("web-1", NONE)
    ran = served.python(AZURE, [{"kind": "default", "identity": {}, "resource": VAULT}])
    (result,) = ran.results
    assert result["error"] == "ClientAuthenticationError"
    assert f"Token request error: (invalid_request) {NOT_FOUND}" in result["message"]
    # The next one in the chain had its turn.
    assert "AzureCliCredential: Azure CLI not found on path" in result["message"]
    assert ran.moved["refusals identity_not_found"] == 1


@IS_AZURE
@IS_MSAL
def test_the_only_user_assigned_identity_needs_no_name(served: Stage) -> None:
    served.put("web-1", ONLY_APP)
    ran = served.python(AZURE, [{"kind": "managed", "identity": {}, "resource": VAULT}])
    is_for(ran.results[0], APP_IDS, VAULT)
    ran = served.python(MSAL, [{"identity": {}, "resource": VAULT}])
    is_for(ran.results[0], APP_IDS, VAULT)
    assert ran.moved == {"requests token 200": 1}


@IS_MSAL
def test_msal_gets_a_token_for_each_identity_and_keeps_it(served: Stage) -> None:
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
    for result, (_, whose) in zip(ran.results, wanted, strict=True):
        is_for(result, whose, VAULT)
        assert (result["source"], result["again"]) == ("identity_provider", "cache")
    assert ran.moved == {"requests token 200": len(wanted)}


@IS_MSAL
@pytest.mark.parametrize(
    "vm, asked, said",
    [
        (BOTH, [{"client_id": NOBODY}, {"resource_id": f"{APP}2"}], NOT_FOUND),
        (NONE, [{}, {"object_id": APP_IDS.principal}], NOT_FOUND),
        (TWO, [{}], AMBIGUOUS),
    ],
    ids=["unknown", "none", "ambiguous"],
)
def test_msal_hands_on_the_refusal(
    served: Stage, vm: dict[str, Any], asked: list[dict[str, Any]], said: str
) -> None:
    served.put("web-1", vm)
    ran = served.python(MSAL, [{"identity": by, "resource": VAULT} for by in asked])
    assert ran.results == [{"error": "invalid_request", "message": said}] * len(asked)
    assert ran.moved == {
        "requests token 400": len(asked),
        f"refusals {REASONS[said]}": len(asked),
    }


@IS_AZURE
@IS_MSAL
def test_a_resource_that_entra_does_not_know_is_refused_in_its_words(served: Stage) -> None:
    served.put("web-1", BOTH)
    ran = served.python(MSAL, [{"identity": {}, "resource": "nonsense"}])
    (result,) = ran.results
    assert result["error"] == "invalid_resource"
    assert result["message"].startswith(f"{UNKNOWN_RESOURCE} named {TENANT}.")
    ran = served.python(AZURE, [{"kind": "managed", "identity": {}, "resource": "nonsense"}])
    assert ran.results[0]["error"] == UNAVAILABLE
    assert f"(invalid_resource) {UNKNOWN_RESOURCE}" in ran.results[0]["message"]
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize(
    "program", [pytest.param(AZURE, marks=IS_AZURE), pytest.param(MSAL, marks=IS_MSAL)]
)
def test_who_asks_too_often_is_told_so(limited: Stage, program: str) -> None:
    # Another resource each time: these clients do not repeat a question that was just refused.
    cases = [
        {"kind": "managed", "identity": {}, "resource": f"{VAULT}/{number}"} for number in range(12)
    ]
    ran = limited.python(program, cases)
    refused = [result for result in ran.results if "error" in result]
    is_for(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
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


SHOWN = ["local", "forge:expired", "forge:bad-signature"]


@IS_AZURE
@pytest.mark.client("Python PyJWT")
def test_a_client_hands_on_any_token_and_a_verifier_beside_it_finds_the_bad_ones(
    served: Stage,
) -> None:
    tokens = []
    for source in SHOWN:
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
    assert [result["error"] for result in bad] == [PYJWT[source] for source in SHOWN[1:]]
    # Keys are no business of the data plane.
    assert ran.moved == {}
