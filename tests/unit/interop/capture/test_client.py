"""One question to a server on loopback, and what comes of it."""

import base64
import socket
import threading
import time
from contextlib import suppress

import pytest

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.cms import envelope
from openimds.interop.capture.capture import CaptureError, first, survey
from openimds.interop.capture.client import CaptureClient, ImdsAddress, site
from openimds.interop.capture.plan import FIRST, PlannedQuestion
from openimds.interop.capture.throttle import Throttle
from openimds.interop.transcript.exchange import Exchange, RecordedRequest
from tests.support.scripted import HANG, scripted
from tests.support.transcripts import METADATA, compact
from tests.unit.credentials.pki.recorded import SAMPLE
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


def asker(url: str, clock: Clock | None = None) -> CaptureClient:
    pace = clock or Clock()
    return CaptureClient(site(url, "--url"), Throttle(4, pace, pace.wait), time.monotonic)


def asked(request: RecordedRequest, most_s: float = 5) -> PlannedQuestion:
    return PlannedQuestion("question", "2021-02-01", request, most_s)


def test_an_answer_is_kept_as_it_came() -> None:
    with scripted(OK) as server:
        got = asker(server.url).ask(asked(RecordedRequest("GET", "/a?b=c", METADATA)))
    assert (got.question, got.version, got.failure) == ("question", "2021-02-01", "")
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
def test_nothing_is_sent_that_nobody_wrote_down(request_: RecordedRequest, sent: bytes) -> None:
    with scripted(OK) as server:
        asker(server.url).ask(asked(request_))
    authority = server.url.removeprefix("http://").encode()
    assert server.requests == [sent.replace(b"{}", authority)]


def test_a_proxy_of_the_environment_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(OK) as server, scripted(OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        asker(server.url).ask(FIRST)
    assert (len(server.requests), proxy.requests) == (1, [])


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with scripted(OK) as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        with scripted(moved.encode()) as server:
            got = asker(server.url).ask(FIRST)
    assert got.answer
    assert (got.answer.status, other.requests) == (302, [])


def test_a_429_is_waited_for_and_kept() -> None:
    clock = Clock()
    with scripted(SLOW_DOWN, SLOW_DOWN.replace(b"slow", b"stop"), OK) as server:
        got = asker(server.url, clock).ask(FIRST)
    assert got.answer
    assert got.turned_away
    assert (got.answer.body, got.turned_away.body) == ("{}", "slow")
    assert clock.waits == [3, 3]
    assert len(server.requests) == 3


def test_a_server_that_says_429_only_is_believed_in_the_end() -> None:
    clock = Clock()
    with scripted(SLOW_DOWN) as server:
        got = asker(server.url, clock).ask(FIRST)
    assert got.answer
    assert got.answer.status == 429
    assert clock.waits == [3, 3, 4, 8, 16]


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    with scripted(b"HTTP/1.0 200 OK\r\n\r\n{}") as server:
        got = asker(server.url).ask(FIRST)
    assert got.answer
    assert (got.answer.line, got.answer.body) == ("HTTP/1.0 200 OK", "{}")


def test_time_is_up_when_it_is_up_even_if_bytes_are_there() -> None:
    times = iter([0.0, 5.0])
    clock = Clock()
    with scripted(OK) as server:
        at = site(server.url, "--url")
        got = CaptureClient(at, Throttle(4, clock, clock.wait), lambda: next(times)).ask(
            asked(RecordedRequest("GET", "/"))
        )
    assert got.failure == "no whole answer within 5 s"


@pytest.mark.parametrize(
    "said,failure",
    [
        (b"nonsense\r\n\r\n", "not HTTP: b'nonsense'"),
        (b"", "the connection ended after nothing"),
        (HANG, "no whole answer within 0.2 s"),
    ],
)
def test_what_is_no_answer_is_a_failure(said: bytes | None, failure: str) -> None:
    with scripted(said) as server:
        got = asker(server.url).ask(asked(RecordedRequest("GET", "/"), 0.2))
    assert (got.answer, got.failure) == (None, failure)


def test_who_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.01):
                peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        got = asker(url).ask(asked(RecordedRequest("GET", "/"), 0.2))
        over.set()
        thread.join()
    assert got.failure == "no whole answer within 0.2 s"


def test_where_nobody_listens_it_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert asker(url).ask(FIRST).failure == "connection refused"
    with pytest.raises(CaptureError, match=f"^{url}: connection refused$"):
        first(asker(url))


def test_the_first_question_is_for_the_versions() -> None:
    with scripted(OK) as server:
        assert first(asker(server.url)).request.target == "/metadata/versions"


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
def test_what_is_signed_is_kept_beside_the_signature(
    target: str, answer: bytes, signed: str
) -> None:
    with scripted(answer) as server:
        got = asker(server.url).ask(asked(RecordedRequest("GET", target, METADATA)))
    assert got.answer
    assert got.answer.signed == signed


def test_what_is_signed_and_no_text_is_left_alone() -> None:
    leaf = CertificateAuthority.open(None, NOW_S).leaf("metadata.azure.com", "westeurope", NOW_S)
    sealed = base64.b64encode(envelope(b"\xff", leaf.certificate, leaf.key)).decode()
    with scripted(attested(sealed)) as server:
        got = asker(server.url).ask(asked(RecordedRequest("GET", DOCUMENT, METADATA)))
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
def test_a_url_is_a_site(url: str, expected: ImdsAddress) -> None:
    assert site(url, "--url") == expected
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
def test_what_cannot_be_asked_is_refused(url: str) -> None:
    assert refused(site, url, "--url") == Refused("--url", f'"{url}"', EXPECTED)


def test_a_survey_asks_everything_and_goes_on_after_a_failure() -> None:
    bad = b"nonsense\r\n\r\n"
    with scripted(OK, bad, bad, OK, bad, bad, OK) as server:
        got = list(survey(asker(server.url), [FIRST] * 7))
    assert ["x" if one.failure else "." for one in got] == list(".xx.xx.")


def test_a_survey_ends_when_nothing_comes_any_more() -> None:
    got: list[Exchange] = []
    with scripted(OK, b"nonsense\r\n\r\n") as server, pytest.raises(CaptureError) as caught:
        got.extend(survey(asker(server.url), [FIRST] * 7))
    assert len(server.requests) == 4
    assert str(caught.value) == (
        f"{server.url}: not HTTP: b'nonsense', 3 times in a row; the last was "
        "GET /metadata/versions"
    )


def test_a_survey_ends_when_it_is_put_off_again_and_again() -> None:
    clock = Clock()
    with scripted(OK, SLOW_DOWN) as server, pytest.raises(CaptureError) as caught:
        list(survey(asker(server.url, clock), [FIRST] * 7))
    assert len(server.requests) == 1 + 3 * 6
    assert "HTTP/1.1 429 Too Many Requests, 3 times in a row" in str(caught.value)


def test_a_500_that_stays_is_an_answer_like_any_other_if_it_is_alone() -> None:
    bad = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with scripted(OK, bad, bad, bad, bad, OK) as server:
        got = list(survey(asker(server.url), [FIRST] * 4))
    assert [one.answer.status for one in got if one.answer] == [200, 500, 500, 200]
