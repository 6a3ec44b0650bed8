"""One connection: framing, bounds and time. The goldens judge the bodies."""

import json

import pytest

from openimds.dataplane.dispatcher import Bounds, Dispatcher
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from tests.support.talk import (
    UTC_S,
    FakeClock,
    Reply,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    limited,
    replies,
    request,
)

INSTANCE = "/metadata/instance?api-version=2021-02-01"
VERSIONS = "/metadata/versions"
METADATA = {"Metadata": "true"}
GET = request(VERSIONS, headers=METADATA)
WHOLE_GET = Talk(a_dispatcher()).send(GET)


def fail(_how: int) -> None:
    raise OSError


def only(data: bytes) -> Reply:
    (reply,) = replies(data)
    return reply


def test_instance_headers_have_the_recorded_order() -> None:
    got = Talk(a_dispatcher()).ask(INSTANCE)
    assert [name for name, _ in got.header_list] == [
        "Content-Type",
        "Server",
        "x-ms-request-id",
        "Date",
        "Content-Length",
    ]
    assert got.headers["Server"] == "IMDS/150.870.65.1854"
    assert got.headers["Date"] == "Sun, 22 Nov 2026 19:54:46 GMT"
    assert int(got.headers["Content-Length"]) == len(got.body)


def test_identity_headers_have_the_recorded_order() -> None:
    got = Talk(a_dispatcher()).ask("/metadata/identity/oauth2/token")
    names = [name for name, _ in got.header_list]
    assert names == ["Content-Type", "Server", "Date", "Content-Length"]


def test_every_response_has_its_own_request_id() -> None:
    talk = Talk(a_dispatcher())
    ids = {talk.ask(INSTANCE).headers["x-ms-request-id"] for _ in range(50)}
    assert len(ids) == 50
    assert all(len(guid) == 36 and guid[14] == "4" and guid[19] in "89ab" for guid in ids)


def test_date_header_follows_the_wall_clock() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    first = talk.ask(INSTANCE).headers["Date"]
    dispatcher.utc = lambda: UTC_S + 61
    assert (first[-12:], talk.ask(INSTANCE).headers["Date"][-12:]) == (
        "19:54:46 GMT",
        "19:55:47 GMT",
    )


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_request_in_pieces_is_answered(size: int) -> None:
    talk = Talk(a_dispatcher())
    data = request(INSTANCE, headers=METADATA)
    written = b"".join(talk.send(data[at : at + size]) for at in range(0, len(data), size))
    assert only(written).status == 200


def test_pipelined_requests_are_answered_in_order() -> None:
    talk = Talk(a_dispatcher())
    got = replies(
        talk.send(GET + request("/x", headers=METADATA) + request(INSTANCE, headers=METADATA) + GET)
    )
    assert [reply.status for reply in got] == [200, 404, 200, 200]
    assert got[0].body == got[3].body
    assert not talk.is_closed


def test_request_after_connection_close_is_ignored() -> None:
    talk = Talk(a_dispatcher())
    last = request(VERSIONS, headers={**METADATA, "Connection": "close"})
    got = replies(talk.send(last + GET))
    assert [reply.headers.get("Connection") for reply in got] == ["close"]
    assert talk.is_closed


def test_cached_request_is_answered_without_parsing() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    first = only(talk.send(GET))
    entry = dispatcher.fleet_index.by_name["vm-1"]
    assert GET in entry.responses.by_request
    del talk.connection._parser
    assert only(talk.send(GET)).body == first.body
    assert dispatcher.counts[CountKey("versions", 200, "")].requests == 2


def test_cached_connection_close_ends_the_connection() -> None:
    dispatcher = a_dispatcher()
    last = request(VERSIONS, headers={**METADATA, "Connection": "close"})
    Talk(dispatcher).send(last)
    again = Talk(dispatcher)
    assert only(again.send(last)).headers["Connection"] == "close"
    assert again.is_closed


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


