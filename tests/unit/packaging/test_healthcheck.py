import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import healthcheck
import pytest

from tests.support.certificates import TestCa


@contextmanager
def admin(status: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve this status at /readyz, 404 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        thread.join()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["openimds", "serve"], "127.0.0.1:9"),
        (["openimds", "serve", "--admin", "127.0.0.1:1"], "127.0.0.1:1"),
        (["openimds", "serve", "--admin=none"], "none"),
    ],
)
def test_command_line_wins_over_the_environment(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_ADMIN", "127.0.0.1:9")
    assert healthcheck.setting("admin", arguments) == expected


def test_defaults_are_those_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENIMDS_ADMIN", raising=False)
    monkeypatch.delenv("OPENIMDS_LISTEN", raising=False)
    assert healthcheck.setting("admin", []) == "127.0.0.1:8170"
    assert healthcheck.setting("listen", []) == "0.0.0.0:8169"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0.0.0.0:8170", ("127.0.0.1", 8170)),
        ("[::]:8170", ("::1", 8170)),
        ("http://imds:8170/", ("imds", 8170)),
        ("https://localhost:8170", ("localhost", 8170)),
        ("169.254.169.254:80", ("169.254.169.254", 80)),
    ],
)
def test_every_address_means_loopback(text: str, expected: tuple[str, int]) -> None:
    assert healthcheck.address(text) == expected


@pytest.mark.parametrize("status, problem", [(200, ""), (503, "/readyz: status 503")])
def test_health_is_that_of_readyz(status: int, problem: str) -> None:
    with admin(status) as address:
        assert healthcheck.problem(["--admin", address]) == problem


@pytest.mark.parametrize("status, problem", [(200, ""), (503, "/readyz: status 503")])
def test_health_is_asked_by_https_where_admin_has_a_certificate(
    status: int, problem: str, tmp_path: Path
) -> None:
    certificate, key = TestCa(tmp_path, "CA").issue("imds.example", "192.0.2.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with admin(status, context) as address:
        words = ["--admin", address, f"--admin-cert={certificate}"]
        assert healthcheck.problem(words) == problem


def test_absent_server_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "refused" in healthcheck.problem(["--admin", f"127.0.0.1:{port}"])


def test_data_plane_answers_without_an_admin_api() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        listen = f"127.0.0.1:{bound.getsockname()[1]},127.0.0.1:1"
        assert healthcheck.problem(["--admin=none", "--listen", listen]) == ""


def test_unix_socket_answers_without_an_admin_api(tmp_path: Path) -> None:
    path = str(tmp_path / "imds")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        bound.listen()
        assert healthcheck.problem(["--admin=none", f"--listen=unix:{path}"]) == ""
    assert healthcheck.problem(["--admin=none", f"--listen=unix:{path}x"])


def test_failure_is_printed_with_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = tmp_path / "cmdline"
    line.write_text("openimds\0serve\0--admin=none\0--listen=unix:/nowhere\0")
    monkeypatch.setattr(healthcheck, "SERVER", line)
    with pytest.raises(SystemExit, match=r"not ready: .*No such file"):
        healthcheck.main()
