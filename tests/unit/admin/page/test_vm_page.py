import re
from html import unescape
from pathlib import Path

import pytest
from msgspec import structs

from openimds.admin.page.json_lines import marked_lines
from openimds.admin.roles import Role
from openimds.dataplane.recording.recorder import Recorder
from openimds.fleet.quarantine import QuarantinedVm
from openimds.protocol.request_log import Record
from openimds.server.local_recording import LocalRecording
from openimds.vm.fleet_file import parse_vm
from tests.unit.admin.page.browser import Browser, cells, members, signed_in, text_of
from tests.unit.admin.setup import AdminServer, with_server

EVENT = {"type": "Reboot", "vms": ["web-1"], "description": "<b>new</b> kernel"}


def record(number: int, **more: object) -> Record:
    """Return a record of a request for the instance document."""
    facts = {
        "number": number,
        "utc_s": 1_795_377_286.0 + number,
        "now_s": float(number),
        "vm": "web-1",
        "peer": "10.0.0.4",
        "method": "GET",
        "target": "/metadata/instance?api-version=2021-02-01",
        "headers": (),
        "endpoint": "instance",
        "status": 200,
        "reason": "",
        "size_bytes": 2,
        "body": b"{}",
        "sent": b"",
        "token_until_s": None,
        "fault": "",
    }
    return Record(**(facts | more))  # type: ignore[arg-type]


async def put(server: AdminServer, **more: object) -> None:
    answer = await server.api.put("/v1/vms/web-1", json=members(**more))
    assert answer.status_code in {200, 201}


def field(text: str, label: str) -> str:
    """Return the text in a field, as a browser sends it."""
    found = re.search(rf'(?s)<textarea id="{label}"[^>]*>\n(.*?)</textarea>', text)
    assert found
    return unescape(found[1])


def revision_of(text: str) -> str:
    found = re.search(r'name="revision" value="(\d+)"', text)
    assert found
    return found[1]


def marked(text: str) -> list[str]:
    return [unescape(one).strip() for one in re.findall(r"<mark>(.*?)</mark>", text)]


def test_document_stands_beside_its_source(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        compute = {"vmSize": "Standard_E4s_v5", "location": "northeurope"}
        await server.api.put(
            "/v1/vms/web-1", json={"compute": compute, "identities": {"system": True}}
        )
        browser = await signed_in(server)
        answer = await browser.get("/ui/vms/web-1")
        lines = marked(answer.text)
        assert '"vmSize": "Standard_E4s_v5",' in lines
        assert '"location": "northeurope",' in lines
        assert not any(line.startswith('"vmId"') for line in lines)
        assert "&#34;system&#34;: true" in answer.text

    with_server(tmp_path, work)


def test_document_is_shown_at_any_version(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server)
        old = await browser.get("/ui/vms/web-1?api-version=2017-04-02")
        assert "isHostCompatibilityLayerVm" not in old.text
        assert "<option selected>2017-04-02" in old.text
        new = await browser.get("/ui/vms/web-1")
        assert "isHostCompatibilityLayerVm" in new.text
        bad = await browser.get("/ui/vms/web-1?api-version=2016-01-01")
        problem = await server.api.get("/v1/vms/web-1/document?api-version=2016-01-01")
        assert bad.status_code == 200
        assert problem.json()["detail"] in text_of(bad)

    with_server(tmp_path, work)


@pytest.mark.parametrize("role", [Role.READ, Role.OPERATE])
def test_secrets_are_hidden_below_admin(tmp_path: Path, role: Role) -> None:
    async def work(server: AdminServer) -> None:
        compute = {"userData": "c2VjcmV0"}
        await server.api.put(
            "/v1/vms/web-1",
            json={"compute": compute, "reach": {"address": ["10.9.9.9"]}},
        )
        browser = await signed_in(server, role)
        answer = await browser.get("/ui/vms/web-1")
        assert "c2VjcmV0" not in answer.text
        assert "10.9.9.9" not in answer.text
        assert "does not read them: compute.userData, reach" in text_of(answer)
        assert ('id="patch"' in answer.text) is (role is Role.OPERATE)
        assert 'id="whole"' not in answer.text
        assert "Remove this VM" not in answer.text

    with_server(tmp_path, work)


def test_patch_changes_the_vm_and_says_so_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server, Role.OPERATE)
        page = await browser.get("/ui/vms/web-1")
        fields = {"revision": revision_of(page.text), "body": '{"compute": {"vmSize": "A1"}}'}
        answer = await browser.post("/ui/vms/web-1/patch", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/vms/web-1")
        assert "is changed" not in (await browser.get("/ui/vms/web-1?live=activity")).text
        page = await browser.get("/ui/vms/web-1")
        assert f"web-1 is changed (revision {revision_of(page.text)})." in text_of(page)
        assert '"vmSize": "A1",' in marked(page.text)
        assert "is changed" not in text_of(await browser.get("/ui/vms/web-1"))
        change = server.store.changes(0, 9)[-1]
        assert change.who == "api 127.0.0.1 token:a-operate"

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "form, body", [("replace", "{"), ("patch", '{"compute": {"vmsize": "x"}}')]
)
def test_rejected_text_stays_beside_the_problem(tmp_path: Path, form: str, body: str) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server)
        page = await browser.get("/ui/vms/web-1")
        typed = f"\n{body}\r\n  <&\"'</textarea>"[: None if form == "replace" else len(body) + 1]
        fields = {"revision": revision_of(page.text), "body": typed}
        answer = await browser.post(f"/ui/vms/web-1/{form}", fields)
        send = server.api.put if form == "replace" else server.api.patch
        media = "application/json" if form == "replace" else "application/merge-patch+json"
        problem = await send(
            "/v1/vms/web-1", content=typed.encode(), headers={"Content-Type": media}
        )
        assert answer.status_code == problem.status_code == 422
        assert problem.json()["detail"] in unescape(answer.text)
        label = "whole" if form == "replace" else "patch"
        assert field(answer.text, label) == typed
        assert f'aria-describedby="{form}-problem"' in answer.text
        other = "patch" if form == "replace" else "whole"
        assert field(answer.text, other) == field(page.text, other)

    with_server(tmp_path, work)


