"""Faults and playbooks over the admin API."""

from pathlib import Path
from typing import Any

import pytest

from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS
from openimds.protocol.request import parse_query
from tests.unit.admin.setup import AdminServer, with_server

GONE = {"effect": "status", "status": 410}
ASKED = parse_query("GET", b"/metadata/instance?api-version=2021-02-01")


async def listed(server: AdminServer) -> list[dict[str, Any]]:
    got = (await server.api.get("/v1/faults")).json()
    assert got["next"] is None
    items: list[dict[str, Any]] = got["items"]
    return items


def test_fault_is_set_listed_with_its_counts_and_cleared(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        got = await server.api.post("/v1/faults", json={**GONE, "vms": ["a"], "nth": 2})
        assert got.status_code == 201
        expected = {
            "id": "1",
            "origin": "api",
            "effect": "status",
            "status": 410,
            "vms": ["a"],
            "nth": 2,
            "begun": "2026-11-22T19:54:46.000Z",
            "seen": 0,
            "played": 0,
        }
        assert got.json() == {"items": [expected], "next": None}
        for _ in range(3):
            server.faults.injector.fault("a", ASKED, server.now_s)
        assert await listed(server) == [{**expected, "seen": 3, "played": 1}]
        assert (await server.api.delete("/v1/faults/1")).status_code == 204
        assert await listed(server) == []
        gone = await server.api.delete("/v1/faults/1")
        assert gone.status_code == 404
        assert gone.json()["detail"] == 'There is no fault "1"; GET /v1/faults lists them'

    with_server(tmp_path, work)


@pytest.mark.parametrize("answer", ["stale", "late"])
def test_fault_of_verifiers_is_listed_as_it_was_set(tmp_path: Path, answer: str) -> None:
    async def work(server: AdminServer) -> None:
        fault = {"effect": "revocation-list", "answer": answer, "delayS": 1, "address": "first"}
        got = await server.api.post("/v1/faults", json=fault)
        assert got.status_code == 201
        (item,) = await listed(server)
        assert item.items() >= fault.items()
        assert (item["seen"], item["played"]) == (0, 0)
        refused = await server.api.post("/v1/faults", json={**fault, "vms": ["a"]})
        assert refused.status_code == 422
        assert "cannot know for which VM" in refused.json()["detail"]

    with_server(tmp_path, work)


def test_playbook_sets_all_its_faults(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        body = {"playbook": "restart", "refused_s": 1}
        made = (await server.api.post("/v1/faults", json=body)).json()["items"]
        assert [(one["effect"], one["playbook"]) for one in made] == [
            ("refused", "restart"),
            ("proxy-500", "restart"),
        ]
        assert await listed(server) == made
        assert (await server.api.delete("/v1/faults")).status_code == 204
        assert await listed(server) == []
        assert not server.faults.injector.concerns_guests

    with_server(tmp_path, work)


def test_response_fault_is_stored_and_listed_as_it_was_set(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        fault = {
            "effect": "response",
            "page": "proxy-502",
            "contentType": "text/plain",
            "headers": ["Via: 1.1 a, 1.0 b"],
            "bodyBase64": "/w==",
        }
        got = await server.api.post("/v1/faults", json=fault)
        assert got.status_code == 201
        (item,) = await listed(server)
        assert item.items() >= fault.items()
        schema = (await server.api.get("/openapi.json")).json()["components"]["schemas"]
        status = schema["Fault_response"]["properties"]["status"]["anyOf"][0]
        assert (status["minimum"], status["maximum"]) == (200, 599)

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "fault, shown",
    [
        ({"effect": "status", "status": 503, "retryAfter": 5}, {"retryAfter": "5"}),
        ({"effect": "proxy-500", "retryAfter": "date-60", "header": "absent"}, {}),
        ({"effect": "edited-token", "set": ["a=1"], "drop": ["b"], "expiresS": -60}, {}),
        ({"effect": "missing-challenge", "header": "any"}, {}),
    ],
)
def test_new_members_are_listed_as_they_were_set(
    tmp_path: Path, fault: dict[str, Any], shown: dict[str, str]
) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/faults", json=fault)
        assert got.status_code == 201, got.text
        (item,) = await listed(server)
        assert item.items() >= {**fault, **shown}.items()

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, where",
    [
        ([], "body"),
        ({"effect": "response"}, "body"),
        ({"effect": "response", "status": 200, "headers": ["Connection: close"]}, "headers[0]"),
        ({"effect": "response", "status": 200, "bodyFile": "/etc/hostname"}, "body"),
        ({}, "body"),
        ({"effect": "status"}, "body"),
        ({**GONE, "vms": ["nobody"]}, "vms"),
        ({**GONE, "statsu": 1}, "body"),
        ({**GONE, "until_s": 0}, "until_s"),
        ({"playbook": "restart", "errors_s": 1}, "errors_s"),
    ],
)
def test_wrong_fault_is_refused_with_its_path(tmp_path: Path, body: object, where: str) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/faults", json=body)
        assert (got.status_code, got.json()["where"]) == (422, where)
        assert await listed(server) == []

    with_server(tmp_path, work)


@pytest.mark.parametrize("method, path", [("POST", "/v1/faults"), ("DELETE", "/v1/faults")])
def test_failing_store_changes_no_fault(tmp_path: Path, method: str, path: str) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.post("/v1/faults", json=GONE)
        before = await listed(server)
        server.store.fails = {"write_events"}
        got = await server.api.request(method, path, json=GONE)
        assert (got.status_code, got.json()["detail"]) == (503, "fleet.db: the disk is full")
        assert (await server.api.delete("/v1/faults/1")).status_code == 503
        assert await listed(server) == before

    with_server(tmp_path, work)


def test_playbooks_have_their_reason_and_parameters(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        items = (await server.api.get("/v1/playbooks")).json()["items"]
        assert [one["playbook"] for one in items] == [*PLAYBOOKS]
        update = items[0]
        assert update["why"] == PLAYBOOKS["service-update"].why
        assert (update["evidence"], update["sources"]) == ("documented", "S2 S6 S48")
        assert update["parameters"] == [
            {
                "name": "forS",
                "sort": "a number",
                "about": "Length in seconds.",
                "default": 70,
            }
        ]

    with_server(tmp_path, work)


def test_openapi_has_every_effect_with_its_bounds(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        document = (await server.api.get("/openapi.json")).json()
        schemas = document["components"]["schemas"]
        body = document["paths"]["/v1/faults"]["post"]["requestBody"]["content"]
        alternatives = body["application/json"]["schema"]["oneOf"]
        named = {one["$ref"].rpartition("/")[2] for one in alternatives}
        assert named == {f"Fault_{key}" for key in EFFECTS} | {
            f"Playbook_{key}" for key in PLAYBOOKS
        }
        status = schemas["Fault_status"]
        assert {*status["required"]} == {"effect", "status"}
        assert status["properties"]["status"]["enum"] == [403, 404, 410, 429, 500, 503]
        chance = status["properties"]["probability"]["anyOf"][0]
        assert (chance["type"], chance["minimum"], chance["maximum"]) == ("number", 0, 1)
        for effect in ("refused", "blackhole"):
            assert schemas[f"Fault_{effect}"]["properties"].keys() == {
                *("effect", "vms", "fromS", "untilS", "select"),
            }

    with_server(tmp_path, work)
