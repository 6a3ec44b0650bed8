"""Questions to a server on loopback, and the exchanges that they give."""

import base64
import socket
import threading
import time
from contextlib import suppress

import pytest

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.cms import envelope
from openimds.interop.capture.capture import CaptureError, ask_all, ask_first
from openimds.interop.capture.client import CaptureClient, ImdsAddress, imds_address
from openimds.interop.capture.plan import FIRST, PlannedQuestion
from openimds.interop.capture.throttle import Throttle
from openimds.interop.transcript.exchange import Exchange, RecordedRequest
from tests.support.scripted import HANG, scripted
from tests.support.transcripts import METADATA, compact
from tests.unit.credentials.pki.recordings import SAMPLE
from tests.unit.interop.capture.test_throttle import Clock
from tests.unit.vm.refused import Refused, refused

OK = b"HTTP/1.1 200 OK\r\nserver: IMDS/1\r\nX-Two:  b \r\nContent-Length: 2\r\n\r\n{}"
SLOW_DOWN = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\nContent-Length: 4\r\n\r\nslow"
NOW_S = 1_700_000_000.0
SAMPLE_PAYLOAD = (
    '{"nonce":"1234566766","plan":{"name":"","product":"","publisher":""},"timeStamp":{"createdOn":'
    '"11/20/18 22:07:39 -0000","expiresOn":"11/20/18 22:08:24 -0000"},"vmId":""}'
)
EXPECTED = "http://HOST or http://HOST:PORT, without a path"


def client(url: str, clock: Clock | None = None) -> CaptureClient:
    clock = clock or Clock()
    return CaptureClient(imds_address(url, "--url"), Throttle(4, clock, clock.wait), time.monotonic)


def question(request: RecordedRequest, most_s: float = 5) -> PlannedQuestion:
    return PlannedQuestion("key", "2021-02-01", request, most_s)


def test_answer_is_recorded_byte_for_byte() -> None:
    with scripted(OK) as server:
        got = client(server.url).ask(question(RecordedRequest("GET", "/a?b=c", METADATA)))
    assert (got.question, got.version, got.failure) == ("key", "2021-02-01", "")
    assert got.answer
    assert got.answer.line == "HTTP/1.1 200 OK"
    assert got.answer.headers == ("server: IMDS/1", "X-Two:  b ", "Content-Length: 2")
    assert (got.answer.body, got.turned_away) == ("{}", None)


@pytest.mark.parametrize(
    "request_,sent",
    [
        (
            RecordedRequest("GET", "/a", METADATA),
            b"GET /a HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\n\r\n",
        ),
        (RecordedRequest("HEAD", "/a"), b"HEAD /a HTTP/1.1\r\nHost: {}\r\n\r\n"),
        (
            RecordedRequest("POST", "/a", METADATA),
            b"POST /a HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\nContent-Length: 0\r\n\r\n",
        ),
        (RecordedRequest("DELETE", "/a", has_host=False), b"DELETE /a HTTP/1.1\r\n\r\n"),
    ],
)
def test_request_has_the_headers_of_its_row_only(request_: RecordedRequest, sent: bytes) -> None:
    with scripted(OK) as server:
        client(server.url).ask(question(request_))
    authority = server.url.removeprefix("http://").encode()
    assert server.requests == [sent.replace(b"{}", authority)]


