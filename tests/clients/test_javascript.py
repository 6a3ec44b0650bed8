"""@azure/identity and @azure/msal-node, unmodified, against the real process.

Both take the host of IMDS from AZURE_POD_IDENTITY_AUTHORITY_HOST, and need nothing at the real one.
"""

import json
from pathlib import Path
from typing import Any

import jwt
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
    a_vm,
    is_for,
)
from tests.clients.kits import NODE_MODULES
from tests.clients.pins import npm
from tests.clients.rig import REAL, REDIRECTED, Stage, stage
from tests.clients.verdicts import JSONWEBTOKEN

pytestmark = [pytest.mark.system, pytest.mark.netns]

AZURE, MSAL = "azure-identity.mjs", "msal-node.mjs"
NAMES = {
    AZURE: {"client": "clientId", "object": "objectId", "resource": "resourceId"},
    MSAL: {
        "client": "userAssignedClientId",
        "object": "userAssignedObjectId",
        "resource": "userAssignedResourceId",
    },
}
VERIFIER = "jsonwebtoken.mjs"
PACKAGES = {AZURE: "@azure/identity", MSAL: "@azure/msal-node", VERIFIER: "jsonwebtoken"}
IS = {program: pytest.mark.client(f"JavaScript {package}") for program, package in PACKAGES.items()}
SDKS = [pytest.param(program, marks=IS[program]) for program in NAMES]


def case(program: str, by: str = "", value: str = "", resource: str = VAULT) -> dict[str, Any]:
    """Return a case as the program wants it: which identity, by what."""
    identity = {NAMES[program][by]: value} if by else {}
    return {"kind": "managed", "identity": identity, "resource": resource}


@pytest.mark.parametrize(
    "package", [pytest.param(PACKAGES[program], marks=mark) for program, mark in IS.items()]
)
def test_the_version_is_the_one_that_was_asked_for(package: str) -> None:
    found = json.loads((NODE_MODULES / package / "package.json").read_text())
    assert found["version"] == npm(package)


@pytest.mark.parametrize("program", SDKS)
def test_it_gets_a_token_for_each_identity(served: Stage, program: str) -> None:
    served.put("web-1", BOTH)
    wanted = [
        ("", "", SYSTEM_IDS),
        ("client", APP_IDS.client, APP_IDS),
        ("object", APP_IDS.principal, APP_IDS),
        ("resource", APP, APP_IDS),
        ("client", SYSTEM_IDS.client, SYSTEM_IDS),
    ]
    ran = served.node(program, [case(program, by, value) for by, value, _ in wanted])
    for result, (_, _, whose) in zip(ran.results, wanted, strict=True):
        is_for(result, whose, VAULT)
    assert ran.moved == {"requests token 200": len(wanted)}


@pytest.mark.parametrize("program", SDKS)
def test_the_only_user_assigned_identity_needs_no_name(served: Stage, program: str) -> None:
    served.put("web-1", ONLY_APP)
    ran = served.node(program, [case(program)])
    is_for(ran.results[0], APP_IDS)
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("program", SDKS)
def test_it_keeps_a_token_and_does_not_ask_again(served: Stage, program: str) -> None:
    served.put("web-1", BOTH)
    ran = served.node(program, [case(program), case(program)])
    assert ran.results[0]["token"] == ran.results[1]["token"]
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("program", SDKS)
@pytest.mark.parametrize(
    "vm, asked, said",
    [
        (BOTH, [("client", NOBODY), ("object", NOBODY), ("resource", f"{APP}2")], NOT_FOUND),
        (NONE, [(), ("client", APP_IDS.client)], NOT_FOUND),
        (TWO, [()], AMBIGUOUS),
    ],
    ids=["unknown", "none", "ambiguous"],
)
def test_it_hands_on_the_refusal(
    served: Stage, program: str, vm: dict[str, Any], asked: list[tuple[str, ...]], said: str
) -> None:
    served.put("web-1", vm)
    ran = served.node(program, [case(program, *by) for by in asked])
    for result in ran.results:
        if program == AZURE:
            assert result["error"] == "CredentialUnavailableError"
        else:
            assert (result["error"], result["code"]) == ("ServerError", "invalid_request")
        assert f"Description: {said} - " in result["message"]
    assert ran.moved == {
        "requests token 400": len(asked),
        f"refusals {REASONS[said]}": len(asked),
    }


