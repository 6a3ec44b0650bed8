"""The list of VMs with selectors, orders and wanted members."""

from pathlib import Path
from typing import Any

import pytest

from openimds.admin.roles import Role
from openimds.fleet.store.port import Write
from tests.unit.admin.setup import AdminServer, with_server

FLEET: dict[str, Any] = {
    "web-2": {"compute": {"location": "northeurope", "vmSize": "B", "tags": {"env": "prod"}}},
    "web-1": {"compute": {"location": "westeurope", "vmSize": "b", "tags": {"env": "dev"}}},
    "db-1": {"compute": {"location": "westeurope", "vmSize": "A", "tags": {"env": "prod"}}},
    "plain": {},
}


async def fill(server: AdminServer) -> None:
    for name, body in FLEET.items():
        (await server.api.put(f"/v1/vms/{name}", json=body)).raise_for_status()


async def listed(server: AdminServer, **query: Any) -> list[str]:
    """Return the names of all pages."""
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await server.api.get("/v1/vms", params={**query, **cursor})).json()
        names += [item["name"] for item in page["items"]]
        if page["next"] is None:
            return names
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    "query, expected",
    [
        ({"select": "tag=ENV:prod"}, ["db-1", "web-2"]),
        ({"select": "tag=env:prod,location=WestEurope"}, ["db-1"]),
        ({"select": ["tag=env", "location=westeurope"]}, ["db-1", "web-1"]),
        ({"name": "web-*,plain"}, ["plain", "web-1", "web-2"]),
        ({"name": "web-*", "select": "size=b", "sort": "-name"}, ["web-2", "web-1"]),
        ({"sort": "size"}, ["db-1", "web-1", "web-2", "plain"]),
        ({"sort": "-size"}, ["plain", "web-2", "web-1", "db-1"]),
        ({"sort": "location", "select": "tag=env"}, ["web-2", "db-1", "web-1"]),
        ({"name": "absent"}, []),
    ],
)
def test_pages_hold_the_chosen_vms_in_order(
    tmp_path: Path, query: dict[str, Any], expected: list[str], limit: int
) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        assert await listed(server, limit=limit, **query) == expected

    with_server(tmp_path, work)


def test_page_ends_at_its_octets(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        big = {"compute": {"tags": {"text": "x" * 600_000}}}
        for name in ("a", "b", "c"):
            (await server.api.put(f"/v1/vms/{name}", json=big)).raise_for_status()
        got = (await server.api.get("/v1/vms", params={"name": "*"})).json()
        assert [item["name"] for item in got["items"]] == ["a"]
        assert await listed(server, sort="-name") == ["c", "b", "a"]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "query, sentence",
    [
        ({"select": "loc=x"}, 'select: saw unknown key "loc"'),
        ({"sort": "colour"}, "sort: saw"),
        ({"fields": "compute.size"}, 'fields: saw "compute.size"'),
        ({"fields": "computer"}, 'Did you mean "compute"?'),
        ({"fields": "compute.vmsize"}, 'Did you mean "compute.vmSize"?'),
        ({"fields": "compute.vmSize.x"}, "expected a member of compute.vmSize"),
        ({"name": "a*", "cursor": "x"}, "cursor: saw"),
        ({"sort": "size", "cursor": "Im4i"}, "cursor: saw"),
    ],
)
def test_query_that_does_not_fit_is_refused(
    tmp_path: Path, query: dict[str, str], sentence: str
) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.get("/v1/vms", params=query)
        assert got.status_code == 400
        assert sentence in got.json()["detail"]

    with_server(tmp_path, work)


def test_cursor_belongs_to_its_order(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        page = (await server.api.get("/v1/vms", params={"sort": "size", "limit": 1})).json()
        query = {"sort": "location", "cursor": page["next"]}
        got = await server.api.get("/v1/vms", params=query)
        assert got.status_code == 400
        assert "a cursor of sort=size, expected one of sort=location" in got.json()["detail"]

    with_server(tmp_path, work)


def test_fields_are_written_or_what_guests_see(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        fields = "compute.location,compute.tags,compute.zone,reach,compute.vmSize,name"
        query = {"fields": fields, "name": "plain,web-1"}
        plain, web = (await server.api.get("/v1/vms", params=query)).json()["items"]
        head = {"name": "web-1", "revision": 2, "origin": "api"}
        compute = {"location": "westeurope", "tags": {"env": "dev"}, "vmSize": "b"}
        assert web == {**head, "compute": compute}
        document = (await server.api.get("/v1/vms/plain/document")).json()
        for name, value in plain["compute"].items():
            assert document["compute"][name] == value
        assert {"location", "vmSize"} <= plain["compute"].keys()
        assert "zone" not in plain["compute"]

    with_server(tmp_path, work)


def test_secret_members_are_hidden_below_admin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        body = {"compute": {"userData": "c2VjcmV0", "zone": "1"}, "identities": {"system": True}}
        (await server.api.put("/v1/vms/a", json=body)).raise_for_status()
        reader = await server.client_of(Role.READ)
        query = {"fields": "compute.userData,compute.zone"}
        (item,) = (await reader.get("/v1/vms", params=query)).json()["items"]
        assert item["compute"] == {"zone": "1"}
        assert item["redacted"] == ["compute.userData"]
        (item,) = (await server.api.get("/v1/vms", params=query)).json()["items"]
        assert item["compute"] == {"userData": "c2VjcmV0", "zone": "1"}
        await reader.aclose()

    with_server(tmp_path, work)


def test_quarantined_vm_is_listed_with_its_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        server.store.write([Write("bad", b"{", "api")], "x", "2026")
        await server.fleet_service.load()
        query = {"name": "bad", "fields": "compute.vmSize", "sort": "size"}
        (item,) = (await server.api.get("/v1/vms", params=query)).json()["items"]
        assert item["name"] == "bad"
        assert item["quarantined"]

    with_server(tmp_path, work)
