"""The choice of requests for faults, the responses, the counts and the cache."""

import asyncio
import json
from typing import Any

import pytest

from openimds.dataplane.response_bytes import CountKey
from openimds.facts.pages import PAGES
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
from tests.unit.dataplane.faulty import Line, inject
from tests.unit.dataplane.setup import IDENTITY, INSTANCE, TOKEN, Stage, run, settle

DOCUMENT = "/metadata/instance?api-version=2021-02-01"
GONE = {"effect": "status", "status": 410}


def test_status_fault_has_azures_body_and_is_counted() -> None:
    dispatcher = a_dispatcher()
    injector, _ = inject(dispatcher, {**GONE, "first": 2})
    talk = Talk(dispatcher)
    got = [talk.ask(DOCUMENT) for _ in range(3)]
    assert [reply.status for reply in got] == [410, 410, 200]
    assert got[0].phrase == "Gone"
    assert b"<Code>ResourceNotAvailable</Code>" in got[0].body
    names = ["Content-Length", "Content-Type", "Server", "Date"]
    assert [name for name, _ in got[0].header_list] == names
    assert dispatcher.counts[CountKey("instance", 410, "updating")].requests == 2
    assert injector.played == {"status": 2}
    assert [fault.seen for fault in injector.running] == [3]


def test_proxy_fault_has_the_server_header_of_the_proxy() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "proxy-500"})
    assert Talk(dispatcher).send(request(TOKEN, headers={"Metadata": "true"})) == (
        b"HTTP/1.1 500 Internal Server Error\r\n"
        b"Content-Length: 21\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Server: Microsoft-IIS/10.0\r\n"
        b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n\r\n"
        b"Internal Server Error"
    )


def test_named_page_is_sent_byte_by_byte() -> None:
    dispatcher = a_dispatcher()
    injector, _ = inject(dispatcher, {"effect": "response", "page": "proxy-504", "nth": 1})
    talk = Talk(dispatcher)
    body = PAGES["proxy-504"].body.encode()
    assert talk.send(request(TOKEN, headers={"Metadata": "true"})) == (
        b"HTTP/1.1 504 Gateway Timeout\r\n"
        b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n"
        b"Content-Length: %d\r\n"
        b"Server: proxy\r\n"
        b"Via: 1.1 proxy\r\n\r\n%b" % (len(body), body)
    )
    assert talk.ask(DOCUMENT).status == 200
    assert dispatcher.counts[CountKey("token", 504, "")].requests == 1
    assert injector.played == {"response": 1}


DATE = b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n"


@pytest.mark.parametrize(
    "members, head, body",
    [
        ({"page": "empty-200"}, b"200 OK\r\n%bContent-Length: 0\r\n" % DATE, b""),
        (
            {"page": "agent-405"},
            b"405 Method Not Allowed\r\n%bContent-Length: 18\r\n"
            b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" % DATE,
            b"Method Not Allowed",
        ),
        (
            {"status": 599, "body_base64": "/wA=", "content_type": "x/y", "headers": ["A: é, 1"]},
            b"599 \r\n%bContent-Type: x/y\r\nContent-Length: 2\r\nA: \xc3\xa9, 1\r\n" % DATE,
            b"\xff\x00",
        ),
        (
            {"status": 204, "headers": ["Retry-After: 1"]},
            b"204 No Content\r\n%bRetry-After: 1\r\n" % DATE,
            b"",
        ),
        ({"status": 304}, b"304 Not Modified\r\n%b" % DATE, b""),
    ],
)
def test_own_response_is_sent_byte_by_byte(
    members: dict[str, Any], head: bytes, body: bytes
) -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "response", **members, "first": 1})
    data = Talk(dispatcher).send(request(DOCUMENT, headers={"Metadata": "true"}) * 2)
    expected = b"HTTP/1.1 %b\r\n%b" % (head, body)
    assert data[: len(expected)] == expected
    assert data[len(expected) :].startswith(b"HTTP/1.1 200 OK\r\n")  # The connection goes on.


