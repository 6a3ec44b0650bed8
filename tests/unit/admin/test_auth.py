from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from openimds.admin.auth import Authenticator
from openimds.admin.failed_tokens import FREE, STEP_S, FailedTokens
from openimds.admin.host_rule import admin_rule
from openimds.admin.lazy_server import CONNECTION, END_CONNECTION
from openimds.admin.operation import Operation
from openimds.admin.operations import OPERATIONS
from openimds.admin.problem import ProblemError
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
                is_open = row.is_open or row.is_open_on_loopback
                assert (got.status_code == 401) is not is_open
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


@pytest.mark.parametrize(
    "values, kind",
    [
        ([], "absent"),
        ([""], "absent"),
        (["Basic YTpi"], "malformed"),
        (["Bearer"], "malformed"),
        (["Bearer a b"], "malformed"),
        (["Bearer a", "Bearer b"], "malformed"),
        (["Bearer abc"], "wrong"),
    ],
)
def test_failed_token_is_counted_by_kind(tmp_path: Path, values: list[str], kind: str) -> None:
    async def work(server: AdminServer) -> None:
        api = server.client()
        del api.headers["Authorization"]
        headers = [("Authorization", value) for value in values]
        assert (await api.get("/v1/vms", headers=headers)).status_code == 401
        counts = server.services.failed_tokens.counts
        assert {name: count for name, count in counts.items() if count} == {kind: 1}
        await server.api.get("/v1/vms")
        await api.get("/healthz")
        assert sum(counts.values()) == 1

    with_server(tmp_path, work)


def test_wrong_tokens_wait_and_right_ones_do_not(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        waits: list[float] = []

        async def wait(wait_s: float) -> None:
            waits.append(wait_s)

        acts: list[str] = []
        failures = FailedTokens(lambda: 0.0, server.notices.append)
        rule = admin_rule(frozenset())
        door = Authenticator(server.token, server.tokens, rule, failures, wait)
        (row,) = [row for row in OPERATIONS if row.name == "list_vms"]
        text = server.token.path.read_text().strip()

        async def check(token: str) -> None:
            scope = {
                "type": "http",
                "headers": [(b"host", b"localhost"), (b"authorization", token.encode())],
                "client": ("10.0.0.9", 5),
                "extensions": {
                    CONNECTION: {
                        "prove": lambda: acts.append("prove"),
                        "yield": lambda: acts.append("yield"),
                    }
                },
            }
            await door.check(Request(scope), row)

        for _ in range(FREE + 2):
            with pytest.raises(ProblemError, match="Authorization: Bearer TOKEN"):
                await check("Bearer x")
        assert waits == [pytest.approx(STEP_S), pytest.approx(2 * STEP_S)]
        assert acts == ["yield", "yield"]
        await check(f"Bearer {text}")
        assert len(waits) == 2
        assert acts == ["yield", "yield", "prove"]

    with_server(tmp_path, work)


class Connection:
    """A connection that showed the token of the file."""

    def __init__(self, server: AdminServer) -> None:
        self.text, self.is_ended = server.token.path.read_text().strip(), False

    def end(self) -> None:
        self.is_ended = True

    async def send(self, server: AdminServer, method: str, path: str) -> int:
        """Send a request on it, and return the status of the answer."""
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"authorization", f"Bearer {self.text}".encode()),
            ],
            "extensions": {END_CONNECTION: {"end": self.end}},
        }
        statuses: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if "status" in message:
                statuses.append(message["status"])

        await server.application(scope, receive, send)
        return statuses[0]


def test_rotation_ends_the_connections_of_the_file_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        feed, own = Connection(server), Connection(server)
        assert await feed.send(server, "GET", "/v1/vms") == 200
        assert await own.send(server, "POST", "/v1/token") == 200
        assert (feed.is_ended, own.is_ended) == (True, False)

    with_server(tmp_path, work)


@pytest.mark.parametrize("is_asked", [False, True])
def test_replaced_file_ends_the_connections_of_its_token(tmp_path: Path, is_asked: bool) -> None:
    async def work(server: AdminServer) -> None:
        feed = Connection(server)
        assert await feed.send(server, "GET", "/v1/vms") == 200
        assert server.token.look() == ""
        assert not feed.is_ended
        server.token.rotate()
        if is_asked:
            assert await Connection(server).send(server, "GET", "/v1/vms") == 200
        else:
            assert server.token.look() == ""
        assert feed.is_ended

    with_server(tmp_path, work)


def test_rotation_ends_the_token_of_its_request(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/token")
        assert got.json() == {"tokenFile": str(server.token.path)}
        assert (await server.api.get("/v1/vms")).status_code == 401
        assert (await server.client().get("/v1/vms")).status_code == 200

    with_server(tmp_path, work)
