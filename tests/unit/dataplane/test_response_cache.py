"""Responses with results of pending work: cached, rendered again, replaced."""

from hashlib import sha256

import pytest

from openimds.dataplane.response_bytes import CountKey
from openimds.protocol.pending import Failed, Signature
from tests.support.talk import UTC_S, Talk, a_dispatcher, replies, request
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, run, settle

VERSIONS = "/metadata/versions"


def test_cached_token_counts_down_by_the_second() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish()
        stage.replies()
        seen = []
        for _ in range(3):
            (first,), (again,) = replies(stage.send(TOKEN)), replies(stage.send(TOKEN))
            assert first.body == again.body
            seen.append(first.body.partition(b'expires_in":"')[2][:5])
            stage.utc_s += 1
        assert seen == [b"86400", b"86398", b"86397"]
        assert len(stage.provider.futures) == 1

    run(play)


def test_response_of_the_future_is_made_again() -> None:
    async def play(stage: Stage) -> None:
        target = "/metadata/attested/document?api-version=2021-02-01"
        stage.provider.signature = Signature("later", UTC_S + 300)
        assert b'"later"' in replies(stage.send(target))[0].body
        assert b'"later"' in replies(stage.send(target))[0].body
        # The clock is set back, and the provider has no document of that time.
        stage.utc_s -= 7200
        stage.provider.signature = Signature("now", stage.utc_s + 300)
        assert b'"now"' in replies(stage.send(target))[0].body

    run(play)


def test_response_without_a_time_is_kept_when_the_clock_is_set() -> None:
    async def play(stage: Stage) -> None:
        stage.send(INSTANCE)
        (before,) = {id(one) for one in stage.cached()}
        stage.utc_s -= 7200
        stage.send(INSTANCE)
        assert {id(one) for one in stage.cached()} == {before}

    run(play)


def test_expired_token_is_made_again() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish()
        stage.replies()
        stage.provider.token = None
        stage.utc_s += 86400
        assert stage.send(TOKEN) == b""
        await settle()
        await stage.provider.finish(1, "new")
        assert b'"new"' in stage.replies()[0].body

    run(play)


def test_bypass_cache_makes_a_token_each_time() -> None:
    async def play(stage: Stage) -> None:
        for number in range(2):
            assert stage.send(f"{TOKEN}&bypass_cache=true") == b""
            await settle()
            await stage.provider.finish(number)
            stage.replies()
        assert stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}

    run(play)


def test_refreshed_token_replaces_the_cached_response() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish(0, "first")
        stage.replies()
        assert b"first" in replies(stage.send(TOKEN))[0].body
        stage.send(f"{TOKEN}&token_sha256_to_refresh={sha256(b'first').hexdigest()}")
        await settle()
        await stage.provider.finish(1, "second")
        stage.replies()
        # Within the same second, by the same bytes.
        assert b"second" in replies(stage.send(TOKEN))[0].body

    run(play)


def test_failure_is_not_cached() -> None:
    async def play(stage: Stage) -> None:
        for number in range(2):
            stage.send(TOKEN)
            await settle()
            stage.provider.futures[number].set_result(Failed("throttled"))
            await settle()
            (reply,) = stage.replies()
            assert reply.status == 429
        assert stage.dispatcher.counts[CountKey("token", 429, "throttled")].requests == 2

    run(play)


def test_refusal_with_a_time_is_rendered_each_second() -> None:
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


def test_attested_document_is_rendered_for_a_new_signature_only() -> None:
    async def play(stage: Stage) -> None:
        target = "/metadata/attested/document?api-version=2021-02-01"
        signature = Signature("one", UTC_S + 300)
        stage.provider.signature = signature
        assert b'"one"' in replies(stage.send(target))[0].body
        (cached,) = {id(response): response for response in stage.cached()}.values()
        bytes_before = cached.after
        stage.utc_s += 5
        stage.send(target)
        assert cached.after is bytes_before
        assert cached.until_s == stage.utc_s + 1
        stage.provider.signature = Signature("two", UTC_S + 300)
        stage.utc_s += 5
        assert b'"two"' in replies(stage.send(target))[0].body

    run(play)


@pytest.mark.parametrize("body", [b"", b"resource=https://a"])
def test_post_is_not_cached(body: bytes) -> None:
    async def play(stage: Stage) -> None:
        head = f"POST {INSTANCE} HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n"
        text = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert [replies(stage.talk.send(text))[0].status for _ in range(2)] == [405, 405]
        assert stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}

    run(play)


def test_cache_key_contains_the_secret_header() -> None:
    async def play(stage: Stage) -> None:
        keys = []
        for secret in ("one", "two"):
            stage.send(INSTANCE, Secret=secret)
            keys = list(stage.dispatcher.fleet_index.by_name["vm-1"].responses.by_request)
        assert sum("secret:one" in key for key in keys if isinstance(key, str)) == 1
        assert sum("secret:two" in key for key in keys if isinstance(key, str)) == 1

    run(play)


@pytest.mark.parametrize(
    "name",
    ["x-ms-client-request-id", "X-Ms-Client-Request-Id", "client-request-id", "Request-Id"],
)
def test_new_request_id_finds_the_cached_response(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    asked = [request(VERSIONS, headers={"Metadata": "true", name: f"id-{n}"}) for n in range(3)]
    talk.send(asked[0])
    parsed: list[bytes] = []
    monkeypatch.setattr(talk.connection, "_parse", parsed.append)
    assert [replies(talk.send(data))[0].status for data in asked[1:]] == [200, 200]
    assert parsed == []
    other = asked[0].replace(b"versions", b"instance")
    talk.send(other)
    assert parsed == [other]


@pytest.mark.parametrize("value", [b"a b", b"a\x00", b"", b"x" * 65, b"a\r\n b"])
def test_odd_request_id_is_parsed(value: bytes) -> None:
    dispatcher = a_dispatcher()
    head = request(VERSIONS, headers={"Metadata": "true"})
    Talk(dispatcher).send(head)
    odd = head[:-2] + b"x-ms-client-request-id: " + value + b"\r\n\r\n"
    talk = Talk(dispatcher)
    assert not talk.connection._answer_known(odd)
