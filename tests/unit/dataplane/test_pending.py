"""Responses that wait for pending work: order, limits, time and caching."""

import asyncio

from openimds.dataplane.bounds import Bounds
from openimds.dataplane.response_bytes import CountKey
from openimds.fleet.vm_entry import Allowance
from openimds.protocol.pending import Approved, Failed
from tests.support.talk import (
    Talk,
    a_fleet,
    replies,
    request,
)
from tests.unit.dataplane.setup import INSTANCE, TOKEN, Stage, run, settle


def test_pending_response_pauses_reading_until_it_is_ready() -> None:
    async def play(stage: Stage) -> None:
        assert stage.send(TOKEN) == b""
        assert stage.is_paused()
        await settle()
        await stage.provider.finish()
        (reply,) = stage.replies()
        assert (reply.status, b'"access_token":"jwt"' in reply.body) == (200, True)
        assert "x-ms-request-id" in reply.headers
        assert not stage.is_paused()
        assert stage.dispatcher.counts[CountKey("token", 200, "")].requests == 1

    run(play)


def test_pipelined_requests_wait_behind_a_pending_response() -> None:
    async def play(stage: Stage) -> None:
        again = f"{TOKEN}&bypass_cache=true"
        assert replies(stage.send(INSTANCE, TOKEN, INSTANCE, again, INSTANCE))[0].body == b"vm-1"
        await settle()
        assert stage.replies() == []
        assert len(stage.provider.futures) == 1, "the second token is not begun"
        await stage.provider.finish(0, "first")
        bodies = [reply.body for reply in stage.replies()]
        assert [b"first" in bodies[0], *bodies[1:]] == [True, b"vm-1"]
        await settle()
        await stage.provider.finish(1, "second")
        bodies = [reply.body for reply in stage.replies()]
        assert [b"second" in bodies[0], *bodies[1:]] == [True, b"vm-1"]

    run(play)


def test_bytes_during_a_wait_are_answered_in_order() -> None:
    async def play(stage: Stage) -> None:
        stage.send(INSTANCE)
        stage.send(TOKEN)
        assert stage.send(INSTANCE) == b""
        await settle()
        await stage.provider.finish()
        assert [reply.body[:5] for reply in stage.replies()] == [b'{"acc', b"vm-1"]

    run(play)


def test_failing_provider_is_reported_and_answered_with_500() -> None:
    async def play(stage: Stage) -> None:
        errors: list[BaseException] = []
        stage.dispatcher.on_internal_error = errors.append
        stage.send(TOKEN, INSTANCE)
        await settle()
        failure = RuntimeError("ours")
        stage.provider.futures[0].set_exception(failure)
        await settle()
        first, second = stage.replies()
        assert (first.status, second.status) == (500, 200)
        assert b'"error":"unknown"' in first.body
        assert errors == [failure]

    run(play)


def test_sixth_pending_request_of_a_vm_is_throttled() -> None:
    async def play(stage: Stage) -> None:
        talks = [Talk(stage.dispatcher) for _ in range(6)]
        data = request(TOKEN, headers={"Metadata": "true"})
        sent = [talk.send(data) for talk in talks]
        assert sent[:5] == [b""] * 5
        assert replies(sent[5])[0].status == 429
        assert stage.dispatcher.throttled == {"identity": 1}
        await settle()
        await stage.provider.finish(0)
        assert b"jwt" in talks[0].socket.take()
        stage.provider.token = None
        assert talks[5].send(request(f"{TOKEN}&x=1", headers={"Metadata": "true"})) == b""
        for number in range(1, 5):
            await stage.provider.finish(number)
        await settle()
        await stage.provider.finish(5)

    run(play, allowances={"identity": Allowance(20, 0, 5)})


def test_throttled_request_makes_no_token() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        assert replies(stage.send(f"{TOKEN}&x=1"))[:0] == []
        await stage.provider.finish()
        assert [reply.status for reply in stage.replies()] == [200, 429]

    run(play, allowances={"identity": Allowance(1)})


def test_response_of_a_changed_vm_is_sent_but_not_cached() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        fleet_index = stage.dispatcher.fleet_index
        fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-1": {}})))
        await stage.provider.finish()
        assert stage.replies()[0].status == 200
        assert fleet_index.by_name["vm-1"].responses.by_request == {}
        (reply,) = replies(stage.send(TOKEN))
        assert b"Identity not found" in reply.body

    run(play)


