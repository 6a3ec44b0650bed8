"""The admin API tells how clients of a VM find each way to a token."""

import json
from pathlib import Path

import pytest
from starlette.requests import Request

from openimds.admin.handlers.identities import EndpointHandlers
from openimds.admin.problem import ProblemError
from openimds.vm.types import Vm
from tests.unit.admin.setup import Office, at_work


def ways_of(vm: Vm) -> dict[str, dict[str, str]]:
    return {"app-service": {"IDENTITY_HEADER": f"secret of {vm.name}"}}


def request(name: str) -> Request:
    return Request({"type": "http", "path_params": {"name": name}})


def test_the_variables_of_a_vm_are_its_own_and_kept_by_nobody(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        for name in ("web-1", "db-1"):
            assert (await office.api.put(f"/v1/vms/{name}", json={})).status_code == 201
        got = await EndpointHandlers(office.fleet_service, ways_of).get_endpoints(request("db-1"))
        assert json.loads(bytes(got.body)) == {
            "vm": "db-1",
            "variables": {"app-service": {"IDENTITY_HEADER": "secret of db-1"}},
        }
        assert got.headers["cache-control"] == "no-store"

    at_work(tmp_path, work)


def test_a_vm_that_is_not_there_has_none(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        with pytest.raises(ProblemError, match='no VM "x"'):
            await EndpointHandlers(office.fleet_service, ways_of).get_endpoints(request("x"))

    at_work(tmp_path, work)


def test_the_operation_is_for_who_has_the_token(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.api.put("/v1/vms/web-1", json={})
        got = await office.api.get("/v1/vms/web-1/endpoints")
        assert (got.status_code, got.json()["vm"]) == (200, "web-1")
        assert (await office.api.get("/v1/vms/x/endpoints")).status_code == 404
        unknown_caller = office.client(Authorization="Bearer x")
        assert (await unknown_caller.get("/v1/vms/web-1/endpoints")).status_code == 401
        await unknown_caller.aclose()

    at_work(tmp_path, work)