def test_page_of_a_failed_form_stays_live_and_can_be_opened(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server)
        path = "/ui/vms/web-1/patch?api-version=2021-02-01"
        answer = await browser.post(path, {"revision": "1", "body": "{"})
        assert answer.status_code == 422
        assert 'data-page="/ui/vms/web-1?api-version=2021-02-01"' in answer.text
        assert "<option selected>2021-02-01" in answer.text
        again = await browser.get(path)
        location = "/ui/vms/web-1?api-version=2021-02-01"
        assert (again.status_code, again.headers["location"]) == (303, location)

    with_server(tmp_path, work)


def test_form_of_an_old_revision_changes_nothing(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server)
        page = await browser.get("/ui/vms/web-1")
        fields = {"revision": revision_of(page.text), "body": field(page.text, "whole")}
        await put(server, availabilitySet="as-1")
        for name in ("replace", "patch", "remove"):
            answer = await browser.post(f"/ui/vms/web-1/{name}", fields)
            assert (answer.status_code, "412" in text_of(answer)) == (412, True)
        for revision in ("", "x", "ü"):
            answer = await browser.post("/ui/vms/web-1/remove", {"revision": revision})
            assert answer.status_code == 412
        assert server.fleet_index.by_name["web-1"].vm.availability_set == "as-1"
        fields["revision"] = revision_of(answer.text)
        assert (await browser.post("/ui/vms/web-1/replace", fields)).status_code == 303

    with_server(tmp_path, work)


