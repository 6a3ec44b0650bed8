"""Replies that wait for something to be made: order, limits, time, and what is kept."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openimds.core.need import Failed, Made, Need, NeedsDocument, Signature, Token
from openimds.view.picture import Allowance
from openimds.wire.plane import Bounds, Plane
from openimds.wire.reply import Counted
from openimds.wire.reply import Reply as WireReply
from tests.support.talk import (
    UTC_S,
    Reply,
    Talk,
    Time,
    a_fleet,
    a_picture,
    a_plane,
    replies,
    request,
)

TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
INSTANCE = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
HELD = {"identities": {"system": True}}


class Bench:
    """A maker whose work ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Made]] = []
        self.shelf: Token | None = None
        self.signature: Signature | None = None

    def held(self, need: Need, now_s: float) -> Made | None:
        if isinstance(need, NeedsDocument):
            return self.signature
        return None if need.is_once else self.shelf

    async def make(self, need: Need, now_s: float) -> Made:
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        made = await future
        if isinstance(made, Token):
            self.shelf = made
        return made

    async def end(self, which: int = 0, text: str = "jwt") -> None:
        made_s = int(UTC_S)
        self.asked[which].set_result(Token(text, made_s - 300, made_s + 86400, 86400))
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Stage:
    """A plane, its maker, its clock, and a connection to it."""

    def __init__(self, **plane: Any) -> None:
        self.bench, self.now, self.utc_s = Bench(), Time(), UTC_S
        vms = a_fleet(**{"vm-1": HELD})
        self.plane: Plane = a_plane(a_picture(*vms), maker=self.bench, now=self.now, **plane)
        self.plane.utc = lambda: self.utc_s
        self.talk = Talk(self.plane)

    def send(self, *targets: str, **headers: str) -> bytes:
        head = {"Metadata": "true", **headers}
        return self.talk.send(b"".join(request(target, headers=head) for target in targets))

    def kept(self) -> list[WireReply]:
        return list(self.plane.picture.by_name["vm-1"].replies.by_request.values())

    def is_paused(self) -> bool:
        return self.talk.transport.is_paused

    def said(self) -> list[Reply]:
        return replies(self.talk.transport.take())


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def run(play: Play, **plane: Any) -> None:
    async def both() -> None:
        await play(Stage(**plane))

    asyncio.run(both())


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
        assert stage.plane.counts[Counted("token", 200, "")].requests == 1

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


def test_a_held_one_is_answered_at_once_and_counts_down_by_the_second() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.bench.end()
        stage.said()
        seen = []
        for _ in range(3):
            (first,), (again,) = replies(stage.send(TOKEN)), replies(stage.send(TOKEN))
            assert first.body == again.body
            seen.append(first.body.partition(b'expires_in":"')[2][:5])
            stage.utc_s += 1
        assert seen == [b"86399", b"86398", b"86397"]
        assert len(stage.bench.asked) == 1

    run(play)


def test_one_that_is_over_is_made_anew() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.bench.end()
        stage.said()
        stage.bench.shelf = None
        stage.utc_s += 86400
        assert stage.send(TOKEN) == b""
        await settle()
        await stage.bench.end(1, "new")
        assert b'"new"' in stage.said()[0].body

    run(play)


def test_a_fresh_one_is_made_every_time_and_not_kept() -> None:
    async def play(stage: Stage) -> None:
        for number in range(2):
            assert stage.send(f"{TOKEN}&bypass_cache=true") == b""
            await settle()
            await stage.bench.end(number)
            stage.said()
        assert stage.plane.picture.by_name["vm-1"].replies.by_request == {}

    run(play)


def test_a_failure_is_said_and_not_kept() -> None:
    async def play(stage: Stage) -> None:
        for number in range(2):
            stage.send(TOKEN)
            await settle()
            stage.bench.asked[number].set_result(Failed("throttled"))
            await settle()
            (reply,) = stage.said()
            assert reply.status == 429
        assert stage.plane.counts[Counted("token", 429, "throttled")].requests == 2

    run(play)