@IS[AZURE]
def test_the_default_chain_finds_imds_and_takes_its_token(served: Stage) -> None:
    served.put("web-1", BOTH)
    ran = served.node(AZURE, [{**case(AZURE), "kind": "default"}])
    is_for(ran.results[0], SYSTEM_IDS, VAULT)
    if served.at == REAL:
        # It looks by a request without the header and without a query.
        assert ran.moved.pop("refusals header_missing") == ran.moved.pop("requests token 400") == 1
    assert ran.moved == {"requests token 200": 1}


@IS[AZURE]
def test_the_default_chain_passes_on_a_vm_without_identity(served: Stage) -> None:
    served.put("web-1", NONE)
    ran = served.node(AZURE, [{**case(AZURE), "kind": "default"}])
    (result,) = ran.results
    assert result["error"] == "AggregateAuthenticationError"
    assert f"Description: {NOT_FOUND} - " in result["message"]
    # The next one in the chain had its turn.
    assert "Azure CLI could not be found" in result["message"]
    assert ran.moved["refusals identity_not_found"] == 1


@pytest.mark.parametrize("program", SDKS)
def test_a_resource_that_entra_does_not_know_is_refused_in_its_words(
    served: Stage, program: str
) -> None:
    served.put("web-1", BOTH)
    ran = served.node(program, [case(program, resource="nonsense")])
    message = ran.results[0]["message"]
    assert "invalid_resource: Error(s): 500011" in message
    assert UNKNOWN_RESOURCE in message
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize("program", SDKS)
def test_who_asks_too_often_is_told_so(limited: Stage, program: str) -> None:
    cases = [case(program, resource=f"{VAULT}/{number}") for number in range(12)]
    ran = limited.node(program, cases)
    refused = [result for result in ran.results if "error" in result]
    is_for(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
    assert refused
    for result in refused:
        assert f"Description: {THROTTLED} - " in result["message"]
    assert ran.moved == {
        "requests token 200": len(cases) - len(refused),
        "requests token 429": len(refused),
        "refusals throttled": len(refused),
        "throttled identity": len(refused),
    }


@IS[MSAL]
def test_a_client_hands_on_a_bad_token_too(served: Stage) -> None:
    # msal-node does not look inside: what is wrong is for the verifier to find.
    served.put("web-1", a_vm(system=True, source="forge:expired"))
    ran = served.node(MSAL, [case(MSAL)])
    claims = jwt.decode(ran.results[0]["token"], options={"verify_signature": False})
    assert claims["exp"] < ran.results[0]["expires_s"] - 80_000
    assert ran.moved == {"requests token 200": 1}


@IS[VERIFIER]
def test_a_verifier_believes_the_good_token_and_finds_what_is_wrong_with_each_bad_one(
    tmp_path: Path,
) -> None:
    sources = ["local", *JSONWEBTOKEN]
    listeners = [f"127.0.0.1:{9001 + number}" for number in range(len(sources))]
    fleet = {
        f"vm-{number}": {**a_vm(system=True, source=source), "reach": {"listen": [listener]}}
        for number, (source, listener) in enumerate(zip(sources, listeners, strict=True))
    }
    with stage({"vms": fleet}, at=REDIRECTED, cwd=tmp_path) as served:
        where = f"{served.ready['public']}/{TENANT}/.well-known/openid-configuration"
        cases = [
            {"imds": f"http://{listener}", "discovery": where, "resource": VAULT}
            for listener in listeners
        ]
        ran = served.node(VERIFIER, cases)
    good, *bad = ran.results
    assert good["claims"]["oid"] == SYSTEM_IDS.principal
    blanks = {"audience": VAULT, "issuer": f"https://sts.windows.net/{TENANT}/"}
    found = [(result["error"], result.get("message", "")) for result in bad]
    expected = [(name, words.format(**blanks)) for name, words in JSONWEBTOKEN.values()]
    assert found == expected
    assert ran.moved == {"requests token 200": len(sources)}
