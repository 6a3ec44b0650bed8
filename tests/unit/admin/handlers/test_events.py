"""Events, scenarios, the clock and the feed over the admin API."""

import json
from pathlib import Path
from typing import Any

import pytest

from openimds.events.clock import Clock
from openimds.protocol.pending import PendingApproval
from tests.support.talk import DEFAULT_GROUP
from tests.unit.admin.setup import AdminServer, with_server

REBOOT = {"type": "Reboot", "vms": ["a"]}


async def ready(server: AdminServer) -> None:
    await server.api.put("/v1/vms/a", json={"availabilitySet": "as"})
    await server.api.put("/v1/vms/b", json={"availabilitySet": "as"})
    await server.api.put("/v1/vms/c", json={})
    await server.events_service.load()


async def declared(server: AdminServer, **more: object) -> list[dict[str, Any]]:
    got = await server.api.post("/v1/events", json={**REBOOT, **more})
    assert got.status_code == 201, got.text
    assert got.json()["next"] is None
    found: list[dict[str, Any]] = got.json()["items"]
    return found


def test_event_is_declared_shown_and_moved(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        (event,) = await declared(server, in_s=60, duration_s=7, source="Platform")
        assert event == {
            "id": event["id"],
            "type": "Reboot",
            "status": "Scheduled",
            "scope": f"set:{DEFAULT_GROUP}/as",
            "vms": ["a"],
            "resources": ["a"],
            "notBefore": "2026-11-22T19:55:46.000Z",
            "durationS": 7,
            "description": "Host server is undergoing an emergency repair.",
            "source": "Platform",
            "needs": "any",
            "approvals": [],
            "approved": False,
            "created": "2026-11-22T19:54:46.000Z",
            "started": None,
        }
        path = f"/v1/events/{event['id'].lower()}"
        assert (await server.api.get(path)).json() == event
        started = (await server.api.post(f"{path}/start")).json()
        assert (started["status"], started["started"]) == ("Started", event["created"])
        assert (await server.api.post(f"{path}/cancel")).status_code == 409
        assert (await server.api.post(f"{path}/complete")).json()["status"] == "gone"
        for verb in ("start", "complete", "cancel", "approve"):
            assert (await server.api.post(f"{path}/{verb}")).status_code == 404
        assert (await server.api.get(path)).status_code == 404
        log = (await server.api.get("/v1/events/log")).json()
        assert [(one["number"], one["trigger"], one["after"]) for one in log["items"]] == [
            (1, "declared", "Scheduled"),
            (2, "start", "Started"),
            (3, "complete", "gone"),
        ]
        assert {one["who"] for one in log["items"]} == {"api 127.0.0.1 token:local"}
        page = (await server.api.get("/v1/events/log?limit=2")).json()
        assert page["next"] == "2"
        rest = (await server.api.get("/v1/events/log?limit=2&cursor=2")).json()
        assert ([one["number"] for one in rest["items"]], rest["next"]) == ([3], None)

    with_server(tmp_path, work)


def test_events_are_listed_by_pages_and_by_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        ids = []
        for vm in ("a", "b", "c"):
            ids += [one["id"] for one in await declared(server, vms=[vm])]
            server.now_s += 1
        found, cursor = [], ""
        for _ in ids:
            page = (await server.api.get(f"/v1/events?limit=1{cursor}")).json()
            found += [one["id"] for one in page["items"]]
            cursor = f"&cursor={page['next']}"
        assert (found, page["next"]) == (ids, None)
        of_b = (await server.api.get("/v1/events?vm=b")).json()["items"]
        assert [one["id"] for one in of_b] == [ids[1]]
        assert (await server.api.get("/v1/events?cursor=x")).status_code == 400

    with_server(tmp_path, work)


def test_vms_of_two_scopes_make_two_events(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        made = await declared(server, vms=["a", "c", "b", "a"])
        assert [(one["scope"], one["vms"]) for one in made] == [
            (f"set:{DEFAULT_GROUP}/as", ["a", "b"]),
            ("vm:c", ["c"]),
        ]

    with_server(tmp_path, work)


def test_failure_starts_at_once_and_not_before_is_a_time(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        (failed,) = await declared(server, failure=True)
        assert failed["status"] == "Started"
        (later,) = await declared(server, not_before="2026-11-22T21:00:00+01:00")
        assert later["notBefore"] == "2026-11-22T20:00:00.000Z"

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, where",
    [
        ([], "body"),
        ({}, "body"),
        ({"type": "Reboot"}, "body"),
        ({**REBOOT, "vms": "a"}, "vms"),
        ({**REBOOT, "vms": ["z"]}, "vms"),
        ({**REBOOT, "type": "Boot"}, "type"),
        ({**REBOOT, "in_s": -1}, "in_s"),
        ({**REBOOT, "in_s": "1"}, "in_s"),
        ({**REBOOT, "not_before": "soon"}, "not_before"),
        ({**REBOOT, "not_before": "2026-11-22T21:00:00"}, "not_before"),
        ({**REBOOT, "not_before": "0001-01-01T00:00:00+23:00"}, "not_before"),
        ({**REBOOT, "not_before": "2020-01-01T00:00:00Z"}, "not_before"),
        ({**REBOOT, "source": "Me"}, "source"),
        ({**REBOOT, "duration_s": 1.5}, "duration_s"),
        ({**REBOOT, "more": 1}, "body"),
    ],
)
def test_wrong_event_is_refused_with_its_path(tmp_path: Path, body: object, where: str) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        got = await server.api.post("/v1/events", json=body)
        assert (got.status_code, got.json()["where"]) == (422, where)
        assert (await server.api.get("/v1/events")).json() == {"items": [], "next": None}

    with_server(tmp_path, work)


@pytest.mark.parametrize("notice", ["in_s", "inS"])
@pytest.mark.parametrize("duration", ["duration_s", "durationS"])
def test_event_may_be_written_in_both_spellings(tmp_path: Path, notice: str, duration: str) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        (event,) = await declared(server, **{notice: 60, duration: 7})
        assert (event["notBefore"], event["durationS"]) == ("2026-11-22T19:55:46.000Z", 7)
        got = await server.api.post("/v1/events", json={**REBOOT, notice: -1})
        assert (got.status_code, got.json()["where"]) == (422, notice)

    with_server(tmp_path, work)


LINE = {**REBOOT, "at_s": 1}
TWOFOLD: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/events", {**REBOOT, "in_s": 1, "inS": 1}, "body"),
    ("/v1/scenarios", {"events": [REBOOT, {**LINE, "atS": 1}]}, "events[1]"),
    ("/v1/clock", {"advance_s": 1, "advanceS": 1}, "body"),
    ("/v1/faults", {"effect": "reset", "until_s": 1, "untilS": 1}, "body"),
]


@pytest.mark.parametrize("path, body, where", TWOFOLD)
def test_body_with_both_spellings_of_a_key_is_a_400(
    tmp_path: Path, path: str, body: dict[str, Any], where: str
) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        server.events_service.clock.is_virtual = True
        got = await server.api.post(path, json=body)
        problem = got.json()
        assert (got.status_code, problem["status"], problem["where"]) == (400, 400, where)
        assert problem["seen"].startswith('both "')

    with_server(tmp_path, work)


def test_operator_approves_for_all_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        (event,) = await declared(server, vms=["a", "b"], needs="all")
        need = PendingApproval("a", f"set:{DEFAULT_GROUP}/as", (event["id"],))
        await server.events_service.approve(need)
        shown = (await server.api.get(f"/v1/events/{event['id']}")).json()
        assert (shown["approvals"], shown["approved"]) == (["a"], False)
        shown = (await server.api.post(f"/v1/events/{event['id']}/approve")).json()
        assert (shown["approvals"], shown["status"]) == (["a", "b"], "Started")

    with_server(tmp_path, work)


def test_failing_store_is_a_503_and_changes_nothing(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        (event,) = await declared(server)
        server.store.fails = {"write_events", "log_entries"}
        asked = [
            await server.api.post("/v1/events", json=REBOOT),
            *[await server.api.post(f"/v1/events/{event['id']}/{v}") for v in ("start", "cancel")],
            await server.api.get("/v1/events/log"),
            await server.api.post("/v1/scenarios", json={"events": [REBOOT]}),
        ]
        assert {got.status_code for got in asked} == {503}
        server.store.fails.clear()
        assert (await server.api.get("/v1/events")).json()["items"] == [event]
        assert (await server.api.get("/v1/scenarios")).json()["items"] == []

    with_server(tmp_path, work)


def test_scenario_is_begun_listed_and_ended(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        line = {**REBOOT, "at_s": 60, "every_s": 3600}
        got = await server.api.post("/v1/scenarios", json={"name": "soak", "events": [line]})
        assert (got.status_code, got.json()) == (
            201,
            {
                "name": "soak",
                "begun": "2026-11-22T19:54:46.000Z",
                "events": [{"type": "Reboot", "vms": ["a"], "next": "2026-11-22T19:55:46.000Z"}],
            },
        )
        assert (await server.api.get("/v1/scenarios")).json()["items"] == [got.json()]
        assert (await server.api.delete("/v1/scenarios/soak")).status_code == 204
        assert (await server.api.delete("/v1/scenarios/soak")).status_code == 404

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, where",
    [
        ({}, "events"),
        ({"events": []}, "events"),
        ({"events": {}}, "events"),
        (1, "events"),
        ({"events": [{**REBOOT, "vms": ["z"]}]}, "events[0].vms"),
        ({"events": [REBOOT], "name": ""}, "name"),
        ({"events": [REBOOT], "name": "a/b"}, "name"),
        ({"events": [REBOOT], "nam": "a"}, "body"),
    ],
)
def test_wrong_scenario_is_refused_with_its_path(tmp_path: Path, body: object, where: str) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        got = await server.api.post("/v1/scenarios", json=body)
        assert (got.status_code, got.json()["where"]) == (422, where)

    with_server(tmp_path, work)


def test_clock_is_shown_and_set_if_virtual(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        shown = {"now": "2026-11-22T19:54:46.000Z", "offsetS": 0.0, "rate": 1.0, "virtual": False}
        assert (await server.api.get("/v1/clock")).json() == shown
        assert (await server.api.post("/v1/clock", json={"advance_s": 1})).status_code == 409
        changed: list[int] = []

        async def on_clock() -> None:
            changed.append(1)

        server.events_service.on_clock = on_clock
        server.events_service.clock.is_virtual = True
        await declared(server, in_s=60, life_s=1)
        got = await server.api.post("/v1/clock", json={"advance_s": 60, "rate": 2})
        assert got.json() == {
            "now": "2026-11-22T19:55:46.000Z",
            "offsetS": 60.0,
            "rate": 2.0,
            "virtual": True,
        }
        assert [one.status for one in server.events_service.events()] == ["Started"]
        got = await server.api.post("/v1/clock", json={"now": "2027-01-01T00:00:00Z"})
        assert got.json()["now"] == "2027-01-01T00:00:00.000Z"
        assert (server.events_service.events(), changed) == ([], [1, 1])
        for bad in ({"rate": -1}, {"now": 5}, {"now": "x"}, {"when": 1}, {"advance_s": 1e14}):
            assert (await server.api.post("/v1/clock", json=bad)).status_code == 422
        assert isinstance(server.events_service.clock, Clock)

    with_server(tmp_path, work)


def test_feed_has_events_beside_changes_and_resumes_both(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await ready(server)
        async with server.follow() as feed:
            while not server.fleet_service.feeds.readers:
                await feed.messages.get()
            (event,) = await declared(server)
            event_message = await feed.next()
            assert (event_message["event"], event_message["id"]) == ("event", "3-1")
            assert json.loads(event_message["data"])["event"] == event["id"]
            await server.api.put("/v1/vms/d", json={})
            assert (await feed.next())["id"] == "4-1"
        await server.api.post(f"/v1/events/{event['id']}/start")
        await server.api.put("/v1/vms/e", json={})
        async with server.follow(**{"Last-Event-ID": "4-1"}) as feed:
            got = [await feed.next() for _ in range(2)]
            assert [(one["event"], one["id"]) for one in got] == [
                ("change", "5-1"),
                ("event", "5-2"),
            ]
        # Before the first event a place was a revision alone; none of them is lost to it.
        async with server.follow(**{"Last-Event-ID": "5"}) as feed:
            assert [(await feed.next())["id"] for _ in range(2)] == ["5-1", "5-2"]
        # A place in another life of the store.
        async with server.follow(**{"Last-Event-ID": "5-77"}) as feed:
            assert (await feed.next())["id"] == "5-1"

    with_server(tmp_path, work)
