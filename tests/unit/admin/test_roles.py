"""The roles of tokens at every operation, and at members of a VM."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from openimds.admin.auth import _is_local
from openimds.admin.guarded_members import DECIDING, REDACTED_HEADER
from openimds.admin.operation import Operation
from openimds.admin.operations import OPERATIONS
from openimds.admin.roles import GRANT, Role, TokenGrant, caller
from openimds.facts.redaction import SECRET_MEMBERS
from openimds.fleet.quarantine import QuarantinedVm
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index
from tests.unit.admin.setup import MERGE, AdminServer, with_server

ORDERED = (Role.READ, Role.OPERATE, Role.ADMIN)
DATA = "c2VjcmV0"
WHOLE: dict[str, Any] = {
    "compute": {
        "vmSize": "Standard_D2s_v5",
        "userData": DATA,
        "publicKeys": [{"keyData": "ssh-rsa AAAA", "path": "/home/a/.ssh/authorized_keys"}],
    },
    "identities": {"system": True},
    "reach": {"address": ["10.0.0.1"]},
}
HIDDEN = ["compute.publicKeys", "compute.userData", "identities", "reach"]


def test_each_role_includes_the_ones_before_it() -> None:
    for place, role in enumerate(ORDERED):
        assert [role.includes(other) for other in ORDERED] == [n <= place for n in range(3)]
    assert [role for role in Role if role.includes(Role.ENROL)] == [Role.ADMIN, Role.ENROL]
    assert [role for role in Role if Role.ENROL.includes(role)] == [Role.ENROL]


def test_operation_without_a_role_needs_admin() -> None:
    fields = dict.fromkeys(("name", "method", "path", "summary"), "x")
    row = Operation(**fields, tag=None, handler=None, answers={})  # type: ignore[arg-type]
    assert row.role is Role.ADMIN


def test_operations_that_change_something_need_operate_at_least() -> None:
    for row in OPERATIONS:
        if row.method != "GET":
            assert not Role.READ.includes(row.role), row.name
        if row.role is Role.READ:
            assert row.method == "GET", row.name


def test_operations_with_secrets_need_admin() -> None:
    by_name = {row.name: row.role for row in OPERATIONS}
    for name in (
        *("issue_token", "get_endpoints", "list_identities", "list_vm_identities"),
        *("rotate_key", "rotate_token", "rotate_certificate", "revoke_certificate", "delete_vm"),
        *("list_tokens", "add_token", "revoke_token", "begin_rehearsal", "end_rehearsal"),
    ):
        assert by_name[name] is Role.ADMIN, name


@pytest.mark.parametrize("role", Role)
def test_token_of_a_lower_role_gets_a_403(tmp_path: Path, role: Role) -> None:
    async def work(server: AdminServer) -> None:
        api = await server.client_of(role, "mine")
        for row in OPERATIONS:
            if row.is_open or row.is_open_on_loopback or role.includes(row.role):
                continue
            got = await api.request(row.method, row.example_path)
            assert got.status_code == 403, row.name
            assert got.headers["content-type"] == "application/problem+json"
            assert got.json()["detail"] == (
                f"{row.name} needs a token of the role {row.role}; that of this request (mine) has "
                f"the role {role}. Type openimds token add NAME --role {row.role} with the token "
                "file"
            )
        counts = server.services.failed_tokens.counts
        assert sum(counts.values()) == 0, "the token is a right one"

    with_server(tmp_path, work)


@pytest.mark.parametrize("role", ORDERED)
def test_token_of_a_role_reads(tmp_path: Path, role: Role) -> None:
    async def work(server: AdminServer) -> None:
        api = await server.client_of(role)
        for path in ("/v1/vms", "/v1/audit", "/v1/events", "/v1/faults", "/v1/clock"):
            assert (await api.get(path)).status_code == 200, path

    with_server(tmp_path, work)


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_description_and_metrics_need_read_beyond_loopback(tmp_path: Path, path: str) -> None:
    async def work(server: AdminServer) -> None:
        transport = httpx2.ASGITransport(server.application, client=("10.0.0.9", 5))
        away = httpx2.AsyncClient(base_url="http://localhost:8170", transport=transport)
        assert (await away.get(path)).status_code == 401
        assert (await away.get("/healthz")).status_code == 200
        for role, status in ((Role.READ, 200), (Role.ENROL, 403)):
            _, text = await server.tokens.add(role, role, "test")
            got = await away.get(path, headers={"Authorization": f"Bearer {text}"})
            assert got.status_code == status
        await away.aclose()

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "client, is_local",
    [
        (None, True),
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1), True),
        (("::ffff:127.0.0.1", 1), True),
        (("10.0.0.9", 1), False),
        (("::ffff:10.0.0.9", 1), False),
        (("fe80::1", 1), False),
        (("", 1), False),
    ],
)
def test_caller_of_this_machine_is_known_by_address(client: Any, is_local: bool) -> None:
    assert _is_local(Request({"type": "http", "client": client})) is is_local


@pytest.mark.parametrize(
    "client, name, who",
    [
        (("10.0.0.9", 1), "local", "api 10.0.0.9 token:local"),
        (("10.0.0.9", 1), "ci", "api 10.0.0.9 token:ci"),
        (None, "ci", "api socket token:ci"),
    ],
)
def test_caller_names_its_address_and_token(client: Any, name: str, who: str) -> None:
    scope = {"type": "http", "client": client, GRANT: TokenGrant(name, Role.ADMIN)}
    assert caller(Request(scope)) == who


def test_audit_log_names_the_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        api = await server.client_of(Role.OPERATE, "ci")
        (await api.put("/v1/vms/a", json={})).raise_for_status()
        (change,) = (await api.get("/v1/audit")).json()["items"]
        assert change["who"] == "api 127.0.0.1 token:ci"

    with_server(tmp_path, work)


def test_guarded_members_exist() -> None:
    for path in (*SECRET_MEMBERS, *DECIDING):
        node = vm_tree().members
        for key in path.split("."):
            assert key in node, path
            inner = node[key]
            node = inner.members if isinstance(inner, Group) else {}


@pytest.mark.parametrize("role", [Role.READ, Role.OPERATE])
def test_vm_is_shown_without_secrets_below_admin(tmp_path: Path, role: Role) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=WHOLE)
        await server.api.put("/v1/vms/b", json={"classic": True})
        api = await server.client_of(role)
        shown = {"compute": {"vmSize": "Standard_D2s_v5"}, "redacted": HIDDEN}
        got = (await api.get("/v1/vms/a")).json()
        assert got == {"name": "a", "revision": got["revision"], "origin": "api", **shown}
        first, second = (await api.get("/v1/vms")).json()["items"]
        assert first == got
        assert "redacted" not in second
        audit = (await api.get("/v1/audit")).json()["items"]
        assert [change["after"] for change in audit] == [shown, {"classic": True}]
        assert audit[0]["before"] is None
        document = await api.get("/v1/vms/a/document")
        assert not {"userData", "customData", "publicKeys"} & document.json()["compute"].keys()
        names = "compute.customData, compute.publicKeys, compute.userData"
        assert document.headers[REDACTED_HEADER] == names
        old = await api.get("/v1/vms/a/document?api-version=2017-03-01")
        assert REDACTED_HEADER not in old.headers
        whole = await server.api.get("/v1/vms/a/document")
        assert whole.json()["compute"]["userData"] == DATA
        assert REDACTED_HEADER not in whole.headers

    with_server(tmp_path, work)


def test_quarantined_vm_is_shown_without_secrets_below_admin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=WHOLE)
        await server.api.put("/v1/vms/b", json={})
        api = await server.client_of(Role.OPERATE)
        reason = "its listener cannot be opened"
        server.fleet_index.quarantine["b"] = QuarantinedVm("b", reason)
        got = (await api.get("/v1/vms/b")).json()
        assert (got["name"], got["quarantined"]) == ("b", reason)
        put = await api.put("/v1/vms/b", json={})
        assert put.status_code == 403
        assert put.json()["detail"].startswith("b is quarantined, and only a token of the role")

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "members, path",
    [
        ({"identities": {"system": True}}, "identities"),
        ({"reach": None}, "reach"),
        ({"compute": {"userData": DATA}}, "compute.userData"),
        ({"compute": {"userData": None}}, "compute.userData"),
        ({"compute": {"publicKeys": []}}, "compute.publicKeys"),
        ({"compute": {"vmId": "x"}}, "compute.vmId"),
        ({"compute": {"plan": {"name": "gold"}}}, "compute.plan"),
        ({"compute": {"licenseType": "x"}}, "compute.licenseType"),
        ({"compute": {"location": "northeurope"}}, "compute.location"),
        ({"compute": None}, "compute"),
        ({"network": {}}, "network"),
        ({"host": "b"}, "host"),
        ({"reprovisionData": "x"}, "reprovisionData"),
    ],
)
def test_operator_writes_no_guarded_member(
    tmp_path: Path, members: dict[str, Any], path: str
) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={"compute": {"vmSize": "Standard_D2s_v5"}})
        api = await server.client_of(Role.OPERATE)
        for got in (
            await api.patch("/v1/vms/a", json=members, headers=MERGE),
            await api.put("/v1/vms/a", json=members),
            await api.put("/v1/vms/new", json=members),
        ):
            assert got.status_code == 403
            assert got.json()["detail"].startswith(f"{path}: only a token of the role admin writes")
        assert server.store.revision() == 1

    with_server(tmp_path, work)


def test_operator_changes_other_members(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=WHOLE)
        api = await server.client_of(Role.OPERATE)
        patch = {"compute": {"tags": {"env": "prod"}}}
        got = await api.patch("/v1/vms/a", json=patch, headers=MERGE)
        assert got.status_code == 200
        assert got.json()["redacted"] == HIDDEN
        whole = (await server.api.get("/v1/vms/a")).json()
        assert whole["identities"] == {"system": True}
        assert whole["compute"]["userData"] == DATA
        assert (await api.put("/v1/vms/b", json={"compute": {"vmSize": "x"}})).status_code == 201
        assert (await api.put("/v1/vms/b", json={"compute": {"vmSize": "y"}})).status_code == 200

    with_server(tmp_path, work)


def test_operator_does_not_replace_a_vm_with_guarded_members(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=WHOLE)
        api = await server.client_of(Role.OPERATE)
        read = (await api.get("/v1/vms/a")).json()
        got = await api.put("/v1/vms/a", json={"compute": read["compute"]})
        assert got.status_code == 403
        assert got.json()["detail"].startswith("compute.publicKeys: a has this member, which only")
        await server.api.put("/v1/vms/b", json={})
        tag = (await api.get("/v1/vms/b")).headers["etag"]
        for headers, status in (({"If-Match": tag}, 200), ({"If-Match": '"1"'}, 412)):
            got = await api.put("/v1/vms/b", json={"availabilitySet": "s"}, headers=headers)
            assert got.status_code == status
        got = await api.put("/v1/vms/c", json={}, headers={"If-Match": '"1"'})
        assert got.status_code == 412, "there is none to replace"

    with_server(tmp_path, work)


def test_redacted_body_is_no_body_for_an_admin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json=WHOLE)
        read = (await (await server.client_of(Role.READ)).get("/v1/vms/a")).json()
        got = await server.api.put("/v1/vms/a", json=read)
        assert got.status_code == 422
        assert got.json()["detail"].startswith("redacted: this VM was read by a token that does")
        assert (await server.api.get("/v1/vms/a")).json()["identities"] == {"system": True}

    with_server(tmp_path, work)


def test_requests_show_no_document_below_admin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        dispatcher = a_dispatcher(an_index(*a_fleet(a=WHOLE)))
        dispatcher.set_observer(server.recorder)
        talk = Talk(dispatcher, ("10.0.0.1", 5))
        talk.ask("/metadata/instance/compute/userData?api-version=2021-02-01&format=text")
        talk.ask("/metadata?api-version=2021-02-01")
        talk.ask("/metadata/identity/info?api-version=2018-02-01")
        talk.ask("/metadata/instance?api-version=1999-01-01")
        talk.ask("/metadata/versions")
        reader = await server.client_of(Role.READ)
        shown = (await reader.get("/v1/requests")).json()["items"]
        whole = (await server.api.get("/v1/requests")).json()["items"]
        assert [one["body"] for one in whole[3:]] == [one["body"] for one in shown[3:]]
        assert all(one["body"] for one in whole), "a refusal has no user data"
        assert [one["body"] for one in shown[:3]] == ["", "", ""]
        assert whole[0]["body"] == DATA
        assert DATA in whole[1]["body"]

    with_server(tmp_path, work)
