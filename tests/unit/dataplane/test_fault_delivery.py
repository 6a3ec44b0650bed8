"""The delivery of a response under a fault: its time, its pieces, its end."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import listen
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from openimds.protocol.pending import Approved, PendingApproval
from tests.support.talk import FakeClock, IdleProvider, Talk, a_dispatcher, replies, request
from tests.unit.dataplane.faulty import Line, Timers, inject
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, run, settle

ASK = request(INSTANCE, headers={"Metadata": "true"})
OTHER = request("/metadata/versions", headers={"Metadata": "true"})
WHOLE = Talk(a_dispatcher()).send(ASK)
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
APPROVAL = b'{"StartRequests":[{"EventId":"51941B56-0000-4000-8000-000000000000"}]}'
APPROVE = b"POST %b HTTP/1.1\r\nHost: x\r\nMetadata: true\r\nContent-Length: %d\r\n\r\n%b" % (
    EVENTS.encode(),
    len(APPROVAL),
    APPROVAL,
)


def injected(**fault: Any) -> tuple[Dispatcher, Line, Timers]:
    dispatcher = a_dispatcher()
    _, timers = inject(dispatcher, fault)
    return dispatcher, Line(dispatcher), timers


class TestDelay:
    def test_delayed_response_pauses_reading_until_it_is_due(self) -> None:
        _, line, timers = injected(effect="delay", delay_s=3)
        assert line.send(ASK) == b""
        assert line.state() == "waits"
        timers.pass_s(2.9)
        assert line.socket.take() == b""
        timers.pass_s(0.1)
        (reply,) = replies(line.socket.take())
        assert (reply.status, reply.body) == (200, b"vm-1")
        assert line.state() == "reads"

    def test_status_fault_can_be_delayed(self) -> None:
        _, line, timers = injected(effect="status", status=500, delay_s=1)
        assert line.send(ASK) == b""
        timers.pass_s(1)
        assert replies(line.socket.take())[0].status == 500

    def test_delayed_responses_keep_the_order_of_requests(self) -> None:
        dispatcher = a_dispatcher()
        _, timers = inject(dispatcher, {"effect": "delay", "delay_s": 1, "nth": 2})
        line = Line(dispatcher)
        assert [reply.status for reply in replies(line.send(OTHER + ASK + OTHER))] == [200]
        timers.pass_s(1)
        second, third = replies(line.send(b""))
        assert (second.body, b"apiVersions" in third.body) == (b"vm-1", True)

    def test_pipelined_delays_run_one_after_the_other(self) -> None:
        _, line, timers = injected(effect="delay", delay_s=1)
        line.send(ASK + OTHER)
        timers.pass_s(1)
        assert [len(reply.body) > 4 for reply in replies(line.send(b""))] == [False]
        timers.pass_s(1)
        assert [len(reply.body) > 4 for reply in replies(line.send(b""))] == [True]

    def test_lost_connection_cancels_its_timer(self) -> None:
        _, line, timers = injected(effect="delay", delay_s=1)
        line.send(ASK)
        line.lose()
        assert [timer.is_cancelled for timer in timers.scheduled] == [True]

    def test_connection_close_waits_for_the_delayed_response(self) -> None:
        _, line, timers = injected(effect="delay", delay_s=1)
        line.send(request(INSTANCE, headers={"Metadata": "true", "Connection": "close"}))
        assert line.state() == "waits"
        timers.pass_s(1)
        assert replies(line.socket.take())[0].body == b"vm-1"
        assert line.state() == "closed"

    def test_answer_time_starts_when_the_delay_ends(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now, bounds=Bounds(answer_s=60))
        inject(dispatcher, {"effect": "delay", "delay_s": 100})
        line = Line(dispatcher)
        line.send(ASK)
        dispatcher.connections.sweep(now.now_s + 159)
        assert line.state() == "waits"
        dispatcher.connections.sweep(now.now_s + 160)
        assert line.state() == "closed"


def test_trickle_sends_the_whole_response_in_pieces() -> None:
    _, line, timers = injected(effect="trickle", bytes=50, pause_s=0.5)
    pieces = [line.send(ASK)]
    while line.state() == "waits":
        timers.pass_s(0.5)
        pieces.append(line.socket.take())
    assert {len(piece) for piece in pieces[:-1]} == {50}
    assert replies(b"".join(pieces))[0].body == b"vm-1"
    assert len(b"".join(pieces)) == len(WHOLE)
    line.lose()


def test_pieces_for_a_peer_that_does_not_read_are_kept_in_order() -> None:
    _, line, timers = injected(effect="trickle", bytes=50, pause_s=0.5)
    line.socket.room = 60
    data = line.send(ASK)
    for _ in range(4):
        timers.pass_s(0.5)
    data += line.socket.take()
    assert len(data) == 60
    assert line.connection.has_rest is False
    line.socket.room = 1 << 20
    data += line.send(b"")
    while line.state() == "waits":
        timers.pass_s(0.5)
        data += line.socket.take()
    assert replies(data)[0].body == b"vm-1"


def test_cut_body_may_end_by_a_reset() -> None:
    _, line, _ = injected(effect="cut", keep_bytes=2, ends_by="reset")
    data = line.send(ASK)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert line.state() == "reset"


def test_cut_body_is_shorter_than_its_length_and_closes() -> None:
    _, line, _ = injected(effect="cut", keep_bytes=2)
    data = line.send(ASK + OTHER)
    assert data.endswith(b"Content-Length: 4\r\n\r\nvm")
    assert line.state() == "closed"


def test_request_behind_a_closing_fault_is_ignored() -> None:
    dispatcher, line, _ = injected(effect="cut", nth=1)
    line.send(ASK + OTHER)
    assert CountKey("versions", 200, "") not in dispatcher.counts


def test_wrong_length_keeps_the_connection_open() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "wrong-length", "by_bytes": -2, "nth": 1})
    line = Line(dispatcher)
    assert line.send(ASK).endswith(b"Content-Length: 2\r\n\r\nvm-1")
    assert replies(line.send(ASK))[0].body == b"vm-1"


def test_reset_aborts_with_linger_zero() -> None:
    _, line, _ = injected(effect="reset")
    assert line.send(ASK) == b""
    assert line.state() == "reset"
    assert line.socket.options == [(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))]


def test_response_before_a_reset_is_sent() -> None:
    _, line, _ = injected(effect="reset", nth=2)
    assert replies(line.send(OTHER + ASK))[0].status == 200
    assert line.state() == "reset"


def test_garbage_is_not_http_and_closes() -> None:
    _, line, _ = injected(effect="garbage", bytes=20, seed="s", probability=1)
    data = line.send(ASK)
    assert len(data) == 20
    assert not data.startswith(b"HTTP")
    assert line.state() == "closed"


class TestHang:
    def test_hang_is_aborted_after_answer_s(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now, bounds=Bounds(answer_s=60))
        inject(dispatcher, {"effect": "hang"})
        line = Line(dispatcher)
        assert line.send(ASK) == b""
        dispatcher.connections.sweep(now.now_s + 59)
        assert line.state() == "waits"
        dispatcher.connections.sweep(now.now_s + 60)
        assert line.state() == "closed"
        assert line.socket.written == b""

    def test_hang_closes_after_hang_s(self) -> None:
        _, line, timers = injected(effect="hang", hang_s=2, delay_s=1)
        line.send(ASK)
        timers.pass_s(2.9)
        assert line.state() == "waits"
        timers.pass_s(0.1)
        assert line.state() == "closed"
        assert line.socket.take() == b""

    def test_endless_hang_is_aborted_by_a_drain(self) -> None:
        dispatcher, line, _ = injected(effect="hang")
        line.send(ASK)
        dispatcher.connections.drain()
        assert line.state() == "closed"

    def test_delayed_response_is_sent_during_a_drain(self) -> None:
        dispatcher, line, timers = injected(effect="delay", delay_s=1)
        line.send(ASK)
        dispatcher.connections.drain()
        assert line.state() == "waits"
        timers.pass_s(1)
        assert replies(line.socket.take())[0].body == b"vm-1"
        assert line.state() == "closed"


class Approver(IdleProvider):
    """A provider that keeps the approved event ids."""

    def __init__(self) -> None:
        self.approved: list[tuple[str, ...]] = []

    def cached(self, need: Any, now_s: float) -> Any:
        return None

    async def make(self, need: Any, now_s: float) -> Any:
        assert isinstance(need, PendingApproval)
        self.approved.append(need.event_ids)
        return Approved()


def approving(**fault: Any) -> tuple[list[tuple[str, ...]], bytes, Line]:
    """Approve an event under a fault; return the approved ids and the bytes sent."""

    async def play() -> tuple[list[tuple[str, ...]], bytes, Line]:
        approver = Approver()
        dispatcher = a_dispatcher(provider=approver)
        _, timers = inject(dispatcher, fault)
        line = Line(dispatcher)
        line.send(APPROVE)
        await settle()
        timers.pass_s(10)
        return approver.approved, line.socket.take(), line

    return asyncio.run(play())


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "status", "status": 410},
        {"effect": "status", "status": 500, "delay_s": 1},
        {"effect": "proxy-500"},
        {"effect": "hang"},
        {"effect": "reset"},
        {"effect": "garbage"},
    ],
    ids=lambda fault: fault["effect"],
)
def test_approval_replaced_by_a_fault_is_not_done(fault: dict[str, Any]) -> None:
    approved, _, _ = approving(**fault)
    assert approved == []


@pytest.mark.parametrize(
    "fault, status",
    [
        ({"effect": "delay", "delay_s": 1}, b"HTTP/1.1 200 OK"),
        ({"effect": "cut", "keep_bytes": 0}, b"HTTP/1.1 200 OK"),
        ({"effect": "trickle", "pause_s": 0.01}, b"HTTP/1.1 200 OK"),
        ({"effect": "wrong-length", "by_bytes": 7}, b"Content-Length: 7\r\n\r\n"),
    ],
    ids=lambda fault: fault["effect"] if isinstance(fault, dict) else "",
)
def test_approval_with_a_faulty_delivery_is_done(fault: dict[str, Any], status: bytes) -> None:
    approved, data, _ = approving(**fault)
    assert approved == [("51941B56-0000-4000-8000-000000000000",)]
    assert status in data


def test_cut_token_waits_until_it_is_made() -> None:
    async def play(stage: Stage) -> None:
        inject(stage.dispatcher, {"effect": "cut", "keep_bytes": 5})
        line = Line(stage.dispatcher)
        assert line.send(request(TOKEN, headers={"Metadata": "true"})) == b""
        await settle()
        assert line.state() == "waits"
        await stage.provider.finish()
        assert line.socket.take().endswith(b'\r\n\r\n{"acc')
        assert line.state() == "closed"

    run(play)


def test_lost_connection_gets_no_token_and_leaves_no_timer() -> None:
    async def play(stage: Stage) -> None:
        _, timers = inject(stage.dispatcher, {"effect": "delay", "delay_s": 1})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}))
        await settle()
        line.lose()
        await stage.provider.finish()
        assert line.socket.take() == b""
        assert timers.scheduled == []

    run(play)


def test_lost_connection_begins_no_fault_behind_pending_work() -> None:
    async def play(stage: Stage) -> None:
        _, timers = inject(stage.dispatcher, {"effect": "delay", "delay_s": 1, "nth": 2})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}) + ASK)
        await settle()
        line.lose()
        assert timers.scheduled == [], "the request behind it was not begun"
        await settle()
        assert stage.provider.futures[0].cancelled()
        assert timers.scheduled == []

    run(play)


class Notes:
    """An observer that keeps the fault, the count key and the bytes."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, CountKey, bytes]] = []

    def observe(self, observed: ObservedRequest, response: PreparedResponse, data: bytes) -> None:
        self.taken.append((observed.fault, response.count.key, data))


