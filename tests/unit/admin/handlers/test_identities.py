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
from openimds.protocol.request import query
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import Office, at_work

GROUP = "/subscriptions/s/resourceGroups/Lab/providers"
APP = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OPS = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/ops"
TENANT = "a0000000-0000-0000-0000-000000000004"
IDS = {
    "clientId": "c0000000-0000-0000-0000-000000000001",
    "principalId": "b0000000-0000-0000-0000-000000000002",
}
BOTH = {"identities": {"system": True, "user": [APP], "tenantId": TENANT, "details": {APP: IDS}}}


async def rows(office: Office, path: str = "/v1/identities") -> list[dict[str, Any]]:
    got = await office.api.get(path)
    assert got.status_code == 200, got.text
    found: list[dict[str, Any]] = got.json()["items"]
    return found


async def pages(office: Office, limit: int) -> AsyncIterator[list[dict[str, Any]]]:
    params: dict[str, str] = {"limit": str(limit)}
    while True:
        page = (await office.api.get("/v1/identities", params=params)).json()
        yield page["items"]
        if page["next"] is None:
            return
        params["cursor"] = page["next"]


def test_the_identities_of_a_vm_are_those_that_its_tokens_show(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/web-1", json=BOTH)
        system, user = await rows(office, "/v1/vms/web-1/identities")
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
        asked = query("GET", target, has_metadata_header=True)
        need = handle(asked, Subject(parse_vm("web-1", BOTH), catalog()), office.now_s)
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

    at_work(tmp_path, work)


@pytest.mark.parametrize(
    "source, forged",
    [("local", False), ("entra", False), ("forge:expired", True), ("forge:unsigned", True)],
)
def test_a_forged_source_is_marked(tmp_path: Path, source: str, forged: bool) -> None:
    async def work(office: Office) -> None:
        said = {"system": True, "user": [APP], "source": "local"}
        detail = {"details": {APP.upper(): {"source": source}}}
        await office.api.put("/v1/vms/a", json={"identities": {**said, **detail}})
        found = [(one["source"], one["forged"]) for one in await rows(office)]
        assert found == [("local", False), (source, forged)]

    at_work(tmp_path, work)


def test_a_resource_id_is_shown_as_it_was_said_whatever_claims_make_of_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={"identities": {"user": [OPS, APP.upper(), APP]}})
        shown = [one["resourceId"] for one in await rows(office)]
        assert shown == [OPS, APP.upper()]

    at_work(tmp_path, work)


def test_the_list_of_all_is_in_the_order_of_vms_and_comes_in_pages(
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

    async def work(office: Office) -> None:
        for name in reversed(fleet):
            await office.api.put(f"/v1/vms/{name}", json={"identities": fleet[name]})
        for limit in (1, 2, 3, 4, 6, 7, 8, 1000):
            found = [page async for page in pages(office, limit)]
            whole = [(one["vm"], one.get("resourceId", "")) for page in found for one in page]
            assert whole == wanted, limit
            assert all(len(page) == limit for page in found[:-1])
            assert found[-1]

    at_work(tmp_path, work)


def test_a_page_after_a_vm_that_is_gone_goes_on_with_the_next(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        for name in "ab":
            said = {"identities": {"system": True, "user": [APP]}}
            await office.api.put(f"/v1/vms/{name}", json=said)
        first = (await office.api.get("/v1/identities?limit=1")).json()
        await office.api.delete("/v1/vms/a")
        rest = await rows(office, f"/v1/identities?cursor={first['next']}")
        assert [one["vm"] for one in rest] == ["b", "b"]

    at_work(tmp_path, work)


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
def test_what_cannot_be_a_page_is_refused(tmp_path: Path, query: str, says: str) -> None:
    async def work(office: Office) -> None:
        got = await office.api.get(f"/v1/identities?{query}")
        assert got.status_code == 400
        assert got.json()["detail"].startswith(says)

    at_work(tmp_path, work)


def test_a_fleet_without_identities_and_a_vm_that_is_not_there(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={"compute": {"tags": {"x": '"identities"'}}})
        assert await rows(office) == await rows(office, "/v1/vms/a/identities") == []
        got = await office.api.get("/v1/vms/b/identities")
        assert (got.status_code, got.json()["detail"]) == (
            404,
            'There is no VM "b"; GET /v1/vms lists them',
        )

    at_work(tmp_path, work)


def test_an_identity_comes_and_goes_by_a_merge_patch(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json=BOTH)
        patch = {"identities": {"system": None, "user": [OPS], "details": None}}
        await office.api.patch("/v1/vms/a", json=patch)
        assert [one["resourceId"] for one in await rows(office)] == [OPS]
        # What was said of an identity that is gone cannot stay.
        await office.api.put("/v1/vms/a", json=BOTH)
        got = await office.api.patch("/v1/vms/a", json={"identities": {"user": []}})
        assert got.status_code == 422
        assert "identities.details" in got.json()["where"]

    at_work(tmp_path, work)


def test_a_key_is_turned_and_the_old_one_stays_for_25_hours(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        assert await rows(office, "/v1/keys") == []
        office.keys.signer(office.now_s)
        (first,) = await rows(office, "/v1/keys")
        kid = office.keys.signer(office.now_s).kid
        began = "2026-11-22T19:54:46.000+00:00"
        assert first == {"kid": kid, "began": began, "retired": None, "publishedUntil": None}
        office.now_s += 3600
        turned = (await office.api.post("/v1/keys")).json()
        new, old = turned["items"]
        assert turned["next"] is None
        assert new["kid"] == office.keys.signer(office.now_s).kid != kid
        assert (new["began"], new["retired"]) == ("2026-11-22T20:54:46.000+00:00", None)
        assert old == {
            "kid": kid,
            "began": began,
            "retired": "2026-11-22T20:54:46.000+00:00",
            "publishedUntil": "2026-11-23T21:54:46.000+00:00",
        }
        assert await rows(office, "/v1/keys") == [new, old]
        office.now_s += 25 * 3600
        assert await rows(office, "/v1/keys") == [new]

    at_work(tmp_path, work)


def test_a_key_that_cannot_be_written_is_a_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: float) -> None:
        raise KeyFileError("keyring.json: no space left on device")

    async def work(office: Office) -> None:
        monkeypatch.setattr(office.signing, "rotate", fail)
        got = await office.api.post("/v1/keys")
        assert got.status_code == 503
        assert got.json()["detail"] == "keyring.json: no space left on device"

    at_work(tmp_path, work)


def test_the_desk_says_which_vms_are_other_ones_now(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        heard: list[AbstractSet[str]] = []

        async def listen(wanted: dict[str, str], _: AbstractSet[str]) -> None:
            if "taken" in wanted:
                raise ConfigError("listen", "taken", "a free one")

        fleet_index: FleetIndex[Any] = FleetIndex(catalog(), 1 << 20)
        fleet_service = FleetService(MemoryStore(), fleet_index, lambda: 0.0, listen, heard.append)

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
        assert [one for one in heard if one] == [{"a", "b", "c"}, {"b"}, {"a"}, {"c"}]

    at_work(tmp_path, work)


def _vms(names: Iterable[str]) -> list[Vm]:
    return [Vm(name) for name in names]