def test_request_ids_of_all_groups_are_random() -> None:
    talk = Talk(a_dispatcher())
    ids = [talk.ask(INSTANCE).headers["x-ms-request-id"] for _ in range(50)]
    groups = zip(*(guid.split("-") for guid in ids), strict=True)
    assert [len(set(group)) > 40 for group in groups] == [True] * 5


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


def test_app_service_answers_as_kestrel_in_a_chunk() -> None:
    talk = Talk(a_dispatcher())
    asked = request("/msi/token?api-version=2018-01-01", headers={"X-IDENTITY-HEADER": "x"})
    reply = only(talk.send(asked))
    assert (reply.status, reply.body) == (403, b"")
    assert [name for name, _ in reply.header_list] == [
        "Content-Length",
        "Date",
        "Server",
        "X-CORRELATION-ID",
    ]
    dispatcher = a_dispatcher()
    dispatcher.secret_of = lambda _: "x"
    talk = Talk(dispatcher)
    reply = only(talk.send(asked))
    assert json.loads(reply.body)["error"]["code"] == "UnsupportedApiVersion"
    assert [name for name, _ in reply.header_list] == [
        "Content-Type",
        "Date",
        "Server",
        "Transfer-Encoding",
        "X-CORRELATION-ID",
    ]
    assert (reply.headers["Server"], len(reply.headers["X-CORRELATION-ID"])) == ("Kestrel", 36)
    assert reply.headers["Date"] == "Sun, 22 Nov 2026 19:54:46 GMT"
    assert not talk.is_closed


def test_old_client_of_app_service_gets_no_chunk() -> None:
    dispatcher = a_dispatcher()
    dispatcher.secret_of = lambda _: "x"
    asked = b"GET /msi/token HTTP/1.0\r\nX-IDENTITY-HEADER: x\r\n\r\n"
    reply = only(Talk(dispatcher).send(asked))
    assert reply.header_list[0] == ("Content-Length", str(len(reply.body)))
    assert "Transfer-Encoding" not in reply.headers


def test_throttled_request_has_the_recorded_phrase() -> None:
    talk = Talk(a_dispatcher(allowances=limited()))
    data = b"".join(talk.send(GET) for _ in range(6))
    assert b"HTTP/1.1 429  \r\n" in data


def test_head_is_answered_by_the_front() -> None:
    talk = Talk(a_dispatcher())
    assert talk.send(request(INSTANCE, "HEAD")) == (
        b"HTTP/1.1 400 Bad Request\r\n"
        b"Content-Length: 323\r\n"
        b"Content-Type: text/xml; charset=utf-8\r\n"
        b"Server: Microsoft-IIS/10.0\r\n"
        b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n\r\n"
    )
    assert talk.ask("/", "HEAD").headers["Content-Length"] == "323"
    assert not talk.is_closed


