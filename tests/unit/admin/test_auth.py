from pathlib import Path

import pytest

from openimds.admin.operations import OPERATIONS
from tests.unit.admin.setup import Office, at_work


def test_a_head_is_a_get_without_a_body(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        for path in ("/v1/vms", "/v1/vms/a", "/healthz", "/metrics", "/openapi.json", "/v1/vms/x"):
            head, got = await office.api.head(path), await office.api.get(path)
            assert head.status_code == got.status_code
            assert head.headers["content-type"] == got.headers["content-type"]

    at_work(tmp_path, work)


def test_what_is_open_needs_no_token_but_a_host(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        for row in OPERATIONS:
            path = row.path.replace("{name}", "a")
            for headers in ({"Authorization": ""}, {"Authorization": "Bearer x"}):
                got = await office.api.request(row.method, path, headers=headers)
                assert (got.status_code == 401) is not row.is_open
            got = await office.api.request(row.method, path, headers={"Host": "evil.example"})
            assert got.status_code == 421
        # Nothing of all this has changed the token.
        assert (await office.api.get("/v1/vms")).status_code == 200

    at_work(tmp_path, work)


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
    ],
)
def test_the_host_is_one_of_its_names(tmp_path: Path, host: str, fits: bool) -> None:
    async def work(office: Office) -> None:
        got = await office.api.get("/healthz", headers={"Host": host})
        assert got.status_code == (200 if fits else 421)

    at_work(tmp_path, work)


@pytest.mark.parametrize("scheme, fits", [("Bearer", True), ("bearer", True), ("Basic", False)])
def test_the_token_is_a_bearer_token(tmp_path: Path, scheme: str, fits: bool) -> None:
    async def work(office: Office) -> None:
        text = office.token.path.read_text().strip()
        headers = {"Authorization": f"{scheme}  {text}"}
        got = await office.api.get("/v1/vms", headers=headers)
        assert got.status_code == (200 if fits else 401)
        assert ("www-authenticate" in got.headers) is not fits

    at_work(tmp_path, work)


def test_rotating_ends_the_token_that_asked_for_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        got = await office.api.post("/v1/token")
        assert got.json() == {"tokenFile": str(office.token.path)}
        assert (await office.api.get("/v1/vms")).status_code == 401
        assert (await office.client().get("/v1/vms")).status_code == 200

    at_work(tmp_path, work)
