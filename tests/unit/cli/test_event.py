"""`openimds event` and `openimds clock` against a fake admin API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import Result

from openimds.cli import clock, event
from openimds.cli.client import MissingError
from openimds.errors import ConfigError, Error
from tests.unit.cli.runner import CliRunner

ID = "50EA19B2-69BC-4FA3-9F7F-8063BA7229B4"
ROW = {
    "scope": "set:s/g/as",
    "id": ID,
    "type": "Reboot",
    "status": "Scheduled",
    "notBefore": "2026-11-22T20:00:00.000Z",
    "approved": False,
    "approvals": [],
    "vms": ["a", "b"],
}


class Api:
    """Gives the answers of the test in turn; None is a 404."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.calls: list[tuple[str, str, object]] = []
        self.rows: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []

    def ask(self, method: str, path: str, body: object = None) -> Any:
        if path.startswith("/v1/events/log"):
            query = parse_qs(urlsplit(path).query)
            after = int(query.get("cursor", ["0"])[0])
            found = [step for step in self.steps if step["number"] > after]
            return {"items": found[:1], "next": str(found[0]["number"]) if found[1:] else None}
        self.calls.append((method, path, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise MissingError("there is no such event")
        return answer

    def items(self, path: str, only: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
        if only:
            return (step for step in self.steps if step["number"] > only["cursor"])
        self.calls.append(("GET", path, None))
        return iter(self.rows)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    for module in (event, clock):
        monkeypatch.setattr(module, "Client", lambda _: double)
    monkeypatch.setattr(event, "_POLL_S", 0)
    return double


def call(*arguments: str) -> Result:
    return CliRunner().invoke(event.command, arguments)


def test_schedule_sends_its_options_and_prints_ids(api: Api) -> None:
    api.answers = [{"items": [ROW, {**ROW, "id": "second"}], "next": None}]
    got = call("schedule", "reboot", "--vm", "a", "b", "--vm", "c", "--in", "60", "--needs", "all")
    assert (got.exit_code, got.stdout.split()) == (0, [ID, "second"])
    method, path, body = api.calls[0]
    assert (method, path) == ("POST", "/v1/events")
    assert isinstance(body, dict)
    assert {**body, "vms": sorted(body["vms"])} == {
        "type": "Reboot",
        "vms": ["a", "b", "c"],
        "inS": 60.0,
        "needs": "all",
    }


def test_schedule_sends_every_option(api: Api) -> None:
    api.answers = [{"items": [ROW], "next": None}]
    arguments = ["--vm", "a", "--duration", "9", "--life", "5", "--description", "d"]
    got = call("schedule", "Freeze", *arguments, "--source", "user", "--failure", "--json")
    assert json.loads(got.stdout) == [ROW]
    assert api.calls[0][2] == {
        "type": "Freeze",
        "vms": ["a"],
        "durationS": 9,
        "lifeS": 5.0,
        "description": "d",
        "source": "User",
        "failure": True,
    }


def test_unknown_type_and_missing_vm_are_usage_errors(api: Api) -> None:
    assert call("schedule", "Boot", "--vm", "a").exit_code == 2
    assert call("schedule", "Reboot").exit_code == 2
    assert api.calls == []


@pytest.mark.parametrize("flag", ["--in", "--duration", "--life"])
def test_bad_number_is_refused_before_a_call(api: Api, flag: str) -> None:
    got = call("schedule", "Reboot", "--vm", "a", flag, "nan")
    assert isinstance(got.exception, ConfigError)
    assert (got.exception.where, got.exception.seen) == (flag, '"nan"')
    assert api.calls == []


def test_list_counts_approvals(api: Api) -> None:
    api.rows = [ROW, {**ROW, "id": "x", "vms": ["c"], "approvals": ["c"], "approved": True}]
    lines = [line.split("\t") for line in call("list").stdout.splitlines()]
    assert [line[4] for line in lines] == ["APPROVED", "0 of 2", "yes"]
    assert [line[-1] for line in lines] == ["SCOPE", ROW["scope"], ROW["scope"]]
    found = json.loads(call("list", "--vm", "c", "--json").stdout)
    assert [one["id"] for one in found] == ["x"]


@pytest.mark.parametrize("verb", ["start", "complete", "cancel", "approve"])
def test_order_is_posted_to_the_event(api: Api, verb: str) -> None:
    api.answers = [ROW]
    got = call(verb, "a/b")
    assert (got.exit_code, got.stdout, got.stderr) == (0, "", f"{ID} Scheduled\n")
    assert api.calls == [("POST", f"/v1/events/a%2Fb/{verb}", None)]
    assert json.loads(call(verb, ID, "--json").stdout) == ROW


@pytest.mark.parametrize(
    "option, reached",
    [
        ("--approved", {**ROW, "approved": True}),
        ("--started", {**ROW, "status": "Started"}),
        ("--gone", None),
    ],
)
def test_wait_ends_when_the_state_is_reached(api: Api, option: str, reached: Any) -> None:
    api.answers = [ROW, ROW, reached]
    got = call("wait", ID, option, "--json")
    assert got.exit_code == 0, got.exception
    assert json.loads(got.stdout)["status"] == (reached or {"status": "gone"})["status"]
    assert len(api.calls) == 3


@pytest.mark.parametrize(
    "options, answers, text",
    [
        (["--timeout", "0"], [ROW], f"{ID} is not approved after 0 s"),
        (["--gone"], [None], "there is no such event"),
    ],
)
def test_wait_fails_with_the_reason(
    api: Api, options: list[str], answers: list[Any], text: str
) -> None:
    api.answers = answers
    error = call("wait", ID, *options).exception
    assert isinstance(error, Error)
    assert (error.exit_code, str(error)) == (1, text)


def step(number: int, trigger: str, after: str) -> dict[str, Any]:
    return {"number": number, "event": ID.lower(), "trigger": trigger, "after": after}


DECLARED = step(1, "declared", "Scheduled")
APPROVED = [DECLARED, step(2, "approved", "Started"), step(3, "complete", "gone")]
ORDERED = [DECLARED, step(2, "start", "Started"), step(3, "over", "gone")]
CANCELED = [DECLARED, step(2, "cancel", "gone")]


@pytest.mark.parametrize(
    "options, answers, steps, text",
    [
        (["--approved"], [ROW, None], CANCELED, f"{ID} is gone (cancel), and was not approved"),
        (["--approved"], [None], ORDERED, f"{ID} is gone (over), and was not approved"),
        (["--started"], [None], CANCELED, f"{ID} is gone (cancel), and was not started"),
        (["--started"], [ROW, None], [], f"{ID} is gone, and was not started"),
        ([], [ROW, {**ROW, "status": "Started"}], [], f"{ID} has started without approval"),
    ],
)
def test_wait_for_what_cannot_come_has_its_own_code(
    api: Api, options: list[str], answers: list[Any], steps: list[dict[str, Any]], text: str
) -> None:
    api.answers, api.steps = answers, steps
    error = call("wait", ID, *options).exception
    assert isinstance(error, Error)
    assert (error.exit_code, str(error)) == (3, text)


@pytest.mark.parametrize(
    "option, steps",
    [
        ("--approved", APPROVED),
        ("--started", APPROVED),
        ("--started", ORDERED),
        ("--gone", CANCELED),
    ],
)
def test_wait_finds_in_the_log_what_it_missed(
    api: Api, option: str, steps: list[dict[str, Any]]
) -> None:
    api.answers, api.steps = [None], steps
    got = call("wait", ID, option, "--output", "name")
    assert (got.exit_code, got.stdout) == (0, f"{ID}\n")


def test_clock_is_shown_or_changed(api: Api) -> None:
    shown = {"now": "2030-01-01T00:00:00.000Z", "offsetS": 60.0, "rate": 2.0, "virtual": True}
    api.answers = [{**shown, "offsetS": -2e-7}, shown]
    got = CliRunner().invoke(clock.command, [])
    assert got.stdout == "2030-01-01T00:00:00.000Z (offset 0 s, rate 2)\n"
    api.calls.clear()
    got = CliRunner().invoke(clock.command, [])
    assert got.stdout == "2030-01-01T00:00:00.000Z (offset 60 s, rate 2)\n"
    arguments = ["--now", "2030-01-01T00:00:00Z", "--rate", "2", "--advance", "60", "--offset", "1"]
    got = CliRunner().invoke(clock.command, [*arguments, "--json"])
    assert json.loads(got.stdout) == shown
    body = {"now": "2030-01-01T00:00:00Z", "rate": 2.0, "advanceS": 60.0, "offsetS": 1.0}
    assert api.calls == [("GET", "/v1/clock", None), ("POST", "/v1/clock", body)]


def test_list_is_watched(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.rows = [ROW]
    seen: list[Any] = []
    monkeypatch.setattr(event, "ChangeSignal", lambda _: None)
    monkeypatch.setattr(event, "watch_list", lambda watched, _: seen.extend(watched.read()))
    assert call("list", "--watch", "--vm", "a").exit_code == 0
    assert seen == [ROW]
