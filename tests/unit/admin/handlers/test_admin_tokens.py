"""The operations on tokens of the admin API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from openimds.admin.auth import Authenticator
from openimds.admin.host_rule import admin_rule
from openimds.admin.lazy_server import END_CONNECTION
from openimds.admin.made_token import MadeToken
from openimds.admin.operations import OPERATIONS
from openimds.admin.roles import GRANT, Role, TokenGrant
from openimds.admin.token import token_digest
from openimds.errors import Error
from tests.unit.admin.setup import AdminServer, with_server


def test_made_token_is_shown_once_and_works(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/tokens", json={"name": "ci", "role": "read"})
        assert got.status_code == 201
        assert got.headers["cache-control"] == "no-store"
        made = got.json()
        text = made.pop("token")
        assert made == {
            "name": "ci",
            "role": "read",
            "made": "2026-11-22T19:54:46.000+00:00",
            "by": "api 127.0.0.1 token:local",
            "expires": None,
            "expired": False,
            "lastUsed": None,
            "rotated": None,
            "formerUntil": None,
            "select": "",
        }
        listed = await server.api.get("/v1/tokens")
        assert listed.json() == {"items": [made], "next": None}
        assert text not in listed.text
        api = server.client(Authorization=f"Bearer {text}")
        assert (await api.get("/v1/vms")).status_code == 200
        assert (await server.api.delete("/v1/tokens/ci")).status_code == 204
        assert (await api.get("/v1/vms")).status_code == 401
        assert server.services.failed_tokens.counts["wrong"] == 1
        assert (await server.api.delete("/v1/tokens/ci")).status_code == 404

    with_server(tmp_path, work)


def test_expired_token_is_a_401_that_says_so(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        body = {"name": "ci", "role": "read", "lifeS": 3600}
        made = (await server.api.post("/v1/tokens", json=body)).json()
        assert made["expires"] == "2026-11-22T20:54:46.000+00:00"
        api = server.client(Authorization=f"Bearer {made['token']}")
        assert (await api.get("/v1/vms")).status_code == 200
        (listed,) = (await server.api.get("/v1/tokens")).json()["items"]
        assert (listed["expired"], listed["lastUsed"]) == (False, "2026-11-22T19:54:46.000+00:00")
        server.now_s += 3600
        got = await api.get("/v1/vms")
        assert got.status_code == 401
        assert got.json()["detail"].startswith("The token ci expired at 2026-11-22T20:54:46.000")
        assert got.headers["www-authenticate"] == (
            'Bearer realm="openimds", error="invalid_token", error_description="expired"'
        )
        assert server.services.failed_tokens.counts["expired"] == 1
        (listed,) = (await server.api.get("/v1/tokens")).json()["items"]
        assert listed["expired"]

    with_server(tmp_path, work)


def test_rotated_token_works_beside_its_former_secret(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, first = await server.tokens.add("ci", Role.READ, "test")
        got = await server.api.post("/v1/tokens/ci/rotate", json={"overlapS": 600, "lifeS": 1200})
        assert (got.status_code, got.headers["cache-control"]) == (200, "no-store")
        rotated = got.json()
        assert rotated["formerUntil"] == "2026-11-22T20:04:46.000+00:00"
        assert rotated["expires"] == "2026-11-22T20:14:46.000+00:00"
        assert rotated["rotated"] == "2026-11-22T19:54:46.000+00:00"
        old, new = (
            server.client(Authorization=f"Bearer {text}") for text in (first, rotated["token"])
        )
        assert [(await api.get("/v1/vms")).status_code for api in (old, new)] == [200, 200]
        server.now_s += 600
        got = await old.get("/v1/vms")
        assert got.status_code == 401
        assert "was replaced by openimds token rotate" in got.json()["detail"]
        assert (await new.get("/v1/vms")).status_code == 200
        third = (await server.api.post("/v1/tokens/ci/rotate")).json()
        assert third["formerUntil"] is None
        assert (await new.get("/v1/vms")).status_code == 401
        assert (await server.api.post("/v1/tokens/cd/rotate")).status_code == 404

    with_server(tmp_path, work)


def test_session_has_the_grant_of_its_token_until_it_ends(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        rule, failures = admin_rule(frozenset()), server.services.failed_tokens
        door = Authenticator(server.token, server.tokens, rule, failures)
        request = Request({"type": "http", "headers": [], "client": ("10.0.0.9", 5)})
        _, text = await server.tokens.add("ci", Role.READ, "test", 60)
        digest = token_digest(text)
        assert await door.grant_of(request, digest) == TokenGrant("ci", Role.READ)
        server.now_s += 60
        assert await door.grant_of(request, digest) is None
        assert failures.counts["expired"] == 0, "a session that ends is no failure"

    with_server(tmp_path, work)


def test_tokens_are_listed_by_pages(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for name in ("c", "a", "b"):
            await server.tokens.add(name, Role.READ, "test")
        first = (await server.api.get("/v1/tokens?limit=2")).json()
        assert [item["name"] for item in first["items"]] == ["a", "b"]
        rest = (await server.api.get(f"/v1/tokens?limit=2&cursor={first['next']}")).json()
        assert [item["name"] for item in rest["items"]] == ["c"]
        assert rest["next"] is None

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, status, says",
    [
        ({"name": "ci"}, 422, "role"),
        ({"name": "local", "role": "read"}, 422, "name: saw"),
        ({"name": "ci", "role": "root"}, 422, "role: saw"),
        ({"name": "ci", "role": "read", "lifeS": 59}, 422, "lifeS: saw the number 59"),
        ({"name": "taken", "role": "read"}, 409, "There is a token taken"),
    ],
)
def test_token_that_does_not_fit_is_refused(
    tmp_path: Path, body: dict[str, Any], status: int, says: str
) -> None:
    async def work(server: AdminServer) -> None:
        await server.tokens.add("taken", Role.READ, "test")
        got = await server.api.post("/v1/tokens", json=body)
        assert got.status_code == status
        assert says in got.json()["detail"]

    with_server(tmp_path, work)


def test_store_that_fails_leaves_the_file_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.store.fails = {"value"}
        assert (await server.api.get("/v1/clock")).status_code == 200
        got = await server.client(Authorization="Bearer abc").get("/v1/clock")
        assert got.status_code == 503
        assert (await server.api.get("/v1/tokens")).status_code == 503

    with_server(tmp_path, work)


def test_token_is_bound_to_the_connection_that_showed_it(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("ci", Role.READ, "test")
        ended: list[str] = []

        class Feed:
            def end(self) -> None:
                ended.append("feed")

        feed = Feed()
        rule, failures = admin_rule(frozenset()), server.services.failed_tokens
        door = Authenticator(server.token, server.tokens, rule, failures)
        (row,) = [row for row in OPERATIONS if row.name == "follow_changes"]
        scope: dict[str, Any] = {
            "type": "http",
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {text}".encode())],
            "client": ("10.0.0.9", 5),
            "extensions": {END_CONNECTION: {"end": feed.end}},
        }
        await door.check(Request(scope), row)
        assert scope[GRANT].name == "ci"
        assert (await server.api.delete("/v1/tokens/ci")).status_code == 204
        assert ended == ["feed"]

    with_server(tmp_path, work)


def test_revocation_is_completed_without_its_caller(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("ci", Role.READ, "test")
        has_begun, may_go_on, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Feed:
            def end(self) -> None:
                has_ended.set()

        feed, write = Feed(), server.tokens._write
        found = await server.tokens.find(text)
        assert found is not None
        await server.tokens.note_use(found, feed.end)

        async def slow(tokens: list[MadeToken]) -> None:
            has_begun.set()
            await may_go_on.wait()
            await write(tokens)

        server.tokens._write = slow  # type: ignore[method-assign]
        caller = asyncio.create_task(server.api.delete("/v1/tokens/ci"))
        await has_begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        may_go_on.set()
        async with asyncio.timeout(10):
            await has_ended.wait()

    with_server(tmp_path, work)


def test_broken_token_file_is_a_503(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.token.path.write_text("")
        got = await server.api.get("/v1/clock")
        assert got.status_code == 503
        with pytest.raises(Error, match="it is empty"):
            server.token.fits("x")

    with_server(tmp_path, work)
