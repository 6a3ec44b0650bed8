import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openimds.facts.versions import GENERAL
from openimds.fleet.store.port import DEFAULT, Write
from openimds.vm.fleet_file import parse_vm
from openimds.vm.names import USER_ASSIGNED_FORM
from openimds.vm.types import Vm
from tests.unit.admin.setup import JSON, MERGE, AdminServer, with_server


def test_vm_is_made_read_replaced_and_removed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        api, body = server.api, {"compute": {"vmSize": "S", "tags": {"a": "b"}}}
        made = await api.put("/v1/vms/a", json=body)
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        assert made.json() == {"name": "a", "revision": 1, "origin": "api", **body}
        got = await api.get("/v1/vms/a")
        assert (got.status_code, got.json(), got.headers["etag"]) == (200, made.json(), '"1"')
        # What was read can be sent back.
        again = await api.put("/v1/vms/a", json=got.json())
        assert (again.status_code, again.json()) == (200, made.json())
        other = await api.put("/v1/vms/a", json={})
        assert (other.status_code, other.headers["etag"]) == (200, '"2"')
        assert other.json() == {"name": "a", "revision": 2, "origin": "api"}
        gone = await api.delete("/v1/vms/a")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await api.get("/v1/vms/a")).status_code == 404

    with_server(tmp_path, work)


def test_get_with_the_known_etag_is_a_304(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        for tags, status in [
            ('"1"', 304),
            ('"7", "1"', 304),
            ("*", 304),
            ('"2"', 200),
            ("1", 200),
            ("", 200),
        ]:
            got = await server.api.get("/v1/vms/a", headers={"If-None-Match": tags})
            assert (got.status_code, got.headers["etag"]) == (status, '"1"'), tags
            assert bool(got.content) is (status == 200)

    with_server(tmp_path, work)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "header, value, fits",
    [
        ("If-Match", '"1"', True),
        ("If-Match", "*", True),
        ("If-Match", '"2"', False),
        ("If-Match", 'W/"1"', False),
        ("If-Match", '"x"', False),
        ("If-Match", '"1", "2"', False),
        ("If-Match", '"' + "9" * 30 + '"', False),
        ("If-None-Match", "*", False),
        ("If-None-Match", '"1"', True),
    ],
)
def test_change_with_a_precondition(
    tmp_path: Path, method: str, header: str, value: str, fits: bool
) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        content = None if method == "DELETE" else b'{"compute": {"vmSize": "S"}}'
        headers = {header: value, **({} if content is None else JSON)}
        got = await server.api.request(method, "/v1/vms/a", headers=headers, content=content)
        now = (await server.api.get("/v1/vms/a")).json()
        if fits:
            assert got.is_success
            assert now.get("revision") != 1
        else:
            assert got.status_code == 412
            assert now == {"name": "a", "revision": 1, "origin": "api"}

    with_server(tmp_path, work)


@pytest.mark.parametrize("value", ["*", '"0"', '"1"'])
def test_if_match_makes_no_vm(tmp_path: Path, value: str) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.put("/v1/vms/a", json={}, headers={"If-Match": value})
        assert got.status_code == 412
        assert server.store.revision() == 0

    with_server(tmp_path, work)


def test_if_none_match_makes_a_vm_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        headers = {"If-None-Match": "*"}
        puts = [
            server.api.put("/v1/vms/a", json={"compute": {"vmSize": f"S{i}"}}, headers=headers)
            for i in range(5)
        ]
        answers = await asyncio.gather(*puts)
        assert sorted(one.status_code for one in answers) == [201, 412, 412, 412, 412]

    with_server(tmp_path, work)


