import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openimds.admin import auth, perform
from openimds.admin.handlers import (
    admin_tokens,
    clock,
    events,
    faults,
    hosts,
    rehearsal,
    requests,
    scenarios,
    tokens,
)
from openimds.admin.operations import OPERATIONS
from openimds.errors import Error
from openimds.fleet.store.port import Change
from tests.unit.admin.setup import JSON, MERGE, TAKEN, AdminServer, with_server

LARGE = b'{"compute": {"vmSize": "%s"}}' % (b"x" * (1 << 20))
PROBLEMS: list[tuple[int, str, str, dict[str, Any]]] = [
    (400, "GET", "/v1/vms?limit=0", {}),
    (400, "GET", "/v1/vms?limit=1001", {}),
    (400, "GET", "/v1/vms?limit=%C2%B2", {}),
    (400, "GET", "/v1/vms?limit=", {}),
    (400, "GET", "/v1/vms?cursor=%C3%BC", {}),
    (400, "GET", "/v1/vms?cursor=abcde", {}),
    (400, "GET", "/v1/vms?cursor=_w==", {}),
    (400, "GET", "/v1/audit?cursor=x", {}),
    (400, "GET", "/v1/changes?since=-1", {}),
    (400, "GET", "/v1/vms/a/document?api-version=2017-01-01", {}),
    (401, "GET", "/v1/vms", {"headers": {"Authorization": ""}}),
    (404, "GET", "/", {}),
    (404, "GET", "/v1/nothing", {}),
    (404, "GET", "/v1/vms/", {}),
    (404, "GET", "/v1/vms/x", {}),
    (404, "GET", "/v1/vms/x/document", {}),
    (404, "PATCH", "/v1/vms/x", {"json": {}}),
    (404, "DELETE", "/v1/vms/x", {}),
    (404, "PUT", "/v1/vms/a%2Fb", {"json": {}}),
    (405, "POST", "/v1/vms", {}),
    (405, "PUT", "/metrics", {}),
    (405, "OPTIONS", "/v1/vms/a", {}),
    (412, "PUT", "/v1/vms/a", {"json": {}, "headers": {"If-None-Match": "*"}}),
    (412, "DELETE", "/v1/vms/a", {"headers": {"If-Match": '"x"'}}),
    (413, "PUT", "/v1/vms/b", {"content": LARGE, "headers": JSON}),
    (413, "PATCH", "/v1/vms/a", {"content": LARGE, "headers": JSON}),
    (415, "PUT", "/v1/vms/b", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (415, "PUT", "/v1/vms/b", {"content": b"{}", "headers": MERGE}),
    (415, "PATCH", "/v1/vms/a", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (421, "GET", "/healthz", {"headers": {"Host": "evil.example"}}),
    (422, "PUT", "/v1/vms/b", {"content": b"", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"{", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"\xff", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"[]", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"a": 1, "a": 2}', "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"[" * 100_000, "headers": JSON}),
    (422, "PATCH", "/v1/vms/a", {"content": b'{"a":' * 100_000, "headers": JSON}),
    (422, "PATCH", "/v1/vms/a", {"content": b"[]", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"json": {"name": "c"}}),
    (422, "PUT", "/v1/vms/b", {"json": {"compute": {"vmsize": "x"}}}),
    (422, "PUT", "/v1/vms/%00", {"json": {}}),
    (422, "PUT", "/v1/vms/" + "x" * 257, {"json": {}}),
    (422, "PUT", "/v1/vms/b", {"json": {"reach": {"address": ["10.0.0.1"]}}}),
    (422, "PUT", "/v1/vms/b", {"json": {"reach": {"listen": [TAKEN]}}}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"name": "\\ud800"}', "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"\\ud800": 1}', "headers": JSON}),
]


def is_a_problem(got: httpx2.Response, status: int) -> bool:
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"
    problem = got.json()
    assert problem.keys() >= {"type", "title", "status", "detail"}
    assert problem.keys() <= {
        *("type", "title", "status", "detail"),
        *("where", "seen", "expected", "hint"),
    }
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert all(isinstance(text, str) and text for key, text in problem.items() if key != "status")
    return True


@pytest.mark.parametrize("status, method, path, more", PROBLEMS)
def test_refusal_has_one_shape_and_changes_nothing(
    tmp_path: Path, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"reach": {"address": ["10.0.0.1"]}})
        before, generation = server.store.changes(0, 9), server.fleet_index.generation
        got = await server.api.request(method, path, **more)
        assert is_a_problem(got, status)
        assert (server.store.changes(0, 9), server.fleet_index.generation) == (before, generation)
        if status == 405:
            assert method not in got.headers["allow"].split(", ")

    with_server(tmp_path, work)


