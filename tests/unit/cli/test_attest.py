import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from openimds.cli.attest import command
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.cms import envelope
from openimds.errors import ConfigError, Error
from tests.unit.cli.runner import CliRunner

NOW = datetime(2023, 10, 2, 12, 33, 11, tzinfo=UTC)
AT = "2023-10-02T12:33:11Z"
PAYLOAD = (
    b'{"nonce":"1234567890","timeStamp":{"createdOn":"10/02/23 12:33:11 -0000",'
    b'"expiresOn":"10/02/23 18:33:11 -0000"},"vmId":"6277b885-20b1-43ba-81a2-ee4e94e7c0af"}'
)
ROWS = [
    "encoding",
    "structure",
    "signature",
    "chain",
    "certificate times",
    "name",
    "payload",
    "nonce",
    "times",
]


class Site:
    """A server on loopback: its answers by path, and the requests that it got."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requests: list[tuple[str, str | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, self.headers.get("Metadata")))
                status, headers, body = site.answers.get(self.path, (404, {}, b"none here"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.server.shutdown()
    served.thread.join()
    served.server.server_close()


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(None, NOW.timestamp())


@pytest.fixture(autouse=True)
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: CertificateAuthority
) -> Path:
    """Return the working folder, with a valid document and its trust bundle."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "document.json").write_text(document(authority))
    (tmp_path / "bundle.pem").write_bytes(authority.bundle())
    return tmp_path


def document(authority: CertificateAuthority, domain: str = "metadata.azure.com") -> str:
    leaf = authority.leaf(domain, "northeurope", NOW.timestamp())
    signature = base64.b64encode(envelope(PAYLOAD, leaf.certificate, leaf.key)).decode()
    return json.dumps({"encoding": "pkcs7", "signature": signature})


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(command, ["verify", *arguments], input=given)


def rows(result: Result) -> dict[str, str]:
    """Return the verdicts by check, from the table that a pipe gets."""
    head, *lines = result.stdout.splitlines()
    assert head == "CHECK\tHOLDS\tDETAIL"
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines}


def test_valid_document_passes_every_check() -> None:
    got = run("document.json", "--trust", "bundle.pem", "--nonce", "1234567890", "--at", AT)
    assert (got.exit_code, rows(got)) == (0, dict.fromkeys(ROWS, "yes"))
    assert got.stderr == "the document holds\n"


def test_document_without_a_bundle_has_no_checked_chain() -> None:
    got = run("document.json", "--at", AT)
    assert got.exit_code == 0
    assert rows(got) == dict.fromkeys(ROWS, "yes") | {"chain": "-", "nonce": "-"}
    assert "chain\t-\tnot checked: name a bundle with --trust\n" in got.stdout
    assert "nothing vouches for its signer" in got.stderr


def test_invalid_document_exits_1_and_names_failed_checks() -> None:
    got = run("document.json", "--nonce", "0", "--at", "2023-10-02T20:33:11+02:00")
    assert got.exit_code == 1
    assert got.stderr == "the document does not hold: nonce, times\n"
    assert rows(got)["nonce"] == rows(got)["times"] == "NO"


def test_document_is_verified_now_by_default() -> None:
    got = run("document.json")
    assert got.exit_code == 1
    assert rows(got)["times"] == "NO"


def test_json_has_the_checks_and_the_payload() -> None:
    got = run("document.json", "--at", AT, "--json")
    report = json.loads(got.stdout)
    assert got.exit_code == 0
    assert report["holds"] is True
    assert report["payload"] == json.loads(PAYLOAD)
    assert [check["name"] for check in report["checks"]] == ROWS
    assert report["checks"][3] == {
        "name": "chain",
        "holds": None,
        "detail": "not checked: name a bundle with --trust",
    }


def test_document_is_read_from_stdin(folder: Path) -> None:
    got = run("-", "--at", AT, given=(folder / "document.json").read_text())
    assert got.exit_code == 0


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_document_with_a_byte_order_mark_is_read(folder: Path, codec: str) -> None:
    text = (folder / "document.json").read_text()
    mark = "\ufeff" if codec in ("utf-16-le", "utf-16-be") else ""
    (folder / "marked.json").write_bytes(f"{mark}{text}\r\n".encode(codec))
    got = run("marked.json", "--trust", "bundle.pem", "--nonce", "1234567890", "--at", AT)
    assert (got.exit_code, rows(got)) == (0, dict.fromkeys(ROWS, "yes"))


def test_truncated_utf_16_fails_the_encoding_check(folder: Path) -> None:
    (folder / "marked.json").write_bytes(b"\xff\xfe{\x00\xd8")
    got = run("marked.json", "--at", AT)
    assert (got.exit_code, rows(got)["encoding"]) == (1, "NO")


def test_help_explains_exit_0_without_a_bundle() -> None:
    got = CliRunner().invoke(command, ["verify", "--help"])
    text = " ".join(got.stdout.split())
    assert "Without --trust, exit 0 means that the document is whole, and that nothing" in text


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nA: "])
def test_dripping_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr("openimds.cli.attest._WHOLE_S", 0.3)
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.sendall(head)
            while not over.wait(0.02):
                peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        got = run(url)
        over.set()
        thread.join()
    assert str(got.exception) == f"{url}: no whole answer within 0.3 seconds"