def test_page_that_closes_is_the_last_of_its_connection() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "response", "page": "container-403", "first": 1})
    talk = Talk(dispatcher)
    page = PAGES["container-403"]
    assert talk.send(request(DOCUMENT, headers={"Metadata": "true"}) * 2) == (
        b"HTTP/1.1 403 %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n%b"
        % (page.reason.encode(), DATE, len(page.body), page.body.encode())
    )
    assert talk.is_closed


@pytest.mark.parametrize(
    "page, words",
    [
        ("agent-403", b"403 Forbidden"),
        ("agent-421", b"421 Misdirected Request"),
        ("agent-500", b"500 Internal Server Error"),
        ("agent-502", b"502 Bad Gateway"),
    ],
)
def test_page_of_the_agent_ends_the_connection(page: str, words: bytes) -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "response", "page": page, "first": 1})
    talk = Talk(dispatcher)
    data = talk.send(request(DOCUMENT, headers={"Metadata": "true"}) * 2)
    assert data == b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\nConnection: close\r\n\r\n" % (
        words,
        DATE,
    )
    assert talk.is_closed


def test_fault_of_imds_leaves_a_probe_its_400() -> None:
    dispatcher = a_dispatcher()
    injector, _ = inject(
        dispatcher,
        {"effect": "status", "status": 410, "nth": 3},
        {"effect": "status", "status": 429, "first": 1},
        {"effect": "status", "status": 503, "header": "absent", "nth": 3},
    )
    talk = Talk(dispatcher)

    def probe() -> int:
        (reply,) = replies(talk.send(request(TOKEN)))
        return reply.status

    # The third request meets the front's 410, probe or not; only the 429 spares probes.
    assert [probe(), talk.ask(DOCUMENT).status, probe(), probe()] == [400, 429, 410, 503]
    assert [(fault.seen, fault.played) for fault in injector.running] == [(4, 1), (1, 1), (3, 1)]


def test_head_has_no_body_under_a_fault() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, GONE)
    data = Talk(dispatcher).send(request(DOCUMENT, "HEAD", {"Metadata": "true"}))
    assert data.startswith(b"HTTP/1.1 410 Gone\r\n")
    assert b"Content-Length: 313\r\n" in data
    assert data.endswith(b"GMT\r\n\r\n")


def test_limits_precede_faults_and_exclude_an_injected_429() -> None:
    now = FakeClock()
    dispatcher = a_dispatcher(allowances=limited(), now=now)
    injector, _ = inject(dispatcher, {"effect": "status", "status": 429, "first": 3})
    talk = Talk(dispatcher)
    assert [talk.ask(DOCUMENT).status for _ in range(7)] == [429] * 3 + [200] * 2 + [429] * 2
    assert dispatcher.throttled == {"general": 2}
    assert injector.played == {"status": 3}
    assert injector.running[0].seen == 5


def test_first_matching_fault_wins_and_all_count() -> None:
    dispatcher = a_dispatcher()
    injector, _ = inject(
        dispatcher,
        {**GONE, "nth": 2},
        {"effect": "status", "status": 503, "first": 3},
        {"effect": "status", "status": 403, "endpoint": "token"},
    )
    talk = Talk(dispatcher)
    assert [talk.ask(DOCUMENT).status for _ in range(4)] == [503, 410, 503, 200]
    assert [(fault.seen, fault.played) for fault in injector.running] == [(4, 1), (4, 2), (0, 0)]


def test_fault_counts_each_named_vm_separately() -> None:
    vms = a_fleet(**{name: {"reach": {"address": [f"10.0.0.{n}"]}} for n, name in enumerate("abc")})
    dispatcher = a_dispatcher(an_index(*vms))
    inject(dispatcher, {**GONE, "nth": 2, "vms": ["a", "b"]})
    talks = [Talk(dispatcher, (f"10.0.0.{n}", 1)) for n in range(3)]
    got = [[talk.ask(DOCUMENT).status for talk in talks] for _ in range(3)]
    assert got == [[200, 200, 200], [410, 410, 200], [200, 200, 200]]


def test_unknown_caller_is_exempt_from_faults() -> None:
    dispatcher = a_dispatcher(an_index(*a_fleet(a={}, b={})))
    injector, _ = inject(dispatcher, GONE, {"effect": "refused"})
    talk = Talk(dispatcher, ("192.0.2.7", 1))
    assert [talk.ask(DOCUMENT).status for _ in range(2)] == [404, 404]
    assert injector.played == {}


