import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import Result
from msgspec import structs

from openimds.cli.capture import command
from openimds.errors import ConfigError, Error
from openimds.interop.capture.plan import FIRST
from tests.support.scripted import HANG, Scripted, scripted
from tests.unit.cli.runner import CliRunner

NAMED = b'{"apiVersions":["2021-03-01"]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(NAMED), NAMED)
BAD = b"nonsense\r\n\r\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(url: str, *arguments: str, output: str = "captured.json") -> Result:
    return CliRunner().invoke(
        command, ["--url", url, "--output", output, "--per-s", "9999", *arguments]
    )


def test_question_without_an_answer_is_reported_and_kept(folder: Path) -> None:
    with scripted(OK, BAD, OK) as server:
        got = run(server.url, "--versions", "newest")
    assert (got.exit_code, got.stdout) == (0, "")
    first = "GET /metadata/instance?api-version=2021-03-01"
    assert f"no answer: {first}: not HTTP: b'nonsense'\n" in got.stderr
    transcript = json.loads((folder / "captured.json").read_bytes())
    assert transcript["exchanges"][1]["failure"] == "not HTTP: b'nonsense'"
    assert (
        f"captured.json: {len(transcript['exchanges']) - 1} answers of {server.url}\n" in got.stderr
    )
    assert got.stderr.endswith(f"{server.url} answers no instance document: is it an IMDS?\n")


def test_terminal_gets_a_progress_bar(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("openimds.cli.capture_options._is_terminal", lambda: True)
    with scripted(OK) as server:
        got = run(server.url, "--versions", "newest")
    assert got.exit_code == 0
    count = len(json.loads((folder / "captured.json").read_bytes())["exchanges"])
    assert count == len(server.requests)


@pytest.mark.parametrize(
    "arguments,output,message",
    [
        (["--versions", "newest,x y"], "a", '--versions: saw "x y", expected all, newest, or api'),
        (["--versions", ""], "a", '--versions: saw "", expected all, newest, or api-versions'),
        (["--per-s", "nan"], "a", '--per-s: saw "nan", expected requests a second'),
        ([], "/none/a", '--output: saw "/none/a", a folder /none that cannot be written to, exp'),
        ([], ".", '--output: saw ".", a folder, expected a file that can be written'),
    ],
)
def test_bad_option_is_refused_before_the_first_request(
    arguments: list[str], output: str, message: str
) -> None:
    with scripted(OK) as server:
        got = run(server.url, *arguments, output=output)
    assert isinstance(got.exception, ConfigError)
    assert str(got.exception).startswith(message)
    assert server.requests == []


def test_output_may_be_a_link_but_not_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("file")
    with scripted(OK) as server:
        refused = run(server.url, output="pipe")
        got = run(server.url, "--versions", "newest", output="link")
    assert str(refused.exception).startswith('--output: saw "pipe", which is not a regular file')
    assert (folder / "pipe").is_fifo()
    assert (got.exit_code, (folder / "link").is_symlink()) == (0, True)
    assert json.loads((folder / "file").read_bytes())["format"] == 1


def test_url_with_a_path_is_refused() -> None:
    got = run("http://127.0.0.1:1/metadata")
    assert str(got.exception) == (
        '--url: saw "http://127.0.0.1:1/metadata", expected http://HOST or http://HOST:PORT, '
        "without a path"
    )


def test_lost_server_leaves_no_file(folder: Path) -> None:
    with scripted(OK, BAD) as server:
        got = run(server.url)
    assert isinstance(got.exception, Error)
    assert "3 times in a row" in str(got.exception)
    assert [*folder.iterdir()] == []


def test_hanging_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    impatient = structs.replace(FIRST, most_s=0.2)
    monkeypatch.setattr(sys.modules["openimds.interop.capture.capture"], "FIRST", impatient)
    with scripted(HANG) as server:
        got = run(server.url)
    assert str(got.exception) == f"{server.url}: no whole answer within 0.2 s"
    assert [*folder.iterdir()] == []


def _sent(server: Scripted) -> str:
    return b"".join(server.requests).decode()


def test_versions_option_limits_the_api_versions() -> None:
    with scripted(OK) as server:
        run(server.url, "--versions", "2017-03-01, 2099-01-01,2017-03-01")
    asked = _sent(server)
    assert asked.count("GET /metadata/instance?api-version=2017-03-01 ") == 1
    assert asked.count("GET /metadata/instance?api-version=2099-01-01 ") == 1
    assert "GET /metadata/instance?api-version=2018-10-01" not in asked
    # The newest one is the server's.
    assert "GET /metadata/instance/network/interface/0?api-version=2021-03-01 " in asked
