"""@azure/identity and @azure/msal-node, unmodified, against the real process.

Both take the host of IMDS from AZURE_POD_IDENTITY_AUTHORITY_HOST; without it they use the real one.
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
    a_vm,
    check_token,
)
from tests.clients.kits import NODE_MODULES
from tests.clients.pins import npm
from tests.clients.private_server import REAL, REDIRECTED, PrivateServer, private_server
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
    """Return a case of a program: its identity, by a kind of id."""
    identity = {NAMES[program][by]: value} if by else {}
    return {"kind": "managed", "identity": identity, "resource": resource}


@pytest.mark.parametrize(
    "package", [pytest.param(PACKAGES[program], marks=mark) for program, mark in IS.items()]
)
def test_installed_version_is_the_pinned_one(package: str) -> None:
    manifest = json.loads((NODE_MODULES / package / "package.json").read_text())
    assert manifest["version"] == npm(package)


@pytest.mark.parametrize("program", SDKS)
def test_each_identity_gets_a_token(served: PrivateServer, program: str) -> None:
    served.put("web-1", BOTH)
    wanted = [
        ("", "", SYSTEM_IDS),
        ("client", APP_IDS.client, APP_IDS),
        ("object", APP_IDS.principal, APP_IDS),
        ("resource", APP, APP_IDS),
        ("client", SYSTEM_IDS.client, SYSTEM_IDS),
    ]
    ran = served.node(program, [case(program, by, value) for by, value, _ in wanted])
    for result, (_, _, ids) in zip(ran.results, wanted, strict=True):
        check_token(result, ids, VAULT)
    assert ran.moved == {"requests token 200": len(wanted)}


@pytest.mark.parametrize("program", SDKS)
def test_only_user_assigned_identity_needs_no_name(served: PrivateServer, program: str) -> None:
    served.put("web-1", ONLY_APP)
    ran = served.node(program, [case(program)])
    check_token(ran.results[0], APP_IDS)
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("program", SDKS)
def test_token_is_cached_by_the_client(served: PrivateServer, program: str) -> None:
    served.put("web-1", BOTH)
    ran = served.node(program, [case(program), case(program)])
    assert ran.results[0]["token"] == ran.results[1]["token"]
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("program", SDKS)
@pytest.mark.parametrize(
    "vm, identities, message",
    [
        (
            BOTH,
            [("client", UNKNOWN_ID), ("object", UNKNOWN_ID), ("resource", f"{APP}2")],
            NOT_FOUND,
        ),
        (NONE, [(), ("client", APP_IDS.client)], NOT_FOUND),
        (TWO, [()], AMBIGUOUS),
    ],
    ids=["unknown", "none", "ambiguous"],
)
def test_refusal_is_passed_on(
    served: PrivateServer,
    program: str,
    vm: dict[str, Any],
    identities: list[tuple[str, ...]],
    message: str,
) -> None:
    served.put("web-1", vm)
    ran = served.node(program, [case(program, *by) for by in identities])
    for result in ran.results:
        if program == AZURE:
            assert result["error"] == "CredentialUnavailableError"
        else:
            assert (result["error"], result["code"]) == ("ServerError", "invalid_request")
        assert f"Description: {message} - " in result["message"]
    assert ran.moved == {
        "requests token 400": len(identities),
        f"refusals {REASONS[message]}": len(identities),
    }


@IS[AZURE]
def test_default_chain_finds_imds_and_its_token(served: PrivateServer) -> None:
    served.put("web-1", BOTH)
    ran = served.node(AZURE, [{**case(AZURE), "kind": "default"}])
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    if served.at == REAL:
        # It probes by a request without the header and without a query.
        assert ran.moved.pop("refusals header_missing") == ran.moved.pop("requests token 400") == 1
    assert ran.moved == {"requests token 200": 1}


@IS[AZURE]
def test_default_chain_skips_a_vm_without_identity(served: PrivateServer) -> None:
    served.put("web-1", NONE)
    ran = served.node(AZURE, [{**case(AZURE), "kind": "default"}])
    (result,) = ran.results
    assert result["error"] == "AggregateAuthenticationError"
    assert f"Description: {NOT_FOUND} - " in result["message"]
    # The next credential of the chain was tried.
    assert "Azure CLI could not be found" in result["message"]
    assert ran.moved["refusals identity_not_found"] == 1


@pytest.mark.parametrize("program", SDKS)
def test_unknown_resource_gets_the_error_of_entra(served: PrivateServer, program: str) -> None:
    served.put("web-1", BOTH)
    ran = served.node(program, [case(program, resource="nonsense")])
    message = ran.results[0]["message"]
    assert "invalid_resource: Error(s): 500011" in message
    assert UNKNOWN_RESOURCE in message
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize("program", SDKS)
def test_throttled_client_gets_the_refusal(limited: PrivateServer, program: str) -> None:
    cases = [case(program, resource=f"{VAULT}/{number}") for number in range(12)]
    ran = limited.node(program, cases)
    refused = [result for result in ran.results if "error" in result]
    check_token(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
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
def test_forged_token_is_passed_on(served: PrivateServer) -> None:
    # msal-node does not parse a token: its verifier finds the error.
    served.put("web-1", a_vm(system=True, source="forge:expired"))
    ran = served.node(MSAL, [case(MSAL)])
    claims = jwt.decode(ran.results[0]["token"], options={"verify_signature": False})
    assert claims["exp"] < ran.results[0]["expires_s"] - 80_000
    assert ran.moved == {"requests token 200": 1}


@IS[VERIFIER]
def test_jsonwebtoken_accepts_good_and_refuses_forged_tokens(tmp_path: Path) -> None:
    sources = ["local", *JSONWEBTOKEN]
    listeners = [f"127.0.0.1:{9001 + number}" for number in range(len(sources))]
    fleet = {
        f"vm-{number}": {**a_vm(system=True, source=source), "reach": {"listen": [listener]}}
        for number, (source, listener) in enumerate(zip(sources, listeners, strict=True))
    }
    with private_server({"vms": fleet}, at=REDIRECTED, cwd=tmp_path) as served:
        where = f"{served.ready['public']}/{TENANT}/.well-known/openid-configuration"
        cases = [
            {"imds": f"http://{listener}", "discovery": where, "resource": VAULT}
            for listener in listeners
        ]
        ran = served.node(VERIFIER, cases)
    good, *bad = ran.results
    assert good["claims"]["oid"] == SYSTEM_IDS.principal
    blanks = {"audience": VAULT, "issuer": f"https://sts.windows.net/{TENANT}/"}
    errors = [(result["error"], result.get("message", "")) for result in bad]
    expected = [(name, words.format(**blanks)) for name, words in JSONWEBTOKEN.values()]
    assert errors == expected
    assert ran.moved == {"requests token 200": len(sources)}