def test_refusal_of_a_body_has_its_path_and_a_hint(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.put("/v1/vms/b", json={"compute": {"vmsize": "x"}})
        problem = got.json()
        assert (problem["where"], problem["seen"], problem["hint"]) == (
            "vms.b.compute",
            'unknown key "vmsize"',
            'Did you mean "vmSize"?',
        )
        assert problem["detail"].startswith(
            'vms.b.compute: saw unknown key "vmsize". Did you mean "vmSize"? Expected one of '
        )

    with_server(tmp_path, work)


def test_failing_store_is_a_503_for_its_operations(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        server.store.fails = {"get", "get_many", "page", "changes", "revision", "write"}
        for row in OPERATIONS:
            of_others = (
                *admin_tokens.OPERATIONS,
                *clock.OPERATIONS,
                *events.OPERATIONS,
                *faults.OPERATIONS,
                *hosts.OPERATIONS,
                *rehearsal.OPERATIONS,
                *requests.OPERATIONS,
                *scenarios.OPERATIONS,
                *tokens.OPERATIONS,
            )
            if row in of_others or row.name in (
                "follow_changes",
                "rotate_token",
                "list_keys",
                "rotate_key",
                "list_certificates",
                "list_hardware_certificates",
                "rotate_certificate",
                "show_revocation",
                "revoke_certificate",
            ):
                continue
            body: object = {"a": {}} if row.name == "patch_vms" else {"classic": True}
            more: dict[str, Any] = {"json": body} if row.takes else {}
            got = await server.api.request(row.method, row.path.replace("{name}", "a"), **more)
            if row.is_open or row.is_open_on_loopback or row.name == "get_document":
                assert got.status_code == 200
            else:
                assert is_a_problem(got, 503)
                assert got.json()["detail"] == "fleet.db: the disk is full"
        assert (await server.api.get("/readyz")).json() == {
            "status": "degraded",
            "detail": "fleet.db: the disk is full",
        }
        server.store.fails.clear()
        assert (await server.api.get("/readyz")).json() == {"status": "ready"}

    with_server(tmp_path, work)


def test_listener_without_a_free_descriptor_is_a_503(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.lack = OSError(errno.EMFILE, "Too many open files")
        got = await server.api.put("/v1/vms/b", json={"reach": {"listen": [TAKEN]}})
        assert is_a_problem(got, 503)
        assert got.json()["detail"].startswith(f"vms.b.reach.listen: saw {TAKEN}, expected ")

    with_server(tmp_path, work)


def test_unusable_token_file_is_a_503(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.token.path.write_text("")
        assert is_a_problem(await server.api.get("/v1/vms"), 503)
        assert (await server.api.get("/healthz")).json() == {"status": "ok"}

    with_server(tmp_path, work)


def test_slow_body_is_a_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_BODY_S", 0)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def work(server: AdminServer) -> None:
        got = await server.api.put("/v1/vms/a", content=slowly(), headers=JSON)
        assert is_a_problem(got, 408)

    with_server(tmp_path, work)


def test_body_that_breaks_off_is_a_400(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        sent: list[Any] = []
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        token = server.token.path.read_text().strip().encode()
        headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + token)]
        scope = {"type": "http", "method": "PUT", "path": "/v1/vms/a", "query_string": b""}
        await server.application({**scope, "headers": headers}, receive, send)
        assert sent[0]["status"] == 400
        assert server.store.revision() == 0

    with_server(tmp_path, work)


def test_internal_error_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: AdminServer) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(server.fleet_service, "put", fail)
        got = await server.api.put("/v1/vms/a", json={})
        assert is_a_problem(got, 500)
        assert "ZeroDivisionError" in got.json()["detail"]

    with_server(tmp_path, work)


def test_vm_removed_twice_at_once_is_a_404(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        answers = await asyncio.gather(*(server.api.delete("/v1/vms/a") for _ in range(6)))
        assert sorted(one.status_code for one in answers) == [204] + [404] * 5

    with_server(tmp_path, work)


def test_change_completes_after_its_caller_has_left(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        feed = server.fleet_service.feeds.subscribe()
        asking = asyncio.create_task(server.api.put("/v1/vms/a", json={}))
        await server.is_opening.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        change = await feed.get()
        assert isinstance(change, Change)
        assert change.name == "a"
        assert server.fleet_index.by_name.keys() == {"a"}

    with_server(tmp_path, work)


def test_host_that_does_not_answer_is_a_503_of_readiness(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert (await server.api.get("/readyz")).json() == {"status": "ready"}
        server.host_error = Error("the process that answers guests does not respond")
        got = await server.api.get("/readyz")
        assert is_a_problem(got, 503)
        assert got.json()["detail"] == "the process that answers guests does not respond"
        assert (await server.api.get("/healthz")).status_code == 200

    with_server(tmp_path, work)


def test_old_names_in_a_body_are_in_the_warning(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        fault = {"effect": "status", "status": 410, "until_s": 70, "vms": ["a"]}
        got = await server.api.post("/v1/faults", json=fault)
        assert got.status_code == 201
        assert got.headers["warning"] == (
            '299 openimds "old names, which 1.0 no longer reads: body.until_s (now untilS)"'
        )
        both = await server.api.post("/v1/faults", json={**fault, "untilS": 70})
        assert both.status_code == 400
        assert 'both "until_s" and "untilS"' in both.json()["detail"]
        for body in (
            {"effect": "status", "status": 410, "untilS": 70, "vms": ["a"]},
            {"playbook": "throttled", "vms": ["a"], "forS": 5},
        ):
            got = await server.api.post("/v1/faults", json=body)
            assert got.status_code == 201
            assert "warning" not in got.headers

    with_server(tmp_path, work)


def test_warning_is_one_quoted_line_of_ascii() -> None:
    assert perform.warning('a "b" \\ é') == "299 openimds \"a 'b'   ?\""