@pytest.mark.parametrize(
    "fault, counted",
    [
        ({"effect": "status", "status": 410}, CountKey("instance", 410, "updating")),
        ({"effect": "cut", "keep_bytes": 1}, CountKey("instance", 200, "")),
        ({"effect": "trickle", "bytes": 65536}, CountKey("instance", 200, "")),
        ({"effect": "garbage"}, CountKey("instance", 0, "garbage")),
        ({"effect": "reset"}, CountKey("instance", 0, "reset")),
        ({"effect": "hang", "hang_s": 1}, CountKey("instance", 0, "hang")),
    ],
    ids=lambda fault: fault["effect"] if isinstance(fault, dict) else "",
)
def test_observer_sees_the_fault_and_the_bytes_sent(
    fault: dict[str, Any], counted: CountKey
) -> None:
    dispatcher, line, _ = injected(**fault)
    notes = Notes()
    dispatcher.set_observer(notes)
    data = line.send(ASK)
    assert notes.taken == [(fault["effect"], counted, data)]
    assert (counted in dispatcher.counts) is bool(counted.status)


def test_observer_sees_no_fault_where_none_is_injected() -> None:
    dispatcher, line, _ = injected(effect="reset", endpoint="token")
    notes = Notes()
    dispatcher.set_observer(notes)
    line.send(ASK)
    dispatcher.set_observer(None)
    line.send(ASK)
    assert [note[0] for note in notes.taken] == [""]


def test_removed_observer_sees_nothing() -> None:
    async def play(stage: Stage) -> None:
        notes = Notes()
        stage.dispatcher.set_observer(notes)
        inject(stage.dispatcher, {"effect": "cut"})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}))
        await settle()
        stage.dispatcher.set_observer(None)
        await stage.provider.finish()
        assert line.state() == "closed"
        assert notes.taken == []

    run(play)


def test_reset_fault_resets_a_real_connection() -> None:
    async def play() -> list[str]:
        dispatcher = a_dispatcher()
        inject(dispatcher, {"effect": "reset", "nth": 2})
        listener = await listen(Reactor(dispatcher), "127.0.0.1:0", "listen")
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        outcomes = []
        for _ in range(2):
            writer.write(ASK)
            try:
                outcomes.append((await reader.readuntil(b"vm-1"))[9:15].decode())
            except ConnectionResetError:
                outcomes.append("reset")
        writer.close()
        listener.close()
        return outcomes

    assert asyncio.run(play()) == ["200 OK", "reset"]
