"""Queries for scheduled events, and approvals."""

import json

import pytest
from msgspec.structs import replace

from openimds.facts.versions import catalog
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.pending import (
    Approved,
    EventsDocument,
    Pending,
    PendingApproval,
    PendingEventsDocument,
)
from openimds.protocol.request import Query, parse_query
from openimds.protocol.response import UNTIL_REPLACED, Refusal, Response
from openimds.vm.fleet_file import parse_fleet
from tests.support.talk import DEFAULT_GROUP

NOW_S = 1_795_377_286.0
EVENTS = "/metadata/scheduledevents?api-version="
ID = "51941B56-8080-45AC-81AE-8BDA818F5958"


def asked(target: str, method: str = "GET", body: bytes = b"", *, has_header: bool = True) -> Query:
    return parse_query(method, target.encode(), has_metadata_header=has_header, body=body)


def say(one: Query, **vm: object) -> Response | Refusal | Pending:
    about = parse_fleet({"vms": {"web-1": vm}}).vms["web-1"]
    return handle(one, Subject(about, catalog()), NOW_S)


@pytest.mark.parametrize(
    "vm, scope",
    [
        ({}, "vm:web-1"),
        ({"availabilitySet": "AS-1"}, f"set:{DEFAULT_GROUP}/as-1"),
        (
            {
                "availabilitySet": "AS-1",
                "compute": {"vmScaleSetName": "Pool", "placementGroupId": "F00D"},
            },
            f"group:{DEFAULT_GROUP}/pool/f00d",
        ),
    ],
)
def test_a_get_is_pending_on_the_document_of_its_scope(vm: dict[str, object], scope: str) -> None:
    assert say(asked(EVENTS + "2020-07-01"), **vm) == PendingEventsDocument(
        "web-1", scope, "2020-07-01"
    )


def test_a_document_holds_until_it_is_replaced() -> None:
    one = asked(EVENTS + "2020-07-01")
    need = say(one)
    assert isinstance(need, PendingEventsDocument)
    assert not need.is_once
    reply = resume(one, need, EventsDocument(b"{}"), NOW_S)
    assert reply == Response(b"{}", until_s=UNTIL_REPLACED)


def test_a_document_has_its_incarnation_as_tag() -> None:
    one = parse_query("GET", f"{EVENTS}2020-07-01".encode(), has_metadata_header=True)
    need = PendingEventsDocument("web-1", "vm:web-1", "2020-07-01")
    for asked_for, status in (("", 200), ("7", 304), ('"7"', 304), ("8", 200)):
        reply = resume(replace(one, none_match=asked_for), need, EventsDocument(b"{}", "7"), NOW_S)
        assert isinstance(reply, Response)
        assert (reply.status, reply.headers) == (status, (("ETag", "7"),))
        assert reply.body == (b"{}" if status == 200 else b"")


def test_an_approval_has_an_empty_response() -> None:
    body = json.dumps({"StartRequests": [{"EventId": ID.lower()}]}).encode()
    one = asked(EVENTS + "2020-07-01", "POST", body)
    need = say(one)
    assert need == PendingApproval("web-1", "vm:web-1", (ID.lower(),))
    assert need.is_once
    reply = resume(one, need, Approved(), NOW_S)
    assert isinstance(reply, Response)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.media == "application/json; charset=utf-8"


@pytest.mark.parametrize("body", [b"", b"{", b'{"StartRequests":[]}', b"\xff"])
def test_a_malformed_approval_is_refused(body: bytes) -> None:
    reply = say(asked(EVENTS + "2020-07-01", "POST", body))
    assert isinstance(reply, Refusal)
    assert (reply.status, reply.row.key) == (400, "malformed_events")


@pytest.mark.parametrize(
    "version, key",
    [
        ("2017-03-01", ""),
        ("2017-08-01", "header_missing"),
        ("2020-07-01", "header_missing"),
        ("2017-01-01", "header_missing"),
        ("", "header_missing"),
    ],
)
def test_only_the_preview_needs_no_header(version: str, key: str) -> None:
    reply = say(asked(EVENTS + version, has_header=False))
    assert (reply.row.key if isinstance(reply, Refusal) else "") == key


def test_every_other_endpoint_needs_the_header() -> None:
    for path in ("/metadata/instance", "/metadata", "/nowhere"):
        reply = say(asked(f"{path}?api-version=2017-03-01", has_header=False))
        assert isinstance(reply, Refusal)
        assert reply.row.key in {"header_missing", "not_found"}
