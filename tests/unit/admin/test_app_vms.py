import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openimds.facts.versions import GENERAL
from openimds.fleet.service import DEFAULT
from openimds.vm.types import Vm
from tests.unit.admin.setup import JSON, MERGE, Office, at_work


def test_a_vm_is_made_read_replaced_and_removed(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        api, said = office.api, {"compute": {"vmSize": "S", "tags": {"a": "b"}}}
        made = await api.put("/v1/vms/a", json=said)
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        assert made.json() == {"name": "a", "revision": 1, "origin": "api", **said}
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

    at_work(tmp_path, work)


def test_a_vm_that_the_caller_has_is_not_sent_again(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        for tags, status in [
            ('"1"', 304),
            ('"7", "1"', 304),
            ("*", 304),
            ('"2"', 200),
            ("1", 200),
            ("", 200),
        ]:
            got = await office.api.get("/v1/vms/a", headers={"If-None-Match": tags})
            assert (got.status_code, got.headers["etag"]) == (status, '"1"'), tags
            assert bool(got.content) is (status == 200)

    at_work(tmp_path, work)


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
def test_a_change_may_say_what_it_means_to_change(
    tmp_path: Path, method: str, header: str, value: str, fits: bool
) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        content = None if method == "DELETE" else b'{"compute": {"vmSize": "S"}}'
        headers = {header: value, **({} if content is None else JSON)}
        got = await office.api.request(method, "/v1/vms/a", headers=headers, content=content)
        now = (await office.api.get("/v1/vms/a")).json()
        if fits:
            assert got.is_success
            assert now.get("revision") != 1
        else:
            assert got.status_code == 412
            assert now == {"name": "a", "revision": 1, "origin": "api"}

    at_work(tmp_path, work)


@pytest.mark.parametrize("value", ["*", '"0"', '"1"'])
def test_nothing_is_made_where_something_was_to_be_matched(tmp_path: Path, value: str) -> None:
    async def work(office: Office) -> None:
        got = await office.api.put("/v1/vms/a", json={}, headers={"If-Match": value})
        assert got.status_code == 412
        assert office.store.revision() == 0

    at_work(tmp_path, work)


def test_none_match_makes_a_vm_once(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        headers = {"If-None-Match": "*"}
        puts = [
            office.api.put("/v1/vms/a", json={"compute": {"vmSize": f"S{i}"}}, headers=headers)
            for i in range(5)
        ]
        answers = await asyncio.gather(*puts)
        assert sorted(one.status_code for one in answers) == [201, 412, 412, 412, 412]

    at_work(tmp_path, work)


def test_lists_come_in_pages(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        names = sorted(["b", "a", "Ü 1", "c%2F", "?", "z"])
        for name in names:
            (await office.api.put(f"/v1/vms/{quoted(name)}", json={})).raise_for_status()
        for path in ("/v1/vms", "/v1/audit"):
            whole = (await office.api.get(path)).json()
            assert whole["next"] is None
            for limit in (1, 2, 3, 5, 6, 1000):
                found = [one async for one in pages(office, path, limit)]
                assert [item for page in found for item in page] == whole["items"]
                assert all(len(page) == limit for page in found[:-1])
        assert [one["name"] for one in (await office.api.get("/v1/vms")).json()["items"]] == names

    at_work(tmp_path, work)


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def pages(office: Office, path: str, limit: int) -> AsyncIterator[list[Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = (await office.api.get(path, params={"limit": str(limit), **cursor})).json()
        yield page["items"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize(
    "name", ["web 1", "a?b=c#d", "100%", "%41", "Ü-中-😀", "..", "a;b,c&d", '"', "x" * 256]
)
def test_a_name_may_be_anything_that_can_be_printed(tmp_path: Path, name: str) -> None:
    async def work(office: Office) -> None:
        made = await office.api.put(f"/v1/vms/{quoted(name)}", json={})
        assert (made.status_code, made.json()["name"]) == (201, name)
        got = await office.api.get(f"/v1/vms/{quoted(name)}/document")
        assert (got.status_code, got.json()["compute"]["name"]) == (200, name)
        assert (await office.api.delete(f"/v1/vms/{quoted(name)}")).status_code == 204

    at_work(tmp_path, work)


def test_a_patch_lays_itself_on_what_is_there(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        tags = {"env": "prod", "team": "web"}
        await office.api.put("/v1/vms/a", json={"compute": {"vmSize": "S", "tags": tags}})
        patch = {"compute": {"zone": "1", "vmSize": None, "tags": {"env": None, "cost": "7"}}}
        for headers in (MERGE, JSON):
            got = await office.api.patch("/v1/vms/a", content=json.dumps(patch), headers=headers)
            assert got.status_code == 200
            wanted = {"zone": "1", "tags": {"team": "web", "cost": "7"}}
            assert got.json()["compute"] == wanted
        assert got.json()["revision"] == 2

    at_work(tmp_path, work)


def test_patches_at_the_same_time_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})

        async def add(tag: str) -> None:
            for _ in range(100):
                patch = {"compute": {"tags": {tag: "x"}}}
                got = await office.api.patch("/v1/vms/a", json=patch)
                assert got.status_code in (200, 412)
                if got.status_code == 200:
                    return
            raise AssertionError("never")

        wanted = {f"tag-{number}" for number in range(8)}
        await asyncio.gather(*map(add, wanted))
        got = await office.api.get("/v1/vms/a")
        assert got.json()["compute"]["tags"].keys() == wanted

    at_work(tmp_path, work)


def test_the_document_is_what_the_guest_gets_at_every_version(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={"compute": {"vmSize": "S"}})
        await office.api.put("/v1/vms/c", json={"classic": True})
        newest = await office.api.get("/v1/vms/a/document")
        for row in GENERAL:
            for name, parts in (("a", {"compute", "network"}), ("c", {"network"})):
                url = f"/v1/vms/{name}/document"
                got = await office.api.get(url, params={"api-version": row.name})
                assert (got.status_code, {*got.json()}) == (200, parts)
        params = {"api-version": GENERAL[-1].name}
        assert (await office.api.get("/v1/vms/a/document", params=params)).json() == newest.json()
        old = await office.api.get("/v1/vms/a/document?api-version=2017-04-02")
        assert old.json()["compute"].keys() < newest.json()["compute"].keys()

    at_work(tmp_path, work)


def test_the_audit_says_who_did_what_to_what(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.fleet_service.sync([Vm("vm-1")], DEFAULT, "start")
        await office.api.put("/v1/vms/a", json={"classic": True})
        got = await office.api.get("/v1/audit")
        assert [
            (one["name"], one["kind"], one["who"], one["before"], one["after"])
            for one in got.json()["items"]
        ] == [
            ("vm-1", "put", "start", None, {}),
            ("a", "put", "api 127.0.0.1", None, {"classic": True}),
            ("vm-1", "remove", "api 127.0.0.1", {}, None),
        ]

    at_work(tmp_path, work)
