"""Tokens that are bound to a selector of VMs."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openimds.admin.openapi import example_query
from openimds.admin.operations import OPERATIONS
from openimds.admin.roles import Role
from openimds.admin.token_scope import BOUND_ROLES, NARROWINGS, Narrowing, check_bound_role
from openimds.errors import ConfigError, Error
from openimds.fleet.store.port import EventBatch, LogEntry
from openimds.protocol.lint import Record
from openimds.server.local_recording import LocalRecording
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index
from tests.unit.admin.setup import JSON, MERGE, AdminServer, with_server

WEB = {"compute": {"tags": {"team": "web"}}}
DB = {"compute": {"tags": {"team": "db"}}}
ROWS = {row.name: row for row in OPERATIONS}


async def a_fleet_of_teams(server: AdminServer) -> None:
    await server.events_service.load()
    server.events_service.clock.is_virtual = True
    for name, body in (("web-1", WEB), ("web-2", WEB), ("db-1", DB)):
        (await server.api.put(f"/v1/vms/{name}", json=body)).raise_for_status()


async def bound(
    server: AdminServer, role: Role = Role.OPERATE, select: str = "tag=team:web"
) -> httpx2.AsyncClient:
    """Return a client with a token that is bound to VMs."""
    _, text = await server.tokens.add(f"b-{role}", role, "test", select=select)
    return server.client(Authorization=f"Bearer {text}")


def names(page: Any) -> list[str]:
    return [item["name"] for item in page.json()["items"]]


def test_every_operation_decides_about_bound_tokens() -> None:
    assert NARROWINGS.keys() == ROWS.keys(), "name each operation in token_scope"
    for name, narrowing in NARROWINGS.items():
        row = ROWS[name]
        if narrowing is not Narrowing.REFUSED:
            assert row.is_open or row.role in BOUND_ROLES, name
        if narrowing is Narrowing.NAMED:
            assert row.path.startswith("/v1/vms/{name}"), name
        elif "{name}" in row.path:
            assert narrowing is Narrowing.REFUSED, name


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_no_operation_shows_or_changes_another_vm(tmp_path: Path, row: Any) -> None:
    """Ask everything about a VM that is not the token's."""

    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        event = {"type": "Reboot", "vms": ["db-1"], "inS": 900}
        events = (await server.api.post("/v1/events", json=event)).json()["items"]
        fault = {"effect": "status", "status": 410, "vms": ["db-1"]}
        faults = (await server.api.post("/v1/faults", json=fault)).json()["items"]
        fleet = an_index(*a_fleet(**{"db-1": {"reach": {"address": ["10.0.0.4"]}}}))
        dispatcher = a_dispatcher(fleet)
        dispatcher.set_observer(server.recorder)
        Talk(dispatcher, ("10.0.0.4", 5)).ask("/metadata/versions")
        revision, log = server.fleet_service.revision, server.store.last_log_entry()
        api = await bound(server)
        path = row.path.replace("{name}", "db-1")
        key = faults[0]["id"] if "faults" in path else events[0]["id"]
        path = path.replace("{id}", key)
        body = {"declare_events": event, "set_faults": fault}.get(row.name, WEB)
        more: dict[str, Any] = {}
        if row.takes:
            more = {"content": json.dumps(body), "headers": {"Content-Type": row.takes.media[0]}}
        if row.name in {"follow_changes", "follow_requests"}:
            return
        more["params"] = example_query(row)
        got = await api.request(row.method, path, **more)
        narrowing = NARROWINGS[row.name]
        if narrowing is Narrowing.REFUSED and not row.is_open_on_loopback:
            assert got.status_code == 403
        elif narrowing is Narrowing.NAMED:
            assert got.status_code == 404
            unknown = await api.request(row.method, path.replace("db-1", "db-9"), **more)
            assert got.json()["detail"] == unknown.json()["detail"].replace("db-9", "db-1")
        elif "{id}" in row.path or row.name in {"declare_events", "set_faults", "clear_faults"}:
            assert got.status_code == 404
        else:
            assert got.status_code == 200
            if row.path.startswith("/v1/"):
                assert "db-1" not in got.text
        assert (server.fleet_service.revision, server.store.last_log_entry()) == (revision, log)
        assert len((await server.api.get("/v1/faults")).json()["items"]) == 1

    with_server(tmp_path, work)


