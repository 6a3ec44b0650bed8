import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from openimds.admin.page.fleet_page import PART
from openimds.admin.page.fleet_table import MOST_CHOICES, FleetTable
from openimds.admin.page.fleet_view import FleetView
from openimds.admin.roles import Role
from openimds.fleet.quarantine import QuarantinedVm
from openimds.vm.selector import parse_selector
from tests.support.talk import Talk, a_dispatcher
from tests.unit.admin.page.browser import cells, members, signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

USER = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/lab/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/app"
)


async def put(server: AdminServer, name: str, **more: object) -> None:
    answer = await server.api.put(f"/v1/vms/{name}", json=members(**more))
    assert answer.status_code in {200, 201}


def test_empty_fleet_says_what_to_type(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await signed_in(server)
        text = text_of(await browser.get("/ui/"))
        assert "There are no VMs yet" in text
        assert "openimds vm put fleet.yaml" in text

    with_server(tmp_path, work)


def test_row_shows_a_vm_to_the_admin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(
            server,
            "web-1",
            reach={"address": ["10.0.0.4"], "interface": "tap1"},
            identities={
                "system": True,
                "user": [USER],
            },
        )
        browser = await signed_in(server)
        answer = await browser.get("/ui/")
        row = cells(answer)[1]
        assert row[:4] == ["web-1", "served", "Standard_D2s_v5", "westeurope"]
        assert row[5].startswith("tap1 000D3A")
        assert row[6:8] == ["10.0.0.4", "system, 1 user"]
        assert 'href="/ui/vms/web-1"' in answer.text

    with_server(tmp_path, work)


@pytest.mark.parametrize("role", [Role.READ, Role.OPERATE])
def test_row_hides_what_only_the_admin_reads(tmp_path: Path, role: Role) -> None:
    async def work(server: AdminServer) -> None:
        reach = {"address": ["10.9.9.9"], "interface": "tap1"}
        await put(server, "web-1", reach=reach, identities={"system": True})
        browser = await signed_in(server, role)
        for query in ("", "?q=10.9.9.9"):
            text = text_of(await browser.get(f"/ui/{query}"))
            assert "Standard_D2s_v5" in text or query
            assert not any(word in text for word in ("tap1", "Identities", "system"))
        assert "No VM fits" in text

    with_server(tmp_path, work)


def test_search_selector_and_state_choose_rows(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1", network={"interface": []})
        for name, location in (("db-1", "northeurope"), ("db-2", "westeurope")):
            compute = {"location": location, "tags": {"env": "prod"}}
            await server.api.put(f"/v1/vms/{name}", json={"compute": compute})
        browser = await signed_in(server)

        async def names(query: str) -> list[str]:
            return [row[0] for row in cells(await browser.get(f"/ui/?{query}"))[1:]]

        assert await names("") == ["db-1", "db-2", "web-1"]
        assert await names("q=DB") == ["db-1", "db-2"]
        assert await names("q=env:prod&select=location=northeurope") == ["db-1"]
        assert await names("select=name=*-1") == ["db-1", "web-1"]
        assert await names("state=quarantined") == []
        assert await names("state=other&page=x&sort=y") == ["db-1", "db-2", "web-1"]
        assert await names("sort=location") == ["db-1", "db-2", "web-1"]
        assert await names("sort=location&order=down") == ["web-1", "db-2", "db-1"]
        answer = await browser.get("/ui/?select=sise=x")
        assert 'aria-describedby="select-problem"' in answer.text
        assert 'select: saw unknown key "sise". Did you mean "size"?' in text_of(answer)

    with_server(tmp_path, work)


def test_quarantined_vm_is_shown_with_its_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1")
        server.fleet_index.quarantine["old"] = QuarantinedVm("old", "its JSON is damaged")
        server.fleet_index.generation += 1
        browser = await signed_in(server)
        answer = await browser.get("/ui/?state=quarantined")
        assert cells(answer)[1][:2] == ["old", "quarantined its JSON is damaged"]
        assert "1 of 2 VMs, 1 not served" in text_of(answer)

    with_server(tmp_path, work)


def test_large_fleet_comes_in_parts(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for number in range(PART + 5):
            await put(server, f"vm-{number:03}")
        browser = await signed_in(server)
        answer = await browser.get("/ui/?q=vm")
        assert len(cells(answer)) == PART + 1
        assert 'href="/ui/?q=vm&amp;page=2">Next' in answer.text
        assert ">Previous" not in answer.text
        answer = await browser.get("/ui/?q=vm&page=99")
        assert [row[0] for row in cells(answer)[1:]] == [f"vm-{PART + n:03}" for n in range(5)]
        assert 'href="/ui/?q=vm&amp;page=1">Previous' in answer.text
        assert ">Next" not in answer.text

    with_server(tmp_path, work)


def test_live_part_is_sent_when_the_fleet_changed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1")
        browser = await signed_in(server)
        answer = await browser.get("/ui/?live=vms")
        assert answer.status_code == 200
        assert "<html" not in answer.text
        assert "web-1" in answer.text
        tag = {"If-None-Match": answer.headers["etag"]}
        assert (await browser.get("/ui/?live=vms", **tag)).status_code == 304
        await put(server, "web-2")
        answer = await browser.get("/ui/?live=vms", **tag)
        assert (answer.status_code, "web-2" in answer.text) == (200, True)

    with_server(tmp_path, work)


def test_live_part_shows_that_requests_were_cleared(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1", reach={"address": ["10.0.0.4"]})
        dispatcher = a_dispatcher(server.fleet_index)
        dispatcher.set_observer(server.recorder)
        Talk(dispatcher, ("10.0.0.4", 5)).ask("/metadata/instance?api-version=2021-02-01")
        browser = await signed_in(server)
        answer = await browser.get("/ui/?live=vms")
        tag = {"If-None-Match": answer.headers["etag"]}
        assert (await browser.get("/ui/?live=vms", **tag)).status_code == 304
        (await server.api.delete("/v1/requests")).raise_for_status()
        cleared = await browser.get("/ui/?live=vms", **tag)
        assert cleared.status_code == 200
        assert text_of(cleared) != text_of(answer)

    with_server(tmp_path, work)


def test_view_of_a_fleet_is_held_by_its_application_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        view = FleetView(server.services)
        table = weakref.ref(view.table)
        del view
        gc.collect()
        assert table() is None

    with_server(tmp_path, work)


def test_text_of_a_vm_is_escaped(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        evil = "<script>alert(1)</script>"
        tags = {"env": evil}
        await server.api.put("/v1/vms/a", json={"compute": {"tags": tags, "vmSize": evil}})
        browser = await signed_in(server)
        answer = await browser.get("/ui/?q=%3Cscript%3E")
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>" not in answer.text

    with_server(tmp_path, work)


def test_table_keeps_rows_of_unchanged_vms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1")
        await put(server, "web-2")
        table = FleetTable(server.fleet_service)
        first, second = await table.rows()
        await put(server, "web-2", availabilitySet="as-1")
        again, changed = await table.rows()
        assert again is first
        assert changed is not second

    with_server(tmp_path, work)


def test_table_keeps_few_choices(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, "web-1")
        table = FleetTable(server.fleet_service)
        for number in range(MOST_CHOICES + 1):
            assert not await table.chosen(parse_selector(f"size={number}"))
        assert len(table._chosen) == MOST_CHOICES
        selector = parse_selector("name=web-*")
        both = await asyncio.gather(table.chosen(selector), table.chosen(selector))
        assert both[0] is both[1]
        assert both[0] == {"web-1"}

    with_server(tmp_path, work)
