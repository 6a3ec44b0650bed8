"""Which requests faults are played on, what is said instead, and what is counted and kept."""

import asyncio
import json

import pytest

from openimds.dataplane.response_bytes import CountKey
from openimds.protocol.pending import PendingToken
from tests.support.talk import (
    FakeClock,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    limited,
    replies,
    request,
)
from tests.unit.dataplane.faulty import Line, trouble
from tests.unit.dataplane.setup import HELD, INSTANCE, TOKEN, Stage, run, settle

DOCUMENT = "/metadata/instance?api-version=2021-02-01"
GONE = {"effect": "status", "status": 410}


def test_a_status_is_azures_own_and_counts_as_a_refusal_and_as_a_fault() -> None:
    dispatcher = a_dispatcher()
    engine, _ = trouble(dispatcher, {**GONE, "first": 2})
    talk = Talk(dispatcher)
    got = [talk.ask(DOCUMENT) for _ in range(3)]
    assert [reply.status for reply in got] == [410, 410, 200]
    assert (got[0].phrase, got[0].body) == ("Gone", b'{ "error": "Gone" }')
    names = ["Content-Type", "Server", "x-ms-request-id", "Date", "Content-Length"]
    assert [name for name, _ in got[0].header_list] == names
    assert dispatcher.counts[CountKey("instance", 410, "updating")].requests == 2
    assert engine.played == {"status": 2}
    assert [one.seen for one in engine.running] == [3]


def test_what_stands_before_imds_has_a_server_of_its_own() -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, {"effect": "proxy-500"})
    assert Talk(dispatcher).send(request(TOKEN, headers={"Metadata": "true"})) == (
        b"HTTP/1.1 500 Internal Server Error\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Server: Microsoft-IIS/10.0\r\n"
        b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n"
        b"Content-Length: 21\r\n\r\n"
        b"Internal Server Error"
    )


def test_a_head_has_no_body_whatever_goes_wrong() -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, GONE)
    data = Talk(dispatcher).send(request(DOCUMENT, "HEAD", {"Metadata": "true"}))
    assert data.startswith(b"HTTP/1.1 410 Gone\r\n")
    assert data.endswith(b"Content-Length: 19\r\n\r\n")


def test_limits_are_asked_first_and_a_429_on_request_is_no_throttling() -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(allowances=limited(), now=now)
    engine, _ = trouble(dispatcher, {"effect": "status", "status": 429, "first": 3})
    talk = Talk(dispatcher)
    assert [talk.ask(DOCUMENT).status for _ in range(7)] == [429] * 3 + [200] * 2 + [429] * 2
    assert dispatcher.throttled == {"general": 2}
    assert engine.played == {"status": 3}
    assert engine.running[0].seen == 5


def test_the_first_of_several_is_played_and_all_of_them_count() -> None:
    dispatcher = a_dispatcher()
    engine, _ = trouble(
        dispatcher,
        {**GONE, "nth": 2},
        {"effect": "status", "status": 503, "first": 3},
        {"effect": "status", "status": 403, "endpoint": "token"},
    )
    talk = Talk(dispatcher)
    assert [talk.ask(DOCUMENT).status for _ in range(4)] == [503, 410, 503, 200]
    assert [(one.seen, one.played) for one in engine.running] == [(4, 1), (4, 2), (0, 0)]


def test_each_vm_is_counted_for_itself_and_only_those_that_are_named_suffer() -> None:
    vms = a_fleet(**{name: {"reach": {"address": [f"10.0.0.{n}"]}} for n, name in enumerate("abc")})
    dispatcher = a_dispatcher(an_index(*vms))
    trouble(dispatcher, {**GONE, "nth": 2, "vms": ["a", "b"]})
    talks = [Talk(dispatcher, (f"10.0.0.{n}", 1)) for n in range(3)]
    got = [[talk.ask(DOCUMENT).status for talk in talks] for _ in range(3)]
    assert got == [[200, 200, 200], [410, 410, 200], [200, 200, 200]]


def test_a_stranger_gets_what_strangers_get() -> None:
    dispatcher = a_dispatcher(an_index(*a_fleet(a={}, b={})))
    engine, _ = trouble(dispatcher, GONE, {"effect": "refused"})
    talk = Talk(dispatcher, ("192.0.2.7", 1))
    assert [talk.ask(DOCUMENT).status for _ in range(2)] == [404, 404]
    assert engine.played == {}


def test_a_window_is_that_of_the_clock_of_guests() -> None:
    async def play(stage: Stage) -> None:
        trouble(stage.dispatcher, {"playbook": "service-update"})
        statuses = []
        for seconds in (0.0, 69.9, 0.1):
            stage.utc_s += seconds
            statuses += [reply.status for reply in replies(stage.send(INSTANCE))]
        assert statuses == [410, 410, 200]

    run(play)


def test_while_faults_are_set_nothing_is_known_by_its_bytes_and_afterwards_it_is_again() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    data = request(DOCUMENT, headers={"Metadata": "true"})
    kept = dispatcher.fleet_index.by_name["vm-1"].responses.by_request
    first = talk.send(data)
    assert data in kept
    trouble(dispatcher, {**GONE, "nth": 2})
    assert data not in kept
    assert [reply.status for _ in range(3) for reply in replies(talk.send(data))] == [200, 410, 200]
    assert data not in kept
    dispatcher.set_faults(None)
    again = talk.send(data)
    assert data in kept
    del talk.connection._parser
    assert len(talk.send(data)) == len(again) == len(first)


def test_what_goes_right_among_faults_is_prepared_once() -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, {**GONE, "endpoint": "token"})
    talk = Talk(dispatcher)
    talk.ask(DOCUMENT)
    (kept,) = dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values()
    talk.ask(DOCUMENT)
    assert [*dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values()] == [kept]
    assert kept.count.requests == 2


