"""The client of the admin API: malformed URLs, and answers of other programs."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import click
import pytest
from click.shell_completion import CompletionItem

from openimds.cli.client import Client, ServerError
from openimds.cli.complete import offered
from openimds.errors import ConfigError


class Other(BaseHTTPRequestHandler):
    """Answers each path with HTML, but /json, and with a warning."""

    def do_GET(self) -> None:
        body = b'{"items": []}' if self.path == "/json" else b"<html>hello</html>"
        self.send_response(200)
        self.send_header("Warning", '299 - "the key is old"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        monkeypatch.setenv("OPENIMDS_ADMIN", f"127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:99999", "localhost:x", "http://[::1", "localhost", "ftp://a:1", "a b:1"),
        f"{'a' * 64}.example:1",
    ],
)
def test_malformed_url_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENIMDS_ADMIN", url)
    with pytest.raises(ConfigError, match=r'OPENIMDS_ADMIN: saw ".*", expected http://HOST:PORT'):
        Client()


@pytest.mark.usefixtures("other")
def test_html_of_another_program_is_one_sentence() -> None:
    with pytest.raises(ServerError, match="answers, but not as the admin API of OpenIMDS does"):
        Client().ask("GET", "/v1/vms")


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("path", ["/v1/vms", "/json"])
def test_completion_prints_nothing(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    def read(client: Client, _: str) -> list[CompletionItem]:
        return [*map(CompletionItem, client.ask("GET", path)["items"])]

    assert offered(click.Context(click.Command("x")), "", read) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("other")
def test_warning_of_the_server_is_printed_else(capfd: pytest.CaptureFixture[str]) -> None:
    Client().ask("GET", "/json")
    assert capfd.readouterr().err == "openimds: the key is old\n"
