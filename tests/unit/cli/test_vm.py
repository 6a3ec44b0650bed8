"""`openimds vm list` with VMs that are not served, against fakes of the client."""

import json
from typing import Any

import pytest

from openimds.cli import vm as vm_command
from openimds.fleet.quarantine import MOST_DETAILED
from tests.unit.cli.runner import CliRunner


def row(name: str, **members: object) -> dict[str, Any]:
    return {"name": name, "revision": 1, "origin": "api", **members}


def listed(
    monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any], flags: tuple[str, ...] = ()
) -> Any:
    class Api:
        def vms(self) -> list[dict[str, Any]]:
            return [*rows]

    monkeypatch.setattr(vm_command, "_client", lambda _: Api())
    return CliRunner().invoke(vm_command.command, ["list", *flags])


def test_list_shows_the_state_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    got = listed(monkeypatch, row("a", compute={"zone": "1"}), row("b c", quarantined="a reason"))
    assert got.stdout.splitlines() == [
        "NAME\tSIZE\tLOCATION\tZONE\tORIGIN\tREVISION\tSTATE",
        "a\t\t\t1\tapi\t1\tserved",
        "b c\t\t\t\tapi\t1\tquarantined",
    ]
    (line,) = got.stderr.splitlines()
    assert line.startswith("b c is not served: a reason. ")
    assert line.endswith("type openimds vm remove 'b c'")


def test_list_reports_a_bounded_number_of_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"vm-{number:02}", quarantined="r") for number in range(MOST_DETAILED + 3)]
    got = listed(monkeypatch, *rows)
    assert len(got.stdout.splitlines()) == len(rows) + 1
    assert len(got.stderr.splitlines()) == MOST_DETAILED + 1
    assert got.stderr.splitlines()[-1].startswith("3 more stored VMs")


def test_json_list_has_the_reason_and_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("a"), row("b", quarantined="r")]
    got = listed(monkeypatch, *rows, flags=("--json",))
    assert (json.loads(got.stdout), got.stderr) == (rows, "")
