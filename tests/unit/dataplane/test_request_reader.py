"""The request that a connection reads: its framing, its parts and their bounds."""

import pytest

from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import PreparedResponse
from tests.support.talk import (
    Talk,
    a_dispatcher,
    replies,
    request,
)
from tests.unit.dataplane.setup import GET, METADATA, VERSIONS, only

INSTANCE = "/metadata/instance?api-version=2021-02-01"


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_request_in_pieces_is_answered(size: int) -> None:
    talk = Talk(a_dispatcher())
    data = request(INSTANCE, headers=METADATA)
    written = b"".join(talk.send(data[at : at + size]) for at in range(0, len(data), size))
    assert only(written).status == 200


def test_blank_lines_before_a_request_are_ignored() -> None:
    talk = Talk(a_dispatcher())
    assert talk.send(b"\r\n") == b""
    assert only(talk.send(b"\r\n\r\n" + GET)).status == 200


@pytest.mark.parametrize(
    "data",
    [
        GET + GET,
        GET + b"GET /x",
        b"POST /metadata/versions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        GET.replace(b"Host: 169", b"X: " + b"x" * 2048 + b"\r\nHost: 169"),
    ],
)
def test_bytes_beyond_one_small_request_are_not_cached(data: bytes) -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).send(data)
    assert data not in dispatcher.fleet_index.by_name["vm-1"].responses.by_request


def test_guest_bytes_cannot_equal_a_cache_key() -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).send(GET)
    (key,) = [
        key for key in dispatcher.fleet_index.by_name["vm-1"].responses.by_request if key != GET
    ]
    assert isinstance(key, str)
    assert only(Talk(dispatcher).send(key.encode() + b"\r\n\r\n")).status == 400
    assert only(Talk(dispatcher).send(key.encode() + b"\n")).status == 400


def test_http_1_0_closes_unless_keep_alive() -> None:
    old = f"GET {VERSIONS} HTTP/1.0\r\nMetadata: true\r\n".encode()
    talk = Talk(a_dispatcher())
    got = only(talk.send(old + b"Connection: keep-alive\r\n\r\n"))
    assert (got.status, got.headers["Connection"]) == (200, "keep-alive")
    assert not talk.is_closed
    assert only(talk.send(old + b"\r\n")).headers["Connection"] == "close"
    assert talk.is_closed


@pytest.mark.parametrize(
    "data, status",
    [
        (b"GET /x\r\n\r\n", 400),
        (b"GET /x HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /x HTTP/1.1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (b"GET /" + b"x" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16384 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 64 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65537, 413),
    ],
)
def test_unacceptable_bytes_are_refused_and_close(data: bytes, status: int) -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    got = only(talk.send(data))
    assert (got.status, got.headers["Connection"]) == (status, "close")
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert talk.is_closed
    counts = {(key.endpoint, key.status): n.requests for key, n in dispatcher.counts.items()}
    assert counts == {("http", status): 1}


_TO_A = b" HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "data, status, text",
    [
        (b"GET /x\r\n\r\n", 400, "not HTTP/1.0 or HTTP/1.1"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400, "not HTTP/1.0 or HTTP/1.1"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "not HTTP/1.0 or HTTP/1.1"),
        (b"GET / " + _TO_A + b"\r\n", 400, "single spaces"),
        (b"GET  /" + _TO_A + b"\r\n", 400, "single spaces"),
        (b"GET /a b" + _TO_A + b"\r\n", 400, "single spaces"),
        (b"GET /\x01" + _TO_A + b"\r\n", 400, "the target"),
        (b"GET /" + _TO_A + b"A B: c\r\n\r\n", 400, "malformed header"),
        (b"GET /" + _TO_A + b"A: b\r\n c\r\n\r\n", 400, "malformed header"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "malformed Host"),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "malformed Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "exactly one Host"),
        (b"GET /" + _TO_A + b"Content-Length: x\r\n\r\n", 400, "Content-Length"),
        (
            b"GET /" + _TO_A + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "Content-Length",
        ),
        (b"GET /" + _TO_A + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunk"),
        (
            b"GET /" + _TO_A + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "Transfer-Encoding",
        ),
        (b"GET /" + _TO_A + b"Transfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
    ],
)
def test_each_malformed_part_is_named(data: bytes, status: int, text: str) -> None:
    got = only(Talk(a_dispatcher()).send(data))
    assert got.status == status
    assert text in got.body.decode()


@pytest.mark.parametrize(
    "host", ["a", "169.254.169.254", "a:80", "[fe80::1]:80", "[fe80::1%eth0]", "", "a_b.c", "x%2Dy"]
)
def test_host_of_any_valid_form_is_accepted(host: str) -> None:
    data = f"GET {VERSIONS} HTTP/1.1\r\nHost: {host}\r\nMetadata: true\r\n\r\n"
    assert only(Talk(a_dispatcher()).send(data.encode())).status == 200


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "QUERY", "M-SEARCH"])
def test_unknown_method_is_not_allowed_and_stays_connected(method: str) -> None:
    talk = Talk(a_dispatcher())
    data = request(VERSIONS, method, METADATA)
    for size in (len(data), 2):
        pieces = [talk.send(data[at : at + size]) for at in range(0, len(data), size)]
        got = only(b"".join(pieces))
        assert (got.status, "Allow" in got.headers) == (405, True)
    assert not talk.is_closed


