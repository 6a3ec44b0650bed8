"""How a reply goes out on which a fault is played: when, in which pieces, and what ends it."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Bounds, Dispatcher
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import CountKey, PreparedResponse
from openimds.protocol.pending import Approved, PendingApproval
from tests.support.talk import FakeClock, IdleProvider, Talk, a_dispatcher, replies, request
from tests.unit.dataplane.faulty import Line, Timers, trouble
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


def played(**fault: Any) -> tuple[Dispatcher, Line, Timers]:
    dispatcher = a_dispatcher()
    _, timers = trouble(dispatcher, fault)
    return dispatcher, Line(dispatcher), timers


class TestDelay:
    def test_nothing_goes_out_before_its_time_and_nothing_is_read(self) -> None:
        _, line, timers = played(effect="delay", delay_s=3)
        assert line.send(ASK) == b""
        assert line.state() == "waits"
        timers.pass_s(2.9)
        assert line.transport.take() == b""
        timers.pass_s(0.1)
        (reply,) = replies(line.transport.take())
        assert (reply.status, reply.body) == (200, b"vm-1")
        assert line.state() == "reads"

    def test_any_fault_can_be_late(self) -> None:
        _, line, timers = played(effect="status", status=500, delay_s=1)
        assert line.send(ASK) == b""
        timers.pass_s(1)
        assert replies(line.transport.take())[0].status == 500

    def test_answers_stay_in_the_order_of_the_questions(self) -> None:
        dispatcher = a_dispatcher()
        _, timers = trouble(dispatcher, {"effect": "delay", "delay_s": 1, "nth": 2})
        line = Line(dispatcher)
        assert [reply.status for reply in replies(line.send(OTHER + ASK + OTHER))] == [200]
        timers.pass_s(1)
        second, third = replies(line.transport.take())
        assert (second.body, b"apiVersions" in third.body) == (b"vm-1", True)

    def test_two_that_are_late_are_late_together(self) -> None:
        _, line, timers = played(effect="delay", delay_s=1)
        line.send(ASK + OTHER)
        timers.pass_s(1)
        assert [len(reply.body) > 4 for reply in replies(line.transport.take())] == [False, True]

    def test_who_goes_away_meanwhile_is_forgotten(self) -> None:
        _, line, timers = played(effect="delay", delay_s=1)
        line.send(ASK)
        line.transport.close()
        line.connection.connection_lost(None)
        assert [one.is_cancelled for one in timers.due] == [True]

    def test_a_request_that_closes_is_answered_first(self) -> None:
        _, line, timers = played(effect="delay", delay_s=1)
        line.send(request(INSTANCE, headers={"Metadata": "true", "Connection": "close"}))
        assert line.state() == "waits"
        timers.pass_s(1)
        assert replies(line.transport.take())[0].body == b"vm-1"
        assert line.state() == "closed"

    def test_the_patience_of_the_server_counts_from_when_it_should_be_over(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now, bounds=Bounds(answer_s=60))
        trouble(dispatcher, {"effect": "delay", "delay_s": 100})
        line = Line(dispatcher)
        line.send(ASK)
        dispatcher.connections.sweep(now.now_s + 159)
        assert line.state() == "waits"
        dispatcher.connections.sweep(now.now_s + 160)
        assert line.state() == "aborted"


def test_a_trickle_comes_piece_by_piece_and_whole() -> None:
    _, line, timers = played(effect="trickle", bytes=50, pause_s=0.5)
    pieces = [line.send(ASK)]
    while line.state() == "waits":
        timers.pass_s(0.5)
        pieces.append(line.transport.take())
    assert {len(one) for one in pieces[:-1]} == {50}
    assert replies(b"".join(pieces))[0].body == b"vm-1"
    assert len(b"".join(pieces)) == len(WHOLE)
    line.transport.close()
    line.connection.connection_lost(None)


def test_a_cut_body_is_shorter_than_was_said_and_the_connection_ends() -> None:
    _, line, _ = played(effect="cut", keep_bytes=2)
    data = line.send(ASK + OTHER)
    assert data.endswith(b"Content-Length: 4\r\n\r\nvm")
    assert line.state() == "closed"


def test_what_is_asked_behind_the_end_of_a_connection_is_not_done() -> None:
    dispatcher, line, _ = played(effect="cut", nth=1)
    line.send(ASK + OTHER)
    assert CountKey("versions", 200, "") not in dispatcher.counts


def test_a_wrong_length_leaves_the_connection_as_it_is() -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, {"effect": "wrong-length", "by_bytes": -2, "nth": 1})
    line = Line(dispatcher)
    assert line.send(ASK).endswith(b"Content-Length: 2\r\n\r\nvm-1")
    assert replies(line.send(ASK))[0].body == b"vm-1"


def test_a_reset_is_one() -> None:
    _, line, _ = played(effect="reset")
    assert line.send(ASK) == b""
    assert line.state() == "reset"
    assert line.transport.socket.options == [
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ]


def test_what_was_answered_before_a_reset_goes_out() -> None:
    _, line, _ = played(effect="reset", nth=2)
    assert replies(line.send(OTHER + ASK))[0].status == 200
    assert line.state() == "reset"


def test_garbage_is_no_http_and_ends_the_connection() -> None:
    _, line, _ = played(effect="garbage", bytes=20, seed="s", probability=1)
    data = line.send(ASK)
    assert len(data) == 20
    assert not data.startswith(b"HTTP")
    assert line.state() == "closed"


class TestHang:
    def test_it_ends_when_the_server_loses_patience(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now, bounds=Bounds(answer_s=60))
        trouble(dispatcher, {"effect": "hang"})
        line = Line(dispatcher)
        assert line.send(ASK) == b""
        dispatcher.connections.sweep(now.now_s + 59)
        assert line.state() == "waits"
        dispatcher.connections.sweep(now.now_s + 60)
        assert line.state() == "aborted"
        assert line.transport.written == b""

    def test_or_after_the_time_that_was_said(self) -> None:
        _, line, timers = played(effect="hang", hang_s=2, delay_s=1)
        line.send(ASK)
        timers.pass_s(2.9)
        assert line.state() == "waits"
        timers.pass_s(0.1)
        assert line.state() == "closed"
        assert line.transport.take() == b""

    def test_it_does_not_hold_up_the_end_of_the_server(self) -> None:
        dispatcher, line, _ = played(effect="hang")
        line.send(ASK)
        dispatcher.connections.drain()
        assert line.state() == "aborted"

    def test_what_comes_to_an_end_may_do_so(self) -> None:
        dispatcher, line, timers = played(effect="delay", delay_s=1)
        line.send(ASK)
        dispatcher.connections.drain()
        assert line.state() == "waits"
        timers.pass_s(1)
        assert replies(line.transport.take())[0].body == b"vm-1"
        assert line.state() == "closed"


class Approver(IdleProvider):
    """Notes what was approved."""

    def __init__(self) -> None:
        self.approved: list[tuple[str, ...]] = []

    def cached(self, need: Any, now_s: float) -> Any:
        return None

    async def make(self, need: Any, now_s: float) -> Any:
        assert isinstance(need, PendingApproval)
        self.approved.append(need.event_ids)
        return Approved()


def approving(**fault: Any) -> tuple[list[tuple[str, ...]], bytes, Line]:
    """Approve an event while a fault is set; return what was approved, and what was said."""

    async def play() -> tuple[list[tuple[str, ...]], bytes, Line]:
        approver = Approver()
        dispatcher = a_dispatcher(provider=approver)
        _, timers = trouble(dispatcher, fault)
        line = Line(dispatcher)
        line.send(APPROVE)
        await settle()
        timers.pass_s(10)
        return approver.approved, line.transport.take(), line

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
def test_what_is_answered_instead_or_not_at_all_is_not_done(fault: dict[str, Any]) -> None:
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
def test_what_suffers_on_its_way_is_done(fault: dict[str, Any], status: bytes) -> None:
    approved, said, _ = approving(**fault)
    assert approved == [("51941B56-0000-4000-8000-000000000000",)]
    assert status in said


def test_a_token_that_is_cut_waits_until_it_is_made() -> None:
    async def play(stage: Stage) -> None:
        trouble(stage.dispatcher, {"effect": "cut", "keep_bytes": 5})
        line = Line(stage.dispatcher)
        assert line.send(request(TOKEN, headers={"Metadata": "true"})) == b""
        await settle()
        assert line.state() == "waits"
        await stage.bench.end()
        assert line.transport.take().endswith(b'\r\n\r\n{"acc')
        assert line.state() == "closed"

    run(play)


def test_a_guest_who_goes_while_his_token_is_made_gets_none_and_leaves_no_timer() -> None:
    async def play(stage: Stage) -> None:
        _, timers = trouble(stage.dispatcher, {"effect": "delay", "delay_s": 1})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}))
        await settle()
        line.transport.close()
        line.connection.connection_lost(None)
        await stage.bench.end()
        assert line.transport.take() == b""
        assert timers.due == []

    run(play)


def test_what_waits_before_a_fault_is_left_to_whoever_makes_it() -> None:
    async def play(stage: Stage) -> None:
        _, timers = trouble(stage.dispatcher, {"effect": "delay", "delay_s": 1, "nth": 2})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}) + ASK)
        await settle()
        line.transport.close()
        line.connection.connection_lost(None)
        assert [one.is_cancelled for one in timers.due] == [True]
        await stage.bench.end()
        assert stage.dispatcher.counts[CountKey("token", 200, "")].requests == 1

    run(play)


class Notes:
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
    ids=lambda one: one["effect"] if isinstance(one, dict) else "",
)
def test_who_looks_on_sees_the_fault_and_the_bytes_that_went_out(
    fault: dict[str, Any], counted: CountKey
) -> None:
    dispatcher, line, _ = played(**fault)
    notes = Notes()
    dispatcher.set_observer(notes)
    data = line.send(ASK)
    assert notes.taken == [(fault["effect"], counted, data)]
    assert (counted in dispatcher.counts) is bool(counted.status)


def test_who_looks_on_sees_no_fault_where_none_is_played() -> None:
    dispatcher, line, _ = played(effect="reset", endpoint="token")
    notes = Notes()
    dispatcher.set_observer(notes)
    line.send(ASK)
    dispatcher.set_observer(None)
    line.send(ASK)
    assert [one[0] for one in notes.taken] == [""]


def test_who_stops_looking_is_not_told_any_more() -> None:
    async def play(stage: Stage) -> None:
        notes = Notes()
        stage.dispatcher.set_observer(notes)
        trouble(stage.dispatcher, {"effect": "cut"})
        line = Line(stage.dispatcher)
        line.send(request(TOKEN, headers={"Metadata": "true"}))
        await settle()
        stage.dispatcher.set_observer(None)
        await stage.bench.end()
        assert line.state() == "closed"
        assert notes.taken == []

    run(play)


def test_the_kernel_resets_a_real_connection() -> None:
    async def play() -> list[str]:
        dispatcher = a_dispatcher()
        trouble(dispatcher, {"effect": "reset", "nth": 2})
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(dispatcher), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        said = []
        for _ in range(2):
            writer.write(ASK)
            try:
                said.append((await reader.readuntil(b"vm-1"))[9:15].decode())
            except ConnectionResetError:
                said.append("reset")
        writer.close()
        server.close()
        await server.wait_closed()
        return said

    assert asyncio.run(play()) == ["200 OK", "reset"]
