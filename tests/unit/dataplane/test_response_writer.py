"""The responses that a connection writes to slow, broken and half-closed peers."""

import pytest

from tests.support.talk import (
    FakeClock,
    Talk,
    a_dispatcher,
    replies,
    request,
)
from tests.unit.dataplane.setup import GET, METADATA, VERSIONS, only

WHOLE_GET = Talk(a_dispatcher()).send(GET)


def fail(_how: int) -> None:
    raise OSError


def test_nothing_is_read_while_output_is_unsent() -> None:
    talk = Talk(a_dispatcher())
    talk.socket.room = 100
    assert len(talk.send(GET * 3)) == 100
    assert talk.is_paused
    talk.socket.room = 1 << 20
    assert len(replies(WHOLE_GET[:100] + talk.send(b""))) == 3
    assert not talk.is_paused


def test_unsent_output_is_one_response_at_most() -> None:
    talk = Talk(a_dispatcher())
    talk.socket.room = 0
    talk.send(GET * 1000)
    assert len(talk.connection._unsent) == len(WHOLE_GET)
    assert len(talk.connection._rest) <= 4096


def test_half_closed_connection_gets_its_answer() -> None:
    talk = Talk(a_dispatcher())
    talk.socket.is_ended = True
    assert only(talk.send(GET)).status == 200
    assert talk.socket.is_closed


def test_close_waits_for_unsent_output() -> None:
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
def test_peer_that_is_gone_when_it_is_answered_is_left(data: bytes) -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(now=now)
    talk = Talk(dispatcher)
    talk.socket.is_broken = True
    assert talk.send(data) == b""
    dispatcher.connections.sweep(now() + 10)
    assert talk.socket.is_closed
    assert len(dispatcher.connections) == 0


def test_peer_that_is_gone_after_a_refusal_is_left() -> None:
    talk = Talk(a_dispatcher())
    talk.socket.room = 10
    talk.send(b"nonsense\r\n\r\n")
    talk.socket.room, talk.socket.is_broken = 1 << 20, False
    talk.socket.shutdown = fail  # type: ignore[method-assign]
    talk.send(b"")
    assert talk.socket.is_closed


def test_reset_behind_a_refusal_ends_the_connection() -> None:
    talk = Talk(a_dispatcher())
    talk.send(b"nonsense\r\n\r\n")
    talk.socket.is_reset = True
    talk.reactor.pump()
    assert talk.socket.is_closed


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
