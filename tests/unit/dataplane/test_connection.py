"""One connection: framing, bounds, time; what is said is judged by the goldens."""

import pytest

from openimds.dataplane.dispatcher import Bounds, Dispatcher
from openimds.dataplane.response_bytes import CountKey
from tests.support.talk import (
    UTC_S,
    FakeClock,
    Reply,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    replies,
    request,
)

INSTANCE = "/metadata/instance?api-version=2021-02-01"
VERSIONS = "/metadata/versions"
METADATA = {"Metadata": "true"}
GET = request(VERSIONS, headers=METADATA)


def one(data: bytes) -> Reply:
    (reply,) = replies(data)
    return reply


def test_headers_stand_as_they_were_recorded_for_instance() -> None:
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


def test_headers_stand_as_they_were_recorded_for_identity() -> None:
    got = Talk(a_dispatcher()).ask("/metadata/identity/oauth2/token")
    names = [name for name, _ in got.header_list]
    assert names == ["Content-Type", "Server", "Date", "Content-Length"]


def test_every_answer_has_its_own_request_id() -> None:
    talk = Talk(a_dispatcher())
    ids = {talk.ask(INSTANCE).headers["x-ms-request-id"] for _ in range(50)}
    assert len(ids) == 50
    assert all(len(one) == 36 and one[14] == "4" and one[19] in "89ab" for one in ids)


def test_the_date_follows_the_clock_of_the_wall() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    first = talk.ask(INSTANCE).headers["Date"]
    dispatcher.utc = lambda: UTC_S + 61
    assert (first[-12:], talk.ask(INSTANCE).headers["Date"][-12:]) == (
        "19:54:46 GMT",
        "19:55:47 GMT",
    )


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_a_request_may_come_in_pieces(size: int) -> None:
    talk = Talk(a_dispatcher())
    data = request(INSTANCE, headers=METADATA)
    written = b"".join(talk.send(data[at : at + size]) for at in range(0, len(data), size))
    assert one(written).status == 200


def test_pipelined_requests_are_answered_in_order() -> None:
    talk = Talk(a_dispatcher())
    got = replies(talk.send(GET + request("/x") + request(INSTANCE, headers=METADATA) + GET))
    assert [reply.status for reply in got] == [200, 404, 200, 200]
    assert got[0].body == got[3].body
    assert not talk.transport.is_closed


def test_a_request_after_the_last_one_is_not_answered() -> None:
    talk = Talk(a_dispatcher())
    last = request(VERSIONS, headers={**METADATA, "Connection": "close"})
    got = replies(talk.send(last + GET))
    assert [reply.headers.get("Connection") for reply in got] == ["close"]
    assert talk.transport.is_closed


def test_the_same_bytes_are_answered_without_parsing() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    first = one(talk.send(GET))
    entry = dispatcher.fleet_index.by_name["vm-1"]
    assert GET in entry.responses.by_request
    del talk.connection._parser
    assert one(talk.send(GET)).body == first.body
    assert dispatcher.counts[CountKey("versions", 200, "")].requests == 2


def test_the_same_last_bytes_end_the_connection_again() -> None:
    dispatcher = a_dispatcher()
    last = request(VERSIONS, headers={**METADATA, "Connection": "close"})
    Talk(dispatcher).send(last)
    again = Talk(dispatcher)
    assert one(again.send(last)).headers["Connection"] == "close"
    assert again.transport.is_closed


@pytest.mark.parametrize(
    "data",
    [
        GET + GET,
        GET + b"GET /x",
        b"POST /metadata/versions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        GET.replace(b"Host: 169", b"X: " + b"x" * 2048 + b"\r\nHost: 169"),
    ],
)
def test_bytes_that_are_more_than_one_small_request_are_not_kept(data: bytes) -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).send(data)
    assert data not in dispatcher.fleet_index.by_name["vm-1"].responses.by_request


def test_http_1_0_ends_unless_asked_to_stay() -> None:
    old = f"GET {VERSIONS} HTTP/1.0\r\nMetadata: true\r\n".encode()
    talk = Talk(a_dispatcher())
    got = one(talk.send(old + b"Connection: keep-alive\r\n\r\n"))
    assert (got.status, got.headers["Connection"]) == (200, "keep-alive")
    assert not talk.transport.is_closed
    assert one(talk.send(old + b"\r\n")).headers["Connection"] == "close"
    assert talk.transport.is_closed


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
        (b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (b"GET /" + b"x" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16384 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 64 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65537, 413),
    ],
)
def test_bytes_that_are_no_request_end_the_connection(data: bytes, status: int) -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    got = one(talk.send(data))
    assert (got.status, got.headers["Connection"]) == (status, "close")
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert talk.transport.is_closed
    moved = {(key.endpoint, key.status): one.requests for key, one in dispatcher.counts.items()}
    assert moved == {("http", status): 1}


