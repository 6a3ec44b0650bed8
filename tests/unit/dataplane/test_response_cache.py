"""Replies that were made: what is kept of them, how long, and what takes their place."""

from hashlib import sha256

import pytest

from openimds.dataplane.response_bytes import CountKey
from openimds.protocol.pending import Failed, Signature
from tests.support.talk import (
    UTC_S,
    replies,
)
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, run, settle


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
        stage.bench.response_cache = None
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
        assert stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}

    run(play)


def test_what_takes_the_place_of_a_refused_token_is_what_everybody_gets_from_then_on() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.bench.end(0, "first")
        stage.said()
        assert b"first" in replies(stage.send(TOKEN))[0].body
        stage.send(f"{TOKEN}&token_sha256_to_refresh={sha256(b'first').hexdigest()}")
        await settle()
        await stage.bench.end(1, "second")
        stage.said()
        # Within the same second, by the same bytes.
        assert b"second" in replies(stage.send(TOKEN))[0].body

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
        assert stage.dispatcher.counts[CountKey("token", 429, "throttled")].requests == 2

    run(play)


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


@pytest.mark.parametrize("body", [b"", b"resource=https://a"])
def test_a_post_is_not_remembered_by_its_bytes(body: bytes) -> None:
    async def play(stage: Stage) -> None:
        head = f"POST {INSTANCE} HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n"
        text = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert [replies(stage.talk.send(text))[0].status for _ in range(2)] == [405, 405]
        assert stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}

    run(play)


def test_a_secret_in_a_header_is_part_of_the_question() -> None:
    async def play(stage: Stage) -> None:
        keys = []
        for secret in ("one", "two"):
            stage.send(INSTANCE, Secret=secret)
            keys = list(stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request)
        assert sum("secret:one" in key for key in keys if isinstance(key, str)) == 1
        assert sum("secret:two" in key for key in keys if isinstance(key, str)) == 1

    run(play)
