"""Operators' requests are counted by operation, never by the path that a client wrote."""

from pathlib import Path
from typing import Any

from openimds.admin.roles import Role
from tests.unit.admin.setup import AdminServer, with_server


def counted(server: AdminServer, name: str) -> dict[Any, float]:
    samples = server.services.request_counts.samples()[f"openimds_admin_{name}"]
    return {labels: value for labels, value in samples.items() if value}


def test_requests_are_counted_by_the_path_of_their_row(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.get("/v1/vms/nobody")
        await server.api.get("/v1/vms/none-2")
        await server.api.head("/healthz")
        await server.api.get("/v1/made-up-path")
        await server.api.delete("/healthz")
        assert counted(server, "requests") == {
            ("/v1/vms/{name}", "GET", "404"): 2,
            ("/healthz", "GET", "200"): 1,
            ("none", "none", "404"): 1,
            ("none", "none", "405"): 1,
        }
        durations = counted(server, "request_duration_seconds")
        assert durations["/v1/vms/{name}", "GET", "+Inf"] == 2

    with_server(tmp_path, work)


def test_denials_are_counted_by_their_reason(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.get("/v1/vms", headers={"Host": "attacker.example"})
        await server.api.get("/v1/vms", headers={"Authorization": "Bearer wrong"})
        reader = await server.client_of(Role.READ)
        await reader.delete("/v1/vms/web-1")
        await reader.aclose()
        assert counted(server, "denied") == {"host": 1, "token": 1, "role": 1}

    with_server(tmp_path, work)


def test_internal_errors_are_counted(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        server.services.metrics.samples = fail  # type: ignore[method-assign,assignment]
        assert (await server.api.get("/metrics")).status_code == 500
        assert counted(server, "requests") == {("/metrics", "GET", "500"): 1}

    with_server(tmp_path, work)