def test_what_came_before_the_broken_bytes_is_answered() -> None:
    got = replies(Talk(a_dispatcher()).send(GET + b"nonsense\r\n\r\n"))
    assert [reply.status for reply in got] == [200, 400]


def test_a_body_on_get_is_read_and_ignored() -> None:
    talk = Talk(a_dispatcher())
    body = GET[:-2] + b"Content-Length: 5\r\n\r\nhello"
    chunks = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert [reply.status for reply in replies(talk.send(body + chunks + GET))] == [200] * 3


def test_expect_is_answered_before_the_body() -> None:
    talk = Talk(a_dispatcher())
    head = GET[:-2] + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert talk.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert one(talk.send(b"{}")).status == 200


def test_an_upgrade_is_ignored() -> None:
    talk = Talk(a_dispatcher())
    upgrade = GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    assert [reply.status for reply in replies(talk.send(upgrade + GET))] == [200, 200]
    assert one(talk.send(upgrade)).status == 200
    assert one(talk.send(GET)).status == 200


@pytest.mark.parametrize(
    "headers, status",
    [
        (b"Metadata: true", 200),
        (b"METADATA:TRUE", 200),
        (b"Metadata:   True  ", 200),
        (b"Metadata: true\r\nMetadata: true", 200),
        (b"Metadata: true\r\nMetadata: false", 400),
        (b"Metadata: yes", 400),
        (b"Metadata:", 400),
        (b"Metadata: true\r\nX-Forwarded-For:", 400),
        (b"Metadata: true\r\nX-Forwarded-For: 169.254.169.254", 400),
    ],
)
def test_the_two_headers_that_matter(headers: bytes, status: int) -> None:
    data = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"
    assert one(Talk(a_dispatcher()).send(data)).status == status


def test_head_has_the_headers_of_get_and_no_body() -> None:
    talk = Talk(a_dispatcher())
    got, head = talk.ask(INSTANCE), talk.ask(INSTANCE, "HEAD")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert (head.status, head.body) == (200, b"")


