"""The state machine of a connection: each row of its table, and no other."""

from collections.abc import Awaitable, Callable
from itertools import product

import pytest

from openimds.dataplane import phase
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.phase import TRANSITIONS, Phase, Step
from openimds.dataplane.response_bytes import PreparedResponse
from tests.support.talk import Talk, a_dispatcher, request
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, TracedTalk, run, settle

METADATA = {"Metadata": "true"}
GET = request(INSTANCE, headers=METADATA)
PENDING = request(TOKEN, headers=METADATA)
LAST = request(INSTANCE, headers={**METADATA, "Connection": "close"})
BODY = GET[:-2] + b"Content-Length: 5\r\n\r\n"
ROWS = [(before, step) for before, steps in TRANSITIONS.items() for step in steps]

Act = Callable[[Stage], Awaitable[None]]


def sends(data: bytes) -> Act:
    async def send(stage: Stage) -> None:
        stage.talk.send(data)

    return send


async def drain(stage: Stage) -> None:
    stage.dispatcher.connections.drain()


async def expire(stage: Stage) -> None:
    stage.dispatcher.connections.sweep(stage.now() + 1e6)


async def lose(stage: Stage) -> None:
    stage.talk.lose()


async def finish(stage: Stage) -> None:
    await stage.provider.finish()


SCENARIOS: dict[tuple[Phase, Step], tuple[Act, ...]] = {
    (Phase.IDLE, Step.BEGIN): (sends(GET[:9]),),
    (Phase.IDLE, Step.STOP): (sends(PENDING), drain),
    (Phase.IDLE, Step.CLOSE): (drain,),
    (Phase.READING_HEAD, Step.HEAD_END): (sends(BODY),),
    (Phase.READING_HEAD, Step.STOP): (sends(b"nonsense\r\n\r\n"),),
    (Phase.READING_HEAD, Step.CLOSE): (sends(GET[:9]), expire),
    (Phase.READING_BODY, Step.END): (sends(BODY), sends(b"hello")),
    (Phase.READING_BODY, Step.STOP): (sends(LAST),),
    (Phase.READING_BODY, Step.CLOSE): (sends(BODY), lose),
    (Phase.DRAINING, Step.STOP): (sends(PENDING), drain, drain),
    (Phase.DRAINING, Step.CLOSE): (sends(PENDING), drain, finish),
    (Phase.CLOSED, Step.CLOSE): (drain, lose),
}


@pytest.mark.parametrize("before, step", ROWS, ids=lambda member: member.name)
def test_row_of_the_table_is_reachable(before: Phase, step: Step) -> None:
    async def play(stage: Stage) -> None:
        assert isinstance(stage.talk, TracedTalk)
        for act in SCENARIOS[before, step]:
            await act(stage)
            await settle()
        assert (before, step, TRANSITIONS[before][step]) in stage.talk.connection.trace

    run(play, talk=TracedTalk)


@pytest.mark.parametrize(
    "before, step",
    [pair for pair in product(Phase, Step) if pair not in ROWS],
    ids=lambda member: member.name,
)
def test_transition_outside_the_table_fails(before: Phase, step: Step) -> None:
    connection = Talk(a_dispatcher()).connection
    connection.phase = before
    with pytest.raises(KeyError):
        connection._move(step)
    assert connection.phase is before


def test_table_in_the_essay_is_the_table_of_transitions() -> None:
    assert phase.__doc__
    lines = [line for line in phase.__doc__.splitlines() if line.startswith("|")]
    (_, *names), _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    written = {
        Phase[before]: {
            Step[name]: Phase[cell] for name, cell in zip(names, cells, strict=True) if cell
        }
        for before, *cells in rows
    }
    assert written == TRANSITIONS


def test_closed_connection_is_not_drained_again() -> None:
    async def play(stage: Stage) -> None:
        stage.talk.socket.room = 10
        stage.talk.send(LAST)
        assert len(stage.dispatcher.connections) == 1, "the peer has not taken everything"
        deadline_s = stage.talk.connection.deadline_s
        stage.now.now_s += 1
        await drain(stage)
        assert stage.talk.connection.deadline_s == deadline_s

    run(play)


def test_drain_drops_half_a_request_behind_a_pending_one() -> None:
    async def play(stage: Stage) -> None:
        stage.talk.send(PENDING + GET[:40])
        unread = stage.talk.connection.phase
        await settle()
        await drain(stage)
        stage.talk.send(GET[40:])
        await stage.provider.finish()
        (reply,) = stage.replies()
        assert b"access_token" in reply.body
        assert (unread, stage.talk.connection.phase) == (Phase.IDLE, Phase.CLOSED)

    run(play)


def test_refused_request_hides_the_headers_of_the_next() -> None:
    """An observed request has the headers of its own head only."""

    async def play(stage: Stage) -> None:
        headers: list[tuple[str, str]] = []

        class Headers:
            def observe(
                self, observed: ObservedRequest, response: PreparedResponse, data: bytes
            ) -> None:
                headers.extend(observed.headers)

        stage.dispatcher.set_observer(Headers())
        refused = GET.replace(b"Host: 169.254.169.254\r\n", b"")
        stage.talk.send(refused + request(INSTANCE, headers={"X-Next": "1"}))
        assert headers == [("metadata", "true")]

    run(play)
