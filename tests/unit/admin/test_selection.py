"""Selectors in the bodies and queries of operations that act on VMs."""

from pathlib import Path
from typing import Any

import pytest

from openimds.admin.handlers import faults, vm_batches
from openimds.protocol.request import parse_query
from tests.unit.admin.setup import JSON, AdminServer, with_server

ASKED = parse_query("GET", b"/metadata/instance?api-version=2021-02-01")


async def fill(server: AdminServer) -> None:
    for name in ("web-1", "web-2", "db-1"):
        env = "dev" if name == "db-1" else "prod"
        body = {"compute": {"tags": {"env": env}}, "identities": {"system": True}}
        (await server.api.put(f"/v1/vms/{name}", json=body)).raise_for_status()
    await server.events_service.load()


@pytest.mark.parametrize(
    "chosen, hit",
    [
        ({"select": "tag=env:prod"}, {"web-1", "web-2"}),
        ({"vms": ["web-*"]}, {"web-1", "web-2"}),
        ({"vms": ["db-1", "web-[1]"]}, {"db-1", "web-1"}),
        ({"vms": ["web-1", "db-1"], "select": "tag=env:prod"}, {"web-1"}),
        ({"vms": ["*-1"], "select": "tag=env:dev"}, {"db-1"}),
        ({"select": "name=*"}, {"web-1", "web-2", "db-1"}),
    ],
)
def test_body_selects_the_vms_of_an_event_and_a_fault(
    tmp_path: Path, chosen: dict[str, Any], hit: set[str]
) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        declared = await server.api.post("/v1/events", json={"type": "Reboot", **chosen})
        assert declared.status_code == 201
        assert {vm for event in declared.json()["items"] for vm in event["vms"]} == hit
        fault = {"effect": "status", "status": 410, **chosen}
        (item,) = (await server.api.post("/v1/faults", json=fault)).json()["items"]
        assert {*item["vms"]} == hit
        assert "select" not in item

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "chosen, sentence",
    [
        ({"select": "tag=env:test"}, 'select: saw "tag=env:test", which chooses no VM'),
        ({"vms": ["app-*"]}, 'vms: saw "app-*", which chooses no VM'),
        ({"vms": ["web-*", "nope"]}, 'unknown VM "nope"'),
        ({"select": "colour=red"}, 'select: saw unknown key "colour"'),
        ({"select": 7}, "select: saw 7, expected a string"),
        ({"vms": ["web-1"], "select": "tag=env:dev"}, "which chooses no VM"),
        ({}, "no vms"),
        ({"vms": "web-1"}, "vms: saw"),
    ],
)
def test_body_that_selects_nothing_is_refused(
    tmp_path: Path, chosen: dict[str, Any], sentence: str
) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        got = await server.api.post("/v1/events", json={"type": "Reboot", **chosen})
        assert got.status_code == 422
        assert sentence in got.json()["detail"]
        assert not server.events_service.events()

    with_server(tmp_path, work)


