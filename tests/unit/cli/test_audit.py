"""`openimds audit`, `changes`, `keys` and `scenario` against a fake admin API."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from openimds.cli import audit, changes, keys, scenario
from openimds.errors import ConfigError
from tests.unit.cli.fake_log import LogApi
from tests.unit.cli.runner import CliRunner


def entry(revision: int, name: str, who: str, before: Any, after: Any) -> dict[str, Any]:
    return {
        "revision": revision,
        "at": f"2026-11-22T19:54:{revision:02}.000+00:00",
        "who": who,
        "name": name,
        "kind": "put" if after else "remove",
        "origin": "api",
        "before": before,
        "after": after,
    }


SMALL, BIG = ({"compute": {"vmSize": size, "zone": "1"}} for size in ("a", "b"))
ENTRIES = [
    entry(1, "web-1", "file", None, SMALL),
    entry(2, "web-1", "api 10.0.0.9 token:ci", SMALL, {**BIG, "classic": True}),
    entry(3, "db-1", "api fd00::1", SMALL, None),
]
STEP: dict[str, Any] = {
    "event": "E1",
    "at": "2026-11-22T20:00:00.000Z",
    "trigger": "approved",
    "vms": ["web-1"],
}
STEP |= {"who": "web-1", "number": 7}
SOAK = {
    "name": "soak",
    "begun": "2026-11-22T19:54:46.000Z",
    "events": [
        {"type": "Freeze", "vms": ["a", "b"], "next": "2026-11-22T21:00:00.000Z"},
        {"type": "Reboot", "vms": ["b"], "next": None},
    ],
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> LogApi:
    double = LogApi("revision")
    double.entries = [*ENTRIES]
    for module in (audit, changes, keys, scenario):
        monkeypatch.setattr(module, "Client", lambda _: double)
    return double


def call(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def cells(got: Result) -> list[list[str]]:
    assert got.exit_code == 0, got.exception
    return [line.split("\t") for line in got.stdout.splitlines()[1:]]


def test_audit_names_author_address_and_token(api: LogApi) -> None:
    assert [row[1:] for row in cells(call(audit.command))] == [
        ["web-1", "made", "file", "", "", "1"],
        ["web-1", "changed", "api 10.0.0.9", "ci", "classic, compute.vmSize", "2"],
        ["db-1", "removed", "api fd00::1", "-", "", "3"],
    ]
    assert json.loads(call(audit.command, "--json").stdout) == ENTRIES
    assert call(audit.command, "--output", "name").stdout == "1\n2\n3\n"


def test_audit_is_limited_by_vm_number_and_time(api: LogApi) -> None:
    assert [row[-1] for row in cells(call(audit.command, "--vm", "web-1"))] == ["1", "2"]
    assert [row[-1] for row in cells(call(audit.command, "--vm", "we*"))] == ["1", "2"]
    either = ("--vm", "web-1", "--vm", "db-?")
    assert [row[-1] for row in cells(call(audit.command, *either))] == ["1", "2", "3"]
    assert [row[-1] for row in cells(call(audit.command, "--last", "1"))] == ["3"]
    since = ("--since", "2026-11-22T19:54:02Z")
    assert [row[-1] for row in cells(call(audit.command, *since))] == ["2", "3"]
    assert [row[-1] for row in cells(call(audit.command, *since, "--vm", "db-1"))] == ["3"]


def test_audit_follows_after_the_listed_changes(api: LogApi) -> None:
    api.feed = [STEP, entry(4, "web-1", "file", BIG, SMALL), entry(5, "db-1", "file", None, BIG)]
    got = call(audit.command, "--follow", "--last", "1", "--json")
    assert [json.loads(line)["revision"] for line in got.stdout.splitlines()] == [3, 4, 5]
    assert "FOLLOW /v1/changes?since=3" in api.calls
    assert "the server has ended the feed" in got.stderr


def test_many_changed_members_are_counted(api: LogApi) -> None:
    many = {f"k{number}": number for number in range(9)}
    api.entries = [entry(1, "a", "file", {"x": 1}, {"x": 1, **many})]
    assert cells(call(audit.command))[0][5] == "k0, k1, k2, k3, k4, k5, 3 more"


def test_changes_follow_the_feed(api: LogApi) -> None:
    api.feed = [entry(4, "web-1", "file", BIG, SMALL), STEP, entry(5, "db-1", "file", BIG, None)]
    assert [row[1:] for row in cells(call(changes.command, "--since", "3"))] == [
        ["put", "web-1", "file", "api", "4"],
        ["remove", "db-1", "file", "api", "5"],
    ]
    assert api.calls == ["FOLLOW /v1/changes?since=3"]
    assert call(changes.command, "--events", "--output", "name").stdout == "web-1\nE1\ndb-1\n"
    got = call(changes.command, "--events", "--vm", "web-1")
    assert [row[1:4] for row in cells(got)] == [
        ["put", "web-1", "file"],
        ["event approved", "E1", "web-1"],
    ]
    assert got.stderr.startswith("the server has ended the feed")
    assert api.calls[-1] == "FOLLOW /v1/changes"


def test_end_by_the_user_is_no_failure(api: LogApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> Any:
        yield ENTRIES[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "follow", interrupted)
    got = call(changes.command)
    assert (len(cells(got)), got.stderr) == (1, "")


def test_keys_are_listed_without_a_command(api: LogApi) -> None:
    former = {"kid": "a", "began": "0", "retired": "1", "publishedUntil": "2"}
    api.entries = [{"kid": "b", "began": "1", "retired": None, "publishedUntil": None}, former]
    for arguments in ((), ("list",)):
        assert cells(call(keys.command, *arguments)) == [
            ["b", "signs", "1", ""],
            ["a", "former", "0", "2"],
        ]
    assert json.loads(call(keys.command, "list", "--json").stdout) == api.entries


def test_keys_rotate(api: LogApi) -> None:
    api.answers["/v1/keys"] = {
        "items": [
            {"kid": "b", "began": "1", "retired": None, "publishedUntil": None},
            {"kid": "a", "began": "0", "retired": "1", "publishedUntil": "2"},
        ]
    }
    got = call(keys.command, "rotate")
    assert (got.stdout, got.stderr) == ("", "b signs from now on\na published until 2\n")
    assert call(keys.command, "rotate", "--output", "name").stdout == "b\na\n"
    assert api.calls == ["POST /v1/keys"] * 2


def test_scenarios_are_listed(api: LogApi) -> None:
    api.entries = [SOAK]
    next_at = "2026-11-22T21:00:00.000Z"
    assert cells(call(scenario.command, "list")) == [["soak", SOAK["begun"], "2", next_at, "a,b"]]
    drawn = call(scenario.command, "list", "--output", "table").stdout
    assert drawn.splitlines()[1].endswith("a, b")
    assert call(scenario.command, "list", "--output", "name").stdout == "soak\n"


@pytest.mark.parametrize("text", ["- {a_b: 1}", "events: [{a_b: 1}]", '[{"aB": 1}]'])
def test_scenario_of_a_file_is_begun(api: LogApi, tmp_path: Path, text: str) -> None:
    api.answers["/v1/scenarios"] = SOAK
    file = tmp_path / "soak.yaml"
    file.write_text(text)
    got = call(scenario.command, "add", str(file))
    assert got.stderr == "soak begun: 2 events, the next at 2026-11-22T21:00:00.000Z\n"
    got = CliRunner().invoke(scenario.command, ["add", "-", "--name", "x", "--json"], input=text)
    assert json.loads(got.stdout) == SOAK
    CliRunner().invoke(scenario.command, ["add", "-"], input=text)
    names = ("soak", "x", "stdin")
    assert api.bodies == [{"name": name, "events": [{"aB": 1}]} for name in names]


def test_line_that_is_no_mapping_is_sent_as_it_is(api: LogApi, tmp_path: Path) -> None:
    api.answers["/v1/scenarios"] = {**SOAK, "events": []}
    (tmp_path / "a.json").write_text("[7]")
    assert call(scenario.command, "add", str(tmp_path / "a.json")).exit_code == 0
    assert api.bodies == [{"name": "a", "events": [7]}]


@pytest.mark.parametrize("text", ["vms: {}", "text"])
def test_file_without_events_is_no_scenario(api: LogApi, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    error = call(scenario.command, "add", str(tmp_path / "a.yaml")).exception
    assert isinstance(error, ConfigError)
    assert error.expected == "a list of events, or one under `events`"
    assert api.calls == []


def test_scenarios_are_ended(api: LogApi) -> None:
    api.answers |= {"/v1/scenarios/a%20b": None, "/v1/scenarios/c": None}
    got = call(scenario.command, "remove", "a b", "c")
    assert got.stderr == "a b ended\nc ended\n"
    assert api.calls == ["DELETE /v1/scenarios/a%20b", "DELETE /v1/scenarios/c"]