def test_a_mistake_of_ours_is_told_and_answered_as_azure_does() -> None:
    async def play(stage: Stage) -> None:
        told: list[BaseException] = []
        stage.plane.on_mistake = told.append
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
        talks = [Talk(stage.plane) for _ in range(6)]
        bytes_of = request(TOKEN, headers={"Metadata": "true"})
        said = [talk.send(bytes_of) for talk in talks]
        assert said[:5] == [b""] * 5
        assert replies(said[5])[0].status == 429
        assert stage.plane.throttled == {"identity": 1}
        await settle()
        await stage.bench.end(0)
        assert b"jwt" in talks[0].transport.take()
        stage.bench.shelf = None
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
        picture = stage.plane.picture
        picture.take(picture.plan(a_fleet(**{"vm-1": {}})))
        await stage.bench.end()
        assert stage.said()[0].status == 200
        assert picture.by_name["vm-1"].replies.by_request == {}
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
        assert stage.plane.counts[Counted("token", 200, "")].requests == 1

    run(play)


def test_a_drain_waits_for_the_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.plane.connections.drain()
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
        stage.plane.connections.sweep(stage.now())
        assert not stage.talk.transport.is_closed
        stage.now.now_s += 31
        stage.plane.connections.sweep(stage.now())
        assert stage.talk.transport.is_aborted
        await stage.bench.end()

    run(play, bounds=Bounds(answer_s=60))


def test_a_refusal_with_a_time_in_it_is_made_anew_with_the_next_second() -> None:
    async def play(stage: Stage) -> None:
        target = TOKEN.replace("https://a", "foo")
        seen = []
        for _ in range(2):
            (first,), (again,) = replies(stage.send(target)), replies(stage.send(target))
            assert first.body == again.body
            seen.append(first.body)
            stage.utc_s += 1
        assert b"19:54:46Z" in seen[0]
        assert b"19:54:47Z" in seen[1]

    run(play)


def test_a_document_is_looked_at_every_second_and_written_anew_only_when_it_is_another() -> None:
    async def play(stage: Stage) -> None:
        target = "/metadata/attested/document?api-version=2021-02-01"
        signature = Signature("one", UTC_S + 300)
        stage.bench.signature = signature
        assert b'"one"' in replies(stage.send(target))[0].body
        (kept,) = {id(one): one for one in stage.kept()}.values()
        written = kept.after
        stage.utc_s += 5
        stage.send(target)
        assert kept.after is written
        assert kept.until_s == stage.utc_s + 1
        stage.bench.signature = Signature("two", UTC_S + 300)
        stage.utc_s += 5
        assert b'"two"' in replies(stage.send(target))[0].body

    run(play)


def test_a_caller_who_reads_nothing_is_not_read_from_when_an_answer_comes() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.conversation.pause_writing()
        await stage.bench.end()
        assert stage.is_paused(), "he still does not read"
        stage.talk.conversation.resume_writing()
        assert not stage.is_paused()

    run(play)


def test_a_caller_who_reads_again_still_waits_for_his_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.conversation.pause_writing()
        stage.talk.conversation.resume_writing()
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
        stage.plane.connections.sweep(stage.now())
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


@pytest.mark.parametrize("body", [b"", b"resource=https://a"])
def test_a_post_is_not_remembered_by_its_bytes(body: bytes) -> None:
    async def play(stage: Stage) -> None:
        head = f"POST {INSTANCE} HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n"
        text = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert [replies(stage.talk.send(text))[0].status for _ in range(2)] == [405, 405]
        assert stage.plane.picture.by_name["vm-1"].replies.by_request == {}

    run(play)


def test_a_secret_in_a_header_is_part_of_the_question() -> None:
    async def play(stage: Stage) -> None:
        keys = []
        for secret in ("one", "two"):
            stage.send(INSTANCE, Secret=secret)
            keys = list(stage.plane.picture.by_name["vm-1"].replies.by_request)
        assert sum("secret:one" in key for key in keys if isinstance(key, str)) == 1
        assert sum("secret:two" in key for key in keys if isinstance(key, str)) == 1

    run(play)
