import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from openimds.control import desk as desk_module
from openimds.control import guard
from openimds.control.desk import DEFAULT
from openimds.control.operations import OPERATIONS
from openimds.model.vm import Vm
from openimds.spec.versions import GENERAL
from tests.unit.control.office import TAKEN, Office, at_work

MERGE = {"Content-Type": "application/merge-patch+json"}
JSON = {"Content-Type": "application/json"}


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
        await office.desk.sync([Vm("vm-1")], DEFAULT, "start")
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


def test_a_head_is_a_get_without_a_body(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        for path in ("/v1/vms", "/v1/vms/a", "/healthz", "/metrics", "/openapi.json", "/v1/vms/x"):
            head, got = await office.api.head(path), await office.api.get(path)
            assert head.status_code == got.status_code
            assert head.headers["content-type"] == got.headers["content-type"]

    at_work(tmp_path, work)


def test_what_is_open_needs_no_token_but_a_host(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        for row in OPERATIONS:
            path = row.path.replace("{name}", "a")
            for headers in ({"Authorization": ""}, {"Authorization": "Bearer x"}):
                got = await office.api.request(row.method, path, headers=headers)
                assert (got.status_code == 401) is not row.is_open
            got = await office.api.request(row.method, path, headers={"Host": "evil.example"})
            assert got.status_code == 421
        # Nothing of all this has changed the token.
        assert (await office.api.get("/v1/vms")).status_code == 200

    at_work(tmp_path, work)


@pytest.mark.parametrize(
    "host, fits",
    [
        ("localhost", True),
        ("LOCALHOST:8170", True),
        ("127.0.0.1:1", True),
        ("[::1]:8170", True),
        ("[::1]", True),
        ("host:8170", True),
        ("", False),
        ("localhost.evil.example", False),
        ("[::2]", False),
        ("evil.example", False),
    ],
)
def test_the_host_is_one_of_its_names(tmp_path: Path, host: str, fits: bool) -> None:
    async def work(office: Office) -> None:
        got = await office.api.get("/healthz", headers={"Host": host})
        assert got.status_code == (200 if fits else 421)

    at_work(tmp_path, work)


@pytest.mark.parametrize("scheme, fits", [("Bearer", True), ("bearer", True), ("Basic", False)])
def test_the_token_is_a_bearer_token(tmp_path: Path, scheme: str, fits: bool) -> None:
    async def work(office: Office) -> None:
        text = office.token.path.read_text().strip()
        headers = {"Authorization": f"{scheme}  {text}"}
        got = await office.api.get("/v1/vms", headers=headers)
        assert got.status_code == (200 if fits else 401)
        assert ("www-authenticate" in got.headers) is not fits

    at_work(tmp_path, work)


def test_rotating_ends_the_token_that_asked_for_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        got = await office.api.post("/v1/token")
        assert got.json() == {"token_file": str(office.token.path)}
        assert (await office.api.get("/v1/vms")).status_code == 401
        assert (await office.client().get("/v1/vms")).status_code == 200

    at_work(tmp_path, work)


LARGE = b'{"compute": {"vmSize": "%s"}}' % (b"x" * (1 << 20))
PROBLEMS: list[tuple[int, str, str, dict[str, Any]]] = [
    (400, "GET", "/v1/vms?limit=0", {}),
    (400, "GET", "/v1/vms?limit=1001", {}),
    (400, "GET", "/v1/vms?limit=%C2%B2", {}),
    (400, "GET", "/v1/vms?limit=", {}),
    (400, "GET", "/v1/vms?cursor=%C3%BC", {}),
    (400, "GET", "/v1/vms?cursor=abcde", {}),
    (400, "GET", "/v1/vms?cursor=_w==", {}),
    (400, "GET", "/v1/audit?cursor=x", {}),
    (400, "GET", "/v1/changes?since=-1", {}),
    (400, "GET", "/v1/vms/a/document?api-version=2017-01-01", {}),
    (401, "GET", "/v1/vms", {"headers": {"Authorization": ""}}),
    (404, "GET", "/", {}),
    (404, "GET", "/v1/nothing", {}),
    (404, "GET", "/v1/vms/", {}),
    (404, "GET", "/v1/vms/x", {}),
    (404, "GET", "/v1/vms/x/document", {}),
    (404, "PATCH", "/v1/vms/x", {"json": {}}),
    (404, "DELETE", "/v1/vms/x", {}),
    (404, "PUT", "/v1/vms/a%2Fb", {"json": {}}),
    (405, "POST", "/v1/vms", {}),
    (405, "PUT", "/metrics", {}),
    (405, "OPTIONS", "/v1/vms/a", {}),
    (412, "PUT", "/v1/vms/a", {"json": {}, "headers": {"If-None-Match": "*"}}),
    (412, "DELETE", "/v1/vms/a", {"headers": {"If-Match": '"x"'}}),
    (413, "PUT", "/v1/vms/b", {"content": LARGE, "headers": JSON}),
    (413, "PATCH", "/v1/vms/a", {"content": LARGE, "headers": JSON}),
    (415, "PUT", "/v1/vms/b", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (415, "PUT", "/v1/vms/b", {"content": b"{}", "headers": MERGE}),
    (415, "PATCH", "/v1/vms/a", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (421, "GET", "/healthz", {"headers": {"Host": "evil.example"}}),
    (422, "PUT", "/v1/vms/b", {"content": b"", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"{", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"\xff", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"[]", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"a": 1, "a": 2}', "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b"[" * 100_000, "headers": JSON}),
    (422, "PATCH", "/v1/vms/a", {"content": b'{"a":' * 100_000, "headers": JSON}),
    (422, "PATCH", "/v1/vms/a", {"content": b"[]", "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"json": {"name": "c"}}),
    (422, "PUT", "/v1/vms/b", {"json": {"compute": {"vmsize": "x"}}}),
    (422, "PUT", "/v1/vms/%00", {"json": {}}),
    (422, "PUT", "/v1/vms/" + "x" * 257, {"json": {}}),
    (422, "PUT", "/v1/vms/b", {"json": {"reach": {"address": ["10.0.0.1"]}}}),
    (422, "PUT", "/v1/vms/b", {"json": {"reach": {"listen": [TAKEN]}}}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"name": "\\ud800"}', "headers": JSON}),
    (422, "PUT", "/v1/vms/b", {"content": b'{"\\ud800": 1}', "headers": JSON}),
]


def is_a_problem(got: httpx2.Response, status: int) -> bool:
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"
    problem = got.json()
    assert problem.keys() >= {"type", "title", "status", "detail"}
    assert problem.keys() <= {
        *("type", "title", "status", "detail"),
        *("where", "seen", "expected", "hint"),
    }
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert all(isinstance(text, str) and text for key, text in problem.items() if key != "status")
    return True


@pytest.mark.parametrize("status, method, path, more", PROBLEMS)
def test_every_refusal_has_one_shape_and_changes_nothing(
    tmp_path: Path, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={"reach": {"address": ["10.0.0.1"]}})
        before, edition = office.store.changes(0, 9), office.picture.edition
        got = await office.api.request(method, path, **more)
        assert is_a_problem(got, status)
        assert (office.store.changes(0, 9), office.picture.edition) == (before, edition)
        if status == 405:
            assert method not in got.headers["allow"].split(", ")

    at_work(tmp_path, work)


def test_a_refusal_of_a_body_says_where_and_what(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        got = await office.api.put("/v1/vms/b", json={"compute": {"vmsize": "x"}})
        problem = got.json()
        assert (problem["where"], problem["seen"], problem["hint"]) == (
            "vms.b.compute",
            'unknown key "vmsize"',
            'Did you mean "vmSize"?',
        )
        assert problem["detail"].startswith('vms.b.compute: saw unknown key "vmsize", expected')

    at_work(tmp_path, work)


def test_a_failing_store_is_a_503_for_all_that_needs_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        office.store.fails = {"get", "page", "changes", "revision", "write"}
        for row in OPERATIONS:
            if row.name in ("follow_changes", "rotate_token"):
                continue
            more: dict[str, Any] = {"json": {"classic": True}} if row.takes else {}
            got = await office.api.request(row.method, row.path.replace("{name}", "a"), **more)
            if (row.is_open and row.name != "get_readiness") or row.name == "get_document":
                assert got.status_code == 200
            else:
                assert is_a_problem(got, 503)
                assert got.json()["detail"] == "fleet.db: the disk is full"
        office.store.fails.clear()
        assert (await office.api.get("/readyz")).json() == {"status": "ready"}

    at_work(tmp_path, work)


def test_a_token_file_that_is_open_to_others_is_a_503(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        office.token.path.write_text("")
        assert is_a_problem(await office.api.get("/v1/vms"), 503)
        assert (await office.api.get("/healthz")).json() == {"status": "ok"}

    at_work(tmp_path, work)


def test_a_body_that_takes_too_long_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MOST_BODY_S", 0)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def work(office: Office) -> None:
        got = await office.api.put("/v1/vms/a", content=slowly(), headers=JSON)
        assert is_a_problem(got, 408)

    at_work(tmp_path, work)


def test_a_body_that_breaks_off_is_no_mistake_of_ours(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        sent: list[Any] = []
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        token = office.token.path.read_text().strip().encode()
        headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + token)]
        scope = {"type": "http", "method": "PUT", "path": "/v1/vms/a", "query_string": b""}
        await office.application({**scope, "headers": headers}, receive, send)
        assert sent[0]["status"] == 400
        assert office.store.revision() == 0

    at_work(tmp_path, work)


def test_a_mistake_of_ours_is_a_problem_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(office: Office) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(office.desk, "put", fail)
        got = await office.api.put("/v1/vms/a", json={})
        assert is_a_problem(got, 500)
        assert "ZeroDivisionError" in got.json()["detail"]

    at_work(tmp_path, work)


def test_a_vm_that_goes_while_it_is_removed_is_a_404(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/a", json={})
        answers = await asyncio.gather(*(office.api.delete("/v1/vms/a") for _ in range(6)))
        assert sorted(one.status_code for one in answers) == [204] + [404] * 5

    at_work(tmp_path, work)


def test_a_change_that_began_ends_though_nobody_waits_for_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        feed = office.desk.subscribe()
        asking = asyncio.create_task(office.api.put("/v1/vms/a", json={}))
        await office.is_opening.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        change = await feed.get()
        assert change
        assert change.name == "a"
        assert office.picture.by_name.keys() == {"a"}

    at_work(tmp_path, work)


def test_the_metrics_are_prometheus_text(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        got = await office.api.get("/metrics")
        assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = list(text_string_to_metric_families(got.text))
        assert all(family.documentation for family in families)
        samples = {
            (one.name, *one.labels.values()): one.value
            for family in families
            for one in family.samples
        }
        assert samples == {
            ("openimds_requests_total", "/instance", "200"): 3,
            ("openimds_requests_total", "/instance", "400"): 2,
            ("openimds_requests_total", "/versions", "400"): 1,
            ("openimds_refusals_total", "no_metadata"): 3,
            ("openimds_throttled_total", "general"): 4,
            ("openimds_unknown_callers_total",): 7,
            ("openimds_vms",): 2,
            ("openimds_store_age_seconds",): 0.5,
        }

    at_work(tmp_path, work)


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for member in value.values() for one in references(member)]
    if isinstance(value, list):
        return [one for member in value for one in references(member)]
    return []


def test_the_description_names_every_operation_and_resolves(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        document = (await office.api.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1.")
        assert document["info"].keys() >= {"title", "version"}
        described = {
            (method.upper(), path): operation
            for path, verbs in document["paths"].items()
            for method, operation in verbs.items()
        }
        assert described.keys() == {(row.method, row.path) for row in OPERATIONS}
        for row in OPERATIONS:
            operation = described[row.method, row.path]
            assert operation["operationId"] == row.name
            assert operation["security"] == ([] if row.is_open else [{"token": []}])
            statuses = {*row.answers, *row.problems, 421, *(() if row.is_open else (401,))}
            assert operation["responses"].keys() == {str(int(one)) for one in statuses}
            names = {one["name"] for one in operation.get("parameters", ())}
            wanted = {"name"} if "{name}" in row.path else set()
            assert names == wanted | {one.name for one in row.queries} | {*row.headers}
            assert ("requestBody" in operation) is bool(row.takes)
        for reference in references(document):
            found: Any = document
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]
            assert isinstance(found, dict)
        assert {one.rpartition("/")[2] for one in references(document)} == {
            *document["components"]["schemas"]
        }

    at_work(tmp_path, work)


def test_changes_are_followed_from_now_on(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/old", json={})
        async with office.follow() as feed:
            start = await feed.messages.get()
            assert start["status"] == 200
            assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
            await office.api.put("/v1/vms/a", json={"classic": True})
            event = await feed.next()
        assert (event["id"], event["event"]) == ("2", "change")
        assert json.loads(event["data"]) == {
            "revision": 2,
            "at": "2026-11-22T19:54:46.000+00:00",
            "who": "api 127.0.0.1",
            "name": "a",
            "kind": "put",
            "origin": "api",
        }
        assert not office.desk._feeds

    at_work(tmp_path, work)


@pytest.mark.parametrize(
    "query, headers, first",
    [
        ("since=0", {}, 1),
        ("since=2", {}, 3),
        ("", {"Last-Event-ID": "1"}, 2),
        ("", {"Last-Event-ID": "500"}, 1),
        ("since=0", {"Last-Event-ID": "2"}, 3),
        ("since=2", {"Last-Event-ID": "x"}, 3),
    ],
)
def test_changes_are_followed_from_where_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, headers: dict[str, str], first: int
) -> None:
    monkeypatch.setattr("openimds.control.api._PAGE", 2)

    async def work(office: Office) -> None:
        for number in range(5):
            await office.api.put(f"/v1/vms/{number}", json={})
        async with office.follow(query, **headers) as feed:
            put = asyncio.create_task(office.api.put("/v1/vms/live", json={}))
            got = [(await feed.next())["id"] for _ in range(first, 7)]
            await put
        assert got == [str(number) for number in range(first, 7)]

    at_work(tmp_path, work)


def test_a_reader_who_is_too_slow_is_cut_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "_FEED_LENGTH", 4)

    async def work(office: Office) -> None:
        async with office.follow() as feed:
            await feed.messages.get()
            feed.free.clear()
            for number in range(12):
                await office.api.put(f"/v1/vms/{number}", json={})
            feed.free.set()
            seen = []
            while event := await feed.next():
                seen.append(int(event["id"]))
        assert seen == list(range(1, len(seen) + 1))
        assert 1 <= len(seen) < 12
        async with office.follow("", **{"Last-Event-ID": str(seen[-1])}) as feed:
            rest = [int((await feed.next())["id"]) for _ in range(12 - len(seen))]
        assert seen + rest == list(range(1, 13))

    at_work(tmp_path, work)