@pytest.mark.parametrize(
    "fault, status",
    [
        (GONE, 410),
        ({"effect": "unknown-version", "newest": "2020-10-01"}, 400),
        ({"effect": "missing-fields", "fields": ["network"]}, 200),
        ({"effect": "stale-document"}, 200),
    ],
)
def test_what_was_said_instead_is_not_kept(fault: dict[str, object], status: int) -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, fault)
    assert Talk(dispatcher).ask(DOCUMENT).status == status
    assert dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}


def test_a_stale_document_is_that_of_when_the_fault_was_set() -> None:
    fleet_index = an_index(*a_fleet(**{"vm-1": {"compute": {"tags": {"env": "old"}}}}))
    dispatcher = a_dispatcher(fleet_index)
    trouble(dispatcher, {"effect": "stale-document", "first": 1})
    fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-1": {"compute": {"tags": {"env": "new"}}}})))
    talk = Talk(dispatcher)
    got = [json.loads(talk.ask(DOCUMENT).body)["compute"]["tags"] for _ in range(2)]
    assert got == ["env:old", "env:new"]


def test_a_vm_that_came_after_a_fault_was_set_has_no_earlier_document() -> None:
    fleet_index = an_index(*a_fleet(**{"vm-1": {}}))
    dispatcher = a_dispatcher(fleet_index)
    engine, _ = trouble(dispatcher, {"effect": "stale-document"})
    fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-2": {}}), ["vm-1"]))
    assert json.loads(Talk(dispatcher).ask(DOCUMENT).body)["compute"]["name"] == "vm-2"
    assert engine.played == {"stale-document": 1}


def test_a_forged_token_is_asked_for_made_and_not_kept() -> None:
    async def play(stage: Stage) -> None:
        needs: list[PendingToken] = []
        make = stage.bench.make

        async def noting(need: PendingToken, now_s: float) -> object:
            needs.append(need)
            return await make(need, now_s)

        stage.bench.make = noting  # type: ignore[method-assign,assignment]
        trouble(stage.dispatcher, {"effect": "forged-token", "forgery": "unsigned", "first": 1})
        stage.send(TOKEN)
        await settle()
        await stage.bench.end(text="forged")
        assert b'"access_token":"forged"' in stage.said()[0].body
        assert stage.kept() == []
        # What is held by now is told apart by whoever holds it: this one is asked for again.
        stage.bench.response_cache = None
        stage.send(TOKEN)
        await settle()
        await stage.bench.end(1, "true")
        assert [one.identity.source for one in needs] == ["forge:unsigned", "local"]
        assert b'"access_token":"true"' in stage.said()[0].body
        assert len(stage.kept()) == 1

    run(play)


def test_an_attested_document_that_is_held_already_is_said_at_once() -> None:
    async def play(stage: Stage) -> None:
        from openimds.protocol.pending import Signature

        stage.bench.signature = Signature("c2ln", stage.utc_s + 300)
        trouble(stage.dispatcher, {"effect": "attested-document"})
        target = "/metadata/attested/document?api-version=2021-02-01"
        (reply,) = replies(stage.send(target))
        assert json.loads(reply.body)["signature"] == "c2ln"
        assert stage.kept() == []

    run(play)


def test_too_many_tokens_under_way_are_too_many_with_faults_too() -> None:
    async def play(stage: Stage) -> None:
        trouble(stage.dispatcher, {"effect": "delay", "delay_s": 1})
        lines = [Talk(stage.dispatcher) for _ in range(6)]
        asked = request(TOKEN, headers={"Metadata": "true"})
        said = [line.send(asked) for line in lines]
        await settle()
        # The sixth is refused, and late as well.
        assert said == [b""] * 6
        assert len(stage.bench.asked) == 5
        for future in stage.bench.asked:
            future.cancel()

    run(play, allowances=limited())


def test_a_new_connection_meets_nobody() -> None:
    dispatcher = a_dispatcher(an_index(*a_fleet(**{"vm-1": HELD})))
    engine, _ = trouble(dispatcher, {"effect": "refused", "until_s": 5})
    line = Line(dispatcher)
    assert line.state() == "reset"
    assert len(dispatcher.connections) == 1
    line.connection.connection_lost(None)
    assert len(dispatcher.connections) == 0
    assert engine.played == {"refused": 1}
    dispatcher.utc = lambda: 2e9
    assert Line(dispatcher).ask(DOCUMENT).status == 200


def test_an_open_connection_is_reset_by_its_next_request() -> None:
    dispatcher = a_dispatcher()
    line = Line(dispatcher)
    assert line.ask(DOCUMENT).status == 200
    engine, _ = trouble(dispatcher, {"effect": "refused"})
    assert line.send(request(DOCUMENT)) == b""
    assert line.state() == "reset"
    assert engine.played == {"refused": 1}
    # Nobody was answered.
    assert sum(count.requests for count in dispatcher.counts.values()) == 1


def test_who_is_not_refused_is_served() -> None:
    dispatcher = a_dispatcher()
    trouble(dispatcher, {"effect": "refused", "vms": ["other"]})
    assert Line(dispatcher).ask(DOCUMENT).status == 200


def test_the_loops_clock_is_the_one_that_is_used_where_nobody_says_another() -> None:
    async def play() -> list[str]:
        said: list[str] = []
        a_dispatcher().call_later(0, lambda: said.append("now"))
        timer = a_dispatcher().call_later(0, lambda: said.append("never"))
        timer.cancel()
        await asyncio.sleep(0.001)
        return said

    assert asyncio.run(play()) == ["now"]