def test_removed_vm_leads_back_to_the_fleet(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        browser = await signed_in(server)
        page = await browser.get("/ui/vms/web-1")
        answer = await browser.post("/ui/vms/web-1/remove", {"revision": revision_of(page.text)})
        assert answer.headers["location"] == "/ui/"
        assert "web-1 is removed." in text_of(await browser.get("/ui/"))
        assert (await browser.get("/ui/vms/web-1")).status_code == 404
        answer = await browser.post("/ui/vms/web-1/remove", {"revision": "1"})
        assert answer.status_code == 404

    with_server(tmp_path, work)


def test_form_beyond_the_role_is_refused_as_at_the_api(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        reader = await signed_in(server, Role.READ)
        api = await server.client_of(Role.READ, "other")
        answer = await reader.post("/ui/vms/web-1/patch", {"revision": "1", "body": "{}"})
        problem = (await api.patch("/v1/vms/web-1", json={})).json()["detail"]
        assert answer.status_code == 403
        assert "patch_vm needs a token of the role operate" in problem
        assert "There is no" not in text_of(answer)
        operator = await signed_in(server, Role.OPERATE)
        fields = {"revision": "1", "body": '{"identities": {"system": true}}'}
        answer = await operator.post("/ui/vms/web-1/patch", fields)
        assert (answer.status_code, "identities: only a token" in text_of(answer)) == (403, True)

    with_server(tmp_path, work)


def test_requests_are_shown_newest_first(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        for number in range(1, 31):
            server.recorder._keep(record(number))
        server.recorder._keep(record(31, status=400, reason="no_metadata", target="/<script>"))
        server.recorder.last_number = 31
        browser = await signed_in(server)
        answer = await browser.get("/ui/vms/web-1?live=activity")
        rows = cells(answer)[1:]
        assert [row[0] for row in rows] == [str(number) for number in range(31, 6, -1)]
        assert rows[0][2:6] == ["GET /&lt;script&gt;", "400", "no_metadata", "10.0.0.4"]
        tag = {"If-None-Match": answer.headers["etag"]}
        assert (await browser.get("/ui/vms/web-1?live=activity", **tag)).status_code == 304
        server.recorder.last_number = 32
        assert (await browser.get("/ui/vms/web-1?live=activity", **tag)).status_code == 200
        fleet = cells(await browser.get("/ui/"))[1]
        assert fleet[-2:] == ["1", "0"]

    with_server(tmp_path, work)


def test_server_without_records_says_how_to_keep_them(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        server.use(structs.replace(server.services, recording=LocalRecording(Recorder(0))))
        browser = await signed_in(server)
        assert "--record 1000" in text_of(await browser.get("/ui/vms/web-1"))
        assert "--record 1000" in text_of(await browser.get("/ui/"))

    with_server(tmp_path, work)


def test_requests_of_a_host_are_asked_for_each_time(tmp_path: Path) -> None:
    class OfHosts(LocalRecording):
        is_of_hosts = True

    async def work(server: AdminServer) -> None:
        await put(server)
        server.use(structs.replace(server.services, recording=OfHosts(server.recorder)))
        browser = await signed_in(server)
        answer = await browser.get("/ui/vms/web-1?live=activity")
        tag = {"If-None-Match": answer.headers["etag"]}
        assert (await browser.get("/ui/vms/web-1?live=activity", **tag)).status_code == 304
        assert "Each host keeps the requests" in text_of(await browser.get("/ui/"))

    with_server(tmp_path, work)


def test_events_of_the_vm_are_shown(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        assert (await server.api.post("/v1/events", json=EVENT)).status_code == 201
        browser = await signed_in(server, Role.READ)
        answer = await browser.get("/ui/vms/web-1")
        row = cells(answer)[-1]
        assert (row[1], row[2], row[-1]) == ("Reboot", "Scheduled", "&lt;b&gt;new&lt;/b&gt; kernel")

    with_server(tmp_path, work)


def test_placement_names_hosts_without_the_newest_state(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server, host="host-1", nextHost="host-2")
        browser = await signed_in(server)
        text = text_of(await browser.get("/ui/vms/web-1"))
        assert "host-1, moves to host-2; without its newest state: lacking web-1" in text
        server.use(structs.replace(server.services, hosts=None))
        browser = await signed_in(server)
        assert "<dt>Host" not in (await browser.get("/ui/vms/web-1")).text

    with_server(tmp_path, work)


def test_quarantined_vm_has_a_source_and_a_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await put(server)
        server.fleet_index.by_name.pop("web-1")
        server.fleet_index.quarantine["web-1"] = QuarantinedVm("web-1", "its address is taken")
        browser = await signed_in(server)
        answer = await browser.get("/ui/vms/web-1")
        assert answer.status_code == 200
        assert "quarantined its address is taken" in text_of(answer)
        assert "Standard_D2s_v5" in field(answer.text, "whole")

    with_server(tmp_path, work)


def test_name_with_special_characters_is_found(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        name = "a b?&<i>%"
        await server.fleet_service.put(parse_vm(name, {}, is_stored=True), "test")
        browser: Browser = await signed_in(server)
        found = re.search(r'<a href="(/ui/vms/[^"]+)"', (await browser.get("/ui/")).text)
        assert found
        answer = await browser.get(unescape(found[1]))
        assert answer.status_code == 200
        assert name in unescape(answer.text)
        fields = {"revision": revision_of(answer.text), "body": "{}"}
        answer = await browser.post(unescape(found[1]) + "/patch", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, unescape(found[1]))

    with_server(tmp_path, work)


def test_lines_mark_each_value_that_differs() -> None:
    value = {"a": 1, "b": {"c": [1, {"d": 2}, 3], "e": []}, "f": {}, "g": None}
    other = {"a": 1, "b": {"c": [1, {"d": 3}], "e": {}}, "f": {}, "g": 0}
    lines = marked_lines(value, other)
    assert [line.text for line in lines if line.is_marked] == [
        '        "d": 2',
        "      3",
        '    "e": []',
        '  "g": null',
    ]
    text = "\n".join(line.text for line in lines)
    assert text.startswith('{\n  "a": 1,\n  "b": {\n    "c": [\n      1,\n      {')
    assert text.endswith('  "f": {},\n  "g": null\n}')
    assert not any(line.is_marked for line in marked_lines(value, value))
    assert [line.text for line in marked_lines([1], {})] == ["[", "  1", "]"]
