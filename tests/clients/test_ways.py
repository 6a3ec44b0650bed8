"""The variables of `openimds env` lead each identity library to the server."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from tests.clients.fleet import BOTH, NONE, NOT_FOUND, SYSTEM_IDS, VAULT, check_token
from tests.clients.private_server import REAL, REDIRECTED, CasesRun, PrivateServer
from tests.clients.test_sdks import GO, JAVA, RUST, Sdk

pytestmark = [pytest.mark.system, pytest.mark.netns]

PIN = "AZURE_TOKEN_CREDENTIALS"
CASE: dict[str, Any] = {"identity": {}, "by": "", "value": "", "resource": VAULT}
"""A case for the programs of all languages."""
ELSEWHERE = "http://localhost:8169"
"""Another name of the redirected address."""

Run = Callable[..., CasesRun]


class Library(Struct, frozen=True):
    """A library, and the function that runs its program on a server with variables."""

    client: str
    run: Run


def _python(served: PrivateServer, kind: str, **more: str) -> CasesRun:
    return served.python("azure_identity.py", [{**CASE, "kind": kind}], **more)


def _javascript(served: PrivateServer, kind: str, **more: str) -> CasesRun:
    return served.node("azure-identity.mjs", [{**CASE, "kind": kind}], **more)


def _of(sdk: Sdk) -> Library:
    def run(served: PrivateServer, kind: str, **more: str) -> CasesRun:
        return served.run(sdk.command, [{**CASE, "kind": kind}], **more)

    return Library(sdk.client, run)


PYTHON = Library("Python azure-identity", _python)
JAVASCRIPT = Library("JavaScript @azure/identity", _javascript)
CHAINS = (PYTHON, JAVASCRIPT, _of(GO), _of(JAVA))
READ_HOST = (PYTHON, JAVASCRIPT, _of(JAVA))
READ_ML = (PYTHON, JAVASCRIPT, _of(GO))


def each(*libraries: Library, at: str = REDIRECTED) -> pytest.MarkDecorator:
    """Return the parameters of a test: each library, with the server at one address."""
    rows = [
        pytest.param(
            library,
            at,
            marks=pytest.mark.client(library.client),
            id=library.client.partition(" ")[0],
        )
        for library in libraries
    ]
    return pytest.mark.parametrize("library, served", rows, indirect=["served"])


@each(*READ_HOST)
def test_pinned_chain_gets_a_token_without_a_probe(served: PrivateServer, library: Library) -> None:
    served.put("web-1", BOTH)
    variables = served.env()
    assert variables[PIN] == "ManagedIdentityCredential"
    ran = library.run(served, "default", **variables)
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    assert ran.moved == {"requests token 200": 1}


@each(*CHAINS, at=REAL)
def test_pin_ends_the_probe_at_the_real_address(served: PrivateServer, library: Library) -> None:
    served.put("web-1", BOTH)
    ran = library.run(served, "default", **{PIN: served.env()[PIN]})
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    assert ran.moved == {"requests token 200": 1}


@each(PYTHON)
def test_pinned_chain_has_one_credential(served: PrivateServer, library: Library) -> None:
    served.put("web-1", NONE)
    ran = library.run(served, "default", **served.env())
    assert NOT_FOUND in ran.results[0]["message"]
    assert "AzureCliCredential" not in ran.results[0]["message"]


@each(*CHAINS, _of(RUST))
@pytest.mark.parametrize("url", ["", ELSEWHERE])
def test_app_service_variables_give_every_library_a_token(
    served: PrivateServer, library: Library, url: str
) -> None:
    served.put("web-1", BOTH)
    variables = served.env("--for", "app-service", *(("--url", url) if url else ()))
    assert variables["IDENTITY_ENDPOINT"].startswith(url or "http://127.0.0.1:8169")
    ran = library.run(served, "managed", **variables)
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    assert ran.moved == {"requests app_service 200": 1}


@each(*CHAINS)
def test_app_service_variables_need_no_pin_in_a_chain(
    served: PrivateServer, library: Library
) -> None:
    served.put("web-1", BOTH)
    variables = served.env("--for", "app-service")
    assert PIN not in variables
    ran = library.run(served, "default", **variables)
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    assert ran.moved == {"requests app_service 200": 1}


@each(*READ_ML)
def test_azure_ml_variables_give_a_token(served: PrivateServer, library: Library) -> None:
    served.put("web-1", BOTH)
    variables = served.env("--for", "azure-ml")
    assert variables["DEFAULT_IDENTITY_CLIENT_ID"] == SYSTEM_IDS.client
    ran = library.run(served, "managed", **variables)
    check_token(ran.results[0], SYSTEM_IDS, VAULT)
    assert ran.moved == {"requests azure_ml 200": 1}