def test_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(OK) as server, scripted(OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        client(server.url).ask(FIRST)
    assert (len(server.requests), proxy.requests) == (1, [])


def test_redirect_is_an_answer_and_is_not_followed() -> None:
    with scripted(OK) as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        with scripted(moved.encode()) as server:
            got = client(server.url).ask(FIRST)
    assert got.answer
    assert (got.answer.status, other.requests) == (302, [])


def test_429_is_retried_and_recorded() -> None:
    clock = Clock()
    with scripted(SLOW_DOWN, SLOW_DOWN.replace(b"slow", b"stop"), OK) as server:
        got = client(server.url, clock).ask(FIRST)
    assert got.answer
    assert got.turned_away
    assert (got.answer.body, got.turned_away.body) == ("{}", "slow")
    assert clock.waits == [3, 3]
    assert len(server.requests) == 3


def test_429_at_every_try_is_the_answer() -> None:
    clock = Clock()
    with scripted(SLOW_DOWN) as server:
        got = client(server.url, clock).ask(FIRST)
    assert got.answer
    assert got.answer.status == 429
    assert clock.waits == [3, 3, 4, 8, 16]


def test_answer_without_a_length_ends_with_the_connection() -> None:
    with scripted(b"HTTP/1.0 200 OK\r\n\r\n{}") as server:
        got = client(server.url).ask(FIRST)
    assert got.answer
    assert (got.answer.line, got.answer.body) == ("HTTP/1.0 200 OK", "{}")


def test_time_limit_holds_while_bytes_are_waiting() -> None:
    times = iter([0.0, 5.0])
    clock = Clock()
    with scripted(OK) as server:
        at = imds_address(server.url, "--url")
        got = CaptureClient(at, Throttle(4, clock, clock.wait), lambda: next(times)).ask(
            question(RecordedRequest("GET", "/"))
        )
    assert got.failure == "no whole answer within 5 s"


@pytest.mark.parametrize(
    "reply,failure",
    [
        (b"nonsense\r\n\r\n", "not HTTP: b'nonsense'"),
        (b"", "the connection ended after nothing"),
        (HANG, "no whole answer within 0.2 s"),
    ],
)
def test_malformed_or_missing_answer_is_a_failure(reply: bytes | None, failure: str) -> None:
    with scripted(reply) as server:
        got = client(server.url).ask(question(RecordedRequest("GET", "/"), 0.2))
    assert (got.answer, got.failure) == (None, failure)


def test_dripping_server_is_given_up_in_time() -> None:
    is_over = threading.Event()

    def drip(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not is_over.wait(0.01):
                peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        got = client(url).ask(question(RecordedRequest("GET", "/"), 0.2))
        is_over.set()
        thread.join()
    assert got.failure == "no whole answer within 0.2 s"


def test_refused_connection_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert client(url).ask(FIRST).failure == "connection refused"
    with pytest.raises(CaptureError, match=f"^{url}: connection refused$"):
        ask_first(client(url))


def test_first_question_is_for_the_versions() -> None:
    with scripted(OK) as server:
        assert ask_first(client(server.url)).request.target == "/metadata/versions"


def attested(signature: str, status: bytes = b"200 OK") -> bytes:
    body = compact({"encoding": "pkcs7", "signature": signature}).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


DEEP = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20000
DOCUMENT = "/metadata/attested/document"


@pytest.mark.parametrize(
    "target,answer,signed",
    [
        (f"{DOCUMENT}?api-version=2021-02-01", attested(SAMPLE), SAMPLE_PAYLOAD),
        (f"{DOCUMENT}?nonce=1", attested(SAMPLE), SAMPLE_PAYLOAD),
        (DOCUMENT, attested("MII="), ""),
        (DOCUMENT, attested("%"), ""),
        (DOCUMENT, attested("\u00e9"), ""),
        (DOCUMENT, DEEP, ""),
        (DOCUMENT, OK, ""),
        (DOCUMENT, OK.replace(b"{}", b"[]"), ""),
        (DOCUMENT, OK.replace(b"{}", b"no"), ""),
        (DOCUMENT, attested(SAMPLE, b"400 Bad Request"), ""),
        ("/metadata/instance", attested(SAMPLE), ""),
    ],
    ids=str,
)
def test_signed_text_is_recorded_beside_the_signature(
    target: str, answer: bytes, signed: str
) -> None:
    with scripted(answer) as server:
        got = client(server.url).ask(question(RecordedRequest("GET", target, METADATA)))
    assert got.answer
    assert got.answer.signed == signed


def test_signed_bytes_that_are_not_utf_8_are_left_out() -> None:
    leaf = CertificateAuthority.open(None, NOW_S).leaf("metadata.azure.com", "westeurope", NOW_S)
    sealed = base64.b64encode(envelope(b"\xff", leaf.certificate, leaf.key)).decode()
    with scripted(attested(sealed)) as server:
        got = client(server.url).ask(question(RecordedRequest("GET", DOCUMENT, METADATA)))
    assert got.answer
    assert got.answer.signed == ""


@pytest.mark.parametrize(
    "url,expected",
    [
        ("http://169.254.169.254", ImdsAddress("169.254.169.254", "169.254.169.254", 80)),
        ("http://127.0.0.1:8169/", ImdsAddress("127.0.0.1:8169", "127.0.0.1", 8169)),
        ("http://[::1]:8169", ImdsAddress("[::1]:8169", "::1", 8169)),
        ("http://imds_1.example", ImdsAddress("imds_1.example", "imds_1.example", 80)),
    ],
)
def test_url_gives_the_address(url: str, expected: ImdsAddress) -> None:
    assert imds_address(url, "--url") == expected
    assert expected.url == url.removesuffix("/")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1",
        "127.0.0.1:8169",
        "http://",
        "http://127.0.0.1/metadata",
        "http://127.0.0.1?a=b",
        "http://127.0.0.1#a",
        "http://user:word@127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:x",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://a b",
    ],
)
def test_url_of_another_form_is_refused(url: str) -> None:
    assert refused(imds_address, url, "--url") == Refused("--url", f'"{url}"', EXPECTED)


def test_capture_goes_on_after_a_failure() -> None:
    bad = b"nonsense\r\n\r\n"
    with scripted(OK, bad, bad, OK, bad, bad, OK) as server:
        got = list(ask_all(client(server.url), [FIRST] * 7))
    assert ["x" if one.failure else "." for one in got] == list(".xx.xx.")


def test_capture_ends_after_three_failures_in_a_row() -> None:
    got: list[Exchange] = []
    with scripted(OK, b"nonsense\r\n\r\n") as server, pytest.raises(CaptureError) as caught:
        got.extend(ask_all(client(server.url), [FIRST] * 7))
    assert len(server.requests) == 4
    assert str(caught.value) == (
        f"{server.url}: not HTTP: b'nonsense', 3 times in a row; the last was "
        "GET /metadata/versions"
    )


def test_capture_ends_after_three_429s_in_a_row() -> None:
    clock = Clock()
    with scripted(OK, SLOW_DOWN) as server, pytest.raises(CaptureError) as caught:
        list(ask_all(client(server.url, clock), [FIRST] * 7))
    assert len(server.requests) == 1 + 3 * 6
    assert "HTTP/1.1 429 Too Many Requests, 3 times in a row" in str(caught.value)


def test_single_500_at_every_try_does_not_end_a_capture() -> None:
    bad = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with scripted(OK, bad, bad, bad, bad, OK) as server:
        got = list(ask_all(client(server.url), [FIRST] * 4))
    assert [one.answer.status for one in got if one.answer] == [200, 500, 500, 200]