class TestTime:
    def test_a_silent_connection_is_closed_without_words(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        closed = []
        for at in (1009.9, 1010.0):
            dispatcher.connections.sweep(at)
            closed.append(talk.transport.is_closed)
        assert closed == [False, True]
        assert talk.transport.take() == b""

    def test_a_head_that_dawdles_gets_408(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.send(GET)
        now.now_s += 100
        talk.send(GET[:20])
        now.now_s += 9
        talk.send(GET[20:25])
        dispatcher.connections.sweep(now.now_s)
        assert not talk.transport.is_closed
        dispatcher.connections.sweep(now.now_s + 1)
        assert one(talk.transport.take()).status == 408
        assert talk.transport.is_closed

    def test_a_body_that_dawdles_gets_408(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.send(GET[:-2] + b"Content-Length: 9\r\n\r\n")
        dispatcher.connections.sweep(now.now_s + 10)
        assert one(talk.transport.take()).status == 408

    @pytest.mark.parametrize("times", [1, 2])
    def test_an_idle_connection_lives_for_two_minutes(self, times: int) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        for _ in range(times):
            talk.send(GET)
        dispatcher.connections.sweep(now.now_s + 119)
        assert not talk.transport.is_closed
        dispatcher.connections.sweep(now.now_s + 120)
        assert talk.transport.is_closed

    def test_draining_ends_idle_connections_and_hurries_the_others(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        idle, busy = Talk(dispatcher), Talk(dispatcher)
        busy.send(GET[:9])
        dispatcher.connections.drain()
        assert idle.transport.is_closed
        assert not busy.transport.is_closed
        dispatcher.connections.sweep(now.now_s + 1)
        assert busy.transport.is_closed


class TestConnections:
    def test_a_caller_who_does_not_read_is_not_read(self) -> None:
        talk = Talk(a_dispatcher())
        assert talk.transport.high == 65536
        talk.connection.pause_writing()
        assert talk.transport.is_paused
        talk.connection.resume_writing()
        assert not talk.transport.is_paused

    def test_too_many_connections_are_turned_away(self) -> None:
        dispatcher = a_dispatcher(bounds=Bounds(connections=3, connections_per_caller=2))
        first, second = Talk(dispatcher, ("10.0.0.1", 1)), Talk(dispatcher, ("10.0.0.1", 2))
        third = Talk(dispatcher, ("10.0.0.1", 3))
        other, fourth = Talk(dispatcher, ("10.0.0.2", 1)), Talk(dispatcher, ("10.0.0.3", 1))
        aborted = [one.transport.is_aborted for one in (first, second, third, other, fourth)]
        assert aborted == [False, False, True, False, True]
        assert dispatcher.connections.refused == 2
        for one_talk in (third, first):
            one_talk.connection.connection_lost(None)
        assert len(dispatcher.connections) == 2
        assert not Talk(dispatcher, ("10.0.0.1", 4)).transport.is_aborted

    def test_a_caller_who_has_left_leaves_nothing(self) -> None:
        dispatcher = a_dispatcher()
        Talk(dispatcher).connection.connection_lost(None)
        assert len(dispatcher.connections) == 0
        assert dispatcher.connections._by_caller == {}


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

    def test_each_source_address_is_its_vm(self) -> None:
        dispatcher = self.fleet()
        assert self.name(Talk(dispatcher, ("10.0.0.1", 1))) == b"a"
        assert self.name(Talk(dispatcher, ("10.0.0.2", 1))) == b"b"

    def test_a_listener_of_its_own_beats_the_address(self) -> None:
        dispatcher = self.fleet()
        assert self.name(Talk(dispatcher, ("10.0.0.1", 1), "unix:/b")) == b"b"
        assert self.name(Talk(dispatcher, "", "unix:/b")) == b"b"

    def test_nothing_in_a_request_makes_another_vm_of_a_caller(self) -> None:
        talk = Talk(self.fleet(), ("10.0.0.1", 1))
        got = talk.ask(
            "http://10.0.0.2/metadata/instance/compute/name?api-version=2021-02-01&format=text",
            Forwarded="for=10.0.0.2",
        )
        assert got.body == b"a"

    def test_a_step_of_the_picture_is_seen_by_the_next_request(self) -> None:
        fleet_index = an_index(*a_fleet(old={}))
        talk = Talk(a_dispatcher(fleet_index))
        assert self.name(talk) == self.name(talk) == b"old"
        fleet_index.apply(fleet_index.plan(a_fleet(new={}), ["old"]))
        assert self.name(talk) == b"new"
        fleet_index.apply(fleet_index.plan(a_fleet(new={"compute": {"name": "renamed"}})))
        assert self.name(talk) == b"renamed"
        fleet_index.apply(fleet_index.plan([], ["new"]))
        assert talk.ask("/metadata/versions").status == 404


def test_no_bytes_of_a_guest_are_taken_for_a_prepared_reply() -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).send(GET)
    (key,) = [
        one for one in dispatcher.fleet_index.by_name["vm-1"].responses.by_request if one != GET
    ]
    assert isinstance(key, str)
    assert one(Talk(dispatcher).send(key.encode() + b"\r\n\r\n")).status == 400
    assert one(Talk(dispatcher).send(key.encode())).status == 400


def test_a_trailer_is_no_header() -> None:
    data = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert one(Talk(a_dispatcher()).send(data + b"0\r\nMetadata: true\r\n\r\n")).status == 400


def test_every_request_that_expects_is_told_to_continue() -> None:
    talk = Talk(a_dispatcher())
    data = GET[:-2] + b"Expect: 100-continue\r\n\r\n"
    for _ in range(2):
        assert [reply.status for reply in replies(talk.send(data))] == [100, 200]


def test_a_guest_that_does_not_take_its_last_words_is_cut() -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(now=now)
    talk = Talk(dispatcher)
    talk.send(request(VERSIONS, headers={**METADATA, "Connection": "close"}))
    dispatcher.connections.sweep(now.now_s + 4)
    assert not talk.transport.is_aborted
    dispatcher.connections.sweep(now.now_s + 5)
    assert talk.transport.is_aborted


def test_a_mistake_of_ours_is_told_and_is_not_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    dispatcher = a_dispatcher()
    dispatcher.on_internal_error = told.append
    monkeypatch.setattr("openimds.dataplane.dispatcher.handle", lambda *_: 1 // 0)
    talk = Talk(dispatcher)
    assert one(talk.send(GET)).status == 500
    assert talk.transport.is_closed
    assert [type(error) for error in told] == [ZeroDivisionError]
