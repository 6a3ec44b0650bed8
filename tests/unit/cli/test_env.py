"""The variables that `openimds env` prints, with a fake admin API."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result

from openimds.cli.env import command
from openimds.errors import ConfigError
from openimds.facts.protocols import EVERY_VARIABLE, TOKEN_ROUTES
from tests.unit.cli.runner import CliRunner

SHOP = {"IDENTITY_ENDPOINT": "http://h:1/msi/token", "IDENTITY_HEADER": "s"}
FAR = {"IDENTITY_ENDPOINT": "https://imds:81/msi/token", "IDENTITY_HEADER": "s"}
PINNED = {"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential", "OPENIMDS_URL": "http://h:1"}
ANSWERS: dict[str, Any] = {
    "/v1/vms/web-1/endpoints": {"vm": "web-1", "variables": {"app-service": SHOP, "imds": PINNED}},
    "/v1/vms/web-1/endpoints?url=https%3A%2F%2Fimds%3A81": {"variables": {"app-service": FAR}},
    "/v1/vms/web-1/identities": {"items": [{"vm": "web-1"}]},
    "/v1/vms/plain/endpoints": {"vm": "plain", "variables": {"app-service": SHOP}},
    "/v1/vms/plain/identities": {"items": []},
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
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "OPENIMDS_URL": "http://[::1]:9",
    }
    assert printed("--listen", "[::1]:9") == expected
    assert printed("--listen", "[::1]:9,127.0.0.1:80") == expected
    del expected["AZURE_TOKEN_CREDENTIALS"]
    assert printed("--listen", "[::1]:9", "--no-chain-pin") == expected


@pytest.mark.parametrize("way", ["imds", "cloud-shell", "arc"])
@pytest.mark.parametrize(
    "url, base",
    [
        ("http://imds:8169", "http://imds:8169"),
        ("HTTPS://my_imds.lab/", "https://my_imds.lab"),
        ("http://[fd00::1]:80", "http://[fd00::1]:80"),
    ],
)
def test_url_stands_for_that_of_the_listener(way: str, url: str, base: str) -> None:
    here = printed("--for", way, "--listen", "127.0.0.1:9")
    there = {name: text.replace("http://127.0.0.1:9", base) for name, text in here.items()}
    assert printed("--for", way, "--listen", "unix:/run/x", "--url", url) == there
    assert any(base in text for text in there.values())


@pytest.mark.parametrize(
    "url, says, hint",
    [
        ("imds:8169", '"imds:8169"', ". Write http://imds:8169"),
        ("imds", '"imds"', ". Write http://imds"),
        ("http://imds:81/metadata", '"http://imds:81/metadata"', ". Write http://imds:81"),
        ("http://imds?x", '"http://imds?x"', ". Write http://imds"),
        ("http://a:secret@imds:1", "a URL with a user in it", ". Write http://imds:1"),
        ("ftp://imds", '"ftp://imds"', ""),
        ("http://", '"http://"', ""),
        ("", '""', ""),
        ("http://imds:0", '"http://imds:0"', ""),
        ("http://imds:65536", '"http://imds:65536"', ""),
        ("http://[::1", '"http://[::1"', ""),
        ("http://[1.2]", '"http://[1.2]"', ""),
        ("http://a b", '"http://a b"', ""),
    ],
)
def test_url_that_is_no_base_url_is_refused(url: str, says: str, hint: str) -> None:
    done = run("--url", url)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"--url: saw {says}, expected http://HOST:PORT, or https{hint}"


@pytest.mark.parametrize(
    "way, hint",
    [("appservice", '. Did you mean "app-service"? Expected '), ("x", ", expected ")],
)
def test_unknown_protocol_is_refused_with_the_nearest(way: str, hint: str) -> None:
    done = run("--for", way)
    assert isinstance(done.exception, ConfigError)
    every = ", ".join(TOKEN_ROUTES)
    assert str(done.exception) == f'--for: saw "{way}"{hint}one of {every}'


def test_unset_takes_back_the_variables_of_every_protocol() -> None:
    lines = run("--unset").output.splitlines()
    assert lines == [f"unset {name}" for name in EVERY_VARIABLE]
    assert printed("--unset", "--for", "arc") == dict.fromkeys(EVERY_VARIABLE)
    for way in ("imds", "cloud-shell", "arc"):
        assert set(printed("--for", way)) <= set(EVERY_VARIABLE)


@pytest.mark.parametrize(
    "way, shown",
    [
        ("cloud-shell", {"MSI_ENDPOINT": "http://127.0.0.1:9/oauth2/token"}),
        (
            "arc",
            {
                "IDENTITY_ENDPOINT": "http://127.0.0.1:9/arc/metadata/identity/oauth2/token",
                "IMDS_ENDPOINT": "http://127.0.0.1:9/arc",
            },
        ),
    ],
)
def test_protocol_without_a_secret_needs_no_server(way: str, shown: dict[str, str]) -> None:
    assert printed("--listen", "127.0.0.1:9", "--for", way) == shown


@pytest.mark.usefixtures("admin")
def test_arc_is_asked_of_the_server_that_a_variable_names() -> None:
    """The variables of a default listener would lead nowhere."""
    assert "a server with --arc-folder" in str(run("--for", "arc").exception)
    assert printed("--for", "cloud-shell")["MSI_ENDPOINT"].endswith("/oauth2/token")
    assert "there" in printed("--for", "arc", "--url", "http://there:1")["IMDS_ENDPOINT"]


def test_secret_comes_from_the_server(admin: type[Admin]) -> None:
    assert admin.vms == ("web-1",)
    assert printed("--for", "app-service") == SHOP
    assert printed("--for", "app-service", "--vm", "web-1") == SHOP
    assert run("--for", "app-service").output == (
        "export IDENTITY_ENDPOINT=http://h:1/msi/token\nexport IDENTITY_HEADER=s\n"
    )


def test_secret_comes_with_the_url_that_was_named(admin: type[Admin]) -> None:
    assert admin.vms == ("web-1",)
    assert printed("--for", "app-service", "--url", "https://imds:81/") == FAR


@pytest.mark.usefixtures("admin")
def test_chain_pin_of_a_vm_can_be_left_out() -> None:
    assert printed("--vm", "web-1") == PINNED
    assert printed("--vm", "web-1", "--no-chain-pin") == {"OPENIMDS_URL": "http://h:1"}


@pytest.mark.usefixtures("admin")
def test_vm_without_identity_is_reported_beside_its_variables() -> None:
    done = run("--for", "app-service", "--vm", "plain", "--shell", "json")
    assert json.loads(done.stdout) == SHOP
    assert done.stderr == (
        "plain has no managed identity and gets no token; type: "
        "openimds identity assign plain --system\n"
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