def test_body_that_is_no_object_is_refused_as_ever(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.post("/v1/events", json=[1])
        assert got.status_code == 422

    with_server(tmp_path, work)


def test_body_selects_at_most_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        for body in ({"select": "tag=env"}, {"vms": ["*"]}):
            fault = {"effect": "status", "status": 410, **body}
            got = await server.api.post("/v1/faults", json=fault)
            assert got.status_code == 422
            assert "more than 2 VMs, expected at most 2" in got.json()["detail"]

    monkeypatch.setattr("openimds.admin.selection.with_names.__defaults__", (2,))
    with_server(tmp_path, work)


def test_patch_of_a_selection_changes_each_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        patch = {"compute": {"zone": "2"}}
        query = {"select": "tag=env:prod"}
        got = await server.api.patch("/v1/vms", params=query, json=patch)
        assert got.status_code == 200
        assert [item["name"] for item in got.json()["items"]] == ["web-1", "web-2"]
        zones = [
            (await server.api.get(f"/v1/vms/{name}/document")).json()["compute"]["zone"]
            for name in ("web-1", "web-2", "db-1")
        ]
        assert zones == ["2", "2", ""]
        gone = await server.api.patch(
            "/v1/vms", params={"name": "web-*"}, content=b"null", headers=JSON
        )
        assert [item["revision"] for item in gone.json()["items"]] == [None, None]
        left = (await server.api.get("/v1/vms")).json()["items"]
        assert [vm["name"] for vm in left] == ["db-1"]

    with_server(tmp_path, work)


def test_chosen_vm_that_is_removed_meanwhile_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chosen(*_: object) -> list[str]:
        return ["gone", "web-1"]

    async def work(server: AdminServer) -> None:
        await fill(server)
        patch = {"compute": {"zone": "2"}}
        got = await server.api.patch("/v1/vms", params={"name": "*"}, json=patch)
        assert got.status_code == 200
        gone, web = got.json()["items"]
        assert gone == {"name": "gone", "revision": None, "existed": False}
        assert web["existed"]
        assert (await server.api.get("/v1/vms/gone")).status_code == 404

    monkeypatch.setattr(vm_batches, "selected", chosen)
    with_server(tmp_path, work)


def test_patch_of_none_or_of_too_many_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        none = await server.api.patch("/v1/vms", params={"name": "app-*"}, json={})
        assert none.status_code == 404
        assert none.json()["detail"].startswith("The request selects no VM")
        many = await server.api.patch("/v1/vms", params={"name": "*"}, json={})
        assert many.status_code == 400
        assert "more than 2 VMs" in many.json()["detail"]
        bad = await server.api.patch("/v1/vms", params={"select": "x"}, json={})
        assert bad.status_code == 400
        text = await server.api.patch("/v1/vms", params={"name": "web-1"}, json="text")
        assert text.status_code == 422

    monkeypatch.setattr(vm_batches, "MOST_VMS", 2)
    with_server(tmp_path, work)


def test_faults_of_selected_vms_are_cleared_for_them_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        for vms in (["web-1", "db-1"], ["web-2"], ["db-1"], None):
            fault = {"effect": "status", "status": 410, **({"vms": vms} if vms else {})}
            (await server.api.post("/v1/faults", json=fault)).raise_for_status()
        server.faults.injector.fault("web-1", ASKED, server.now_s)
        got = await server.api.delete("/v1/faults", params={"select": "tag=env:prod"})
        assert got.status_code == 200
        assert got.json()["items"] == [
            {"id": "1", "vms": ["web-1"], "isOver": False},
            {"id": "2", "vms": ["web-2"], "isOver": True},
        ]
        left = (await server.api.get("/v1/faults")).json()["items"]
        assert [(one["id"], one.get("vms")) for one in left] == [
            ("1", ["db-1"]),
            ("3", ["db-1"]),
            ("4", None),
        ]
        assert left[0]["seen"] == 1
        none = await server.api.delete("/v1/faults", params={"name": "web-*"})
        assert none.status_code == 404
        assert "No fault names a VM" in none.json()["detail"]

    with_server(tmp_path, work)


def test_faults_stay_where_the_store_fails(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        fault = {"effect": "status", "status": 410, "vms": ["web-1", "web-2"]}
        (await server.api.post("/v1/faults", json=fault)).raise_for_status()
        server.store.fails.add("write_events")
        got = await server.api.delete("/v1/faults", params={"name": "web-1"})
        assert got.status_code == 503
        (left,) = (await server.api.get("/v1/faults")).json()["items"]
        assert left["vms"] == ["web-1", "web-2"]

    with_server(tmp_path, work)


@pytest.mark.parametrize("query", [{"slect": "tag=env"}, {"select": ""}, {"name": ""}])
def test_mistyped_selector_does_not_mean_all(tmp_path: Path, query: dict[str, str]) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        fault = {"effect": "status", "status": 410, "vms": ["web-1"]}
        (await server.api.post("/v1/faults", json=fault)).raise_for_status()
        got = await server.api.delete("/v1/faults", params=query)
        assert got.status_code == 400, got.text
        assert (await server.api.get("/v1/faults")).json()["items"]
        got = await server.api.patch("/v1/vms", params=query, json={"compute": {"zone": "1"}})
        assert got.status_code == 400, got.text

    with_server(tmp_path, work)


def test_lists_show_what_hits_selected_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await fill(server)
        for name in ("web-1", "db-1"):
            await server.api.post("/v1/events", json={"type": "Reboot", "vms": [name]})
        query = {"select": "tag=env:prod"}
        (event,) = (await server.api.get("/v1/events", params=query)).json()["items"]
        assert event["vms"] == ["web-1"]
        identities = (await server.api.get("/v1/identities", params=query)).json()["items"]
        assert [one["vm"] for one in identities] == ["web-1", "web-2"]
        for path in ("/v1/events", "/v1/identities", "/v1/requests"):
            bad = await server.api.get(path, params={"select": "x=1"})
            assert bad.status_code == 400, path

    with_server(tmp_path, work)


def test_member_select_is_documented_beside_vms() -> None:
    for kind in faults.FaultInput:
        names = kind.__struct_fields__
        assert ("select" in names) is ("vms" in names)
