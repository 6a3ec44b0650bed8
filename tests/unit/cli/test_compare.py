import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from msgspec import structs

from openimds.cli.compare import command
from openimds.errors import ConfigError
from openimds.interop.capture.plan import FIRST
from openimds.interop.transcript.exchange import Exchange
from tests.support.scripted import HANG, scripted
from tests.support.transcripts import (
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
)
from tests.unit.cli.runner import CliRunner

VERSIONS = ("2017-03-01", "2021-02-01")
SLOW_DOWN = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *exchanges: Exchange, is_redacted: bool = False) -> str:
    Path(name).write_bytes(a_transcript(*exchanges, is_redacted=is_redacted).to_bytes())
    return name


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def documents(compute: Any) -> list[Exchange]:
    return [a_document(version, {"compute": compute}) for version in VERSIONS]


def test_equal_files_have_no_difference() -> None:
    one, other = write("a", *documents({"name": "x"})), write("b", *documents({"name": "y"}))
    got = run(one, other)
    assert (got.exit_code, got.stdout) == (0, "")
    assert got.stderr == "2 requests compared: no difference\n"
    got = run(one, other, "--json")
    assert json.loads(got.stdout) == {
        "compared": 2,
        "differences": [],
        "leftAlone": [],
        "rightAlone": [],
    }


def test_difference_is_a_row_with_its_fact() -> None:
    one, other = write("a", *documents({"vmId": ""})), write("b", *documents({}))
    got = run(one, other)
    assert got.exit_code == 1
    head, row = got.stdout.splitlines()
    assert head == "WHAT\tWHERE\tSUBJECT\tONE\tOTHER\tFACT\tEVIDENCE"
    assert row.split("\t") == [
        "field",
        "instance at 2 api-versions, 2017-03-01 to 2021-02-01",
        "compute.vmId",
        "string",
        "not there",
        "Fields: compute.vmId, since 2017-03-01",
        "observed",
    ]
    assert got.stderr == "2 requests compared: 1 difference\n"


def test_values_are_compared_on_request() -> None:
    one, other = write("a", *documents({"name": "x"})), write("b", *documents({"name": "y"}))
    got = run(one, other, "--values")
    assert got.exit_code == 1
    assert "value\tinstance at 2 api-versions" in got.stdout


def test_values_of_a_redacted_file_are_not_compared() -> None:
    one = write("a", *documents({}))
    for pair in ((one, write("b", is_redacted=True)), (write("b", is_redacted=True), one)):
        got = run(*pair, "--values")
        assert str(got.exception) == (
            "--values: saw a redacted transcript, expected two that are not redacted"
        )


def test_unknown_difference_is_printed_with_escapes() -> None:
    one = [an_exchange(f"/metadata/{n}", an_answer("no\x1b[2J|" + "x" * 200, 404)) for n in "ab"]
    other = [an_exchange(f"/metadata/{n}", an_answer("", 404)) for n in "ab"]
    pair = write("a", *one, an_exchange("/")), write("b", *other)
    got = run(*pair)
    _, row = got.stdout.splitlines()
    cells = row.split("\t")
    assert cells[:3] == ["body", "2 requests, first GET /metadata/a", ""]
    # The cell has the escapes, and tab-separated columns escape the backslash of a cell.
    assert cells[3].startswith("no\\\\x1b[2J|xxx")
    assert (len(cells[3]), cells[3][-1], cells[6]) == (101, "…", "no row")
    assert got.stderr == "2 requests compared: 1 difference (not compared: 1 of ONE alone)\n"
    table = run(*pair, "--markdown").stdout.splitlines()
    assert (len(table), "no\\x1b[2J\\|xxx" in table[2]) == (3, True)
    assert run(pair[0], pair[0], "--markdown").stdout == ""


def test_long_texts_are_shown_from_their_difference() -> None:
    words = "a" * 200
    one = an_exchange("/metadata/a", an_answer(f"{words} one", 404))
    other = an_exchange("/metadata/a", an_answer(f"{words} other", 404))
    _, row = run(write("a", one), write("b", other)).stdout.splitlines()
    assert row.split("\t")[3:5] == [f"…{'a' * 18} one", f"…{'a' * 18} other"]


