"""Prepared replies of what is held as an object: scheduled-events documents, and approvals."""

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
from tests.support.talk import UTC_S, Talk, a_dispatcher, a_fleet, an_index, replies

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
ID = "51941B56-8080-45AC-81AE-8BDA818F5958"


class Board:
    """Holds one document a scope, and notes approvals."""

    def __init__(self) -> None:
        self.shown: dict[str, EventsDocument] = {}
        self.approved: list[PendingApproval] = []
        self.looks = 0

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if not isinstance(need, PendingEventsDocument):
            return None
        self.looks += 1
        return self.shown.setdefault(need.scope, EventsDocument(b'{"DocumentIncarnation":0}'))

    async def make(self, need: Pending, now_s: float) -> Result:
        assert isinstance(need, PendingApproval)
        self.approved.append(need)
        return Approved() if ID in need.event_ids else Failed("malformed_events")


def test_a_new_document_is_seen_with_the_next_request_and_an_old_one_is_not_written_again() -> None:
    board, utc_s = Board(), UTC_S
    dispatcher = a_dispatcher(provider=board)
    dispatcher.utc = lambda: utc_s
    talk = Talk(dispatcher)
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":0}'
    reply = talk.ask(EVENTS)
    head = dispatcher.fleet_index.by_name["vm-1"].responses.by_request
    bytes_before = {id(one.after) for one in head.values()}
    utc_s += 1000
    assert talk.ask(EVENTS).body == reply.body
    assert {id(one.after) for one in head.values()} == bytes_before
    board.shown["vm:vm-1"] = EventsDocument(b'{"DocumentIncarnation":1}')
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":1}'
    assert talk.ask(EVENTS).body == b'{"DocumentIncarnation":1}'
    assert dispatcher.counts[CountKey("scheduledevents", 200, "")].requests == 5


def test_members_of_one_scope_see_one_document() -> None:
    vms = a_fleet(
        a={"availabilitySet": "as", "reach": {"address": ["10.0.0.1"]}},
        b={"availabilitySet": "AS", "reach": {"address": ["10.0.0.2"]}},
    )
    board = Board()
    dispatcher = a_dispatcher(an_index(*vms), provider=board)
    for number in (1, 2):
        assert Talk(dispatcher, (f"10.0.0.{number}", 1)).ask(EVENTS).status == 200
    assert [*board.shown] == ["set:as"]


def approve(talk: Talk, event_id: str, version: str = "2020-07-01") -> bytes:
    body = f'{{"StartRequests":[{{"EventId":"{event_id}"}}]}}'
    head = f"POST /metadata/scheduledevents?api-version={version} HTTP/1.1\r\nHost: a\r\n"
    return talk.send(
        f"{head}Metadata: true\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )


def test_an_approval_waits_until_it_is_noted_and_is_asked_anew_each_time() -> None:
    async def play() -> None:
        board = Board()
        talk = Talk(a_dispatcher(provider=board))
        for times in (1, 2):
            assert approve(talk, ID) == b""
            for _ in range(5):
                await asyncio.sleep(0)
            (said,) = replies(talk.transport.take())
            assert (said.status, said.body, said.headers["Content-Length"]) == (200, b"", "0")
            assert len(board.approved) == times
        approve(talk, ID.replace("5", "6"))
        for _ in range(5):
            await asyncio.sleep(0)
        (said,) = replies(talk.transport.take())
        assert (said.status, said.body) == (400, b'{ "error": "Bad request" }')

    asyncio.run(play())


def test_every_version_of_the_list_is_served() -> None:
    talk = Talk(a_dispatcher(provider=Board()))
    for row in SCHEDULED_EVENTS:
        assert talk.ask(f"/metadata/scheduledevents?api-version={row.name}").status == 200


def test_replies_are_prepared_anew_when_the_clock_was_set() -> None:
    dispatcher = a_dispatcher(provider=Board())
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
