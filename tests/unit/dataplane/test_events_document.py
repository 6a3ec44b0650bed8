"""Responses with scheduled-events documents, and to approvals."""

import asyncio

from openimds.dataplane.response_bytes import CountKey
from openimds.facts.versions import SCHEDULED_EVENTS
from openimds.protocol.pending import (
    Approved,
    EventsDocument,
    Failed,
    Pending,
    PendingApproval,
    PendingEventsDocument,
    Result,
)
from tests.support.talk import (
    DEFAULT_GROUP,
    UTC_S,
    Talk,
    a_dispatcher,
    a_fleet,
    an_index,
    replies,
)

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
ID = "51941B56-8080-45AC-81AE-8BDA818F5958"


class EventsProvider:
    """Has one events document per scope, and keeps the approvals it gets."""

    def __init__(self) -> None:
        self.documents: dict[str, EventsDocument] = {}
        self.approved: list[PendingApproval] = []
        self.looks = 0

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if not isinstance(need, PendingEventsDocument):
            return None
        self.looks += 1
        return self.documents.setdefault(need.scope, EventsDocument(b'{"DocumentIncarnation":0}'))

    async def make(self, need: Pending, now_s: float) -> Result:
        assert isinstance(need, PendingApproval)
        self.approved.append(need)
        return Approved() if ID in need.event_ids else Failed("malformed_events")


def test_events_document_is_rendered_again_only_when_replaced() -> None:
    provider, utc_s = EventsProvider(), UTC_S
    dispatcher = a_dispatcher(provider=provider)
    dispatcher.utc = lambda: utc_s
    talk = Talk(dispatcher)
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":0}'
    reply = talk.ask(EVENTS)
    cached = dispatcher.fleet_index.by_name["vm-1"].responses.by_request
    bytes_before = {id(response.after) for response in cached.values()}
    utc_s += 1000
    assert talk.ask(EVENTS).body == reply.body
    assert {id(response.after) for response in cached.values()} == bytes_before
    provider.documents["vm:vm-1"] = EventsDocument(b'{"DocumentIncarnation":1}')
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":1}'
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":1}'
    assert dispatcher.counts[CountKey("scheduledevents", 200, "")].requests == 5


def test_known_document_is_not_sent_again() -> None:
    provider = EventsProvider()
    provider.documents["vm:vm-1"] = EventsDocument(b'{"DocumentIncarnation":1}', "1")
    dispatcher = a_dispatcher(provider=provider)
    talk = Talk(dispatcher)
    headers = {"Metadata": "true", "If-None-Match": "1"}
    assert talk.ask(EVENTS).headers["ETag"] == "1"
    for _ in range(2):
        reply = talk.ask_raw(EVENTS, "GET", headers)
        assert (reply.status, reply.body) == (304, b"")
        assert [name for name, _ in reply.header_list] == [
            "Server",
            "x-ms-request-id",
            "Date",
            "ETag",
        ]
    provider.documents["vm:vm-1"] = EventsDocument(b'{"DocumentIncarnation":2}', "2")
    changed = talk.ask_raw(EVENTS, "GET", headers)
    assert (changed.status, changed.headers["ETag"]) == (200, "2")
    assert changed.body == b'{"DocumentIncarnation":2}'
    assert dispatcher.counts[CountKey("scheduledevents", 304, "")].requests == 2


def test_condition_is_answered_by_the_known_bytes() -> None:
    provider = EventsProvider()
    provider.documents["vm:vm-1"] = EventsDocument(b'{"DocumentIncarnation":1}', "1")
    dispatcher = a_dispatcher(provider=provider)
    talk = Talk(dispatcher)
    conditional = {"Metadata": "true", "If-None-Match": '"1"'}
    seen = []
    for incarnation in (1, 1, 2, 2, 1):
        if provider.documents["vm:vm-1"].etag != str(incarnation):
            body = b'{"DocumentIncarnation":%d}' % incarnation
            provider.documents["vm:vm-1"] = EventsDocument(body, str(incarnation))
        reply = talk.ask_raw(EVENTS, "GET", conditional)
        seen.append((reply.status, reply.headers["ETag"], reply.body))
        assert talk.ask(EVENTS).status == 200, "the same path without the condition"
    assert seen == [
        (304, "1", b""),
        (304, "1", b""),
        (200, "2", b'{"DocumentIncarnation":2}'),
        (200, "2", b'{"DocumentIncarnation":2}'),
        (304, "1", b""),
    ]
    counts = dispatcher.counts
    assert counts[CountKey("scheduledevents", 304, "")].requests == 3
    assert counts[CountKey("scheduledevents", 200, "")].requests == 7
    known = dispatcher.fleet_index.by_name["vm-1"].responses.by_request
    assert any(isinstance(key, bytes) and b'If-None-Match: "1"' in key for key in known)


def test_members_of_one_scope_see_one_document() -> None:
    vms = a_fleet(
        a={"availabilitySet": "as", "reach": {"address": ["10.0.0.1"]}},
        b={"availabilitySet": "AS", "reach": {"address": ["10.0.0.2"]}},
    )
    provider = EventsProvider()
    dispatcher = a_dispatcher(an_index(*vms), provider=provider)
    for number in (1, 2):
        assert Talk(dispatcher, (f"10.0.0.{number}", 1)).ask(EVENTS).status == 200
    assert [*provider.documents] == [f"set:{DEFAULT_GROUP}/as"]


def approve(talk: Talk, event_id: str, version: str = "2020-07-01") -> bytes:
    body = f'{{"StartRequests":[{{"EventId":"{event_id}"}}]}}'
    head = f"POST /metadata/scheduledevents?api-version={version} HTTP/1.1\r\nHost: a\r\n"
    return talk.send(
        f"{head}Metadata: true\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )


def test_approval_waits_for_its_result_and_is_never_cached() -> None:
    async def play() -> None:
        provider = EventsProvider()
        talk = Talk(a_dispatcher(provider=provider))
        for times in (1, 2):
            assert approve(talk, ID) == b""
            for _ in range(5):
                await asyncio.sleep(0)
            (reply,) = replies(talk.socket.take())
            assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", "0")
            assert len(provider.approved) == times
        approve(talk, ID.replace("5", "6"))
        for _ in range(5):
            await asyncio.sleep(0)
        (reply,) = replies(talk.socket.take())
        assert (reply.status, reply.body) == (400, b'{ "error": "Bad request" }')

    asyncio.run(play())


def test_every_listed_version_is_served() -> None:
    talk = Talk(a_dispatcher(provider=EventsProvider()))
    for row in SCHEDULED_EVENTS:
        assert talk.ask(f"/metadata/scheduledevents?api-version={row.name}").status == 200


def test_clear_responses_empties_the_cache() -> None:
    dispatcher = a_dispatcher(provider=EventsProvider())
    talk = Talk(dispatcher)
    talk.ask(EVENTS)
    generation = dispatcher.fleet_index.generation
    assert len(dispatcher.fleet_index.response_cache) == 1
    dispatcher.fleet_index.clear_responses()
    assert (len(dispatcher.fleet_index.response_cache), dispatcher.fleet_index.generation) == (
        0,
        generation + 1,
    )
    assert talk.ask(EVENTS).status == 200