def test_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.cli.table.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    target = f"/metadata/{'nothing' * 10}"
    one, other = (an_exchange(target, an_answer(message, 404)) for message in ("[b]", "[/b]"))
    got = run(write("a", one), write("b", other))
    assert got.exit_code == 1
    assert "\t" not in got.stdout
    # Nothing is cut off, and no text is taken for a style.
    head, *rows = got.stdout.splitlines()
    start, end = head.index("WHERE"), head.index("SUBJECT")
    assert "".join(row[start:end].strip() for row in rows) == f"GET {target}"
    assert "[/b]" in got.stdout


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["none", "b"], "none: saw no such file or directory, expected a file that can be read"),
        (["b", "body"], "body: top level: saw a mapping with compute, expected a file of openimds"),
        (["b", "https://a"], 'OTHER: saw "https://a", expected http://HOST or http://HOST:PORT'),
        (["http://a/b", "b"], 'ONE: saw "http://a/b", expected http://HOST or http://HOST:PORT'),
        (["b", "http://a", "--versions", "x y"], '--versions: saw "x y", expected all, newest,'),
        (
            ["http://a", "http://b", "--versions", "x y"],
            '--versions: saw "x y", expected all, newest, or api-versions with commas',
        ),
    ],
)
def test_bad_side_or_option_is_reported(arguments: list[str], message: str) -> None:
    write("b", *documents({}))
    Path("body").write_text('{"compute": {}}')
    got = run(*arguments)
    assert isinstance(got.exception, ConfigError)
    assert str(got.exception).startswith(message)


def test_hanging_server_is_an_error_and_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient = structs.replace(FIRST, most_s=0.2)
    monkeypatch.setattr(sys.modules["openimds.interop.capture.capture"], "FIRST", impatient)
    with scripted(HANG) as server:
        got = run(server.url, server.url)
    assert isinstance(got.exception, ConfigError)
    assert str(got.exception) == (
        f"compare: saw {server.url}: no whole answer within 0.2 s, expected two IMDSs that answer"
    )


@pytest.mark.parametrize(
    "more,message",
    [
        ([], ""),
        (
            [an_exchange("/metadata", an_answer("{}"))],
            "3 times in a row; the last was GET /metadata, expected two IMDSs that answer",
        ),
    ],
)
def test_server_that_answers_only_429_is_given_up(
    monkeypatch: pytest.MonkeyPatch, more: list[Exchange], message: str
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("openimds.cli.capture_options.time.sleep", waits.append)
    file = write("a", *documents({}), *more)
    with scripted(SLOW_DOWN) as server:
        got = run(file, server.url, "--per-s", "9999")
    asked = len(VERSIONS) + len(more)
    assert len(server.requests) == asked * 6
    assert [one for one in waits if one >= 1] == [1, 2, 4, 8, 16] * asked
    assert got.exit_code == 1
    assert str(got.exception).endswith(message or "1")
    assert got.stdout.count("HTTP/1.1 200 OK\tHTTP/1.1 429 Too Many") == (0 if message else asked)


def test_server_is_asked_the_planned_questions_of_the_file(folder: Path) -> None:
    token = (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
    )
    file = write(
        "a",
        *documents({}),
        an_exchange(token, an_answer("{}"), "instance", "2018-02-01"),
        an_exchange("/metadata/scheduledevents?api-version=2020-07-01", an_answer("{}"), "events"),
        an_exchange("/metadata/instance?api-version=2021-08-01&extended=true", an_answer("{}")),
    )
    body = compact({"compute": {}}).encode()
    message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with scripted(message) as server:
        got = run(server.url, file, "--per-s", "9999", "--versions", "all")
    assert [one.split()[1].decode() for one in server.requests] == [
        "/metadata/instance?api-version=2017-03-01",
        "/metadata/instance?api-version=2021-02-01",
        "/metadata/instance?api-version=2021-08-01&extended=true",
    ]
    assert got.stderr.endswith("(not compared: 2 of OTHER alone)\n")


def test_servers_are_asked_at_the_versions_of_either() -> None:
    def names(*versions: str) -> bytes:
        body = compact({"apiVersions": versions}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with scripted(names("2021-02-01", "2099-01-01")) as one, scripted(names("2021-02-01")) as other:
        run(one.url, other.url, "--per-s", "9999")
    for server in (one, other):
        asked = [request.split()[1].decode() for request in server.requests]
        assert "/metadata/instance?api-version=2099-01-01" in asked
        # What is asked once at the newest is asked at the newest that both have.
        assert "/metadata/instance/network/interface/0?api-version=2021-02-01" in asked
        assert "/metadata/instance/network/interface/0?api-version=2099-01-01" not in asked