def test_root_of_a_chain_without_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "token"))
    found = {"items": [{"inUse": True, "isRoot": False, "pem": "PEM\n"}], "bundle": "PEM\n"}
    monkeypatch.setattr("openimds.cli.client.Client.ask", lambda *_: found)
    got = CliRunner().invoke(command, ["ca", "--root"])
    assert (got.stdout, got.exit_code) == ("", 1)
    assert str(got.exception).startswith("saw no root above the certificates in use")
    assert CliRunner().invoke(command, ["ca", "--chain"]).stdout == "PEM\n"


def test_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.cli.table.is_terminal", lambda: True)
    got = run("document.json", "--at", AT)
    assert got.exit_code == 0
    assert got.stdout.split()[:3] == ["CHECK", "HOLDS", "DETAIL"]
    assert "\t" not in got.stdout


def test_control_characters_of_a_document_are_escaped(
    folder: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = authority.leaf("metadata.azure.com", "", NOW.timestamp())
    payload = b'{"nonce":"\\n\\u001b[2Jchain\\tyes\\t","vmId":"\xc3\xa4"}'
    (folder / "bad.der").write_bytes(envelope(payload, leaf.certificate, leaf.key))
    shown = "not checked; the document's is " + r'"\n\x1b[2Jchain\tyes\t"'
    got = run("bad.der", "--at", AT)
    assert list(rows(got)) == ROWS
    assert f"nonce\t-\t{shown}\n" in got.stdout
    assert "vmId ä" in got.stdout
    monkeypatch.setattr("openimds.cli.table.is_terminal", lambda: True)
    assert "\x1b[2J" not in run("bad.der", "--at", AT).stdout


def test_document_of_another_domain_fails_its_name(
    folder: Path, authority: CertificateAuthority
) -> None:
    (folder / "document.json").write_text(document(authority, "metadata.azure.cn"))
    assert run("document.json", "--at", AT).exit_code == 0
    got = run("document.json", "--at", AT, "--domain", "metadata.azure.com")
    assert (got.exit_code, rows(got)["name"]) == (1, "NO")


def test_url_is_asked_with_the_metadata_header(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = CertificateAuthority.open(None, NOW.timestamp(), public_url=site.url)
    Path("root.pem").write_bytes(mine.root_pem())
    path = "/metadata/attested/document?api-version=2021-12-13&nonce=1234567890"
    site.answers[path] = (200, {}, document(mine).encode())
    for name, der in mine.published().items():
        site.answers[f"/pkiops/certs/{name}.crt"] = (200, {}, der)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    got = run(f"{site.url}{path}", "--trust", "root.pem", "--nonce", "1234567890", "--at", AT)
    assert (got.exit_code, rows(got)) == (0, dict.fromkeys(ROWS, "yes"))
    requests, *fetched = site.requests
    assert requests == (path, "true")
    for (url, _), name in zip(fetched, ("g2-rsa-ca-ocsp-01", "rsa-root-g2"), strict=True):
        assert url.startswith(f"/pkiops/certs/openimds-tls-{name}-")
    assert {header for _, header in fetched} == {None}, (
        "the URL in a certificate is not asked as the metadata service"
    )


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((404, {}, b""), "status 404"),
        ((302, {"Location": "/elsewhere"}, b""), "status 302"),
        ((200, {}, bytes((1 << 20) + 1)), "more than 1048576 bytes"),
    ],
)
def test_unreachable_issuer_fails_the_chain_with_its_reason(
    site: Site, answer: tuple[int, dict[str, str], bytes], reason: str
) -> None:
    mine = CertificateAuthority.open(None, NOW.timestamp(), public_url=site.url)
    Path("root.pem").write_bytes(mine.root_pem())
    Path("document.json").write_text(document(mine))
    site.answers = {
        f"{base}/pkiops/certs/{name}.crt": answer
        for name in mine.published()
        for base in ("", "/alternate")
    }
    got = run("document.json", "--trust", "root.pem", "--at", AT)
    assert got.exit_code == 1
    assert rows(got)["chain"] == "NO"
    assert reason in got.stdout
    assert len(site.requests) == 2, "both addresses of the issuer"


def test_issuer_behind_another_scheme_is_not_fetched() -> None:
    mine = CertificateAuthority.open(None, NOW.timestamp(), public_url="file:///etc")
    Path("root.pem").write_bytes(mine.root_pem())
    Path("document.json").write_text(document(mine))
    got = run("document.json", "--trust", "root.pem", "--at", AT)
    assert "crt: only http:// is fetched" in got.stdout


def test_error_status_of_a_url_is_reported_with_its_body(site: Site) -> None:
    site.answers["/x"] = (400, {}, b'{"error":"Bad request"}')
    got = run(f"{site.url}/x")
    assert isinstance(got.exception, Error)
    assert str(got.exception) == f'{site.url}/x: status 400 {{"error":"Bad request"}}'


def test_refused_connection_to_a_url_is_reported() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x"
        got = run(url)
    assert isinstance(got.exception, Error)
    assert str(got.exception) == f"{url}: connection refused"


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["missing.json"], "missing.json: saw no such file or directory"),
        (["document.json", "--trust", "missing.pem"], "missing.pem: saw no such file"),
        (["document.json", "--trust", "document.json"], "expected certificates in PEM or DER"),
        (["document.json", "--at", "yesterday"], '--at: saw "yesterday", expected a time like'),
        (["document.json", "--at", "2023-10-02T12:33:11"], "expected a time like"),
    ],
)
def test_mistyped_option_is_reported_with_its_value(arguments: list[str], text: str) -> None:
    got = run(*arguments)
    assert isinstance(got.exception, ConfigError)
    assert text in str(got.exception)
