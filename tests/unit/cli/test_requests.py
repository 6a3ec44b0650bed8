"""`openimds requests` against a fake admin API."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from openimds.cli import client as client_module
from openimds.cli import requests, table
from openimds.cli.client import Client, ServerError
from tests.unit.cli.runner import CliRunner

ONE: dict[str, Any] = {
    "number": 7,
    "at": "2026-11-22T19:54:46.000Z",
    "vm": "web-1",
    "peer": "10.0.0.4",
    "method": "GET",
    "target": "/metadata/versions",
    "status": 200,
    "reason": "",
    "size": 680,
    "fault": "",
}
FINDING: dict[str, Any] = {
    "rule": "forwarded",
    "verdict": "refused",
    "vm": "web-1",
    "times": 2,
    "numbers": [7, 8],
    "example": "GET /metadata/versions 400",
    "says": "It is rejected",
    "evidence": {"mark": "documented", "sources": ["S1", "S2"], "note": ""},
}
HEAD = "NUMBER\tTIME\tVM\tMETHOD\tTARGET\tSTATUS\tREASON\tSIZE\tFAULT"


class Api:
    """Gives the rows and findings of the test."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.findings: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str, object]] = []
        self.ends: Exception | type[BaseException] | None = None

    def ask(self, method: str, path: str) -> None:
        self.calls.append((method, path, None))

    def items(self, path: str, only: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        self.calls.append(("GET", path, {**only}))
        return iter(self.findings if path.endswith("/report") else self.rows)

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        self.calls.append(("FOLLOW", path, None))
        yield from self.rows
        if self.ends:
            raise self.ends


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    double = Api()
    monkeypatch.setattr(requests, "Client", lambda _: double)
    return double


def call(*arguments: str) -> Result:
    return CliRunner().invoke(requests.command, arguments)


def test_list_is_columns_for_a_pipe(api: Api) -> None:
    unknown_caller = {**ONE, "number": 8, "vm": "", "status": 404, "reason": "unknown_caller"}
    api.rows = [ONE, unknown_caller]
    got = call("--vm", "web-1", "--endpoint", "versions", "--status", "200")
    assert got.exit_code == 0
    assert got.stdout.splitlines() == [
        HEAD,
        "7\t2026-11-22T19:54:46.000Z\tweb-1\tGET\t/metadata/versions\t200\t\t680\t",
        "8\t2026-11-22T19:54:46.000Z\t10.0.0.4\tGET\t/metadata/versions\t404\tunknown_caller\t680\t",
    ]
    only = {"vm": "web-1", "endpoint": "versions", "status": 200}
    assert api.calls == [("GET", "/v1/requests", only)]


def test_control_characters_of_a_guest_are_escaped(api: Api) -> None:
    api.rows = [{**ONE, "target": "/\x1b]0;hush\x07\t\x9b2J"}]
    assert r"/\x1b]0;hush\x07\t\x9b2J" in call().stdout


def test_json_is_that_of_the_api(api: Api) -> None:
    api.rows = [ONE]
    assert json.loads(call("--json").stdout) == [ONE]
    api.findings = [FINDING]
    assert json.loads(call("--report", "--json").stdout) == [FINDING]
    api.rows = [ONE, ONE]
    assert [json.loads(line) for line in call("--follow", "--json").stdout.splitlines()] == api.rows


def test_terminal_gets_a_table(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(table, "is_terminal", lambda: True)
    api.rows = [{**ONE, "reason": "leaf_needs_text", "fault": "delay", "target": "/[red]x"}]
    drawn = call().stdout
    assert [line.split() for line in drawn.splitlines()] == [
        ["NUMBER", "TIME", "VM", "REQUEST", "STATUS", "REASON"],
        [
            *("7", "19:54:46.000Z", "web-1", "GET", "/[red]x", "200"),
            *("leaf_needs_text", "(fault", "delay)"),
        ],
    ]
    api.findings = [FINDING]
    drawn = call("--report").stdout
    assert [line.split() for line in drawn.splitlines()] == [
        ["RULE", "VM", "TIMES", "REQUEST"],
        ["forwarded", "web-1", "2", "GET", "/metadata/versions", "400"],
        ["It", "is", "rejected", "(documented", "S1", "S2)"],
    ]


def test_report_exits_1_with_findings(api: Api) -> None:
    api.findings = [FINDING]
    got = call("--report", "--vm", "web-1")
    assert got.exit_code == 1
    assert got.stdout.splitlines()[1].split("\t") == [
        *("forwarded", "refused", "web-1", "2", "GET /metadata/versions 400", "It is rejected"),
        "documented S1 S2",
    ]
    assert api.calls == [("GET", "/v1/requests/report", {"vm": "web-1"})]
    api.findings, api.rows = [], [ONE]
    got = call("--report")
    assert (got.exit_code, got.stdout, got.stderr) == (0, "", "no mistakes\n")
    assert call("--report", "--json").stdout == "[]\n"


def test_primary_address_is_judged_on_demand(api: Api) -> None:
    call("--report", "--primary-address")
    assert api.calls[0] == ("GET", "/v1/requests/report", {"primaryAddress": "true"})
    assert "--primary-address goes with --report" in call("--primary-address").stderr


def test_report_without_requests_differs_from_a_clean_one(api: Api) -> None:
    got = call("--report", "--vm", "wbe-1")
    assert (got.exit_code, got.stdout) == (0, "")
    assert got.stderr == "no mistakes: no such request is recorded\n"
    assert api.calls[1:] == [("GET", "/v1/requests", {"vm": "wbe-1", "limit": 1})]


def test_follow_reports_the_end_of_the_feed(api: Api) -> None:
    api.rows = [ONE]
    got = call("--follow", "--vm", "web 1", "--status", "200")
    assert (got.exit_code, got.stdout.splitlines()[0]) == (0, HEAD)
    assert got.stderr.startswith("the server has ended the feed: it is stopping")
    assert api.calls == [("FOLLOW", "/v1/requests/feed?vm=web+1&status=200", None)]


def test_follow_ends_silently_by_ctrl_c_or_with_an_error(
    api: Api,
) -> None:
    api.ends = KeyboardInterrupt
    got = call("--follow")
    assert (got.exit_code, got.stdout, got.stderr) == (0, HEAD + "\n", "")
    api.ends = ServerError("gone")
    assert call("--follow").exception is api.ends


def test_clear_deletes_and_prints_nothing(api: Api) -> None:
    got = call("--clear")
    assert (got.exit_code, got.output) == (0, "")
    assert api.calls == [("DELETE", "/v1/requests", None)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--clear", "--vm", "a"], "--clear does not go with --vm"),
        (["--report", "--vm", "a", "--status", "1"], "--report does not go with --status"),
        (["--report", "--endpoint", "token"], "--report does not go with --endpoint"),
    ],
)
def test_filter_that_a_mode_does_not_take_is_refused(
    api: Api, arguments: list[str], message: str
) -> None:
    got = call(*arguments)
    assert got.exit_code == 2
    assert message in got.stderr
    assert api.calls == []


class Http:
    """A connection with a fixed answer; an exception in it is raised."""

    def __init__(self, status: int, lines: list[bytes | Exception]) -> None:
        self.status, self._lines = status, lines
        self.calls: list[tuple[str, str]] = []

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        assert headers == {"Authorization": "Bearer hush"}
        self.calls.append((method, path))

    def getresponse(self) -> "Http":
        return self

    def read(self) -> bytes:
        return b"".join(line for line in self._lines if isinstance(line, bytes))

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            if isinstance(line, Exception):
                raise line
            yield line


def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: Http) -> Client:
    (tmp_path / "admin-token").write_text("hush")
    monkeypatch.setattr(client_module, "HTTPConnection", lambda *_, **__: http)
    monkeypatch.delenv("OPENIMDS_ADMIN", raising=False)
    monkeypatch.delenv("OPENIMDS_TOKEN_FILE", raising=False)
    return Client(str(tmp_path))


def test_feed_is_read_event_by_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [b": ping\r\n", b"id: 1\r\n", b"event: request\r\n", b'data: {"a":1}\r\n', b"\r\n"]
    http = Http(200, [*lines, b'data: {"a":2}\r\n'])
    assert list(connected(tmp_path, monkeypatch, http).follow("/feed")) == [{"a": 1}, {"a": 2}]
    assert http.calls == [("GET", "/feed")]


def test_broken_feed_names_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    http = Http(200, [b'data: {"a":1}\r\n', ConnectionResetError("reset")])
    feed = connected(tmp_path, monkeypatch, http).follow("/feed")
    assert next(feed) == {"a": 1}
    with pytest.raises(ServerError, match=r"^http://127.0.0.1:8170: reset; start a server"):
        next(feed)


def test_refused_feed_gives_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    http = Http(400, [b'{"detail": "status: saw x"}'])
    with pytest.raises(ServerError, match=r"^status: saw x$"):
        next(connected(tmp_path, monkeypatch, http).follow("/feed"))
