"""A connection accepts any bytes, in any chunks, and keeps to its table of phases."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fuzz.requests import send_input
from openimds.dataplane.phase import TRANSITIONS, Phase
from tests.support.talk import Reply, Talk, a_dispatcher, replies, request
from tests.unit.dataplane.setup import TOKEN, Stage, TracedTalk, settle

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())
INSTANCE = "/metadata/instance?api-version=2021-02-01"

requests = st.builds(
    request,
    st.sampled_from([INSTANCE, "/metadata/versions", "/", "/metadata/instance%3Fx", "/x?y&y"]),
    st.sampled_from(["GET", "PUT", "POST"]),
    st.dictionaries(st.sampled_from(["Metadata", "X-Forwarded-For"]), st.just("true")),
)


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_fuzzer_seeds_are_accepted(path: Path) -> None:
    send_input(path.read_bytes())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_accepted(data: bytes) -> None:
    send_input(data)


def same(reply: Reply) -> tuple[int, bytes]:
    return reply.status, reply.body


@settings(deadline=None)
@given(st.lists(requests, max_size=5), st.data())
def test_responses_do_not_depend_on_chunking(asked: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(asked)
    whole = replies(Talk(a_dispatcher()).send(stream))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    talk = Talk(a_dispatcher())
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    pieces = replies(b"".join(talk.send(stream[start:end]) for start, end in edges))
    assert [same(reply) for reply in pieces] == [same(reply) for reply in whole]
    assert len(whole) == len(asked)


METADATA = {"Metadata": "true"}
FIRST = request("/metadata/versions", headers=METADATA)
BODY = FIRST[:-2] + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = FIRST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
EXPECT = FIRST[:-2] + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
UPGRADE = FIRST[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
KINDS: dict[bytes, tuple[int, ...]] = {
    FIRST: (200,),
    BODY: (200,),
    CHUNKED: (200,),
    EXPECT: (100, 200),
    UPGRADE: (200,),
    request(TOKEN, headers=METADATA): (200,),
    request(f"{TOKEN}&bypass_cache=true", headers=METADATA): (200,),
    request("/nowhere", headers=METADATA): (404,),
}
"""Requests after which the connection stays open, with the statuses of their responses."""
LAST_KINDS: dict[bytes, tuple[int, ...]] = {
    request("/metadata/versions", headers={**METADATA, "Connection": "close"}): (200,),
    request(TOKEN, headers={**METADATA, "Connection": "close"}): (200,),
    b"GET / HTTP/1.1\r\n\r\n": (400,),
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n": (417,),
    b"nonsense\r\n\r\n": (400,),
}
"""Bytes after which the connection accepts no further request."""


class ConnectionMachine(RuleBasedStateMachine):
    """A guest, a provider, a clock and a server that drains, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stage = Stage(talk=TracedTalk)
        assert isinstance(self.stage.talk, TracedTalk)
        self.talk, self.connection = self.stage.talk, self.stage.talk.connection
        self.errors: list[BaseException] = []
        self.stage.dispatcher.on_internal_error = self.errors.append
        self.coming, self.written = b"", b""
        self.expected: list[int] = []
        self.is_last = self.is_full = False

    def do(self, act: Callable[[], object]) -> None:
        """Act on the loop, and let its tasks run until they wait."""

        async def both() -> None:
            act()
            await settle()
            self.talk.reactor.pump()
            await settle()

        self.loop.run_until_complete(both())
        self.written += self.talk.socket.take()

    @rule(data=st.sampled_from([*KINDS]))
    def ask(self, data: bytes) -> None:
        self._ask(data, KINDS[data])

    @rule(data=st.sampled_from([*LAST_KINDS]))
    def ask_last(self, data: bytes) -> None:
        self._ask(data, LAST_KINDS[data])
        self.is_last = True

    def _ask(self, data: bytes, statuses: tuple[int, ...]) -> None:
        self.coming += data
        self.expected += () if self.is_last else statuses

    @precondition(lambda self: self.coming and not self.talk.is_closed)
    @rule(size=st.sampled_from([1, 30, 100, 300]))
    def deliver(self, size: int) -> None:
        data, self.coming = self.coming[:size], self.coming[size:]
        self.do(lambda: self._send(data))

    @precondition(lambda self: not self.coming and not self.talk.is_closed)
    @rule(data=st.sampled_from([*KINDS]))
    def ask_in_one_chunk(self, data: bytes) -> None:
        self._ask(data, KINDS[data])
        self.deliver(len(data))

    def _send(self, data: bytes) -> None:
        self.written += self.stage.talk.send(data)

    @rule(newest=st.booleans())
    def finish(self, newest: bool) -> None:
        open_ = [n for n, future in enumerate(self.stage.provider.futures) if not future.done()]
        if open_:
            number = open_[-1 if newest else 0]
            self.loop.run_until_complete(self.stage.provider.finish(number))
            self.do(lambda: None)

    @rule()
    def fill_or_drain_the_write_buffer(self) -> None:
        self.is_full = not self.is_full
        self.talk.socket.room = 0 if self.is_full else 1 << 30
        self.do(lambda: None)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0, 61.0, 121.0]))
    def pass_time(self, seconds: float) -> None:
        self.stage.now.now_s += seconds
        self.do(lambda: self.stage.dispatcher.connections.sweep(self.stage.now()))

    @rule()
    def drain(self) -> None:
        owed = bool(self.connection._owed)
        self.do(self.stage.dispatcher.connections.drain)
        assert self.connection.phase >= Phase.DRAINING or not owed

    @precondition(lambda self: self.talk.is_closed)
    @rule()
    def lose(self) -> None:
        self.do(self.talk.lose)

    @invariant()
    def transitions_are_in_the_table(self) -> None:
        assert self.errors == []
        for before, step, after in self.connection.trace:
            assert TRANSITIONS[before][step] is after

    @invariant()
    def phase_agrees_with_the_socket(self) -> None:
        phase, owed = self.connection.phase, bool(self.connection._owed)
        assert phase is Phase.CLOSED or not self.talk.socket.has_ended
        if phase is not Phase.CLOSED:
            assert self.talk.is_paused is bool(owed or self.connection._unsent)
            assert phase is not Phase.DRAINING or owed
            assert len(self.stage.dispatcher.connections) == 1

    @invariant()
    def responses_are_whole_and_in_order(self) -> None:
        statuses = [reply.status for reply in replies(self.written)]
        if statuses[-1:] == [408]:
            statuses.pop()
            assert self.talk.is_closed
        assert statuses == self.expected[: len(statuses)]

    def teardown(self) -> None:
        for future in self.stage.provider.futures:
            future.cancel()
        self.loop.run_until_complete(settle())
        self.loop.close()


TestConnectionMachine = ConnectionMachine.TestCase
