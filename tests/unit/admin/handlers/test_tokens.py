"""The tokens of VMs, seen from the admin API."""

from pathlib import Path
from typing import Any

import pytest

from openimds.protocol.pending import Failed
from tests.unit.admin.setup import AdminServer, with_server

VAULT = "https://vault.azure.net"
GROUP = "/subscriptions/s/resourceGroups/Lab/providers"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPS = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
IDS = {
    "clientId": "c0000000-0000-0000-0000-000000000001",
    "principalId": "b0000000-0000-0000-0000-000000000002",
}
BOTH = {"system": True, "user": [APP], "details": {APP: IDS}}


async def ask(server: AdminServer, identities: dict[str, Any], **body: object) -> Any:
    put = await server.api.put("/v1/vms/web-1", json={"identities": identities})
    assert put.status_code in {200, 201}, put.text
    return await server.api.post("/v1/vms/web-1/token", json=body)


def test_answer_is_that_of_the_vm_and_not_cached(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await ask(server, {"system": True}, resource=VAULT)
        assert got.status_code == 200
        assert got.headers["cache-control"] == "no-store"
        assert got.json()["access_token"] == "eyJ.eyJ.sig"
        assert got.json()["resource"] == VAULT
        assert server.targets == [
            (
                "/metadata/identity/oauth2/token?api-version=2018-02-01"
                "&resource=https%3A%2F%2Fvault.azure.net"
            )
        ]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "selector",
    [
        {"clientId": IDS["clientId"]},
        {"principalId": IDS["principalId"]},
        {"resourceId": APP.upper()},
        {"resource_id": APP},
    ],
)
def test_selector_chooses_the_identity(tmp_path: Path, selector: dict[str, str]) -> None:
    async def work(server: AdminServer) -> None:
        got = await ask(server, BOTH, resource=VAULT, **selector)
        assert got.json()["client_id"] == IDS["clientId"]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "identities, body, detail",
    [
        (
            {},
            {},
            "web-1 has no managed identity; type: openimds identity assign web-1 --system",
        ),
        (
            {"system": True},
            {"resourceId": OPS},
            (
                "web-1 gets 400: Identity not found; openimds identity list --vm web-1 shows those "
                "that it has"
            ),
        ),
        (
            {"user": [APP, OPS]},
            {},
            (
                "web-1 gets 400: Multiple user assigned identities exist, please specify the "
                "clientId / resourceId of the identity in the token request; name one, as --user "
                "RESOURCE_ID or --client-id GUID"
            ),
        ),
    ],
    ids=["none", "unknown", "ambiguous"],
)
def test_refusal_of_the_vm_is_a_409_with_the_remedy(
    tmp_path: Path, identities: dict[str, Any], body: dict[str, str], detail: str
) -> None:
    async def work(server: AdminServer) -> None:
        got = await ask(server, identities, resource=VAULT, **body)
        assert (got.status_code, got.json()["detail"]) == (409, detail)

    with_server(tmp_path, work)


def test_unknown_resource_is_a_409_in_the_words_of_entra(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await ask(server, {"system": True}, resource="nonsense")
        assert got.status_code == 409
        start = "web-1 gets 400: AADSTS500011: The resource principal named nonsense was not found"
        assert got.json()["detail"].startswith(start)

    with_server(tmp_path, work)


@pytest.mark.parametrize("key", ["throttled", "server_error"])
def test_token_that_cannot_be_made_now_is_a_503(tmp_path: Path, key: str) -> None:
    async def work(server: AdminServer) -> None:
        server.token_result = Failed(key)
        got = await ask(server, {"system": True}, resource=VAULT)
        assert got.status_code == 503
        assert got.json()["detail"].startswith("web-1 gets ")

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, says",
    [
        ({}, "body: saw no resource"),
        ({"resource": ""}, "resource: saw"),
        ({"resource": "x" * 513}, "resource: saw"),
        ({"resource": VAULT, "scope": "x"}, 'unknown key "scope"'),
    ],
)
def test_body_that_does_not_fit_is_a_422(
    tmp_path: Path, body: dict[str, object], says: str
) -> None:
    async def work(server: AdminServer) -> None:
        got = await ask(server, {"system": True}, **body)
        assert got.status_code == 422
        assert says in got.json()["detail"]
        assert server.targets == []

    with_server(tmp_path, work)


def test_missing_vm_is_a_404_and_a_wrong_token_a_401(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/vms/x/token", json={"resource": VAULT})
        assert (got.status_code, got.json()["detail"]) == (
            404,
            'There is no VM "x"; GET /v1/vms lists them',
        )
        unknown = server.client(Authorization="Bearer x")
        got = await unknown.post("/v1/vms/x/token", json={"resource": VAULT})
        assert got.status_code == 401
        await unknown.aclose()

    with_server(tmp_path, work)
