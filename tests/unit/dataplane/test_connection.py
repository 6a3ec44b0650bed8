"""One connection: its requests, its time, its end. The goldens judge the bodies."""

import pytest

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.response_bytes import CountKey
from tests.support.talk import (
    FakeClock,
    Talk,
    a_dispatcher,
    replies,
    request,
)
from tests.unit.dataplane.setup import GET, METADATA, VERSIONS, only

INSTANCE = "/metadata/instance?api-version=2021-02-01"


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


def test_lost_connection_leaves_the_table_empty() -> None:
    dispatcher = a_dispatcher()
    Talk(dispatcher).lose()
    assert len(dispatcher.connections) == 0
    dispatcher.connections.sweep(dispatcher.now())
    assert dispatcher.connections._shares == {}
    assert len(dispatcher.connections.deadlines) == 0


def test_connection_without_room_is_closed_at_once() -> None:
    dispatcher = a_dispatcher(bounds=Bounds(connections_per_caller=1))
    busy = Talk(dispatcher)
    busy.send(GET[:20])
    refused = Talk(dispatcher)
    assert refused.socket.is_closed
    assert (dispatcher.connections.refused, busy.socket.is_closed) == (1, False)


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


def test_internal_error_is_reported_and_answered_with_500(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []
    dispatcher = a_dispatcher()
    dispatcher.on_internal_error = errors.append
    monkeypatch.setattr("openimds.dataplane.dispatcher.handle", lambda *_: 1 // 0)
    talk = Talk(dispatcher)
    assert only(talk.send(GET)).status == 500
    assert talk.is_closed
    assert [type(error) for error in errors] == [ZeroDivisionError]
