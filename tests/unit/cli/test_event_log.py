"""`openimds event log` against a fake admin API."""

import json
from typing import Any

import pytest
from click.testing import Result

from openimds.cli import event, event_log
from tests.unit.cli.fake_log import LogApi
from tests.unit.cli.runner import CliRunner


def step(number: int, event_id: str, trigger: str, *vms: str) -> dict[str, Any]:
    return {
        "number": number,
        "event": event_id,
        "at": f"2026-11-22T19:54:{number:02}.000Z",
        "who": "web-1",
        "trigger": trigger,
        "before": "Scheduled",
        "after": "Started",
        "type": "Reboot",
        "scope": "vm:web-1",
        "vms": [*vms],
    }


STEPS = [step(1, "E1", "declared", "a"), step(2, "E2", "declared", "b", "c")]
STEPS += [step(3, "E1", "approved", "a")]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> LogApi:
    double = LogApi()
    double.entries = [*STEPS]
    monkeypatch.setattr(event_log, "Client", lambda _: double)
    return double


def call(*arguments: str) -> Result:
    return CliRunner().invoke(event.command, ["log", *arguments])


def numbers(*arguments: str) -> list[int]:
    got = call(*arguments, "--json")
    assert got.exit_code == 0, got.exception
    return [one["number"] for one in json.loads(got.stdout)]


def test_log_has_every_column_for_a_pipe(api: LogApi) -> None:
    head, first, *_ = (line.split("\t") for line in call().stdout.splitlines())
    assert head == [
        *("NUMBER", "TIME", "EVENT", "STEP", "WHO", "BEFORE", "AFTER", "TYPE", "VMS", "SCOPE"),
    ]
    assert first == [
        *("1", "2026-11-22T19:54:01.000Z", "E1", "declared", "web-1", "Scheduled", "Started"),
        *("Reboot", "a", "vm:web-1"),
    ]
    assert "b,c" in call().stdout


def test_log_is_limited_by_event_vm_and_time(api: LogApi) -> None:
    assert numbers() == [1, 2, 3]
    assert numbers("e1") == [1, 3]
    assert numbers("--vm", "c") == [2]
    assert numbers("--last", "1") == [3]
    assert numbers("--since", "2026-11-22T19:54:02Z") == [2, 3]


def test_log_is_followed_without_a_gap(api: LogApi) -> None:
    api.missed = [step(4, "E1", "start", "a")]
    api.feed = [{"revision": 1, "name": "a"}, step(5, "E1", "complete", "a")]
    got = call("E1", "--follow", "--last", "1", "--json")
    assert [json.loads(line)["number"] for line in got.stdout.splitlines()] == [3, 4, 5]
    assert "the server has ended the feed" in got.stderr