def test_fault_window_follows_the_wall_clock() -> None:
    async def play(stage: Stage) -> None:
        inject(stage.dispatcher, {"playbook": "service-update"})
        statuses = []
        for seconds in (0.0, 69.9, 0.1):
            stage.utc_s += seconds
            statuses += [reply.status for reply in replies(stage.send(INSTANCE))]
        assert statuses == [410, 410, 200]

    run(play)


def test_response_cache_is_bypassed_while_faults_are_active() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    data = request(DOCUMENT, headers={"Metadata": "true"})
    cached = dispatcher.fleet_index.by_name["vm-1"].responses.by_request
    first = talk.send(data)
    assert data in cached
    inject(dispatcher, {**GONE, "nth": 2})
    assert data not in cached
    assert [reply.status for _ in range(3) for reply in replies(talk.send(data))] == [200, 410, 200]
    assert data not in cached
    dispatcher.set_faults(None)
    again = talk.send(data)
    assert data in cached
    del talk.connection._parser
    assert len(talk.send(data)) == len(again) == len(first)


def test_unaffected_response_is_cached_under_faults() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {**GONE, "endpoint": "token"})
    talk = Talk(dispatcher)
    talk.ask(DOCUMENT)
    (cached,) = dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values()
    talk.ask(DOCUMENT)
    assert [*dispatcher.fleet_index.by_name["vm-1"].responses.by_request.values()] == [cached]
    assert cached.count.requests == 2


@pytest.mark.parametrize(
    "fault, status",
    [
        (GONE, 410),
        ({"effect": "unknown-version", "newest": "2020-10-01"}, 400),
        ({"effect": "missing-fields", "fields": ["network"]}, 200),
        ({"effect": "stale-document"}, 200),
    ],
)
def test_substituted_response_is_not_cached(fault: dict[str, object], status: int) -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, fault)
    assert Talk(dispatcher).ask(DOCUMENT).status == status
    assert dispatcher.fleet_index.by_name["vm-1"].responses.by_request == {}


def test_stale_document_dates_from_when_the_fault_was_set() -> None:
    fleet_index = an_index(*a_fleet(**{"vm-1": {"compute": {"tags": {"env": "old"}}}}))
    dispatcher = a_dispatcher(fleet_index)
    inject(dispatcher, {"effect": "stale-document", "first": 1})
    fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-1": {"compute": {"tags": {"env": "new"}}}})))
    talk = Talk(dispatcher)
    got = [json.loads(talk.ask(DOCUMENT).body)["compute"]["tags"] for _ in range(2)]
    assert got == ["env:old", "env:new"]


def test_stale_document_fault_ignores_a_newer_vm() -> None:
    fleet_index = an_index(*a_fleet(**{"vm-1": {}}))
    dispatcher = a_dispatcher(fleet_index)
    injector, _ = inject(dispatcher, {"effect": "stale-document"})
    fleet_index.apply(fleet_index.plan(a_fleet(**{"vm-2": {}}), ["vm-1"]))
    assert json.loads(Talk(dispatcher).ask(DOCUMENT).body)["compute"]["name"] == "vm-2"
    assert injector.played == {"stale-document": 1}


def test_forged_token_is_made_and_not_cached() -> None:
    async def play(stage: Stage) -> None:
        needs: list[PendingToken] = []
        make = stage.provider.make

        async def noting(need: PendingToken, now_s: float) -> object:
            needs.append(need)
            return await make(need, now_s)

        stage.provider.make = noting  # type: ignore[method-assign,assignment]
        inject(stage.dispatcher, {"effect": "forged-token", "forgery": "unsigned", "first": 1})
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish(text="forged")
        assert b'"access_token":"forged"' in stage.replies()[0].body
        assert stage.cached() == []
        # The forged token is in the cache of the fake provider: empty it.
        stage.provider.token = None
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish(1, "true")
        assert [need.identity.source for need in needs] == ["forge:unsigned", "local"]
        assert b'"access_token":"true"' in stage.replies()[0].body
        assert len(stage.cached()) == 1

    run(play)


