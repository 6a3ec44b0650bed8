"""Managed identities and the keys of their tokens, seen from the admin API."""

from collections.abc import AsyncIterator, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from openimds.admin.handlers import identities
from openimds.credentials.keys.files import KeyFileError
from openimds.errors import ConfigError
from openimds.facts.versions import catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.sqlite import MemoryStore
from openimds.protocol.handle import Subject, handle
from openimds.protocol.pending import PendingToken
from openimds.protocol.request import parse_query
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import AdminServer, with_server

GROUP = "/subscriptions/s/resourceGroups/Lab/providers"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPS = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
TENANT = "a0000000-0000-0000-0000-000000000004"
IDS = {
    "clientId": "c0000000-0000-0000-0000-000000000001",
    "principalId": "b0000000-0000-0000-0000-000000000002",
}
BOTH = {"identities": {"system": True, "user": [APP], "tenantId": TENANT, "details": {APP: IDS}}}


async def rows(server: AdminServer, path: str = "/v1/identities") -> list[dict[str, Any]]:
    got = await server.api.get(path)
    assert got.status_code == 200, got.text
    found: list[dict[str, Any]] = got.json()["items"]
    return found


async def pages(server: AdminServer, limit: int) -> AsyncIterator[list[dict[str, Any]]]:
    params: dict[str, str] = {"limit": str(limit)}
    while True:
        page = (await server.api.get("/v1/identities", params=params)).json()
        yield page["items"]
        if page["next"] is None:
            return
        params["cursor"] = page["next"]


def test_identities_of_a_vm_have_the_ids_of_its_tokens(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/web-1", json=BOTH)
        system, user = await rows(server, "/v1/vms/web-1/identities")
        assert user == {
            "vm": "web-1",
            "kind": "user",
            "resourceId": APP,
            **IDS,
            "tenantId": TENANT,
            "source": "local",
            "forged": False,
        }
        target = b"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a.b"
        asked = parse_query("GET", target, has_metadata_header=True)
        need = handle(asked, Subject(parse_vm("web-1", BOTH), catalog()), server.now_s)
        assert isinstance(need, PendingToken)
        assert system == {
            "vm": "web-1",
            "kind": "system",
            "clientId": need.identity.client_id,
            "principalId": need.identity.object_id,
            "tenantId": TENANT,
            "source": "local",
            "forged": False,
        }

    with_server(tmp_path, work)


def test_claims_of_an_identity_are_shown_as_its_tokens_have_them(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        detail = {"roles": ["A"], "groups": ["g"] * 201, "claims": {"level": 3}}
        body = {"identities": {"system": True, "details": {"system": detail}}}
        assert (await server.api.put("/v1/vms/a", json=body)).status_code == 201
        (identity,) = await rows(server, "/v1/vms/a/identities")
        endpoint = identity["claims"].pop("_claim_sources")["src1"]["endpoint"]
        assert endpoint.endswith(f"/{identity['principalId']}/getMemberObjects")
        assert identity["claims"] == {
            "roles": ["A"],
            "level": 3,
            "_claim_names": {"groups": "src1"},
        }

    with_server(tmp_path, work)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_claim_of_the_protocol_is_refused_without_the_setting(tmp_path: Path, method: str) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        detail = {"claims": {"iss": "https://other/", "x": 1}}
        body = {"identities": {"system": True, "details": {"system": detail}}}
        got = await server.api.request(method, "/v1/vms/a", json=body)
        assert got.status_code == 422
        assert got.json()["where"] == "vms.a.identities.details.system.claims"
        assert "--unsafe-claims" in got.json()["detail"]
        server.fleet_service.unsafe_claims = True
        assert (await server.api.request(method, "/v1/vms/a", json=body)).status_code == 200
        assert (await rows(server))[0]["claims"] == detail["claims"]
        server.fleet_service.unsafe_claims = False  # As after a start without the setting.
        assert (await rows(server))[0]["claims"] == {"x": 1}

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "source, forged",
    [("local", False), ("entra", False), ("forge:expired", True), ("forge:unsigned", True)],
)
def test_forged_source_is_marked(tmp_path: Path, source: str, forged: bool) -> None:
    async def work(server: AdminServer) -> None:
        identities = {"system": True, "user": [APP], "source": "local"}
        detail = {"details": {APP.upper(): {"source": source}}}
        await server.api.put("/v1/vms/a", json={"identities": {**identities, **detail}})
        found = [(one["source"], one["forged"]) for one in await rows(server)]
        assert found == [("local", False), (source, forged)]

    with_server(tmp_path, work)


def test_resource_id_keeps_the_case_of_the_fleet_file(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"identities": {"user": [OPS, APP.upper(), APP]}})
        shown = [one["resourceId"] for one in await rows(server)]
        assert shown == [OPS, APP.upper()]

    with_server(tmp_path, work)


def test_identities_of_all_vms_are_paged_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_SLICE", 2)
    fleet: dict[str, dict[str, Any]] = {
        "a": {"system": True, "user": [APP, OPS]},
        "b": {},
        "c": {"user": [APP]},
        "d": {"system": False},
        "e": {"system": True, "user": [OPS, APP]},
        "f": {},
    }
    wanted = [
        *[("a", ""), ("a", APP), ("a", OPS)],
        ("c", APP),
        *[("e", ""), ("e", OPS), ("e", APP)],
    ]

    async def work(server: AdminServer) -> None:
        for name in reversed(fleet):
            await server.api.put(f"/v1/vms/{name}", json={"identities": fleet[name]})
        for limit in (1, 2, 3, 4, 6, 7, 8, 1000):
            found = [page async for page in pages(server, limit)]
            whole = [(one["vm"], one.get("resourceId", "")) for page in found for one in page]
            assert whole == wanted, limit
            assert all(len(page) == limit for page in found[:-1])
            assert found[-1]

    with_server(tmp_path, work)


