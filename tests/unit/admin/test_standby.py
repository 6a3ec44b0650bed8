"""A control that stands by answers, and names the control that leads."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from openimds.admin.metrics import MEDIA_OF_METRICS
from openimds.admin.standby import StandbySwitch

LEADER = "http://c1:8170"


def ask(
    switch: StandbySwitch, method: str, path: str, host: str = "localhost:8170"
) -> httpx2.Response:
    async def whole() -> httpx2.Response:
        transport = httpx2.ASGITransport(switch)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path)

    return asyncio.run(whole())


@pytest.mark.parametrize("method, path", [("GET", "/readyz"), ("PUT", "/v1/vms/a"), ("GET", "/")])
def test_standby_names_the_leader(method: str, path: str) -> None:
    answer = ask(StandbySwitch(lambda: ("c1/7 leads", LEADER)), method, path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.content)["detail"] == (
        f"This control does not lead: c1/7 leads; ask the control that leads, at {LEADER}"
    )


def test_standby_without_a_leader_says_why() -> None:
    answer = ask(StandbySwitch(lambda: ("its store cannot be reached", "")), "GET", "/v1/vms")
    assert json.loads(answer.content)["detail"].endswith("be reached; try again in a second")


def test_standby_is_alive() -> None:
    answer = ask(StandbySwitch(lambda: ("", "")), "GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_standby_has_the_metric_that_it_does_not_lead() -> None:
    answer = ask(StandbySwitch(lambda: ("c1/7 leads", LEADER)), "GET", "/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, MEDIA_OF_METRICS)
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert samples == ["openimds_control_leads 0.0"]


def test_leader_answers_itself() -> None:
    switch = StandbySwitch(lambda: ("", ""))
    switch.application = PlainTextResponse("of the leader")
    assert ask(switch, "GET", "/readyz").text == "of the leader"


def test_start_of_the_server_is_left_to_it() -> None:
    calls: list[Any] = []

    async def note(*message: Any) -> Any:
        calls.append(message)

    asyncio.run(StandbySwitch(lambda: ("", ""))({"type": "lifespan"}, note, note))
    assert calls == []


def test_standby_takes_no_rebound_name() -> None:
    standing = ("its store cannot be reached", "")
    switch = StandbySwitch(lambda: standing, frozenset({"c2"}))
    refused = ask(switch, "GET", "/readyz", "evil.example")
    assert (refused.status_code, b"store" in refused.content) == (421, False)
    assert ask(switch, "GET", "/readyz", "c2:8170").status_code == 503


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/vms/a"])
def test_standby_links_to_the_page_of_the_leader(path: str) -> None:
    answer = ask(StandbySwitch(lambda: ("<c1>", LEADER)), "GET", path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        503,
        "text/html; charset=utf-8",
    )
    assert '<a href="http://c1:8170/ui/">' in answer.text
    assert "&lt;c1&gt;" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("url", ["", "javascript:alert(1)"])
def test_standby_without_a_url_has_no_link(url: str) -> None:
    answer = ask(StandbySwitch(lambda: ("no leader", url)), "GET", "/ui/")
    assert "<a " not in answer.text
    assert "Load this page again" in answer.text


def test_standby_page_obeys_the_host_rule() -> None:
    answer = ask(StandbySwitch(lambda: ("no leader", "")), "GET", "/ui/", "evil.example")
    assert answer.status_code == 421
