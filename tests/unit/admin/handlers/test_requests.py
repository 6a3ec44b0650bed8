"""The recorded requests of guests over the admin API."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from openimds.admin.handlers import requests
from openimds.admin.handlers.requests import request_view
from openimds.facts.lint import rule
from openimds.protocol.lint import Finding, Record, report
from openimds.server import local_recording
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index
from tests.unit.admin.setup import AdminServer, with_server

NAME = "/metadata/instance/compute/name?api-version=2021-02-01"
FEED = "/v1/requests/feed"
FLEET = a_fleet(
    a={"reach": {"address": ["10.0.0.1"]}},
    b={"reach": {"address": ["10.0.0.2"]}},
)


def guests(server: AdminServer) -> tuple[Talk, Talk, Talk]:
    """Return two VMs and an unknown caller, whose requests the server records."""
    dispatcher = a_dispatcher(an_index(*FLEET))
    dispatcher.set_observer(server.recorder)
    return (
        Talk(dispatcher, ("10.0.0.1", 5)),
        Talk(dispatcher, ("10.0.0.2", 5)),
        Talk(dispatcher, ("10.0.0.3", 5)),
    )


async def listed(server: AdminServer, query: str = "") -> list[dict[str, Any]]:
    got = await server.api.get(f"/v1/requests{query}")
    assert got.status_code == 200, got.text
    found: list[dict[str, Any]] = got.json()["items"]
    return found


def test_request_is_listed_with_every_member(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first, _, _ = guests(server)
        first.ask(NAME, Via="1.1 a", VIA="1.1 b", Secret="hush")
        (shown,) = await listed(server)
        assert shown == {
            "number": 1,
            "at": "2026-11-22T19:54:46.000Z",
            "steadyS": 1000.0,
            "vm": "a",
            "peer": "10.0.0.1",
            "method": "GET",
            "target": NAME,
            "headers": {
                "host": "169.254.169.254",
                "metadata": "true",
                "via": "1.1 a, 1.1 b",
                "secret": "***",
            },
            "endpoint": "instance",
            "status": 400,
            "reason": "leaf_needs_text",
            "size": len(shown["body"]),
            "body": shown["body"],
            "sent": "",
            "tokenUntil": None,
            "fault": "",
        }
        assert shown["body"].startswith('{ "error": "Bad request')

    with_server(tmp_path, work)


def test_rules_that_requests_break_are_named_on_demand(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first, second, unknown = guests(server)
        first.ask(NAME)
        first.ask(f"{NAME}&format=text")
        second.ask(NAME)
        unknown.ask(NAME)
        found = await listed(server, "?rules=true")
        rules = ["leaf_needs_text"]
        assert [one["rules"] for one in found] == [rules, [], rules, []]
        (other,) = await listed(server, "?rules=true&vm=b&cursor=1")
        assert (other["vm"], other["rules"]) == ("b", rules)
        assert "rules" not in (await listed(server))[0]

    with_server(tmp_path, work)


def test_newest_requests_are_listed_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_NEWEST", 3)

    async def work(server: AdminServer) -> None:
        first, second, _ = guests(server)
        for caller in (first, second, first, second, second):
            caller.ask(NAME)

        async def numbers(query: str) -> list[int]:
            return [one["number"] for one in await listed(server, f"?newest=true{query}")]

        assert await numbers("&limit=2") == [4, 5]
        assert await numbers("&status=400") == [3, 4, 5]
        assert await numbers("") == [1, 2, 3, 4, 5]
        assert await numbers("&cursor=4") == [5]
        assert await numbers("&vm=a") == [1, 3]
        assert await numbers("&vm=b&limit=2") == [4, 5]
        assert (await server.api.get("/v1/requests?newest=true&limit=1")).json()["next"] is None

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/requests"),
        ("GET", "/v1/requests?vm="),
        ("GET", "/v1/requests/report"),
        ("GET", FEED),
        ("DELETE", "/v1/requests"),
    ],
)
def test_requests_that_hosts_keep_are_those_of_one_vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(local_recording.LocalRecording, "is_of_hosts", True)

    async def work(server: AdminServer) -> None:
        guests(server)[0].ask(NAME)
        got = await server.api.request(method, path)
        assert got.status_code == 409
        assert "openimds requests --vm NAME" in got.json()["detail"]
        assert len(await listed(server, "?vm=a")) == 1

    with_server(tmp_path, work)


def test_request_shows_the_end_of_its_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        guests(server)[0].ask(NAME)
        (record,) = server.recorder.records()
        shown = request_view(structs.replace(record, token_until_s=1_795_463_986.0, body=b"\xff"))
        assert (shown.token_until, shown.body) == ("2026-11-23T19:59:46.000Z", "\ufffd")

    with_server(tmp_path, work)


def test_requests_are_filtered_and_paged(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first, second, unknown_caller = guests(server)
        first.ask(NAME)
        second.ask("/metadata/versions")
        unknown_caller.ask(NAME)
        first.ask(NAME + "&format=text")
        for query, numbers in (
            ("", [1, 2, 3, 4]),
            ("?vm=a", [1, 4]),
            ("?vm=", [3]),
            ("?vm=nobody", []),
            ("?endpoint=versions", [2]),
            ("?status=200", [2, 4]),
            ("?vm=a&status=400", [1]),
            ("?status=0", []),
        ):
            assert [one["number"] for one in await listed(server, query)] == numbers
        page = (await server.api.get("/v1/requests?limit=1&vm=a")).json()
        assert ([one["number"] for one in page["items"]], page["next"]) == ([1], "1")
        rest = (await server.api.get("/v1/requests?limit=1&vm=a&cursor=1")).json()
        assert ([one["number"] for one in rest["items"]], rest["next"]) == ([4], None)

    with_server(tmp_path, work)


@pytest.mark.parametrize("query", ["status=x", "status=600", "limit=0", "cursor=x"])
def test_wrong_number_in_a_query_is_a_400(tmp_path: Path, query: str) -> None:
    async def work(server: AdminServer) -> None:
        assert (await server.api.get(f"/v1/requests?{query}")).status_code == 400

    with_server(tmp_path, work)


def test_numbers_continue_after_requests_are_cleared(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first, _, _ = guests(server)
        first.ask(NAME)
        assert (await server.api.delete("/v1/requests")).status_code == 204
        first.ask(NAME)
        assert [one["number"] for one in await listed(server)] == [2]

    with_server(tmp_path, work)


def test_report_has_the_breach_and_the_rule(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first, second, _ = guests(server)
        first.ask(NAME)
        second.ask(NAME, **{"X-Forwarded-For": "10.0.0.9"})
        got = (await server.api.get("/v1/requests/report")).json()
        row = rule("leaf_needs_text")
        assert got["next"] is None
        assert got["items"][0] == {
            "rule": "leaf_needs_text",
            "verdict": "refused",
            "vm": "a",
            "times": 1,
            "numbers": [1],
            "example": f"GET {NAME} 400",
            "says": row.says,
            "evidence": {"mark": "documented", "sources": ["S1", "S2"], "note": row.evidence.note},
        }
        assert [(one["vm"], one["rule"]) for one in got["items"][1:]] == [("b", "forwarded")]
        alone = (await server.api.get("/v1/requests/report?vm=b")).json()["items"]
        assert alone == got["items"][1:]

    with_server(tmp_path, work)


def test_report_judges_other_addresses_on_demand(tmp_path: Path) -> None:
    addresses = [{"privateIpAddress": "10.0.0.1"}, {"privateIpAddress": "10.0.0.9"}]
    value = {"network": {"interface": [{"ipv4": {"ipAddress": addresses}}]}}

    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=value)
        dispatcher = a_dispatcher(an_index(*a_fleet(a=value)))
        dispatcher.set_observer(server.recorder)
        for address in ("10.0.0.1", "10.0.0.9"):
            Talk(dispatcher, (address, 5)).ask(NAME + "&format=text")
        path = "/v1/requests/report"
        assert (await server.api.get(path)).json()["items"] == []
        (found,) = (await server.api.get(path + "?primaryAddress=true")).json()["items"]
        assert (found["rule"], found["numbers"]) == ("address_secondary", [2])
        assert (await server.api.get(path + "?primaryAddress=maybe")).status_code == 400

    with_server(tmp_path, work)


def test_metrics_count_the_breaches_of_each_rule(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        async def metrics() -> str:
            return (await server.api.get("/metrics")).text

        assert "openimds_findings{" not in await metrics()
        first, second, _ = guests(server)
        for guest in (first, second):
            guest.ask(NAME)
        assert 'openimds_findings{rule="leaf_needs_text"} 2.0\n' in await metrics()
        assert 'openimds_findings{rule="leaf_needs_text"} 2.0\n' in await metrics()
        first.ask(NAME)
        assert 'openimds_findings{rule="leaf_needs_text"} 3.0\n' in await metrics()
        server.recorder.clear()
        assert "openimds_findings{" not in await metrics()

    with_server(tmp_path, work)


def test_concurrent_scrapes_judge_the_requests_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def counted(records: tuple[Record, ...]) -> tuple[Finding, ...]:
        looks.append(len(records))
        return report(records)

    monkeypatch.setattr(local_recording, "report", counted)

    async def work(server: AdminServer) -> None:
        first, _, _ = guests(server)
        first.ask(NAME)
        got = await asyncio.gather(*(server.api.get("/metrics") for _ in range(5)))
        assert all('openimds_findings{rule="leaf_needs_text"} 1.0\n' in one.text for one in got)
        assert looks == [1]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "method, path",
    [("GET", "/v1/requests"), ("DELETE", "/v1/requests"), ("GET", "/v1/requests/report")],
)
def test_answer_without_recording_names_the_command(tmp_path: Path, method: str, path: str) -> None:
    async def work(server: AdminServer) -> None:
        server.recorder.per_vm = 0
        got = await server.api.request(method, path)
        assert got.status_code == 409
        detail = got.json()["detail"]
        assert "openimds serve --record 1000" in detail
        assert "openimds requests --follow" in detail

    with_server(tmp_path, work)


def test_requests_are_followed_without_recording(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.recorder.per_vm = 0
        looking: list[bool] = []
        begun = asyncio.Event()

        def look(is_looking: bool) -> None:
            looking.append(is_looking)
            begun.set()

        server.recorder.on_active = look
        first, second, _ = guests(server)
        async with server.follow("vm=b", FEED) as feed:
            await begun.wait()
            first.ask(NAME)
            second.ask(NAME)
            event = await feed.next()
            assert (event["event"], event["id"]) == ("request", "2")
            assert json.loads(event["data"])["vm"] == "b"
            assert looking == [True]
        assert looking == [True, False]
        assert server.recorder.records() == ()

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "query, headers, numbers",
    [
        ("since=0", {}, ["1", "2"]),
        ("since=1", {}, ["2"]),
        ("", {"Last-Event-ID": "1"}, ["2"]),
        ("since=0&vm=b", {}, ["2"]),
        # The numbers of another life.
        ("since=99", {}, ["1", "2"]),
        ("since=0", {"Last-Event-ID": "nonsense"}, ["1", "2"]),
    ],
)
def test_feed_begins_with_the_records_after_a_number(
    tmp_path: Path, query: str, headers: dict[str, str], numbers: list[str]
) -> None:
    async def work(server: AdminServer) -> None:
        first, second, _ = guests(server)
        first.ask(NAME)
        second.ask(NAME)
        async with server.follow(query, FEED, **headers) as feed:
            assert [(await feed.next())["id"] for _ in numbers] == numbers
            second.ask(NAME)
            assert (await feed.next())["id"] == "3"
            server.recorder.end_feeds()
            assert await feed.next() == {}

    with_server(tmp_path, work)


def test_feed_with_a_wrong_status_is_a_400(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert (await server.api.get(f"{FEED}?status=x")).status_code == 400

    with_server(tmp_path, work)
