"""`openimds vm list` against fakes of the client."""

import json
from typing import Any

import click
import pytest

from openimds.cli import vm as vm_command
from openimds.cli import vm_list
from openimds.fleet.quarantine import MOST_DETAILED
from tests.unit.cli.runner import CliRunner

queries: list[dict[str, object]] = []
USUAL = "compute.vmSize,compute.location,compute.zone"


def row(name: str, **members: object) -> dict[str, Any]:
    return {"name": name, "revision": 1, "origin": "api", **members}


def listed(
    monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any], flags: tuple[str, ...] = ()
) -> Any:
    class Api:
        def items(self, path: str, query: dict[str, object]) -> list[dict[str, Any]]:
            assert path == "/v1/vms"
            queries.append(query)
            return [*rows]

    queries.clear()
    monkeypatch.setattr(vm_list, "Client", lambda _: Api())
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


@pytest.mark.parametrize(
    "words, query",
    [
        ((), {"fields": USUAL}),
        (("web-*", "db"), {"name": "web-*,db", "fields": USUAL}),
        (("--vm", "a", "--select", "zone=1"), {"name": "a", "select": "zone=1", "fields": USUAL}),
        (("--sort", "-size"), {"sort": "-size", "fields": USUAL}),
        (("--json",), {}),
        (
            ("--fields", "size, tags,state,compute.osType"),
            {"fields": "compute.vmSize,compute.tags,compute.osType"},
        ),
        (("--fields", "state"), {"fields": "name"}),
        (("--json", "--fields", "host"), {"fields": "host"}),
    ],
)
def test_list_asks_for_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], query: dict[str, object]
) -> None:
    assert listed(monkeypatch, flags=words).exit_code == 0
    assert queries == [query]


def test_fields_are_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = {"tags": {"env": "prod", "team": "web"}, "osType": "Linux", "plan": {"n": {}}}
    rows = [row("a", compute=compute, host="h1"), row("b", compute="odd")]
    fields = "tags,host,compute.osType,state,revision,scaleSet,compute.plan"
    got = listed(monkeypatch, *rows, flags=("--fields", fields))
    assert got.stdout.splitlines() == [
        "NAME\tTAGS\tHOST\tcompute.osType\tSTATE\tREVISION\tSCALE SET\tcompute.plan",
        'a\tenv:prod, team:web\th1\tLinux\tserved\t1\t\t{"n":{}}',
        "b\t\t\t\tserved\t1\t\t",
    ]
    got = listed(monkeypatch, *rows, flags=("--fields", "host,name"))
    assert got.stdout.splitlines()[:2] == ["HOST\tNAME", "h1\ta"]


def test_list_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(vm_list, "ChangeSignal", lambda _: None)
    monkeypatch.setattr(vm_list, "watch_list", lambda watched, _: seen.extend(watched.read()))
    assert listed(monkeypatch, row("a"), flags=("--watch",)).exit_code == 0
    assert [vm["name"] for vm in seen] == ["a"]
    got = listed(monkeypatch, flags=("--watch", "--output", "yaml"))
    assert got.exit_code == 2


def test_shell_completes_fields() -> None:
    context = click.Context(vm_list.command)
    found = vm_list._complete_fields(context, click.Option(["--fields"]), "size,lo")
    assert [one.value for one in found] == ["size,location"]