def test_bound_token_sees_and_changes_its_own_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        api = await bound(server)
        assert names(await api.get("/v1/vms")) == ["web-1", "web-2"]
        assert names(await api.get("/v1/vms?limit=1")) == ["web-1"]
        assert names(await api.get("/v1/vms?sort=-name&name=*-1")) == ["web-1"]
        assert (await api.get("/v1/vms/web-1")).status_code == 200
        assert (await api.get("/v1/vms/web-1/document")).status_code == 200
        patch = {"compute": {"vmSize": "Standard_B2s"}}
        assert (await api.patch("/v1/vms/web-1", json=patch, headers=MERGE)).status_code == 200
        assert names(await api.get("/v1/audit")) == ["web-1", "web-2", "web-1"]
        event = {"type": "Reboot", "vms": ["*"], "inS": 900}
        declared = (await api.post("/v1/events", json=event)).json()["items"]
        assert sorted(vm for one in declared for vm in one["vms"]) == ["web-1", "web-2"]
        assert (await api.post(f"/v1/events/{declared[0]['id']}/start")).status_code == 200
        fault = {"effect": "hang", "select": "name=*-1"}
        (fault,) = (await api.post("/v1/faults", json=fault)).json()["items"]
        assert fault["vms"] == ["web-1"]
        assert len((await api.get("/v1/faults")).json()["items"]) == 1
        assert (await api.delete(f"/v1/faults/{fault['id']}")).status_code == 204
        log = (await api.get("/v1/events/log")).json()["items"]
        assert {vm for line in log for vm in line["vms"]} == {"web-1", "web-2"}

    with_server(tmp_path, work)


def test_member_that_decides_the_selector_is_not_written(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        api = await bound(server, select="tag=team:web,name=web-*")
        bodies: list[Any] = [{"tags": {"team": "db"}}, {"tagsList": []}, None]
        for compute in bodies:
            patch = {"compute": compute}
            got = await api.patch("/v1/vms/web-1", json=patch, headers=MERGE)
            assert got.status_code == 403
        detail = (
            await api.patch("/v1/vms/web-1", json={"compute": {"tags": None}}, headers=MERGE)
        ).json()["detail"]
        assert detail == (
            'compute.tags: the token of this request is bound to "tag=team:web,name=web-*", and '
            "does not write a member that decides which VMs it reaches; leave it out"
        )

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "patch", [{"availabilitySet": "db"}, {"compute": {"placementGroupId": "db"}}]
)
def test_bound_token_joins_no_events_of_others(tmp_path: Path, patch: dict[str, Any]) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        api = await bound(server, select="name=web-*")
        got = await api.patch("/v1/vms/web-1", json=patch, headers=MERGE)
        assert got.status_code == 403
        assert "decides which VMs it reaches" in got.json()["detail"]
        patch_of_tags = {"compute": {"tags": {"team": "db"}}}
        got = await api.patch("/v1/vms/web-1", json=patch_of_tags, headers=MERGE)
        assert got.status_code == 200, "the selector reads the name alone"

    with_server(tmp_path, work)


def test_vm_that_no_longer_fits_is_gone_for_the_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        api = await bound(server, Role.READ)
        await server.api.patch("/v1/vms/web-1", json=DB, headers=MERGE)
        assert (await api.get("/v1/vms/web-1")).status_code == 404
        assert names(await api.get("/v1/vms")) == names(await api.get("/v1/audit")) == ["web-2"]

    with_server(tmp_path, work)


def test_event_and_fault_of_others_too_are_seen_but_not_changed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for name, body in (("web-1", WEB), ("db-1", DB)):
            await server.api.put(f"/v1/vms/{name}", json={**body, "availabilitySet": "as"})
        await server.events_service.load()
        both = {"type": "Reboot", "vms": ["web-1", "db-1"], "inS": 900}
        (event,) = (await server.api.post("/v1/events", json=both)).json()["items"]
        (fault,) = (await server.api.post("/v1/faults", json={"effect": "hang"})).json()["items"]
        api = await bound(server)
        assert (await api.get(f"/v1/events/{event['id']}")).status_code == 200
        got = await api.post(f"/v1/events/{event['id']}/start")
        assert got.status_code == 403
        assert "also hits VMs other than" in got.json()["detail"]
        assert [one["id"] for one in (await api.get("/v1/faults")).json()["items"]] == ["1"]
        got = await api.delete(f"/v1/faults/{fault['id']}")
        assert got.status_code == 403
        assert "hits all VMs" in got.json()["detail"]
        got = await api.post("/v1/faults", json={"effect": "hang"})
        assert got.status_code == 403
        assert got.json()["detail"].startswith("vms: none, and the token")

    with_server(tmp_path, work)


