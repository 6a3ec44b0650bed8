"""The page of events, over the application itself."""

from pathlib import Path
from typing import Any

import pytest

from openimds.admin.page import events_page
from openimds.admin.roles import Role
from openimds.events.clock import Clock
from tests.unit.admin.page.browser import Browser, signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

PATH = "/ui/events"
REBOOT = {"type": "Reboot", "vms": "a", "in_s": "60"}


async def ready(server: AdminServer, role: Role | None = None) -> Browser:
    for name in "abc":
        await server.api.put(f"/v1/vms/{name}", json={"availabilitySet": "as"})
    await server.events_service.load()
    return await signed_in(server, role)


async def declared(server: AdminServer, **more: object) -> dict[str, Any]:
    body = {"type": "Reboot", "vms": ["a"], "inS": 60, **more}
    got = await server.api.post("/v1/events", json=body)
    (event,) = got.raise_for_status().json()["items"]
    return dict(event)


def test_page_without_events_says_so(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        text = text_of(await (await ready(server)).get(PATH))
        assert "There are no events." in text
        assert "No event was declared yet." in text
        assert "The clock of guests shows 2026-11-22 19:54:46Z ." in text
        assert "openimds serve --virtual-clock" in text

    with_server(tmp_path, work)


def test_event_is_declared_by_its_form(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(PATH)
        sent = await browser.post(PATH, {**REBOOT, "vms": "a\r\nb\r\n", "description": "a & b"})
        assert (sent.status_code, sent.headers["location"]) == (303, PATH)
        text = text_of(await browser.get(PATH))
        assert "1 event declared." in text
        assert "Reboot Scheduled in 1 min 0 s" in text
        assert "Approved by 0 of 1" in text
        assert "a & b" in text
        (event,) = server.events_service.events()
        assert (event.vms, event.description) == (("a", "b"), "a & b")
        log = (await server.api.get("/v1/events/log")).json()["items"]
        assert [line["who"] for line in log] == ["api 127.0.0.1 token:local"]

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({**REBOOT, "vms": "nobody"}, 'vms: saw unknown VM "nobody"'),
        ({**REBOOT, "in_s": "soon"}, 'inS: saw the string "soon", expected a number'),
        ({**REBOOT, "type": "Nap"}, "expected one of Freeze, Reboot"),
        ({"type": "Reboot"}, "no vms"),
    ],
)
def test_refused_event_keeps_what_was_typed(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(PATH)
        answer = await browser.post(PATH, {**fields, "description": "kept text"})
        assert answer.status_code in {400, 422}
        assert message in text_of(answer)
        assert 'value="kept text"' in answer.text
        assert server.events_service.events() == []

    with_server(tmp_path, work)


def test_selector_of_the_form_chooses_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(PATH)
        await browser.post(PATH, {"type": "Freeze", "vms": "", "select": "name=[ab]"})
        (event,) = server.events_service.events()
        assert event.vms == ("a", "b")

    with_server(tmp_path, work)


def test_event_is_moved_by_its_buttons(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        for steps, word in (
            (("approve", "complete"), "completed"),
            (("start", "complete"), "completed"),
            (("cancel",), "cancelled"),
        ):
            event = await declared(server)
            for step in steps:
                page = await browser.get(PATH)
                assert f'action="{PATH}/{event["id"]}/{step}"' in page.text
                moved = await browser.post(f"{PATH}/{event['id']}/{step}")
                assert (moved.status_code, moved.headers["location"]) == (303, PATH)
            text = text_of(await browser.get(PATH))
            assert f"Reboot {event['id']} is {word}." in text
            assert "There are no events." in text

    with_server(tmp_path, work)


def test_step_that_is_too_late_is_refused(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        event = await declared(server)
        await browser.get(PATH)
        await server.api.post(f"/v1/events/{event['id']}/start")
        answer = await browser.post(f"{PATH}/{event['id']}/cancel")
        assert answer.status_code == 409
        assert "409 Conflict" in text_of(answer)
        assert "Reboot Started" in text_of(answer)

    with_server(tmp_path, work)


def test_buttons_are_those_that_an_event_can_take(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        advice = await declared(server, type="SpotRebalanceRecommendation")
        begun = await declared(server, vms=["c"])
        await server.api.post(f"/v1/events/{begun['id']}/start")
        page = await browser.get(PATH)
        found = [
            [
                word
                for word in ("approve", "start", "complete", "cancel")
                if f"{id_}/{word}" in page.text
            ]
            for id_ in (advice["id"], begun["id"])
        ]
        assert found == [["cancel"], ["complete"]]

    with_server(tmp_path, work)


def test_reader_sees_no_forms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server, Role.READ)
        event = await declared(server)
        page = await browser.get(PATH)
        assert event["id"] in page.text
        assert "Declare an event" not in page.text
        assert f"{event['id']}/start" not in page.text
        refused = await browser.post(f"{PATH}/{event['id']}/start")
        assert refused.status_code == 403
        assert "start_event needs a token of the role operate" in text_of(refused)

    with_server(tmp_path, work)


def test_names_and_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_page, "MOST_EVENTS", 2)
    monkeypatch.setattr(events_page, "MOST_LINES", 2)
    monkeypatch.setattr(events_page, "MOST_NAMES", 1)

    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        for _ in range(3):
            server.now_s += 1
            await declared(server, vms=["a", "b"])
        first = await browser.get(PATH)
        assert first.text.count('<svg class="strip"') == 2
        assert "a and 1 more" in text_of(first)
        assert "The last 2 lines, newest first" in text_of(first)
        cursor = first.text.partition("/ui/events?cursor=")[2].partition('"')[0]
        second = await browser.get(f"{PATH}?cursor={cursor}")
        assert second.text.count('<svg class="strip"') == 1
        assert ">First</a>" in second.text

    with_server(tmp_path, work)


def test_events_of_one_vm_are_chosen(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        event = await declared(server)
        assert event["id"] in (await browser.get(f"{PATH}?vm=a")).text
        other = text_of(await browser.get(f"{PATH}?vm=c"))
        assert "No event hits c." in other

    with_server(tmp_path, work)


def test_virtual_clock_is_advanced_by_its_form(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.events_service.clock = Clock(lambda: server.now_s, is_virtual=True)
        browser = await ready(server)
        await browser.get(PATH)
        moved = await browser.post("/ui/clock", {"advance_s": "900"})
        assert (moved.status_code, moved.headers["location"]) == (303, PATH)
        text = text_of(await browser.get(PATH))
        assert "The clock of guests shows 2026-11-22 20:09:46Z." in text
        assert "15 min 0 s ahead of real time" in text
        refused = await browser.post("/ui/clock", {"rate": "-1"})
        assert "rate: saw the number -1" in text_of(refused)

    with_server(tmp_path, work)


def test_live_part_has_the_timeline_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        event = await declared(server, needs="all")
        await server.api.post(f"/v1/events/{event['id']}/start")
        part = await browser.get(f"{PATH}?live=timeline")
        assert event["id"] in part.text
        assert 'class="impact-time"' in part.text
        assert "<form" not in part.text.partition("complete-")[0].partition("<ol")[0]
        assert "Log of events" not in part.text

    with_server(tmp_path, work)
