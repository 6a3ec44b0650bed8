"""Fair turns, delays of excess, and accepting: counts of what each caller gets."""

import asyncio
import errno
import socket
from typing import Any, cast

import pytest

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import listen
from openimds.dataplane.poll_set import READ
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.shares import FREE_REFUSALS, LONE_UNITS, TURN_UNITS
from openimds.fleet.vm_entry import Allowance
from tests.support.talk import (
    FakeClock,
    FakeSocket,
    Talk,
    a_dispatcher,
    a_fleet,
    a_reactor,
    an_index,
    replies,
    request,
)

GET = request("/metadata/versions", headers={"Metadata": "true"})
FLOOD, QUIET, STRANGER = ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.9.9.9", 1)
LIMIT = {"general": Allowance(5)}


def two_vms(**settings: Any) -> Dispatcher:
    vms = {
        "flood": {"reach": {"address": ["10.0.0.1"]}},
        "quiet": {"reach": {"address": ["10.0.0.2"]}},
    }
    return a_dispatcher(an_index(*a_fleet(**vms)), **settings)


def statuses(*talks: Talk) -> list[int]:
    return [reply.status for talk in talks for reply in replies(talk.socket.take())]


@pytest.mark.parametrize("connections", [1, 64])
def test_flood_of_one_vm_takes_one_small_turn_at_a_time(connections: int) -> None:
    dispatcher = two_vms()
    reactor = a_reactor(dispatcher)
    flood = [Talk(dispatcher, FLOOD) for _ in range(connections)]
    quiet = Talk(dispatcher, QUIET)
    for talk in flood:
        talk.socket.incoming = GET * 1000
    reactor.turn()
    for units in (LONE_UNITS, TURN_UNITS, TURN_UNITS):
        statuses(*flood)
        quiet.socket.incoming = GET
        reactor.turn()
        assert statuses(quiet) == [200], "it does not wait for the flood"
        assert 0 < len(statuses(*flood)) <= units


def test_unknown_callers_together_have_one_turn() -> None:
    dispatcher = two_vms()
    reactor = a_reactor(dispatcher)
    strangers = [Talk(dispatcher, (f"10.9.9.{number}", 1)) for number in range(50)]
    for talk in strangers:
        talk.socket.incoming = GET * 10
    reactor.turn()
    assert len(statuses(*strangers)) <= LONE_UNITS


def test_connections_of_a_vm_take_turns() -> None:
    dispatcher = two_vms()
    reactor = a_reactor(dispatcher)
    flood = [Talk(dispatcher, FLOOD) for _ in range(20)]
    for talk in flood:
        talk.socket.incoming = GET * 1000
    for _ in range(400):
        reactor.turn()
        reactor.calls.clear()
    answered = [len(statuses(talk)) for talk in flood]
    assert min(answered) > 0
    assert max(answered) <= 2 * min(answered)
    assert dispatcher.connections.parked > 0
    assert dispatcher.connections.delayed == 0


def test_parked_connections_are_answered_in_the_end() -> None:
    dispatcher = two_vms()
    flood = [Talk(dispatcher, FLOOD) for _ in range(20)]
    for talk in flood:
        talk.socket.incoming = GET * 100
    a_reactor(dispatcher).pump()
    assert [len(statuses(talk)) for talk in flood] == [100] * 20
    assert not any(talk.is_paused for talk in flood)


