"""Commands that speak https: trust, client certificates, and errors with a remedy."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path
from threading import Thread

import pytest

from openimds.admin import guarded_members
from openimds.cli import client, vm
from openimds.cli.client import Client, ServerError
from openimds.cli.tls import remedy_of, tls_context
from openimds.errors import ConfigError
from tests.support.certificates import TestCa
from tests.unit.cli.runner import CliRunner

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n"
ANSWER = HEAD + b'OpenIMDS-Redacted: compute.userData\r\n\r\n{"a":1}'


class Peer:
    """A server that answers one connection, by TLS where it has a pair."""

    def __init__(self, pair: tuple[Path, Path] | None, client_ca: Path | None = None) -> None:
        self.context: ssl.SSLContext | None = None
        if pair:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*pair)
        if self.context and client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(20)
        self.port = self.listening.getsockname()[1]
        self.thread = Thread(target=self._serve)

    def _serve(self) -> None:
        accepted, _ = self.listening.accept()
        accepted.settimeout(20)
        try:
            if self.context:
                accepted = self.context.wrap_socket(accepted, server_side=True)
            accepted.recv(65536)
            accepted.sendall(ANSWER)
        except OSError:
            pass  # The client does not trust it, or it does not trust the client.
        finally:
            accepted.close()


@contextmanager
def peer(pair: tuple[Path, Path] | None, client_ca: Path | None = None) -> Iterator[int]:
    server = Peer(pair, client_ca)
    server.thread.start()
    try:
        yield server.port
    finally:
        server.thread.join(30)
        server.listening.close()


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestCa:
    (tmp_path / "token").write_text("hush")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    for name in ("OPENIMDS_CLIENT_CERT", "OPENIMDS_CLIENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = TestCa(tmp_path)
    monkeypatch.setenv("OPENIMDS_CA", str(made.path))
    return made


def asked(monkeypatch: pytest.MonkeyPatch, url: str) -> object:
    monkeypatch.setenv("OPENIMDS_ADMIN", url)
    return Client().ask("GET", "/v1/vms")


def test_hidden_members_of_a_document_are_named(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peer(None) as port:
        monkeypatch.setenv("OPENIMDS_ADMIN", f"http://127.0.0.1:{port}")
        got = CliRunner().invoke(vm.command, ["show", "web-1"])
    assert json.loads(got.stdout) == {"a": 1}
    message = "not shown, as the token's role is below admin: compute.userData"
    assert got.stderr.splitlines() == [message]


def test_names_of_the_admin_api_are_those_of_the_client() -> None:
    assert client.REDACTED_HEADER == guarded_members.REDACTED_HEADER


def test_command_speaks_https_with_a_known_ca(ca: TestCa, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(ca.issue("server", "localhost", "127.0.0.1")) as port:
        assert asked(monkeypatch, f"https://127.0.0.1:{port}") == {"a": 1}


def test_command_shows_its_client_certificate(ca: TestCa, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = ca.issue("client")
    monkeypatch.setenv("OPENIMDS_CLIENT_CERT", str(certificate))
    monkeypatch.setenv("OPENIMDS_CLIENT_KEY", str(key))
    with peer(ca.issue("server", "localhost"), ca.path) as port:
        assert asked(monkeypatch, f"https://localhost:{port}") == {"a": 1}


@pytest.mark.parametrize(
    "host, days, says",
    [
        ("other.example", 9, "is not for 127.0.0.1; write a name that is in it"),
        ("127.0.0.1", -9, "expired; renew the file of the server's --admin-cert"),
    ],
)
def test_untrusted_certificate_is_an_error_with_a_remedy(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch, host: str, days: int, says: str
) -> None:
    with (
        peer(ca.issue("server", host, days=days)) as port,
        pytest.raises(ServerError, match=f"^https://127.0.0.1:{port}: .*{says}"),
    ):
        asked(monkeypatch, f"https://127.0.0.1:{port}")


def test_unknown_ca_is_an_error_with_a_remedy(
    ca: TestCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_CA", str(TestCa(tmp_path, "Other CA").path))
    with (
        peer(ca.issue("server", "127.0.0.1")) as port,
        pytest.raises(ServerError, match=r"is not known here .*; set OPENIMDS_CA to the file"),
    ):
        asked(monkeypatch, f"https://127.0.0.1:{port}")


def test_name_mismatch_names_the_host_of_the_url(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        peer(ca.issue("server", "other.example")) as port,
        pytest.raises(ServerError, match="certificate of the server is not for localhost"),
    ):
        asked(monkeypatch, f"https://localhost:{port}")


def test_https_to_a_port_of_http_names_the_remedy(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        peer(None) as port,
        pytest.raises(ServerError, match="speaks http there, not https; write http://"),
    ):
        asked(monkeypatch, f"https://127.0.0.1:{port}")


def test_http_to_a_port_of_https_names_the_remedy(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        peer(ca.issue("server", "127.0.0.1")) as port,
        pytest.raises(ServerError, match="if it runs with --admin-cert, write https://"),
    ):
        asked(monkeypatch, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "reason, says",
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "set OPENIMDS_CLIENT_CERT and OPENIMDS_CLIENT_KEY"),
        ("TLSV1_ALERT_UNKNOWN_CA", "the server refuses the client certificate, or its absence"),
        ("NO_PROTOCOLS_AVAILABLE", "TLS failed (no protocols available); type openimds doctor"),
    ],
)
def test_alert_of_the_server_has_a_remedy(reason: str, says: str) -> None:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    assert says in remedy_of(error, "localhost", is_tls=True)


def test_certificate_with_another_fault_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_code, error.verify_message = 26, "unsuitable certificate purpose"
    text = remedy_of(error, "localhost", is_tls=True)
    assert text.startswith("the certificate of the server is refused (unsuitable certificate")


@pytest.mark.parametrize(
    "error, is_tls, says",
    [
        (RemoteDisconnected("closed"), False, "if it runs with --admin-cert, write https://"),
        (ConnectionResetError("reset"), False, "if it runs with --admin-cert, write https://"),
        (BadStatusLine("\x15\x03"), False, "if it runs with --admin-cert, write https://"),
        (RemoteDisconnected("closed"), True, "if it has --admin-client-ca, set OPENIMDS_CLIENT"),
        (ssl.SSLEOFError(8, "EOF"), True, "if it has --admin-client-ca, set OPENIMDS_CLIENT"),
    ],
)
def test_cut_connection_names_the_likely_cause(error: Exception, is_tls: bool, says: str) -> None:
    assert says in remedy_of(error, "localhost", is_tls=is_tls)


def test_failure_without_tls_has_no_remedy_here() -> None:
    assert not remedy_of(ConnectionRefusedError("refused"), "localhost", is_tls=False)


def test_file_of_cas_that_cannot_be_used_is_named(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENIMDS_CA", str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match=r"^OPENIMDS_CA: saw .*absent.pem \(no such file"):
        tls_context()
    (tmp_path / "absent.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"^OPENIMDS_CA: saw .*absent.pem \(no cert"):
        tls_context()


def test_client_certificate_and_key_go_together(
    ca: TestCa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = ca.issue("client", password=b"secret")
    monkeypatch.setenv("OPENIMDS_CLIENT_KEY", str(key))
    with pytest.raises(ConfigError, match=r"^OPENIMDS_CLIENT_KEY: saw no OPENIMDS_CLIENT_CERT"):
        tls_context()
    monkeypatch.setenv("OPENIMDS_CLIENT_CERT", str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match=r"^OPENIMDS_CLIENT_CERT: saw .*which is no file"):
        tls_context()
    monkeypatch.setenv("OPENIMDS_CLIENT_CERT", str(certificate))
    with pytest.raises(ConfigError, match=r"client.key \(the key is encrypted\), expected"):
        tls_context()
    monkeypatch.delenv("OPENIMDS_CLIENT_KEY")
    with pytest.raises(ConfigError, match=r"^OPENIMDS_CLIENT_CERT: saw no OPENIMDS_CLIENT_KEY"):
        tls_context()


def test_url_of_another_scheme_is_refused(ca: TestCa, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="expected http://HOST:PORT or https://HOST:PORT"):
        asked(monkeypatch, "ftp://localhost:1")