def test_page_after_a_removed_vm_begins_with_the_next(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for name in "ab":
            identities = {"identities": {"system": True, "user": [APP]}}
            await server.api.put(f"/v1/vms/{name}", json=identities)
        first = (await server.api.get("/v1/identities?limit=1")).json()
        await server.api.delete("/v1/vms/a")
        rest = await rows(server, f"/v1/identities?cursor={first['next']}")
        assert [one["vm"] for one in rest] == ["b", "b"]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "query, says",
    [
        ("limit=0", "limit: saw"),
        ("limit=1001", "limit: saw"),
        ("cursor=x", "cursor: saw"),
        ("cursor=e30=", "cursor: saw"),
        ("cursor=WyJhIiwtMV0=", "cursor: saw"),
        ("cursor=%C3%BC", "cursor: saw"),
    ],
)
def test_wrong_page_query_is_a_400(tmp_path: Path, query: str, says: str) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.get(f"/v1/identities?{query}")
        assert got.status_code == 400
        assert got.json()["detail"].startswith(says)

    with_server(tmp_path, work)


def test_missing_identities_and_missing_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"compute": {"tags": {"x": '"identities"'}}})
        assert await rows(server) == await rows(server, "/v1/vms/a/identities") == []
        got = await server.api.get("/v1/vms/b/identities")
        assert (got.status_code, got.json()["detail"]) == (
            404,
            'There is no VM "b"; GET /v1/vms lists them',
        )

    with_server(tmp_path, work)


def test_identity_is_changed_by_a_merge_patch(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=BOTH)
        patch = {"identities": {"system": None, "user": [OPS], "details": None}}
        await server.api.patch("/v1/vms/a", json=patch)
        assert [one["resourceId"] for one in await rows(server)] == [OPS]
        # The details of a removed identity are removed, too.
        await server.api.put("/v1/vms/a", json=BOTH)
        got = await server.api.patch("/v1/vms/a", json={"identities": {"user": []}})
        assert got.status_code == 422
        assert "identities.details" in got.json()["where"]

    with_server(tmp_path, work)


def test_rotated_key_stays_published_for_25_hours(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert await rows(server, "/v1/keys") == []
        server.keys.signer(server.now_s)
        (first,) = await rows(server, "/v1/keys")
        kid = server.keys.signer(server.now_s).kid
        began = "2026-11-22T19:54:46.000+00:00"
        assert first == {"kid": kid, "began": began, "retired": None, "publishedUntil": None}
        server.now_s += 3600
        turned = (await server.api.post("/v1/keys")).json()
        new, old = turned["items"]
        assert turned["next"] is None
        assert new["kid"] == server.keys.signer(server.now_s).kid != kid
        assert (new["began"], new["retired"]) == ("2026-11-22T20:54:46.000+00:00", None)
        assert old == {
            "kid": kid,
            "began": began,
            "retired": "2026-11-22T20:54:46.000+00:00",
            "publishedUntil": "2026-11-23T21:54:46.000+00:00",
        }
        assert await rows(server, "/v1/keys") == [new, old]
        server.now_s += 25 * 3600
        assert await rows(server, "/v1/keys") == [new]

    with_server(tmp_path, work)


def test_key_that_cannot_be_written_is_a_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: float) -> None:
        raise KeyFileError("keyring.json: no space left on device")

    async def work(server: AdminServer) -> None:
        monkeypatch.setattr(server.credentials, "rotate", fail)
        got = await server.api.post("/v1/keys")
        assert got.status_code == 503
        assert got.json()["detail"] == "keyring.json: no space left on device"

    with_server(tmp_path, work)


def test_fleet_service_names_the_changed_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        changed: list[AbstractSet[str]] = []

        async def listen(wanted: dict[str, str], _: AbstractSet[str]) -> None:
            if "taken" in wanted:
                raise ConfigError("listen", "taken", "a free one")

        fleet_index: FleetIndex[Any] = FleetIndex(catalog(), 1 << 20)
        fleet_service = FleetService(
            MemoryStore(), fleet_index, lambda: 0.0, listen, changed.append
        )

        async def sync(*names: str) -> None:
            await fleet_service.sync(_vms(names), "file", "test")

        await sync("a", "b", "c")
        await fleet_service.put(Vm("b", classic=True), "test")
        await fleet_service.patch("a", {"classic": True}, "test")
        await fleet_service.remove("c", "test")
        await fleet_service.remove("nobody", "test")
        with pytest.raises(ConfigError):
            await fleet_service.patch("a", {"reach": {"listen": ["taken"]}}, "test")
        fleet_service.close()
        assert [one for one in changed if one] == [{"a", "b", "c"}, {"b"}, {"a"}, {"c"}]

    with_server(tmp_path, work)


def _vms(names: Iterable[str]) -> list[Vm]:
    return [Vm(name) for name in names]
