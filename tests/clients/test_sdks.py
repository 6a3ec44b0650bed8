"""The identity libraries of Go, Rust and Java, unmodified, against the real process.

Those of Go and Rust have a fixed address; that of Java can be redirected.
"""

from typing import Any

import pytest
from msgspec import Struct

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
    THROTTLED,
    TWO,
    UNKNOWN_ID,
    UNKNOWN_RESOURCE,
    VAULT,
    check_token,
)
from tests.clients.kits import KITS, tool
from tests.clients.private_server import REAL, REDIRECTED, CasesRun, PrivateServer

pytestmark = [pytest.mark.system, pytest.mark.netns]

_JAVA = KITS["Java"].place


class Sdk(Struct, frozen=True):
    """A library in our program, and its errors.

    Attributes:
        refused: its error for a refused identity that was named.
        none: its error for a refused identity without a name.
        at: the possible addresses of the server.
    """

    client: str
    command: tuple[str, ...]
    refused: str
    none: str
    at: tuple[str, ...] = (REAL,)

    def run(self, served: PrivateServer, *cases: dict[str, Any]) -> CasesRun:
        """Request tokens."""
        return served.run(self.command, cases)


GO = Sdk(
    "Go azidentity",
    (str(KITS["Go"].place / "azidentity"),),
    "*azidentity.AuthenticationFailedError",
    "*azidentity.credentialUnavailableError",
)
RUST = Sdk(
    "Rust azure_identity",
    (str(KITS["Rust"].place / "debug" / "azure-identity-client"),),
    "Credential",
    "Credential",
)
JAVA = Sdk(
    "Java azure-identity",
    (tool("java"), "-cp", f"{_JAVA / 'classes'}:{_JAVA / 'lib'}/*", "AzureIdentity"),
    "ClientAuthenticationException",
    "ClientAuthenticationException",
    (REAL, REDIRECTED),
)


def each(*sdks: Sdk) -> list[Any]:
    """Return these libraries with each address of the server, as parameters."""
    return [
        pytest.param(
            sdk,
            at,
            marks=pytest.mark.client(sdk.client),
            id=f"{sdk.client.partition(' ')[0]}-{'real' if at == REAL else 'redirected'}",
        )
        for sdk in sdks
        for at in sdk.at
    ]


ALL = pytest.mark.parametrize("sdk, served", each(GO, RUST, JAVA), indirect=["served"])


def case(
    by: str = "", value: str = "", resource: str = VAULT, kind: str = "managed"
) -> dict[str, str]:
    """Return a case: an identity by a kind of id, and a resource."""
    return {"kind": kind, "by": by, "value": value, "resource": resource}


@ALL
def test_each_identity_gets_a_cached_token(served: PrivateServer, sdk: Sdk) -> None:
    served.put("web-1", BOTH)
    wanted = [
        (case(), SYSTEM_IDS),
        (case("client", APP_IDS.client), APP_IDS),
        (case("object", APP_IDS.principal), APP_IDS),
        (case("resource", APP), APP_IDS),
        (case("client", SYSTEM_IDS.client), SYSTEM_IDS),
    ]
    ran = sdk.run(served, *(request for request, _ in wanted))
    for result, (_, ids) in zip(ran.results, wanted, strict=True):
        check_token(result, ids)
        assert result["again"]
    assert ran.moved == {"requests token 200": len(wanted)}


@ALL
def test_only_user_assigned_identity_needs_no_name(served: PrivateServer, sdk: Sdk) -> None:
    served.put("web-1", ONLY_APP)
    ran = sdk.run(served, case())
    check_token(ran.results[0], APP_IDS)
    assert ran.moved == {"requests token 200": 1}


@ALL
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
    sdk: Sdk,
    vm: dict[str, Any],
    identities: list[tuple[str, ...]],
    message: str,
) -> None:
    served.put("web-1", vm)
    ran = sdk.run(served, *(case(*by) for by in identities))
    for result, by in zip(ran.results, identities, strict=True):
        assert result["error"] == (sdk.refused if by else sdk.none)
        assert message in result["message"]
    assert ran.moved == {
        "requests token 400": len(identities),
        f"refusals {REASONS[message]}": len(identities),
    }


@ALL
def test_unknown_resource_gets_the_error_of_entra(served: PrivateServer, sdk: Sdk) -> None:
    served.put("web-1", BOTH)
    ran = sdk.run(served, case(resource="nonsense"))
    (result,) = ran.results
    assert result["error"] == sdk.none
    assert UNKNOWN_RESOURCE in result["message"]
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize("sdk, served", each(GO, JAVA), indirect=["served"])
def test_default_chain_finds_imds_and_its_token(served: PrivateServer, sdk: Sdk) -> None:
    served.put("web-1", BOTH)
    ran = sdk.run(served, case(kind="default"))
    check_token(ran.results[0], SYSTEM_IDS)
    if sdk is GO:
        # It probes by a request without the header.
        assert ran.moved.pop("refusals header_missing") == ran.moved.pop("requests token 400") == 1
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("sdk, limited", each(GO), indirect=["limited"])
def test_throttled_client_gets_the_refusal(limited: PrivateServer, sdk: Sdk) -> None:
    cases = [case(resource=f"{VAULT}/{number}") for number in range(6)]
    ran = sdk.run(limited, *cases)
    refused = [result for result in ran.results if "error" in result]
    check_token(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
    assert refused
    for result in refused:
        assert result["error"] == sdk.refused
        assert THROTTLED in result["message"]
    assert ran.moved == {
        "requests token 200": len(cases) - len(refused),
        "requests token 429": len(refused),
        "refusals throttled": len(refused),
        "throttled identity": len(refused),
    }


@pytest.mark.parametrize("sdk, limited", each(RUST, JAVA), indirect=["limited"])
def test_throttled_client_waits_and_gets_its_token(limited: PrivateServer, sdk: Sdk) -> None:
    # Their retries cannot be disabled.
    ran = sdk.run(limited, *(case(resource=f"{VAULT}/{number}") for number in range(2)))
    for number, result in enumerate(ran.results):
        check_token(result, SYSTEM_IDS, f"{VAULT}/{number}")
    refused = ran.moved["requests token 429"]
    assert refused >= 1
    assert ran.moved == {
        "requests token 200": 2,
        "requests token 429": refused,
        "refusals throttled": refused,
        "throttled identity": refused,
    }