class TestTime:
    def test_silent_connection_is_closed_without_a_response(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        closed = []
        for at in (1009.9, 1010.0):
            dispatcher.connections.sweep(at)
            closed.append(talk.is_closed)
        assert closed == [False, True]
        assert talk.socket.take() == b""

    def test_slow_head_gets_408(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.send(GET)
        now.now_s += 100
        talk.send(GET[:20])
        now.now_s += 9
        talk.send(GET[20:25])
        dispatcher.connections.sweep(now.now_s)
        assert not talk.is_closed
        dispatcher.connections.sweep(now.now_s + 1)
        assert only(talk.socket.take()).status == 408
        assert talk.is_closed

    def test_slow_body_gets_408(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.send(GET[:-2] + b"Content-Length: 9\r\n\r\n")
        dispatcher.connections.sweep(now.now_s + 10)
        assert only(talk.socket.take()).status == 408

    @pytest.mark.parametrize("times", [1, 2])
    def test_idle_connection_is_closed_after_two_minutes(self, times: int) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        for _ in range(times):
            talk.send(GET)
        dispatcher.connections.sweep(now.now_s + 119)
        assert not talk.is_closed
        dispatcher.connections.sweep(now.now_s + 120)
        assert talk.is_closed

    def test_drain_closes_idle_connections_and_hurries_others(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        idle, busy = Talk(dispatcher), Talk(dispatcher)
        busy.send(GET[:9])
        dispatcher.connections.drain()
        assert idle.is_closed
        assert not busy.is_closed
        dispatcher.connections.sweep(now.now_s + 1)
        assert busy.is_closed


class TestConnections:
    def test_nothing_is_read_while_output_is_unsent(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.room = 100
        assert len(talk.send(GET * 3)) == 100
        assert talk.is_paused
        talk.socket.room = 1 << 20
        assert len(replies(WHOLE_GET[:100] + talk.send(b""))) == 3
        assert not talk.is_paused

    def test_unsent_output_is_one_response_at_most(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.room = 0
        talk.send(GET * 1000)
        assert len(talk.connection._unsent) == len(WHOLE_GET)
        assert len(talk.connection._rest) <= 4096

    def test_lost_connection_leaves_the_table_empty(self) -> None:
        dispatcher = a_dispatcher()
        Talk(dispatcher).lose()
        assert len(dispatcher.connections) == 0
        dispatcher.connections.sweep(dispatcher.now())
        assert dispatcher.connections._shares == {}
        assert len(dispatcher.connections.deadlines) == 0

    def test_close_waits_for_unsent_output(self) -> None:
        talk = Talk(a_dispatcher())
        last = request(VERSIONS, headers={**METADATA, "Connection": "close"})
        talk.socket.room = 100
        data = talk.send(last)
        for room in (50, 1 << 20):
            assert (talk.is_closed, talk.socket.is_closed) == (True, False)
            talk.socket.room = room
            data += talk.send(b"")
        assert only(data).status == 200
        assert talk.socket.is_closed

    @pytest.mark.parametrize("data", [GET, GET[:20]])
    def test_peer_that_is_gone_when_it_is_answered_is_left(self, data: bytes) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.socket.is_broken = True
        assert talk.send(data) == b""
        dispatcher.connections.sweep(now() + 10)
        assert talk.socket.is_closed
        assert len(dispatcher.connections) == 0

    def test_peer_that_is_gone_after_a_refusal_is_left(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.room = 10
        talk.send(b"nonsense\r\n\r\n")
        talk.socket.room, talk.socket.is_broken = 1 << 20, False
        talk.socket.shutdown = fail  # type: ignore[method-assign]
        talk.send(b"")
        assert talk.socket.is_closed

    def test_reset_behind_a_refusal_ends_the_connection(self) -> None:
        talk = Talk(a_dispatcher())
        talk.send(b"nonsense\r\n\r\n")
        talk.socket.is_reset = True
        talk.reactor.pump()
        assert talk.socket.is_closed

    def test_connection_without_room_is_closed_at_once(self) -> None:
        dispatcher = a_dispatcher(bounds=Bounds(connections_per_caller=1))
        busy = Talk(dispatcher)
        busy.send(GET[:20])
        refused = Talk(dispatcher)
        assert refused.socket.is_closed
        assert (dispatcher.connections.refused, busy.socket.is_closed) == (1, False)

    def test_half_closed_connection_gets_its_answer(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.is_ended = True
        assert only(talk.send(GET)).status == 200
        assert talk.socket.is_closed


class TestCallers:
    def fleet(self) -> Dispatcher:
        return a_dispatcher(
            an_index(
                *a_fleet(
                    a={"reach": {"address": ["10.0.0.1"]}},
                    b={"reach": {"address": ["10.0.0.2"], "listen": ["unix:/b"]}},
                )
            )
        )

    def name(self, talk: Talk) -> bytes:
        return talk.ask("/metadata/instance/compute/name?api-version=2021-02-01&format=text").body

    def test_source_address_identifies_the_vm(self) -> None:
        dispatcher = self.fleet()
        assert self.name(Talk(dispatcher, ("10.0.0.1", 1))) == b"a"
        assert self.name(Talk(dispatcher, ("10.0.0.2", 1))) == b"b"

    def test_own_listener_takes_precedence_over_the_address(self) -> None:
        dispatcher = self.fleet()
        assert self.name(Talk(dispatcher, ("10.0.0.1", 1), "unix:/b")) == b"b"
        assert self.name(Talk(dispatcher, "", "unix:/b")) == b"b"

    def test_request_content_cannot_change_the_caller(self) -> None:
        talk = Talk(self.fleet(), ("10.0.0.1", 1))
        got = talk.ask(
            "http://10.0.0.2/metadata/instance/compute/name?api-version=2021-02-01&format=text",
            Forwarded="for=10.0.0.2",
        )
        assert got.body == b"a"

    def test_index_update_is_seen_by_the_next_request(self) -> None:
        fleet_index = an_index(*a_fleet(old={}))
        talk = Talk(a_dispatcher(fleet_index))
        assert self.name(talk) == self.name(talk) == b"old"
        fleet_index.apply(fleet_index.plan(a_fleet(new={}), ["old"]))
        assert self.name(talk) == b"new"
        fleet_index.apply(fleet_index.plan(a_fleet(new={"compute": {"name": "renamed"}})))
        assert self.name(talk) == b"renamed"
        fleet_index.apply(fleet_index.plan([], ["new"]))
        assert talk.ask("/metadata/versions").status == 404


def test_guest_bytes_cannot_equal_a_cache_key() -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).send(GET)
    (key,) = [
        key for key in dispatcher.fleet_index.by_name["vm-1"].responses.by_request if key != GET
    ]
    assert isinstance(key, str)
    assert only(Talk(dispatcher).send(key.encode() + b"\r\n\r\n")).status == 400
    assert only(Talk(dispatcher).send(key.encode() + b"\n")).status == 400


def test_trailer_is_not_a_header() -> None:
    data = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert only(Talk(a_dispatcher()).send(data + b"0\r\nMetadata: true\r\n\r\n")).status == 400


def test_trailers_are_bounded_like_headers() -> None:
    head = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    data = head + b"".join(b"X-%d: y\r\n" % number for number in range(70)) + b"\r\n"
    assert only(Talk(a_dispatcher()).send(data)).status == 431


def test_blank_lines_before_a_request_are_ignored() -> None:
    talk = Talk(a_dispatcher())
    assert talk.send(b"\r\n") == b""
    assert only(talk.send(b"\r\n\r\n" + GET)).status == 200


def test_repeated_expect_gets_100_continue_each_time() -> None:
    talk = Talk(a_dispatcher())
    data = GET[:-2] + b"Expect: 100-continue\r\n\r\n"
    for _ in range(2):
        assert [reply.status for reply in replies(talk.send(data))] == [100, 200]


def test_closing_connection_is_aborted_after_close_s() -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(now=now)
    talk = Talk(dispatcher)
    talk.socket.room = 10
    talk.send(request(VERSIONS, headers={**METADATA, "Connection": "close"}))
    dispatcher.connections.sweep(now.now_s + 4)
    assert not talk.socket.is_closed
    dispatcher.connections.sweep(now.now_s + 5)
    assert talk.socket.is_closed


def test_internal_error_is_reported_and_answered_with_500(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []
    dispatcher = a_dispatcher()
    dispatcher.on_internal_error = errors.append
    monkeypatch.setattr("openimds.dataplane.dispatcher.handle", lambda *_: 1 // 0)
    talk = Talk(dispatcher)
    assert only(talk.send(GET)).status == 500
    assert talk.is_closed
    assert [type(error) for error in errors] == [ZeroDivisionError]
