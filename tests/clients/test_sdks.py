"""The identity libraries of Go, Rust and Java, unmodified, against the real process.

Those of Go and Rust have the real address written into them; that of Java can be redirected.
"""

from typing import Any

import pytest
from msgspec import Struct

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
    THROTTLED,
    TWO,
    UNKNOWN_RESOURCE,
    VAULT,
    is_for,
)
from tests.clients.kits import KITS, tool
from tests.clients.rig import REAL, REDIRECTED, Ran, Stage

pytestmark = [pytest.mark.system, pytest.mark.netns]

_JAVA = KITS["Java"].place


class Sdk(Struct, frozen=True):
    """A library with our program around it, and how it says no.

    Attributes:
        refused: its error when an identity is refused that was named.
        none: its error when the one is refused that the VM would have by itself.
        at: where the server may be.
    """

    client: str
    command: tuple[str, ...]
    refused: str
    none: str
    at: tuple[str, ...] = (REAL,)

    def run(self, served: Stage, *cases: dict[str, Any]) -> Ran:
        """Ask for tokens."""
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
    """Return these libraries with the places where the server may be, as parameters."""
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
    """Return a case: which identity, by what, for which resource."""
    return {"kind": kind, "by": by, "value": value, "resource": resource}


@ALL
def test_it_gets_a_token_for_each_identity_and_keeps_it(served: Stage, sdk: Sdk) -> None:
    served.put("web-1", BOTH)
    wanted = [
        (case(), SYSTEM_IDS),
        (case("client", APP_IDS.client), APP_IDS),
        (case("object", APP_IDS.principal), APP_IDS),
        (case("resource", APP), APP_IDS),
        (case("client", SYSTEM_IDS.client), SYSTEM_IDS),
    ]
    ran = sdk.run(served, *(one for one, _ in wanted))
    for result, (_, whose) in zip(ran.results, wanted, strict=True):
        is_for(result, whose)
        assert result["again"]
    assert ran.moved == {"requests token 200": len(wanted)}


@ALL
def test_the_only_user_assigned_identity_needs_no_name(served: Stage, sdk: Sdk) -> None:
    served.put("web-1", ONLY_APP)
    ran = sdk.run(served, case())
    is_for(ran.results[0], APP_IDS)
    assert ran.moved == {"requests token 200": 1}


@ALL
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
    served: Stage, sdk: Sdk, vm: dict[str, Any], asked: list[tuple[str, ...]], said: str
) -> None:
    served.put("web-1", vm)
    ran = sdk.run(served, *(case(*by) for by in asked))
    for result, by in zip(ran.results, asked, strict=True):
        assert result["error"] == (sdk.refused if by else sdk.none)
        assert said in result["message"]
    assert ran.moved == {
        "requests token 400": len(asked),
        f"refusals {REASONS[said]}": len(asked),
    }


@ALL
def test_a_resource_that_entra_does_not_know_is_refused_in_its_words(
    served: Stage, sdk: Sdk
) -> None:
    served.put("web-1", BOTH)
    ran = sdk.run(served, case(resource="nonsense"))
    (result,) = ran.results
    assert result["error"] == sdk.none
    assert UNKNOWN_RESOURCE in result["message"]
    assert ran.moved == {"requests token 400": 1, "refusals resource_unknown": 1}


@pytest.mark.parametrize("sdk, served", each(GO, JAVA), indirect=["served"])
def test_the_default_chain_finds_imds_and_takes_its_token(served: Stage, sdk: Sdk) -> None:
    served.put("web-1", BOTH)
    ran = sdk.run(served, case(kind="default"))
    is_for(ran.results[0], SYSTEM_IDS)
    if sdk is GO:
        # It looks by a request without the header.
        assert ran.moved.pop("refusals header_missing") == ran.moved.pop("requests token 400") == 1
    assert ran.moved == {"requests token 200": 1}


@pytest.mark.parametrize("sdk, limited", each(GO), indirect=["limited"])
def test_who_asks_too_often_is_told_so(limited: Stage, sdk: Sdk) -> None:
    cases = [case(resource=f"{VAULT}/{number}") for number in range(6)]
    ran = sdk.run(limited, *cases)
    refused = [result for result in ran.results if "error" in result]
    is_for(ran.results[0], SYSTEM_IDS, f"{VAULT}/0")
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
def test_who_is_throttled_waits_and_has_its_token(limited: Stage, sdk: Sdk) -> None:
    # These cannot be told not to.
    ran = sdk.run(limited, *(case(resource=f"{VAULT}/{number}") for number in range(2)))
    for number, result in enumerate(ran.results):
        is_for(result, SYSTEM_IDS, f"{VAULT}/{number}")
    refused = ran.moved["requests token 429"]
    assert refused >= 1
    assert ran.moved == {
        "requests token 200": 2,
        "requests token 429": refused,
        "refusals throttled": refused,
        "throttled identity": refused,
    }
