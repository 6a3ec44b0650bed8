"""Operators' requests in the log: who, from where, what, and what became of it."""

from pathlib import Path
from typing import Any

from msgspec import structs

from openimds.admin.roles import FILE_TOKEN, Role
from openimds.log.event import Level, LogMessage
from openimds.log.events import ADMIN_ACTION, ADMIN_DENIED, ADMIN_LOGIN, ADMIN_READ
from tests.unit.admin.page.browser import Browser, signed_in
from tests.unit.admin.setup import AdminServer, with_server

SECRET = "c2VjcmV0LXRoYXQtaXMtbG9uZw=="


def logging(server: AdminServer) -> list[LogMessage]:
    """Have a server log into the list from now on."""
    messages: list[LogMessage] = []

    def note(message: str) -> None:
        assert isinstance(message, LogMessage)
        messages.append(message)

    server.use(structs.replace(server.services, notify=note))
    return messages


def short(messages: list[LogMessage]) -> list[tuple[Any, ...]]:
    names = ("who", "operation", "target", "status")
    return [(one.event, one.level, *(one.fields[name] for name in names)) for one in messages]


def test_change_is_logged_with_token_operation_and_target(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        messages = logging(server)
        await server.api.put("/v1/vms/web", json={"compute": {"userData": SECRET}})
        await server.api.delete("/v1/vms/none")
        assert short(messages) == [
            (ADMIN_ACTION, Level.INFO, FILE_TOKEN, "put_vm", "web", 201),
            (ADMIN_ACTION, Level.INFO, FILE_TOKEN, "delete_vm", "none", 404),
        ]
        assert messages[0] == f"{FILE_TOKEN} at 127.0.0.1: put_vm web: 201"
        assert messages[0].fields["peer"] == "127.0.0.1"
        assert messages[0].fields["method"] == "PUT"

    with_server(tmp_path, work)


def test_read_is_logged_for_debugging_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        messages = logging(server)
        await server.api.get("/v1/vms?limit=2")
        await server.api.get("/healthz")
        assert short(messages) == [
            (ADMIN_READ, Level.DEBUG, FILE_TOKEN, "list_vms", "", 200),
            (ADMIN_READ, Level.DEBUG, "-", "get_health", "", 200),
        ]

    with_server(tmp_path, work)


def test_denials_are_logged_with_the_name_of_the_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        reader = await server.client_of(Role.READ, "dashboard")
        messages = logging(server)
        reader = server.client(Authorization=reader.headers["Authorization"])
        await reader.put("/v1/vms/web", json={})
        await server.client(Authorization="Bearer wrong").put("/v1/vms/web", json={})
        await server.api.put("/v1/vms/web", json={}, headers={"Host": "evil.example"})
        assert short(messages) == [
            (ADMIN_DENIED, Level.WARNING, "dashboard", "put_vm", "web", 403),
            (ADMIN_DENIED, Level.INFO, "-", "put_vm", "web", 401),
            (ADMIN_DENIED, Level.WARNING, "-", "put_vm", "web", 421),
        ]

    with_server(tmp_path, work)


def test_no_body_query_header_or_detail_is_logged(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        messages = logging(server)
        for body in ({"compute": {"userData": [SECRET]}}, {SECRET: 1}, [SECRET]):
            await server.api.put(f"/v1/vms/web?x={SECRET}", json=body, headers={"If-Match": SECRET})
        await server.client(Authorization=f"Bearer {SECRET}", Cookie=SECRET).get("/v1/vms")
        assert len(messages) == 4
        assert SECRET not in f"{messages}{[one.fields for one in messages]}"

    with_server(tmp_path, work)


def test_page_logs_logins_changes_and_denials(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        messages = logging(server)
        browser = await signed_in(server)
        assert messages[0].event is ADMIN_LOGIN
        assert messages[0].fields == {"who": FILE_TOKEN, "peer": "127.0.0.1"}
        messages.clear()
        await Browser(server).post("/ui/login", {"token": SECRET})
        await browser.post("/ui/logout", Origin="http://evil.example")
        denied = [one for one in messages if one.event is ADMIN_DENIED]
        assert [one.fields["status"] for one in denied] == [403, 403]
        assert {one.fields["operation"] for one in denied} == {"page"}
        assert SECRET not in f"{messages}{[one.fields for one in messages]}"

    with_server(tmp_path, work)
