import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from openimds.admin.operations import OPERATIONS
from openimds.fleet import change_feed
from openimds.fleet.store.port import EventBatch, Log, LogEntry
from tests.unit.admin.setup import AdminServer, with_server


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for member in value.values() for one in references(member)]
    if isinstance(value, list):
        return [one for member in value for one in references(member)]
    return []


def test_document_has_every_operation_and_resolves(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        document = (await server.api.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1.")
        assert document["info"].keys() >= {"title", "version"}
        described = {
            (method.upper(), path): operation
            for path, verbs in document["paths"].items()
            for method, operation in verbs.items()
        }
        assert described.keys() == {(row.method, row.path) for row in OPERATIONS}
        for row in OPERATIONS:
            operation = described[row.method, row.path]
            assert operation["operationId"] == row.name
            token = {"token": [row.role]}
            is_local = row.is_open_on_loopback
            access = [] if row.is_open else [{}, token] if is_local else [token]
            assert operation["security"] == access
            checks = () if row.is_open else (401, 403)
            statuses = {*row.answers, *row.problems, 400, 421, *checks}
            assert operation["responses"].keys() == {str(int(one)) for one in statuses}
            names = {one["name"] for one in operation.get("parameters", ())}
            wanted = {name for name in ("name", "id") if f"{{{name}}}" in row.path}
            assert names == wanted | {one.row.name for one in row.queries} | {*row.headers}
            assert ("requestBody" in operation) is bool(row.takes)
        for reference in references(document):
            found: Any = document
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]
            assert isinstance(found, dict)
        assert {one.rpartition("/")[2] for one in references(document)} == {
            *document["components"]["schemas"]
        }

    with_server(tmp_path, work)


def test_changes_are_followed_from_now_on(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/old", json={})
        async with server.follow() as feed:
            start = await feed.messages.get()
            assert start["status"] == 200
            assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
            await server.api.put("/v1/vms/a", json={"classic": True})
            event = await feed.next()
        assert (event["id"], event["event"]) == ("2", "change")
        assert json.loads(event["data"]) == {
            "revision": 2,
            "at": "2026-11-22T19:54:46.000+00:00",
            "who": "api 127.0.0.1 token:local",
            "name": "a",
            "kind": "put",
            "origin": "api",
        }
        assert not server.fleet_service.feeds.readers

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "query, headers, first",
    [
        ("since=0", {}, 1),
        ("since=2", {}, 3),
        ("", {"Last-Event-ID": "1"}, 2),
        ("", {"Last-Event-ID": "500"}, 1),
        ("since=0", {"Last-Event-ID": "2"}, 3),
        ("since=2", {"Last-Event-ID": "x"}, 3),
    ],
)
def test_changes_are_followed_from_a_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, headers: dict[str, str], first: int
) -> None:
    monkeypatch.setattr("openimds.admin.handlers.changes.PAGE", 2)

    async def work(server: AdminServer) -> None:
        for number in range(5):
            await server.api.put(f"/v1/vms/{number}", json={})
        async with server.follow(query, **headers) as feed:
            put = asyncio.create_task(server.api.put("/v1/vms/live", json={}))
            got = [(await feed.next())["id"] for _ in range(first, 7)]
            await put
        assert got == [str(number) for number in range(first, 7)]

    with_server(tmp_path, work)


def test_slow_reader_is_cut_and_resumes_without_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "MOST_ITEMS", 4)

    async def work(server: AdminServer) -> None:
        async with server.follow() as feed:
            await feed.messages.get()
            feed.may_send.clear()
            for number in range(12):
                await server.api.put(f"/v1/vms/{number}", json={})
            feed.may_send.set()
            seen = []
            while event := await feed.next():
                seen.append(int(event["id"]))
        assert seen == list(range(1, len(seen) + 1))
        assert 1 <= len(seen) < 12
        async with server.follow("", **{"Last-Event-ID": str(seen[-1])}) as feed:
            rest = [int((await feed.next())["id"]) for _ in range(12 - len(seen))]
        assert seen + rest == list(range(1, 13))

    with_server(tmp_path, work)


async def put_and_prune(server: AdminServer) -> None:
    """Make five changes and four log entries, of which the first three are pruned."""
    for number in range(5):
        await server.api.put(f"/v1/vms/{number}", json={})
    entries = tuple(LogEntry(0, "2026", "me", "id", b"{}") for _ in range(4))
    call, store = server.fleet_service.call_store, server.fleet_service.store
    for entry in await call(store.write_events, EventBatch(log_entries=entries)):
        server.fleet_service.publish(entry)
    for log in Log:
        await call(store.prune, log, 3)


@pytest.mark.parametrize(
    "query, headers, lost",
    [
        ("since=2", {}, "changes"),
        ("since=0", {}, "changes"),
        ("", {"Last-Event-ID": "2-4"}, "changes"),
        ("", {"Last-Event-ID": "500"}, "changes"),
        ("", {"Last-Event-ID": "5-2"}, "entries of the event log"),
        ("", {"Last-Event-ID": "5"}, "entries of the event log"),
    ],
)
def test_feed_of_a_pruned_position_gets_410(
    tmp_path: Path, query: str, headers: dict[str, str], lost: str
) -> None:
    async def work(server: AdminServer) -> None:
        await put_and_prune(server)
        answer = await server.api.get(f"/v1/changes?{query}", headers=headers)
        assert answer.status_code == 410
        assert answer.json()["detail"] == (
            f"The {lost} up to 3 were pruned, and with them some after this position. List the VMs "
            "(GET /v1/vms) and events (GET /v1/events) anew, then follow the changes with "
            "Last-Event-ID: 5-4"
        )
        assert not server.fleet_service.feeds.readers

    with_server(tmp_path, work)


def test_feed_of_the_last_pruned_position_goes_on(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put_and_prune(server)
        async with server.follow("", **{"Last-Event-ID": "3-3"}) as feed:
            got = [(await feed.next())["id"] for _ in range(3)]
        assert got == ["4-3", "5-3", "5-4"]

    with_server(tmp_path, work)


def test_feed_ends_if_its_next_changes_are_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimds.admin.handlers.changes.PAGE", 1)

    async def work(server: AdminServer) -> None:
        for number in range(5):
            await server.api.put(f"/v1/vms/{number}", json={})
        store = server.fleet_service.store
        async with server.follow("since=0") as feed:
            assert (await feed.messages.get())["status"] == 200
            feed.may_send.clear()
            await server.fleet_service.call_store(store.prune, Log.CHANGES, 4)
            feed.may_send.set()
            seen = []
            while event := await feed.next():
                seen.append(event["id"])
        assert seen == ["1", "2", "3"][: len(seen)]
        answer = await server.api.get("/v1/changes", headers={"Last-Event-ID": "3-0"})
        assert answer.status_code == 410

    with_server(tmp_path, work)


def test_audit_begins_with_the_oldest_kept_change(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put_and_prune(server)
        page = (await server.api.get("/v1/audit")).json()
        assert [entry["revision"] for entry in page["items"]] == [4, 5]
        assert (await server.api.get("/v1/audit?cursor=3")).status_code == 200
        answer = await server.api.get("/v1/audit?cursor=2")
        assert answer.status_code == 410
        assert answer.json()["detail"].endswith(
            "Begin anew without a cursor, with the oldest kept change"
        )

    with_server(tmp_path, work)