class TestExcess:
    def test_excess_waits_in_its_own_socket(self) -> None:
        now = FakeClock()
        dispatcher = two_vms(allowances=LIMIT, now=now)
        talk = Talk(dispatcher, FLOOD)
        talk.socket.incoming = GET * 1000
        a_reactor(dispatcher).pump()
        answered = statuses(talk)
        assert answered[: 5 + FREE_REFUSALS] == [200] * 5 + [429] * FREE_REFUSALS
        assert len(answered) <= 5 + FREE_REFUSALS + LONE_UNITS
        assert len(talk.socket.incoming) > 800 * len(GET)
        assert talk.is_paused
        assert dispatcher.connections.delayed == 1

    def test_excess_is_read_again_after_its_delay(self) -> None:
        now = FakeClock()
        dispatcher = two_vms(allowances=LIMIT, now=now)
        reactor = a_reactor(dispatcher)
        talk = Talk(dispatcher, FLOOD)
        talk.socket.incoming = GET * 1000
        reactor.pump()
        statuses(talk)
        reactor.pass_delays()
        assert statuses(talk) == [], "no time has passed"
        for _ in range(5):
            now.now_s += 0.1
            reactor.pass_delays()
        assert 1 <= len(statuses(talk)) <= 2 * LONE_UNITS

    def test_long_flood_gets_a_request_a_second_on_each_connection(self) -> None:
        now = FakeClock()
        dispatcher = two_vms(allowances=LIMIT, now=now)
        reactor = a_reactor(dispatcher)
        flood = [Talk(dispatcher, FLOOD) for _ in range(64)]
        for talk in flood:
            talk.socket.incoming = GET * 10_000
        reactor.pump()
        for _ in range(100):
            now.now_s += 0.1
            reactor.pass_delays()
        statuses(*flood)
        for _ in range(100):
            now.now_s += 0.1
            reactor.pass_delays()
        answered = [len(statuses(talk)) for talk in flood]
        assert 8 <= min(answered) <= max(answered) <= 13

    def test_new_connection_of_a_flooding_vm_is_read_later(self) -> None:
        now = FakeClock()
        dispatcher = two_vms(allowances=LIMIT, now=now)
        reactor = a_reactor(dispatcher)
        first = Talk(dispatcher, FLOOD)
        first.socket.incoming = GET * 1000
        reactor.pump()
        newcomer = Talk(dispatcher, FLOOD)
        assert newcomer.send(GET) == b""
        quiet = Talk(dispatcher, QUIET)
        assert replies(quiet.send(GET))[0].status == 200
        now.now_s += 1.1
        reactor.pass_delays()
        assert len(statuses(newcomer)) == 1

    def test_flood_of_unknown_callers_is_delayed(self) -> None:
        dispatcher = two_vms()
        talk = Talk(dispatcher, STRANGER)
        talk.socket.incoming = GET * 1000
        a_reactor(dispatcher).pump()
        answered = statuses(talk)
        assert set(answered) == {404}
        assert FREE_REFUSALS < len(answered) <= FREE_REFUSALS + LONE_UNITS

    def test_connections_with_malformed_requests_are_delayed(self) -> None:
        dispatcher = two_vms()
        refused = 0
        for _ in range(2 * FREE_REFUSALS):
            refused += bool(Talk(dispatcher, FLOOD).send(b"nonsense\r\n\r\n"))
        assert refused == FREE_REFUSALS + 1

    def test_lost_connection_ends_its_delay(self) -> None:
        dispatcher = two_vms(allowances=LIMIT)
        reactor = a_reactor(dispatcher)
        talk = Talk(dispatcher, FLOOD)
        talk.socket.incoming = GET * 1000
        reactor.pump()
        talk.lose()
        assert len(reactor._delays) == 0
        reactor.pass_delays()
        assert talk.socket.is_closed


@pytest.mark.parametrize("rest", [GET * 1000, GET * 1000 + GET[:20]])
def test_delayed_connection_drains_and_expires(rest: bytes) -> None:
    now = FakeClock()
    dispatcher = two_vms(allowances=LIMIT, now=now)
    reactor = a_reactor(dispatcher)
    talks = [Talk(dispatcher, FLOOD) for _ in range(20)]
    for talk in talks:
        talk.socket.incoming = rest
    reactor.pump()
    assert len(reactor._delays) == 20
    dispatcher.connections.drain()
    dispatcher.connections.sweep(now() + 1)
    reactor.pump()
    dispatcher.connections.sweep(float("inf"))
    dispatcher.connections.sweep(float("inf"))
    assert all(talk.socket.is_closed for talk in talks)
    assert (len(reactor._delays), len(dispatcher.connections)) == (0, 0)


