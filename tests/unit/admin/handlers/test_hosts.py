"""The hosts of a fleet of hosts by the admin API."""

from pathlib import Path

from msgspec.structs import replace

from openimds.admin.roles import Role
from tests.unit.admin.setup import AdminServer, standing, with_server


def test_hosts_are_listed_in_pages(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.hosts.shown = [
            standing("host-1", refused={"web": "why"}),
            standing("host-2", is_connected=False, revision=None),
        ]
        first = (await server.api.get("/v1/hosts?limit=1")).json()
        (host,) = first["items"]
        assert (host["name"], host["isConnected"], host["refused"]) == (
            "host-1",
            True,
            {"web": "why"},
        )
        rest = (await server.api.get(f"/v1/hosts?cursor={first['next']}")).json()
        assert [one["revision"] for one in rest["items"]] == [None]
        assert rest["next"] is None

    with_server(tmp_path, work)


def test_join_token_is_for_no_cache(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        answer = await server.api.post("/v1/hosts", json={"name": "host-9"})
        assert answer.status_code == 201
        assert answer.json() == {"name": "host-9", "token": "openimds-join-1.host-9.secret"}
        assert answer.headers["cache-control"] == "no-store"

    with_server(tmp_path, work)


def test_enrolling_token_invites_hosts_and_nothing_else(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        api = await server.client_of(Role.ENROL)
        answer = await api.post("/v1/hosts", json={"name": "host-9"})
        assert answer.status_code == 201
        await server.api.post("/v1/hosts", json={"name": "host-8"})
        assert server.hosts.invited == [("host-9", False), ("host-8", True)]
        assert (await api.get("/v1/hosts")).status_code == 403
        assert (await api.delete("/v1/hosts/host-9")).status_code == 403

    with_server(tmp_path, work)


def test_revocation_names_an_unknown_host(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert (await server.api.delete("/v1/hosts/host-1")).status_code == 204
        missing = await server.api.delete("/v1/hosts/host-7")
        assert missing.status_code == 404
        assert "host-7" in missing.json()["detail"]
        assert server.hosts.revoked == ["host-1"]

    with_server(tmp_path, work)


def test_placement_names_the_hosts_without_the_newest_state(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/web", json={"host": "a", "nextHost": "b"})
        answer = await server.api.get("/v1/vms/web/placement")
        assert answer.json() == {"host": "a", "nextHost": "b", "lacking": ["lacking web"]}
        assert (await server.api.get("/v1/vms/db/placement")).status_code == 404

    with_server(tmp_path, work)


def test_server_of_one_host_has_no_list_of_hosts(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.use(replace(server.services, hosts=None))
        answer = await server.api.get("/v1/hosts")
        assert answer.status_code == 409
        assert "openimds control run" in answer.json()["detail"]

    with_server(tmp_path, work)
