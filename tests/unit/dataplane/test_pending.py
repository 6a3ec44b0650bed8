"""Replies that wait for something to be made: order, limits, time, and what is kept."""

import asyncio

from openimds.dataplane.dispatcher import Bounds
from openimds.dataplane.response_bytes import CountKey
from openimds.fleet.index import Allowance
from tests.support.talk import (
    Talk,
    a_fleet,
    replies,
    request,
)
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, run, settle


def test_a_reply_is_said_when_it_is_made_and_reading_waits_for_it() -> None:
    async def play(stage: Stage) -> None:
        assert stage.send(TOKEN) == b""
        assert stage.is_paused()
        await settle()
        await stage.bench.end()
        (reply,) = stage.said()
        assert (reply.status, b'"access_token":"jwt"' in reply.body) == (200, True)
        assert "x-ms-request-id" not in reply.headers
        assert not stage.is_paused()
        assert stage.dispatcher.counts[CountKey("token", 200, "")].requests == 1

    run(play)


def test_what_was_asked_behind_it_is_answered_behind_it() -> None:
    async def play(stage: Stage) -> None:
        assert replies(stage.send(INSTANCE, TOKEN, INSTANCE, TOKEN, INSTANCE))[0].body == b"vm-1"
        await settle()
        assert stage.said() == []
        await stage.bench.end(1, "second")
        assert stage.said() == []
        await stage.bench.end(0, "first")
        bodies = [reply.body for reply in stage.said()]
        assert [b"first" in bodies[0], bodies[1], b"second" in bodies[2], bodies[3]] == [
            True,
            b"vm-1",
            True,
            b"vm-1",
        ]

    run(play)


def test_bytes_that_come_meanwhile_wait_their_turn() -> None:
    """A loop may deliver what it had read already when reading was paused."""

    async def play(stage: Stage) -> None:
        stage.send(INSTANCE)
        stage.send(TOKEN)
        assert stage.send(INSTANCE) == b""
        await settle()
        await stage.bench.end()
        assert [reply.body[:5] for reply in stage.said()] == [b'{"acc', b"vm-1"]

    run(play)


def test_a_mistake_of_ours_is_told_and_answered_as_azure_does() -> None:
    async def play(stage: Stage) -> None:
        told: list[BaseException] = []
        stage.dispatcher.on_internal_error = told.append
        stage.send(TOKEN, INSTANCE)
        await settle()
        mistake = RuntimeError("ours")
        stage.bench.asked[0].set_exception(mistake)
        await settle()
        first, second = stage.said()
        assert (first.status, second.status) == (500, 200)
        assert b'"error":"unknown"' in first.body
        assert told == [mistake]

    run(play)


def test_five_of_a_vm_may_be_under_way_and_no_more() -> None:
    async def play(stage: Stage) -> None:
        talks = [Talk(stage.dispatcher) for _ in range(6)]
        bytes_of = request(TOKEN, headers={"Metadata": "true"})
        said = [talk.send(bytes_of) for talk in talks]
        assert said[:5] == [b""] * 5
        assert replies(said[5])[0].status == 429
        assert stage.dispatcher.throttled == {"identity": 1}
        await settle()
        await stage.bench.end(0)
        assert b"jwt" in talks[0].transport.take()
        stage.bench.response_cache = None
        assert talks[5].send(request(f"{TOKEN}&x=1", headers={"Metadata": "true"})) == b""
        for number in range(1, 5):
            await stage.bench.end(number)
        await settle()
        await stage.bench.end(5)

    run(play, allowances={"identity": Allowance(20, 0, 5)})


def test_who_came_too_soon_is_not_made_a_token_for() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        assert replies(stage.send(f"{TOKEN}&x=1"))[:0] == []
        await stage.bench.end()
        assert [reply.status for reply in stage.said()] == [200, 429]

    run(play, allowances={"identity": Allowance(1)})


def test_a_vm_that_changed_meanwhile_gets_its_answer_and_it_is_not_kept() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        fleet_index = stage.dispatcher.fleet_index
        fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-1": {}})))
        await stage.bench.end()
        assert stage.said()[0].status == 200
        assert fleet_index.by_name["vm-1"].responses.by_request == {}
        (reply,) = replies(stage.send(TOKEN))
        assert b"Identity not found" in reply.body

    run(play)


def test_a_caller_who_wants_to_close_is_closed_after_the_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN, Connection="close")
        await settle()
        assert not stage.talk.transport.is_closed
        await stage.bench.end()
        (reply,) = stage.said()
        assert reply.headers["Connection"] == "close"
        assert stage.talk.transport.is_closed

    run(play)


def test_a_caller_who_has_gone_is_not_written_to() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.transport.abort()
        await stage.bench.end()
        assert stage.talk.transport.take() == b""
        assert stage.dispatcher.counts[CountKey("token", 200, "")].requests == 1

    run(play)


def test_a_drain_waits_for_the_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.dispatcher.connections.drain()
        assert not stage.talk.transport.is_closed
        await stage.bench.end()
        assert stage.said()[0].status == 200
        assert stage.talk.transport.is_closed

    run(play)


def test_nobody_waits_for_ever() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.now.now_s += 30
        stage.dispatcher.connections.sweep(stage.now())
        assert not stage.talk.transport.is_closed
        stage.now.now_s += 31
        stage.dispatcher.connections.sweep(stage.now())
        assert stage.talk.transport.is_aborted
        await stage.bench.end()

    run(play, bounds=Bounds(answer_s=60))


def test_a_caller_who_reads_nothing_is_not_read_from_when_an_answer_comes() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.connection.pause_writing()
        await stage.bench.end()
        assert stage.is_paused(), "he still does not read"
        stage.talk.connection.resume_writing()
        assert not stage.is_paused()

    run(play)


def test_a_caller_who_reads_again_still_waits_for_his_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.connection.pause_writing()
        stage.talk.connection.resume_writing()
        assert stage.is_paused()
        await stage.bench.end()
        assert not stage.is_paused()

    run(play)


def test_half_a_request_behind_a_wait_has_the_time_of_a_head() -> None:
    async def play(stage: Stage) -> None:
        head = request(INSTANCE, headers={"Metadata": "true"})[:40]
        stage.talk.send(request(TOKEN, headers={"Metadata": "true"}) + head)
        await settle()
        await stage.bench.end()
        stage.said()
        stage.now.now_s += 11
        stage.dispatcher.connections.sweep(stage.now())
        assert stage.said()[0].status == 408

    run(play)


def test_an_answer_that_is_never_made_ends_the_connection() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settle()
        assert stage.talk.transport.is_aborted

    run(play)


def test_connect_is_the_last_word() -> None:
    async def play(stage: Stage) -> None:
        stage.talk.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n\r\n")
        assert stage.talk.transport.is_closed

    run(play)