def test_lists_come_in_pages(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        names = sorted(["b", "a", "U_1", "c.2F", "_", "z"])
        for name in names:
            (await server.api.put(f"/v1/vms/{quoted(name)}", json={})).raise_for_status()
        for path in ("/v1/vms", "/v1/audit"):
            whole = (await server.api.get(path)).json()
            assert whole["next"] is None
            for limit in (1, 2, 3, 5, 6, 1000):
                found = [one async for one in pages(server, path, limit)]
                assert [item for page in found for item in page] == whole["items"]
                assert all(len(page) == limit for page in found[:-1])
        assert [one["name"] for one in (await server.api.get("/v1/vms")).json()["items"]] == names

    with_server(tmp_path, work)


def test_page_has_the_revision_before_it_was_read(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert (await server.api.get("/v1/vms")).json()["revision"] == 0
        for name in ("a", "b", "c"):
            made = (await server.api.put(f"/v1/vms/{name}", json={})).json()
            for limit in ("1", "1000"):
                page = (await server.api.get("/v1/vms", params={"limit": limit})).json()
                assert page["revision"] == made["revision"]
        (await server.api.delete("/v1/vms/a")).raise_for_status()
        assert (await server.api.get("/v1/vms")).json()["revision"] == made["revision"] + 1

    with_server(tmp_path, work)


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def pages(server: AdminServer, path: str, limit: int) -> AsyncIterator[list[Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = (await server.api.get(path, params={"limit": str(limit), **cursor})).json()
        yield page["items"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize(
    "name", ["web 1", "a?b=c#d", "100%", "%41", "Ü-中-😀", "..", "a;b,c&d", '"', "x" * 256]
)
def test_old_name_is_served_and_changed_but_not_made(tmp_path: Path, name: str) -> None:
    async def work(server: AdminServer) -> None:
        refused = await server.api.put(f"/v1/vms/{quoted(name)}", json={})
        assert (refused.status_code, refused.json()["where"]) == (422, "vms")
        await server.fleet_service.put(parse_vm(name, {}, is_stored=True), "0.1.0")
        made = await server.api.put(f"/v1/vms/{quoted(name)}", json={"classic": False})
        assert (made.status_code, made.json()["name"]) == (200, name)
        changed = await server.api.patch(f"/v1/vms/{quoted(name)}", json={"classic": None})
        assert changed.status_code == 200
        got = await server.api.get(f"/v1/vms/{quoted(name)}/document")
        assert (got.status_code, got.json()["compute"]["name"]) == (200, name)
        assert (await server.api.delete(f"/v1/vms/{quoted(name)}")).status_code == 204

    with_server(tmp_path, work)


def test_old_identity_stays_and_no_new_one_comes(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        old = {"identities": {"user": ["/S"]}}
        await server.fleet_service.put(parse_vm("a", old, is_stored=True), "0.1.0")
        assert (await server.api.patch("/v1/vms/a", json={"classic": False})).status_code == 200
        assert (await server.api.put("/v1/vms/a", json=old)).status_code == 200
        more = {"identities": {"user": ["/S", "/T"]}}
        for got in (
            await server.api.patch("/v1/vms/a", json=more),
            await server.api.put("/v1/vms/a", json=more),
            await server.api.put("/v1/vms/b", json=old),
        ):
            assert (got.status_code, got.json()["expected"]) == (422, USER_ASSIGNED_FORM)

    with_server(tmp_path, work)


def test_load_reports_old_names_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        names = ["web 1", "b", *(f"x {n}" for n in range(6))]
        for name in names:
            await server.fleet_service.put(parse_vm(name, {}, is_stored=True), "0.1.0")
        server.notices.clear()
        await server.fleet_service.load()
        (notice,) = server.notices
        assert 'the string "web 1", the string "x 0"' in notice
        assert "and 2 more" in notice
        assert '"b"' not in notice
        assert set(server.fleet_index.by_name) == set(names)

    with_server(tmp_path, work)


def test_patch_merges_into_the_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        tags = {"env": "prod", "team": "web"}
        await server.api.put("/v1/vms/a", json={"compute": {"vmSize": "S", "tags": tags}})
        patch = {"compute": {"zone": "1", "vmSize": None, "tags": {"env": None, "cost": "7"}}}
        for headers in (MERGE, JSON):
            got = await server.api.patch("/v1/vms/a", content=json.dumps(patch), headers=headers)
            assert got.status_code == 200
            wanted = {"zone": "1", "tags": {"team": "web", "cost": "7"}}
            assert got.json()["compute"] == wanted
        assert got.json()["revision"] == 2

    with_server(tmp_path, work)


def test_concurrent_patches_lose_no_acknowledged_change(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})

        async def add(tag: str) -> None:
            for _ in range(100):
                patch = {"compute": {"tags": {tag: "x"}}}
                got = await server.api.patch("/v1/vms/a", json=patch)
                assert got.status_code in (200, 412)
                if got.status_code == 200:
                    return
            raise AssertionError("never")

        wanted = {f"tag-{number}" for number in range(8)}
        await asyncio.gather(*map(add, wanted))
        got = await server.api.get("/v1/vms/a")
        assert got.json()["compute"]["tags"].keys() == wanted

    with_server(tmp_path, work)


def test_document_follows_the_api_version(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"compute": {"vmSize": "S"}})
        await server.api.put("/v1/vms/c", json={"classic": True})
        newest = await server.api.get("/v1/vms/a/document")
        for row in GENERAL:
            for name, parts in (("a", {"compute", "network"}), ("c", {"network"})):
                url = f"/v1/vms/{name}/document"
                got = await server.api.get(url, params={"api-version": row.name})
                assert (got.status_code, {*got.json()}) == (200, parts)
        params = {"api-version": GENERAL[-1].name}
        assert (await server.api.get("/v1/vms/a/document", params=params)).json() == newest.json()
        old = await server.api.get("/v1/vms/a/document?api-version=2017-04-02")
        assert old.json()["compute"].keys() < newest.json()["compute"].keys()

    with_server(tmp_path, work)


def test_document_of_azure_stack_ends_with_its_versions(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"cloud": "AzureStack"})
        newest = await server.api.get("/v1/vms/a/document")
        last = await server.api.get("/v1/vms/a/document?api-version=2021-05-01")
        assert newest.json() == last.json()
        later = await server.api.get("/v1/vms/a/document?api-version=2021-12-13")
        assert (later.status_code, "2021-05-01" in later.text) == (400, True)

    with_server(tmp_path, work)


def test_audit_has_caller_before_and_after(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.sync([Vm("vm-1")], DEFAULT, "start")
        await server.api.put("/v1/vms/a", json={"classic": True})
        got = await server.api.get("/v1/audit")
        assert [
            (one["name"], one["kind"], one["who"], one["before"], one["after"])
            for one in got.json()["items"]
        ] == [
            ("vm-1", "put", "start", None, {}),
            ("a", "put", "api 127.0.0.1 token:local", None, {"classic": True}),
            ("vm-1", "remove", "api 127.0.0.1 token:local", {}, None),
        ]

    with_server(tmp_path, work)


async def quarantine(server: AdminServer, **rows: bytes) -> None:
    """Write rows behind the server's back, and load them."""
    server.store.write([Write(name, body, "api") for name, body in rows.items()], "earlier", "")
    await server.fleet_service.load()


def test_quarantined_vm_is_listed_with_its_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        reach = b'{"reach":{"address":["10.0.0.1"]}}'
        await quarantine(server, a=reach, b=reach, c=b"{damaged", d=b'{"new":1}', e=b"{}")
        items = (await server.api.get("/v1/vms")).json()["items"]
        listed = {item["name"]: item for item in items}
        assert {name for name, item in listed.items() if "quarantined" in item} == {"b", "c", "d"}
        assert "10.0.0.1, which is also that of a" in listed["b"]["quarantined"]
        assert listed["b"]["reach"] == {"address": ["10.0.0.1"]}
        for name, reason in (("c", "a stored body that is no JSON"), ("d", 'unknown key "new"')):
            assert listed[name].keys() == {"name", "revision", "origin", "quarantined"}
            assert reason in listed[name]["quarantined"]
            assert (await server.api.get(f"/v1/vms/{name}")).json() == listed[name]
        ready = await server.api.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            200,
            {"status": "ready", "quarantined": 3, "detail": "not served: b, c, d"},
        )

    with_server(tmp_path, work)


def test_quarantined_vm_is_replaced_patched_and_removed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        api = server.api
        await quarantine(server, b=b"{damaged", c=b'{"new":1}', d=b"[]")
        assert (
            await api.put("/v1/vms/b", json={}, headers={"If-None-Match": "*"})
        ).status_code == 412
        listed = (await api.get("/v1/vms/b")).json()
        put = await api.put("/v1/vms/b", json=listed)  # What was read can be sent back.
        assert (put.status_code, put.json()) == (
            200,
            {"name": "b", "revision": 4, "origin": "api"},
        )
        patch = await api.patch("/v1/vms/c", json={"new": None})
        assert (patch.status_code, patch.json()["name"]) == (200, "c")
        assert "quarantined" not in patch.json()
        bad = await api.patch("/v1/vms/d", json={"new": None})
        assert bad.status_code == 200  # A merge patch makes an object of any other value.
        await quarantine(server, e=b"{damaged")
        assert (await api.patch("/v1/vms/e", json={})).status_code == 422
        assert (await api.delete("/v1/vms/e")).status_code == 204
        assert (await api.get("/readyz")).json() == {"status": "ready"}

    with_server(tmp_path, work)


def test_questions_about_a_quarantined_vm_name_the_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        damaged = b'{"identities":{"system":true},"new":1}'
        await quarantine(server, a=b'{"identities":{"system":true}}', b=damaged)
        for path in ("document", "identities", "endpoints"):
            got = await server.api.get(f"/v1/vms/b/{path}")
            assert got.status_code == 404
            assert 'The VM "b" is not served: vms.b: saw unknown key "new"' in got.json()["detail"]
        token = await server.api.post("/v1/vms/b/token", json={"resource": "https://a"})
        assert token.status_code == 404
        assert "is not served" in token.json()["detail"]
        identities = (await server.api.get("/v1/identities")).json()["items"]
        assert [identity["vm"] for identity in identities] == ["a"]
        event = await server.api.post("/v1/events", json={"type": "Reboot", "vms": ["b"]})
        assert event.status_code == 422
        assert '"b", which is not served' in event.json()["detail"]

    with_server(tmp_path, work)


@pytest.mark.parametrize("body", [b"{damaged", b"[]", b'{"a":"\xff"}', b"[" * 50_000])
def test_audit_survives_the_repair_of_a_damaged_row(tmp_path: Path, body: bytes) -> None:
    async def work(server: AdminServer) -> None:
        await quarantine(server, a=body)
        assert (await server.api.put("/v1/vms/a", json={})).status_code == 200
        audit = (await server.api.get("/v1/audit")).json()["items"]
        assert [(entry["before"], entry["after"]) for entry in audit] == [(None, None), (None, {})]

    with_server(tmp_path, work)
