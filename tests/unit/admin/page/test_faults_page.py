"""The page of faults and playbooks, over the application itself."""

from pathlib import Path

import pytest

from openimds.admin.page import faults_page
from openimds.admin.roles import Role
from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS
from tests.unit.admin.page.browser import Browser, cells, signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

PATH = "/ui/faults"


async def ready(server: AdminServer, role: Role | None = None) -> Browser:
    for name in "ab":
        await server.api.put(f"/v1/vms/{name}", json={})
    return await signed_in(server, role)


def test_every_fault_and_playbook_is_explained(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        page = await (await ready(server)).get(PATH)
        assert "No fault is active" in page.text
        for key in EFFECTS:
            assert f'href="/ui/faults?effect={key}#chosen"' in page.text
        for key in PLAYBOOKS:
            assert f'href="/ui/faults?playbook={key}#chosen"' in page.text

    with_server(tmp_path, work)


def test_form_of_each_fault_is_shown(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        rows = [("effect", key) for key in EFFECTS] + [("playbook", key) for key in PLAYBOOKS]
        for kind, key in rows:
            page = await browser.get(f"{PATH}?{kind}={key}")
            assert f'<input type="hidden" name="{kind}" value="{key}">' in page.text
            assert "Evidence: " in page.text

    with_server(tmp_path, work)


def test_fault_is_set_and_cleared_by_its_forms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(f"{PATH}?effect=status")
        fields = {"effect": "status", "status": "410", "vms": "a\nb", "until_s": "70.5"}
        sent = await browser.post(PATH, {**fields, "endpoint": "", "nth": " "})
        assert (sent.status_code, sent.headers["location"]) == (303, PATH)
        page = await browser.get(PATH)
        assert "1 fault set." in text_of(page)
        row = cells(page)[1]
        assert row[0] == "1"
        assert row[1] == "status"
        assert row[2] == "a , b"
        assert "untilS 70.5 ; status 410" in row[3]
        cleared = await browser.post(f"{PATH}/1/clear")
        assert (cleared.status_code, cleared.headers["location"]) == (303, PATH)
        assert "Fault 1 is cleared." in text_of(await browser.get(PATH))
        gone = await browser.post(f"{PATH}/1/clear")
        assert gone.status_code == 404
        assert 'There is no fault "1"' in text_of(gone)

    with_server(tmp_path, work)


def test_playbook_hits_all_vms_until_all_is_cleared(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(f"{PATH}?playbook=boot-race")
        await browser.post(PATH, {"playbook": "boot-race", "first": "5"})
        text = text_of(await browser.get(PATH))
        assert "2 faults set." in text
        assert "of the playbook boot-race" in text
        assert "all VMs" in text
        await browser.post(f"{PATH}/clear")
        assert "All faults are cleared." in text_of(await browser.get(PATH))
        assert not await server.faults.counted()

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"effect": "status", "status": "200"}, "status: saw the number 200"),
        ({"effect": "status"}, "no status"),
        ({"effect": "status", "status": "410", "until_s": "inf"}, 'the string "inf"'),
        ({"effect": "status", "status": "410", "nth": "1.5"}, 'the string "1.5"'),
        ({"effect": "sulking"}, "neither effect nor playbook"),
    ],
)
def test_refused_fault_keeps_its_form(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(PATH)
        answer = await browser.post(PATH, {**fields, "path": "/kept"})
        assert answer.status_code in {400, 422}
        assert message in text_of(answer)
        assert ('value="/kept"' in answer.text) == (fields["effect"] == "status")

    with_server(tmp_path, work)


def test_targets_of_a_fault_are_named_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults_page, "MOST_NAMES", 1)

    async def work(server: AdminServer) -> None:
        browser = await ready(server)
        await browser.get(PATH)
        await browser.post(PATH, {"playbook": "boot-race", "vms": "a\nb"})
        await browser.post(PATH, {"playbook": "issuers-unreachable"})
        rows = [row for row in cells(await browser.get(PATH)) if row]
        assert [row[2] for row in rows[1:]] == [
            "a and 1 more",
            "a and 1 more",
            "verifiers at the public listener",
        ]

    with_server(tmp_path, work)


def test_reader_sees_faults_and_no_forms(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.post("/v1/faults", json={"effect": "status", "status": 410})
        browser = await ready(server, Role.READ)
        page = await browser.get(f"{PATH}?effect=status&vm=a")
        assert "Clear" not in page.text
        assert 'name="effect"' not in page.text
        assert (await browser.post(PATH, {"effect": "status", "status": "410"})).status_code == 403

    with_server(tmp_path, work)
