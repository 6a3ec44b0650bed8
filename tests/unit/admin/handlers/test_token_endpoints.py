"""The variables that lead the clients of a VM to each token route."""

from pathlib import Path

import pytest

from tests.unit.admin.setup import AdminServer, with_server


def test_variables_of_a_vm_are_its_own_and_not_cached(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for name in ("web-1", "db-1"):
            assert (await server.api.put(f"/v1/vms/{name}", json={})).status_code == 201
        got = await server.api.get("/v1/vms/db-1/endpoints")
        assert got.json() == {
            "vm": "db-1",
            "variables": {"app-service": {"IDENTITY_HEADER": "secret of db-1"}},
        }
        assert got.headers["cache-control"] == "no-store"

    with_server(tmp_path, work)


def test_variables_lead_to_the_url_that_was_asked_for(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/db-1", json={})
        got = await server.api.get("/v1/vms/db-1/endpoints", params={"url": "HTTP://imds:8169/"})
        assert got.json()["variables"]["app-service"] == {
            "IDENTITY_ENDPOINT": "http://imds:8169",
            "IDENTITY_HEADER": "secret of db-1",
        }

    with_server(tmp_path, work)


@pytest.mark.parametrize("url", ["imds:8169", "http://imds/x", "ftp://imds", "http://a:b@imds"])
def test_url_that_is_no_base_url_is_a_400(tmp_path: Path, url: str) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/db-1", json={})
        got = await server.api.get("/v1/vms/db-1/endpoints", params={"url": url})
        assert got.status_code == 400
        assert got.json()["detail"].startswith("url: saw ")
        assert "b@" not in got.text

    with_server(tmp_path, work)


def test_variables_of_a_missing_vm_are_a_404(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.get("/v1/vms/x/endpoints")
        assert got.status_code == 404
        assert got.json()["detail"] == 'There is no VM "x"; GET /v1/vms lists them'

    with_server(tmp_path, work)


def test_variables_need_the_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/web-1", json={})
        without_token = server.client(Authorization="Bearer x")
        assert (await without_token.get("/v1/vms/web-1/endpoints")).status_code == 401
        await without_token.aclose()

    with_server(tmp_path, work)