def test_damaged_log_entry_is_not_shown(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:

        await a_fleet_of_teams(server)
        entry = LogEntry(0, "now", "x", "1", b"{")
        server.store.write_events(EventBatch(log_entries=(entry,)))
        api = await bound(server, Role.READ)
        assert (await api.get("/v1/events/log")).json()["items"] == []
        assert len((await server.api.get("/v1/events/log")).json()["items"]) == 1

    with_server(tmp_path, work)


def test_feed_shows_the_change_by_which_a_vm_leaves(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        _, text = await server.tokens.add("feed", Role.READ, "test", select="tag=team:web")
        key = {"Authorization": f"Bearer {text}"}
        async with server.follow("since=0", **key) as feed:
            seen = [json.loads((await feed.next())["data"])["name"] for _ in range(2)]
            assert seen == ["web-1", "web-2"]
            await server.api.put("/v1/vms/db-2", json=DB)
            await server.api.patch("/v1/vms/web-1", json=DB, headers=MERGE)
            await server.api.patch("/v1/vms/web-1", json={"classic": True}, headers=MERGE)
            await server.api.put("/v1/vms/web-3", json=WEB)
            await server.api.delete("/v1/vms/web-3")
            seen = [json.loads((await feed.next())["data"]) for _ in range(3)]
            assert [(one["name"], one["kind"]) for one in seen] == [
                ("web-1", "put"),
                ("web-3", "put"),
                ("web-3", "remove"),
            ]

    with_server(tmp_path, work)


def test_requests_of_other_vms_are_not_shown(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        reach = {
            "web-1": {"reach": {"address": ["10.0.0.4"]}},
            "db-1": {"reach": {"address": ["10.0.0.5"]}},
        }
        dispatcher = a_dispatcher(an_index(*a_fleet(**reach)))
        dispatcher.set_observer(server.recorder)
        for address in ("10.0.0.4", "10.0.0.5", "10.0.0.6"):
            Talk(dispatcher, (address, 5)).ask("/metadata/instance?api-version=1999-01-01")
        api = await bound(server, Role.READ)
        shown = (await api.get("/v1/requests")).json()["items"]
        assert [one["vm"] for one in shown] == ["web-1"]
        found = (await api.get("/v1/requests/report")).json()["items"]
        assert {one["vm"] for one in found} <= {"web-1"}
        assert (await api.get("/v1/requests?vm=db-1")).json()["items"] == []

    with_server(tmp_path, work)


@pytest.mark.parametrize("path", ["/v1/requests", "/v1/requests/report"])
def test_no_host_is_asked_for_requests_of_another_vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def away(_: LocalRecording, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        raise Error(f"the requests of {vm} cannot be read: its host host-7 is not connected")

    monkeypatch.setattr(LocalRecording, "is_of_hosts", True)
    monkeypatch.setattr(LocalRecording, "records", away)

    async def work(server: AdminServer) -> None:
        await a_fleet_of_teams(server)
        api = await bound(server, Role.READ)
        another, unknown = [await api.get(f"{path}?vm={name}") for name in ("db-1", "db-9")]
        assert (another.status_code, another.json()["items"]) == (200, [])
        assert (unknown.status_code, unknown.json()) == (200, another.json())
        own = await api.get(f"{path}?vm=web-1")
        assert (own.status_code, "host-7" in own.text) == (503, True)

    with_server(tmp_path, work)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.ENROL])
def test_bound_token_reads_or_operates(role: Role) -> None:
    with pytest.raises(ConfigError, match="expected the role read or operate"):
        check_bound_role(role, "tag=a")
    check_bound_role(role, "")


def test_selector_of_a_token_is_checked_and_listed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        body = {"name": "ci", "role": "read", "select": "tag=team:web"}
        made = await server.api.post("/v1/tokens", json=body)
        assert made.json()["select"] == "tag=team:web"
        wrong = {**body, "name": "cd", "select": "tags=a"}
        got = await server.api.post("/v1/tokens", content=json.dumps(wrong), headers=JSON)
        assert got.status_code == 422
        assert 'Did you mean "tag"?' in got.json()["detail"]
        rotated = await server.api.post("/v1/tokens/ci/rotate")
        assert rotated.json()["select"] == "tag=team:web"
        api = server.client(Authorization=f"Bearer {made.json()['token']}")
        assert (await api.get("/v1/vms")).status_code == 401

    with_server(tmp_path, work)