def test_edited_token_is_the_true_one_and_not_cached() -> None:
    async def play(stage: Stage) -> None:
        edit = {"effect": "edited-token", "drop": ["resource"], "set": ["expires_in=soon"]}
        inject(stage.dispatcher, {**edit, "first": 1})
        stage.send(TOKEN)
        await settle()
        await stage.provider.finish(text="true")
        fields = json.loads(stage.replies()[0].body)
        assert (fields["access_token"], fields["expires_in"]) == ("true", "soon")
        assert "resource" not in fields
        assert stage.cached() == []
        (whole,) = replies(stage.send(TOKEN))
        assert json.loads(whole.body)["resource"] == "https://a"

    run(play)


def test_faulty_attested_document_uses_the_cached_signature() -> None:
    async def play(stage: Stage) -> None:
        from openimds.protocol.pending import Signature

        stage.provider.signature = Signature("c2ln", stage.utc_s + 300)
        inject(stage.dispatcher, {"effect": "attested-document"})
        target = "/metadata/attested/document?api-version=2021-02-01"
        (reply,) = replies(stage.send(target))
        assert json.loads(reply.body)["signature"] == "c2ln"
        assert stage.cached() == []

    run(play)


def test_pending_tokens_are_bounded_under_faults() -> None:
    async def play(stage: Stage) -> None:
        inject(stage.dispatcher, {"effect": "delay", "delay_s": 1})
        lines = [Talk(stage.dispatcher) for _ in range(6)]
        asked = request(TOKEN, headers={"Metadata": "true"})
        sent = [line.send(asked) for line in lines]
        await settle()
        # The sixth is throttled, and delayed as well.
        assert sent == [b""] * 6
        assert len(stage.provider.futures) == 5
        for future in stage.provider.futures:
            future.cancel()

    run(play, allowances=limited())


def test_refused_fault_resets_a_new_connection() -> None:
    dispatcher = a_dispatcher(an_index(*a_fleet(**{"vm-1": IDENTITY})))
    injector, _ = inject(dispatcher, {"effect": "refused", "until_s": 5})
    line = Line(dispatcher)
    assert line.state() == "reset"
    assert len(dispatcher.connections) == 0
    assert injector.played == {"refused": 1}
    dispatcher.utc = lambda: 2e9
    assert Line(dispatcher).ask(DOCUMENT).status == 200


def test_refused_fault_resets_an_open_connection() -> None:
    dispatcher = a_dispatcher()
    line = Line(dispatcher)
    assert line.ask(DOCUMENT).status == 200
    injector, _ = inject(dispatcher, {"effect": "refused"})
    assert line.send(request(DOCUMENT)) == b""
    assert line.state() == "reset"
    assert injector.played == {"refused": 1}
    # No request was answered.
    assert sum(count.requests for count in dispatcher.counts.values()) == 1


def test_refused_fault_of_another_vm_is_ignored() -> None:
    dispatcher = a_dispatcher()
    inject(dispatcher, {"effect": "refused", "vms": ["other"]})
    assert Line(dispatcher).ask(DOCUMENT).status == 200


def test_call_later_defaults_to_the_running_loop() -> None:
    async def play() -> list[str]:
        calls: list[str] = []
        a_dispatcher().call_later(0, lambda: calls.append("now"))
        timer = a_dispatcher().call_later(0, lambda: calls.append("never"))
        timer.cancel()
        await asyncio.sleep(0.001)
        return calls

    assert asyncio.run(play()) == ["now"]


def test_fault_of_a_source_spares_the_primary_address() -> None:
    addresses = [{"privateIpAddress": "10.0.0.4"}, {"privateIpAddress": "10.0.0.5"}]
    fleet = a_fleet(a={"network": {"interface": [{"ipv4": {"ipAddress": addresses}}]}})
    dispatcher = a_dispatcher(an_index(*fleet, *a_fleet(b={})))
    inject(dispatcher, {"effect": "status", "status": 500, "source": "secondary"})
    got = [
        Talk(dispatcher, (address, 5)).ask(DOCUMENT).status for address in ("10.0.0.4", "10.0.0.5")
    ]
    assert got == [200, 500]