def test_connection_close_waits_for_the_pending_response() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN, Connection="close")
        await settle()
        assert not stage.talk.is_closed
        await stage.provider.finish()
        (reply,) = stage.replies()
        assert reply.headers["Connection"] == "close"
        assert stage.talk.is_closed

    run(play)


EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"


def test_lost_connection_cancels_its_pending_work() -> None:
    async def play(stage: Stage) -> None:
        # Five at a time may be pending: each place is free again.
        for number in range(7):
            talk = Talk(stage.dispatcher)
            talk.send(request(TOKEN, headers={"Metadata": "true"}))
            await settle()
            talk.lose()
            await settle()
            assert stage.provider.futures[number].cancelled()
            assert talk.socket.take() == b""
        assert CountKey("token", 200, "") not in stage.dispatcher.counts
        assert stage.dispatcher.throttled == {}

    run(play)


def test_lost_connection_leaves_work_that_changes_something() -> None:
    async def play(stage: Stage) -> None:
        body = '{"StartRequests":[{"EventId":"51941B56-8080-45AC-81AE-8BDA818F5958"}]}'
        length = f"Content-Length: {len(body)}".encode()
        head = request(EVENTS, "POST", {"Metadata": "true"}).replace(b"Content-Length: 0", length)
        stage.talk.send(head + body.encode())
        await settle()
        stage.talk.lose()
        await settle()
        assert not stage.provider.futures[0].cancelled()
        stage.provider.futures[0].set_result(Approved())
        await settle()
        assert stage.talk.socket.take() == b""
        assert stage.dispatcher.counts[CountKey("scheduledevents", 200, "")].requests == 1

    run(play)


def test_drain_waits_for_the_pending_response() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.dispatcher.connections.drain()
        assert not stage.talk.is_closed
        await stage.provider.finish()
        assert stage.replies()[0].status == 200
        assert stage.talk.is_closed

    run(play)


def test_pending_response_is_aborted_after_answer_s() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.now.now_s += 30
        stage.dispatcher.connections.sweep(stage.now())
        assert not stage.talk.is_closed
        stage.now.now_s += 31
        stage.dispatcher.connections.sweep(stage.now())
        assert stage.talk.socket.is_closed
        await settle()
        assert stage.provider.futures[0].cancelled()

    run(play, bounds=Bounds(answer_s=60))


def test_full_write_buffer_keeps_reading_paused_after_a_wait() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        stage.talk.socket.room = 10
        await stage.provider.finish()
        assert len(stage.talk.socket.take()) == 10
        assert stage.is_paused(), "the peer still does not read"
        stage.talk.socket.room = 1 << 20
        stage.talk.send(b"")
        assert not stage.is_paused()

    run(play)


def test_half_request_behind_a_wait_has_the_time_of_a_head() -> None:
    async def play(stage: Stage) -> None:
        head = request(INSTANCE, headers={"Metadata": "true"})[:40]
        stage.talk.send(request(TOKEN, headers={"Metadata": "true"}) + head)
        await settle()
        await stage.provider.finish()
        stage.replies()
        stage.now.now_s += 11
        stage.dispatcher.connections.sweep(stage.now())
        assert stage.replies()[0].status == 408

    run(play)


def test_cancelled_work_aborts_the_connection() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settle()
        assert stage.talk.socket.is_closed

    run(play)


def test_connect_closes_the_connection() -> None:
    async def play(stage: Stage) -> None:
        stage.talk.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n\r\n")
        assert stage.talk.is_closed

    run(play)


def test_token_of_a_cloud_shell_keeps_its_form_in_the_cache() -> None:
    async def play(stage: Stage) -> None:
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish()
        (first,) = stage.replies()
        (second,) = replies(stage.send(TOKEN))
        assert b'"refresh_token":""' in first.body
        assert first.body == second.body
        assert len(stage.provider.futures) == 1

    run(play, vm={"kind": "cloud-shell"})


def test_failed_token_of_windows_app_service_is_in_pascal_case() -> None:
    async def play(stage: Stage) -> None:
        stage.dispatcher.secret_of = lambda _: "x"
        target = "/msi/token?resource=r://s&api-version=2019-08-01"
        stage.send(target, **{"X-IDENTITY-HEADER": "x"})
        await settle()
        stage.provider.futures[0].set_result(Failed("server_error"))
        await settle()
        (reply,) = stage.replies()
        assert (reply.status, reply.body[:19]) == (500, b'{"StatusCode":500,"')

    run(play, vm={"compute": {"osType": "Windows"}})
