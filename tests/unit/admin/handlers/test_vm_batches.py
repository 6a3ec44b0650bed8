"""One request changes many VMs, as a whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from openimds.admin.handlers.vm_batches import MOST_VMS
from openimds.admin.roles import Role
from tests.unit.admin.setup import MERGE, AdminServer, with_server

SIZE = {"compute": {"vmSize": "S"}}


async def send(server: AdminServer, body: Any) -> tuple[int, Any]:
    answer = await server.api.patch("/v1/vms", content=json.dumps(body), headers=MERGE)
    return answer.status_code, answer.json()


def test_vms_are_made_changed_and_removed_together(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/web-1", json={"compute": {"zone": "1"}})
        await server.api.put("/v1/vms/web-2", json={})
        status, answer = await send(
            server, {"web-1": SIZE, "web-2": None, "web-3": SIZE, "web-4": None}
        )
        assert status == 200
        assert answer == {
            "items": [
                {"name": "web-1", "revision": 3, "existed": True},
                {"name": "web-2", "revision": None, "existed": True},
                {"name": "web-3", "revision": 5, "existed": False},
                {"name": "web-4", "revision": None, "existed": False},
            ],
            "revision": 5,
        }
        merged = (await server.api.get("/v1/vms/web-1")).json()
        assert merged["compute"] == {"zone": "1", "vmSize": "S"}
        assert server.fleet_index.by_name.keys() == {"web-1", "web-3"}

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "body, words",
    [
        ([], "VMs by name"),
        ({"a": SIZE, "b": {"compute": {"vmSiz": "S"}}}, "vmSiz"),
        ({"a": SIZE, "b": 7}, "body.b"),
        ({"a": SIZE, "b": {"name": "c"}}, 'b: name: saw "c"'),
        ({"a": SIZE, "no name": SIZE}, "no name"),
        (
            {"a": {"reach": {"address": ["10.0.0.1"]}}, "b": {"reach": {"address": ["10.0.0.1"]}}},
            "10.0.0.1",
        ),
        ({f"vm-{number}": {} for number in range(MOST_VMS + 1)}, f"at most {MOST_VMS}"),
    ],
)
def test_bad_part_changes_nothing(tmp_path: Path, body: Any, words: str) -> None:
    async def work(server: AdminServer) -> None:
        status, answer = await send(server, body)
        assert status == 422, answer
        assert words in answer["detail"]
        assert not server.fleet_index.by_name

    with_server(tmp_path, work)


def test_operator_removes_nothing_and_writes_no_guarded_member(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.api.put("/v1/vms/a", json={})
        api = await server.client_of(Role.OPERATE)
        for body, status in (
            ({"a": {"compute": {"tags": {"env": "prod"}}}, "b": {}}, 200),
            ({"c": {}, "a": None}, 403),
            ({"c": {}, "a": {"reach": {"address": ["10.0.0.1"]}}}, 403),
        ):
            answer = await api.patch("/v1/vms", json=body, headers=MERGE)
            assert answer.status_code == status, answer.text
            assert status == 200 or "a: " in answer.json()["detail"]
        assert server.fleet_index.by_name.keys() == {"a", "b"}

    with_server(tmp_path, work)
