"""The variables that `openimds env` prints, with a fake admin API."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from openimds.cli.env import command, variables
from openimds.errors import ConfigError

SHOP = {"IDENTITY_ENDPOINT": "http://h:1/msi/token", "IDENTITY_HEADER": "s"}
ANSWERS: dict[str, Any] = {
    "/v1/vms/web-1/endpoints": {"vm": "web-1", "variables": {"app-service": SHOP, "imds": {}}},
    "/v1/vms/deaf/endpoints": {"vm": "deaf", "variables": {}},
}


class Admin(BaseHTTPRequestHandler):
    """Answers from `ANSWERS`, and lists `vms`."""

    vms: tuple[str, ...] = ("web-1",)

    def do_GET(self) -> None:
        found: Any = ANSWERS.get(self.path)
        if self.path.startswith("/v1/vms?"):
            found = {"items": [{"name": name} for name in self.vms], "next": None}
        body = json.dumps(found or {"detail": "There is no such VM"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Admin]]:
    class Own(Admin):
        """The handler of one test."""

    server = HTTPServer(("127.0.0.1", 0), Own)
    (tmp_path / "token").write_text("t")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENIMDS_ADMIN", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def printed(*arguments: str) -> Any:
    done = run("--shell", "json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_default_is_the_variables_of_imds() -> None:
    expected = {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://[::1]:9",
        "OPENIMDS_URL": "http://[::1]:9",
    }
    assert printed("--listen", "[::1]:9") == expected == variables("http://[::1]:9")
    assert printed("--listen", "[::1]:9,127.0.0.1:80") == expected


@pytest.mark.parametrize(
    "way, shown",
    [
        ("cloud-shell", {"MSI_ENDPOINT": "http://127.0.0.1:9/oauth2/token"}),
        (
            "arc",
            {
                "IDENTITY_ENDPOINT": "http://127.0.0.1:9/arc/metadata/identity/oauth2/token",
                "IMDS_ENDPOINT": "http://127.0.0.1:9",
            },
        ),
    ],
)
def test_protocol_without_a_secret_needs_no_server(way: str, shown: dict[str, str]) -> None:
    assert printed("--listen", "127.0.0.1:9", "--for", way) == shown


def test_secret_comes_from_the_server(admin: type[Admin]) -> None:
    assert admin.vms == ("web-1",)
    assert printed("--for", "app-service") == SHOP
    assert printed("--for", "app-service", "--vm", "web-1") == SHOP
    assert run("--for", "app-service").output == (
        "export IDENTITY_ENDPOINT=http://h:1/msi/token\nexport IDENTITY_HEADER=s\n"
    )


@pytest.mark.parametrize("vms, seen", [((), "no VM"), (("a", "b"), "several VMs")])
def test_vm_has_to_be_named_unless_there_is_one(
    admin: type[Admin], vms: tuple[str, ...], seen: str
) -> None:
    admin.vms = vms
    done = run("--for", "azure-ml")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"--vm: saw {seen}, expected the name of one. Write --vm NAME"


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("--for", "arc", "--vm", "web-1"), "a server with --arc-folder"),
        (("--vm", "deaf"), 'no URL that leads to "deaf"'),
        (("--vm", "nobody"), "There is no such VM"),
    ],
)
@pytest.mark.usefixtures("admin")
def test_missing_vm_or_protocol_is_reported(arguments: tuple[str, ...], text: str) -> None:
    assert text in str(run(*arguments).exception)


def test_unix_socket_has_no_url() -> None:
    done = run("--listen", "unix:/run/x")
    assert "HOST:PORT: clients take a URL" in str(done.exception)