def test_connection_that_ends_while_parked_is_skipped() -> None:
    dispatcher = two_vms()
    reactor = a_reactor(dispatcher)
    one, other = Talk(dispatcher, FLOOD), Talk(dispatcher, FLOOD)
    for talk in (one, other):
        talk.socket.incoming = GET * 100
    reactor.turn()
    other.lose()
    reactor.pump()
    assert len(statuses(one)) == 100


def test_internal_error_ends_its_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []
    dispatcher = two_vms()
    dispatcher.on_internal_error = errors.append
    talk, quiet = Talk(dispatcher, FLOOD), Talk(dispatcher, QUIET)
    failure = RuntimeError("ours")

    def fail(_: bytes) -> None:
        raise failure

    monkeypatch.setattr(talk.connection, "_answer", fail)
    talk.send(GET)
    assert errors == [failure]
    assert talk.socket.is_closed
    assert replies(quiet.send(GET))[0].status == 200


class TestLinger:
    def test_refused_input_is_dropped_until_the_peer_closes(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.incoming = b"nonsense\r\n\r\n" + bytes(10_000)
        talk.reactor.pump()
        assert statuses(talk) == [400]
        assert (talk.socket.is_shut, talk.socket.is_closed, talk.socket.incoming) == (
            True,
            False,
            b"",
        )
        talk.socket.is_ended = True
        talk.reactor.pump()
        assert talk.socket.is_closed

    def test_dropped_input_is_bounded(self) -> None:
        talk = Talk(a_dispatcher())
        talk.socket.incoming = b"nonsense\r\n\r\n" + bytes(1_000_000)
        talk.reactor.pump()
        assert talk.socket.is_closed
        assert len(talk.socket.incoming) > 900_000

    def test_peer_that_stays_is_left_after_close_s(self) -> None:
        now = FakeClock()
        dispatcher = a_dispatcher(now=now)
        talk = Talk(dispatcher)
        talk.send(b"nonsense\r\n\r\n")
        assert not talk.socket.is_closed
        dispatcher.connections.sweep(now() + 5)
        assert talk.socket.is_closed


class FakeListener(FakeSocket):
    """A listening socket with callers that wait, or with an error."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[int] = []
        self.accepts = 0

    def settimeout(self, _seconds: float) -> None:
        """Nothing blocks here."""

    def _accept(self) -> tuple[int, object]:
        self.accepts += 1
        if self.errors:
            raise OSError(self.errors.pop(0), "")
        raise BlockingIOError


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_shortage_pauses_accepting_and_is_reported(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reactor = a_reactor(a_dispatcher())
    shortages: list[int | None] = []
    reactor.on_shortage = lambda error: shortages.append(error.errno)
    monkeypatch.setattr(reactor.poll_set, "hang", lambda *_: None)
    bound = FakeListener()
    bound.incoming, bound.errors = b"a caller", [code]
    reactor.poll_set.sockets[bound.number] = bound

    async def play() -> None:
        reactor.listen(cast("socket.socket", bound))

    asyncio.run(play())
    reactor.turn()
    assert (shortages, reactor.accept_pauses) == ([code], 1)
    assert reactor.poll_set.awaited[bound.number] == 0
    reactor.turn()
    assert bound.accepts == 1
    bound.incoming = b""
    reactor.pass_delays()
    assert reactor.poll_set.awaited[bound.number] == READ


def test_caller_that_has_gone_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = a_reactor(a_dispatcher())
    monkeypatch.setattr(reactor.poll_set, "hang", lambda *_: None)
    bound = FakeListener()
    bound.incoming, bound.errors = b"a caller", [errno.ECONNABORTED, errno.ECONNABORTED]
    reactor.poll_set.sockets[bound.number] = bound

    async def play() -> None:
        reactor.listen(cast("socket.socket", bound))

    asyncio.run(play())
    reactor.turn()
    assert (bound.accepts, reactor.accept_pauses) == (3, 0)


def test_reset_before_accepting_counts_no_unknown_caller() -> None:
    async def play() -> Dispatcher:
        dispatcher = two_vms()
        listener = await listen(Reactor(dispatcher), "127.0.0.1:0", "listen")
        with socket.create_connection(listener.sockets[0].getsockname()) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        for _ in range(5):
            await asyncio.sleep(0)
        listener.close()
        return dispatcher

    dispatcher = asyncio.run(play())
    assert dispatcher.unknown_callers == {}
    assert len(dispatcher.connections) == 0


def test_connections_of_a_real_listener_are_bounded() -> None:
    async def play() -> tuple[int, int]:
        dispatcher = a_dispatcher(bounds=Bounds(connections=2, connections_per_caller=2))
        listener = await listen(Reactor(dispatcher), "127.0.0.1:0", "listen")
        address = listener.sockets[0].getsockname()
        streams = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(GET)
            answered = await reader.readuntil(b"\r\n\r\n")
            streams.append((reader, writer))
        await streams[0][0].read()
        for _, writer in streams:
            writer.close()
        listener.close()
        still_open = len(dispatcher.connections)
        dispatcher.connections.sweep(float("inf"))
        return len(answered), still_open

    answered, still_open = asyncio.run(play())
    assert answered > 100
    assert still_open == 2, "the oldest idle one gave way"


def test_pause_of_accepting_is_counted_once() -> None:
    reactor = a_reactor(a_dispatcher())
    for _ in range(2):
        reactor.pause_accepting(OSError(errno.EMFILE, ""))
    assert reactor.accept_pauses == 1


def test_event_of_a_socket_that_was_closed_meanwhile_is_ignored() -> None:
    talk = Talk(a_dispatcher())
    talk.socket.incoming = GET
    handler = talk.reactor.handlers.pop(talk.socket.number)
    talk.reactor.turn()
    assert talk.socket.incoming == GET
    handler(READ)
    assert statuses(talk) == [200]


def test_listener_accepts_a_burst_and_leaves_the_rest_for_later() -> None:
    async def play() -> list[int]:
        dispatcher = a_dispatcher()
        reactor = Reactor(dispatcher)
        listener = await listen(reactor, "127.0.0.1:0", "listen")
        address = listener.sockets[0].getsockname()
        callers = [socket.create_connection(address) for _ in range(40)]
        for caller in callers:
            caller.send(b"G")
        counts = []
        for _ in range(2):
            reactor.turn()
            counts.append(len(dispatcher.connections))
        for caller in callers:
            caller.close()
        listener.close()
        return counts

    assert asyncio.run(play()) == [32, 40]


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="Linux alone defers")
def test_caller_without_bytes_costs_no_turn() -> None:
    async def play() -> tuple[int, int]:
        dispatcher = a_dispatcher()
        reactor = Reactor(dispatcher)
        listener = await listen(reactor, "127.0.0.1:0", "listen")
        with socket.create_connection(listener.sockets[0].getsockname()) as caller:
            reactor.turn()
            before = len(dispatcher.connections)
            caller.send(b"G")
            reactor.turn()
            after = len(dispatcher.connections)
        listener.close()
        return before, after

    assert asyncio.run(play()) == (0, 1)


def test_socket_is_not_read_when_the_turn_of_its_share_is_over() -> None:
    talk = Talk(a_dispatcher())
    assert [reply.status for reply in replies(talk.send(GET))] == [200]
    share = talk.connection._share
    share.turn, share.left = talk.reactor.turn_number, 0
    talk.socket.incoming = GET
    talk.connection.ready(READ)
    assert talk.socket.incoming == GET
    talk.reactor.pump()
    assert statuses(talk) == [200], "the next turn reads it"
