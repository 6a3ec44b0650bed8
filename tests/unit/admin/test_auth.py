from pathlib import Path

import pytest

from openimds.admin.operation import Operation
from openimds.admin.operations import OPERATIONS
from tests.unit.admin.setup import AdminServer, ask, with_server


def test_head_answers_like_get_without_a_body(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        for path in ("/v1/vms", "/v1/vms/a", "/healthz", "/metrics", "/openapi.json", "/v1/vms/x"):
            head, got = await server.api.head(path), await server.api.get(path)
            assert head.status_code == got.status_code
            assert head.headers["content-type"] == got.headers["content-type"]

    with_server(tmp_path, work)


def test_open_operation_needs_no_token_but_a_host(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for row in OPERATIONS:
            path = row.path.replace("{name}", "a")
            for headers in ({"Authorization": ""}, {"Authorization": "Bearer x"}):
                got = await server.api.request(row.method, path, headers=headers)
                assert (got.status_code == 401) is not row.is_open
            got = await server.api.request(row.method, path, headers={"Host": "evil.example"})
            assert got.status_code == 421
        # Nothing of all this has changed the token.
        assert (await server.api.get("/v1/vms")).status_code == 200

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "host, fits",
    [
        ("localhost", True),
        ("LOCALHOST:8170", True),
        ("127.0.0.1:1", True),
        ("[::1]:8170", True),
        ("[::1]", True),
        ("host:8170", True),
        ("", False),
        ("localhost.evil.example", False),
        ("[::2]", False),
        ("evil.example", False),
        ("localhost:1@evil", False),
        ("localhost:x", False),
        ("localhost:65536", False),
        ("localhost/", False),
        ("[::1", False),
        ("[::1]x", False),
        ("::1", False),
        ("10.0.0.1", False),
    ],
)
def test_host_is_one_of_the_names_of_the_api(tmp_path: Path, host: str, fits: bool) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.get("/healthz", headers={"Host": host})
        assert got.status_code == (200 if fits else 421)

    with_server(tmp_path, work)


@pytest.mark.parametrize("hosts", [(), ("localhost", "evil.example"), ("localhost", "localhost")])
def test_request_has_exactly_one_host(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    async def work(server: AdminServer) -> None:
        status, body = await ask(server.application, "GET", "/healthz", hosts)
        assert status == 421
        assert b"expected one" in body

    with_server(tmp_path, work)


@pytest.mark.parametrize("row", [row for row in OPERATIONS if row.takes], ids=lambda row: row.name)
def test_body_of_another_type_is_refused(tmp_path: Path, row: Operation) -> None:
    async def work(server: AdminServer) -> None:
        assert row.takes
        for media in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
            got = await server.api.request(
                row.method, row.example_path, content=b"{}", headers={"Content-Type": media}
            )
            assert got.status_code == 415
            assert f'saw "{media}"' in got.json()["detail"]
            assert f"Send the header Content-Type: {row.takes.media[0]}" in got.json()["detail"]

    with_server(tmp_path, work)


@pytest.mark.parametrize("scheme, fits", [("Bearer", True), ("bearer", True), ("Basic", False)])
def test_token_is_a_bearer_token(tmp_path: Path, scheme: str, fits: bool) -> None:
    async def work(server: AdminServer) -> None:
        text = server.token.path.read_text().strip()
        headers = {"Authorization": f"{scheme}  {text}"}
        got = await server.api.get("/v1/vms", headers=headers)
        assert got.status_code == (200 if fits else 401)
        assert ("www-authenticate" in got.headers) is not fits

    with_server(tmp_path, work)


def test_rotation_ends_the_token_of_its_request(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/token")
        assert got.json() == {"tokenFile": str(server.token.path)}
        assert (await server.api.get("/v1/vms")).status_code == 401
        assert (await server.client().get("/v1/vms")).status_code == 200

    with_server(tmp_path, work)
