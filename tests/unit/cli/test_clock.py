"""`openimds clock` against a fake admin API."""

from typing import Any

import pytest

from openimds.cli import clock
from openimds.errors import ConfigError
from tests.unit.cli.runner import CliRunner

DURATIONS = ": seconds, or a duration such as 90s, 10m or 2h30m"

SHOWN = {"now": "2026-11-22T19:54:46.000Z", "offsetS": -0.0, "rate": 1.0, "virtual": True}


class Api:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, object]] = []

    def ask(self, method: str, path: str, body: object = None) -> Any:
        self.calls.append((method, path, body))
        return SHOWN


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    monkeypatch.setattr(clock, "Client", lambda _: double)
    return double


def call(*arguments: str) -> str:
    got = CliRunner().invoke(clock.command, arguments)
    if isinstance(got.exception, ConfigError):
        raise got.exception
    assert got.exit_code == 0, got.output
    return got.output


def test_clock_without_options_is_shown(api: Api) -> None:
    assert call() == "2026-11-22T19:54:46.000Z (offset 0 s, rate 1)\n"
    assert api.calls == [("GET", "/v1/clock", None)]


def test_change_is_sent_with_typed_values(api: Api) -> None:
    call("--now", "2030-01-01T00:00:00Z", "--advance", "-1.5", "--rate", "600")
    body = {"now": "2030-01-01T00:00:00Z", "advanceS": -1.5, "rate": 600}
    assert api.calls == [("POST", "/v1/clock", body)]


@pytest.mark.parametrize(
    "flag, text, expected",
    [
        ("--now", "tomorrow", "a time with its zone, such as 2026-11-22T19:54:46Z"),
        ("--offset", "soon", f"a number{DURATIONS}"),
        ("--rate", "-1", "a number from 0 to 10000"),
        ("--rate", "nan", "a number from 0 to 10000"),
    ],
)
def test_bad_value_is_refused_before_a_call(api: Api, flag: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call(flag, text)
    error = caught.value
    assert (error.where, error.seen, error.expected) == (flag, f'"{text}"', expected)
    assert api.calls == []