def test_unknown_method_is_recorded_by_its_own_name() -> None:
    dispatcher, methods = a_dispatcher(), list[str]()

    class Methods:
        def observe(
            self, observed: ObservedRequest, response: PreparedResponse, data: bytes
        ) -> None:
            methods.append(observed.method)

    dispatcher.set_observer(Methods())
    Talk(dispatcher).send(request(VERSIONS, "BREW", METADATA) + GET)
    assert methods == ["BREW", "GET"]


def test_request_behind_a_body_is_checked_like_any_other() -> None:
    head = GET[:-2] + b"Content-Length: 5\r\n\r\nhello"
    first, second = replies(Talk(a_dispatcher()).send(head + b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert (first.status, second.status) == (200, 400)
    assert b"single spaces" in second.body


def test_request_before_malformed_bytes_is_answered() -> None:
    got = replies(Talk(a_dispatcher()).send(GET + b"nonsense\r\n\r\n"))
    assert [reply.status for reply in got] == [200, 400]


def test_get_body_is_read_and_ignored() -> None:
    talk = Talk(a_dispatcher())
    body = GET[:-2] + b"Content-Length: 5\r\n\r\nhello"
    chunks = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert [reply.status for reply in replies(talk.send(body + chunks + GET))] == [200] * 3


def test_expect_continue_is_answered_before_the_body() -> None:
    talk = Talk(a_dispatcher())
    head = GET[:-2] + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert talk.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert only(talk.send(b"{}")).status == 200


def test_repeated_expect_gets_100_continue_each_time() -> None:
    talk = Talk(a_dispatcher())
    data = GET[:-2] + b"Expect: 100-continue\r\n\r\n"
    for _ in range(2):
        assert [reply.status for reply in replies(talk.send(data))] == [100, 200]


def test_upgrade_is_ignored() -> None:
    talk = Talk(a_dispatcher())
    upgrade = GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    assert [reply.status for reply in replies(talk.send(upgrade + GET))] == [200, 200]
    assert only(talk.send(upgrade)).status == 200
    assert only(talk.send(GET)).status == 200


@pytest.mark.parametrize(
    "headers, status",
    [
        (b"Metadata: true", 200),
        (b"METADATA:TRUE", 200),
        (b"Metadata:   True  ", 200),
        (b"Metadata: true\r\nMetadata: true", 400),
        (b"Metadata: true, true", 400),
        (b"Metadata: true\r\nMetadata: false", 400),
        (b"Metadata: yes", 400),
        (b"Metadata:", 400),
        (b"Metadata: true\r\nX-Forwarded-For:", 400),
        (b"Metadata: true\r\nX-Forwarded-For: 169.254.169.254", 400),
    ],
)
def test_metadata_and_forwarded_headers_decide_the_status(headers: bytes, status: int) -> None:
    data = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"
    assert only(Talk(a_dispatcher()).send(data)).status == status


def test_trailer_is_not_a_header() -> None:
    data = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert only(Talk(a_dispatcher()).send(data + b"0\r\nMetadata: true\r\n\r\n")).status == 400


def test_trailers_are_bounded_like_headers() -> None:
    head = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    data = head + b"".join(b"X-%d: y\r\n" % number for number in range(70)) + b"\r\n"
    assert only(Talk(a_dispatcher()).send(data)).status == 431
