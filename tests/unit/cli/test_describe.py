"""`openimds vm describe` against a fake admin API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from click.testing import Result

from openimds.cli import describe, vm
from openimds.cli.client import MissingError, ServerError
from tests.unit.cli.runner import CliRunner

DOCUMENT = {
    "compute": {
        "vmSize": "Standard_D2s_v5",
        "location": "westeurope",
        "zone": "",
        "tags": "env:prod",
    },
    "network": {
        "interface": [
            {
                "macAddress": "000D3A000001",
                "ipv4": {
                    "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.1.2.3"}]
                },
                "ipv6": {"ipAddress": []},
            }
        ]
    },
}
EVENT = {
    "id": "E1",
    "type": "Reboot",
    "status": "Scheduled",
    "notBefore": "2026-11-22T20:00:00.000Z",
    "approved": False,
}
REQUEST = {
    "at": "2026-11-22T19:54:46.000Z",
    "method": "GET",
    "target": "/metadata/\x1b[31m",
    "status": 400,
    "reason": "no_metadata",
}
IDENTITY = {"kind": "system", "clientId": "c1", "source": "local"}


class Api:
    """A server with one VM."""

    def __init__(self) -> None:
        self.vm: dict[str, Any] = {"name": "a", "revision": 7, "origin": "api"}
        self.faults = [
            {"id": "1", "effect": "status", "vms": ["a"], "played": 2},
            {"id": "2", "effect": "slow", "played": 0},
            {"id": "3", "effect": "slow", "vms": ["b"], "played": 0},
        ]
        self.placement: dict[str, Any] | None = None
        self.refused: set[str] = set()

    def ask(self, _: str, path: str) -> Any:
        part = path.rpartition("/")[2]
        if part in self.refused:
            raise ServerError(f"{part} needs a token of the role admin")
        if part == "placement":
            if self.placement is None:
                raise ServerError("This server has one host: itself")
            return self.placement
        if part == "a":
            return self.vm
        if path == "/v1/vms/x":
            raise MissingError('There is no VM "x"')
        return {
            "document": DOCUMENT,
            "identities": {"items": [IDENTITY]},
            "faults": {"items": self.faults},
        }[part]

    def items(self, path: str, only: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        assert (path, only) == ("/v1/events", {"vm": "a"})
        yield EVENT

    def page(self, path: str, query: Mapping[str, object]) -> list[dict[str, Any]]:
        assert (path, query["vm"], query["newest"]) == ("/v1/requests", "a", "true")
        if "requests" in self.refused:
            raise ServerError("This server does not record requests")
        return [REQUEST]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    monkeypatch.setattr(describe, "Client", lambda _: double)
    return double


def call(*words: str) -> Result:
    return CliRunner().invoke(vm.command, ["describe", *words])


def test_description_has_every_section(api: Api) -> None:
    got = call("a")
    assert got.exit_code == 0
    lines = got.stdout.splitlines()
    assert lines[0] == "a"
    for line in (
        "  State           served",
        "  Revision        7, by api",
        "  Size            Standard_D2s_v5",
        "  Tags            env:prod",
        "  Address         10.0.0.4, public 20.1.2.3, of 000D3A000001",
        "  system-assigned, client id c1, local",
        "  E1 Reboot Scheduled, not before 2026-11-22T20:00:00.000Z, not approved",
        "  1 status, for 1 VMs, played 2 times",
        "  2 slow, for all VMs, played 0 times",
        "  general: 5 a second",
        "  identity: 20 a second, 5 at once",
        r"  19:54:46.000Z GET /metadata/\x1b[31m 400 no_metadata",
        '      "vmSize": "Standard_D2s_v5",',
    ):
        assert line in lines
    assert not any(line.startswith(("  Zone", "  Host", "  3 slow")) for line in lines)


def test_json_has_every_part_and_reasons_of_absent_ones(api: Api) -> None:
    api.refused = {"identities", "requests"}
    got = json.loads(call("a", "--json").stdout)
    assert got["vm"] == api.vm
    assert got["document"] == DOCUMENT
    assert [one["id"] for one in got["faults"]] == ["1", "2"]
    assert got["identities"] is None
    assert got["notShown"] == {
        "identities": "identities needs a token of the role admin",
        "requests": "This server does not record requests",
        "placement": "This server has one host: itself",
    }
    assert got["limits"]["general"] == {"requestsPerS": 5, "concurrent": None}


def test_absent_part_is_named_with_its_reason(api: Api) -> None:
    api.refused = {"identities", "requests"}
    lines = call("a").stdout.splitlines()
    at = lines.index("Identities")
    assert lines[at + 1] == "  not shown: identities needs a token of the role admin"
    assert "  not shown: This server does not record requests" in lines


def test_quarantined_vm_is_described_without_its_document(api: Api) -> None:
    api.vm |= {"quarantined": "its address is taken", "host": "h1"}
    api.faults.clear()
    lines = call("a").stdout.splitlines()
    assert "  State           quarantined: its address is taken" in lines
    assert "  Host            h1" in lines
    assert lines[lines.index("Faults") + 1] == "  none"
    assert lines[-1] == "  not shown: its address is taken"


def test_placement_and_reach_are_shown(api: Api) -> None:
    api.placement = {"host": "h1", "nextHost": "h2", "lacking": ["h2"]}
    api.vm["reach"] = {"address": ["10.0.0.4", "10.0.0.5"], "interface": "tap1"}
    lines = call("a").stdout.splitlines()
    assert "  Host            h1, moving to h2; without its newest state: h2" in lines
    assert "  Known by        10.0.0.4, 10.0.0.5" in lines
    assert "  Interface       tap1" in lines
    api.placement = {"host": "", "nextHost": "", "lacking": []}
    assert "  Host            none" in call("a").stdout.splitlines()


def test_unknown_vm_is_an_error(api: Api) -> None:
    assert isinstance(call("x").exception, MissingError)


def test_vm_that_is_removed_meanwhile_is_an_error(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise MissingError("gone")

    monkeypatch.setattr(describe, "_PARTS", (describe._Part("document", missing),))
    assert isinstance(call("a").exception, MissingError)


def test_description_is_watched_as_text(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(describe, "ChangeSignal", lambda _: None)
    monkeypatch.setattr(describe, "watch_text", lambda text, *_: shown.append(text()))
    assert call("a", "--watch").exit_code == 0
    assert shown[0].startswith("a\n  State")
    assert call("a", "--watch", "--json").exit_code == 2
