"""The bytes of prepared responses, and the stamps in them."""

import json

from openimds.dataplane.response_bytes import (
    CountKey,
    PreparedResponse,
    RequestCount,
    ResponseStamps,
)
from openimds.protocol.response import Response
from tests.support.talk import UTC_S, Talk, a_dispatcher, limited, request
from tests.unit.dataplane.setup import GET, only

INSTANCE = "/metadata/instance?api-version=2021-02-01"
COUNT = RequestCount(CountKey("app_service", 200, ""))


def test_chunked_head_without_body_has_no_chunk() -> None:
    whole = PreparedResponse(Response(b"{}"), "app_service", COUNT)
    head = PreparedResponse(Response(b"{}"), "app_service", COUNT, has_body=False)
    assert whole.after == head.after + b"2\r\n{}\r\n0\r\n\r\n"
    assert b"Transfer-Encoding: chunked\r\n" in head.before + head.between + head.after


def test_date_changes_with_the_second() -> None:
    stamps = ResponseStamps()
    first, same, next_one = (stamps.date(at_s) for at_s in (1.0, 1.9, 2.0))
    assert first == same == b"Thu, 01 Jan 1970 00:00:01 GMT"
    assert next_one == b"Thu, 01 Jan 1970 00:00:02 GMT"


def test_instance_headers_have_the_recorded_order() -> None:
    got = Talk(a_dispatcher()).ask(INSTANCE)
    assert [name for name, _ in got.header_list] == [
        "Content-Type",
        "Server",
        "x-ms-request-id",
        "Date",
        "Content-Length",
    ]
    assert got.headers["Server"] == "IMDS/150.870.65.1854"
    assert got.headers["Date"] == "Sun, 22 Nov 2026 19:54:46 GMT"
    assert int(got.headers["Content-Length"]) == len(got.body)


def test_identity_headers_have_the_recorded_order() -> None:
    got = Talk(a_dispatcher()).ask("/metadata/identity/oauth2/token")
    names = [name for name, _ in got.header_list]
    assert names == ["Content-Type", "Server", "Date", "Content-Length"]


def test_every_response_has_its_own_request_id() -> None:
    talk = Talk(a_dispatcher())
    ids = {talk.ask(INSTANCE).headers["x-ms-request-id"] for _ in range(50)}
    assert len(ids) == 50
    assert all(len(guid) == 36 and guid[14] == "4" and guid[19] in "89ab" for guid in ids)


def test_request_ids_of_all_groups_are_random() -> None:
    talk = Talk(a_dispatcher())
    ids = [talk.ask(INSTANCE).headers["x-ms-request-id"] for _ in range(50)]
    groups = zip(*(guid.split("-") for guid in ids), strict=True)
    assert [len(set(group)) > 40 for group in groups] == [True] * 5


def test_date_header_follows_the_wall_clock() -> None:
    dispatcher = a_dispatcher()
    talk = Talk(dispatcher)
    first = talk.ask(INSTANCE).headers["Date"]
    dispatcher.utc = lambda: UTC_S + 61
    assert (first[-12:], talk.ask(INSTANCE).headers["Date"][-12:]) == (
        "19:54:46 GMT",
        "19:55:47 GMT",
    )


def test_app_service_answers_as_kestrel_in_a_chunk() -> None:
    talk = Talk(a_dispatcher())
    asked = request("/msi/token?api-version=2018-01-01", headers={"X-IDENTITY-HEADER": "x"})
    reply = only(talk.send(asked))
    assert (reply.status, reply.body) == (403, b"")
    assert [name for name, _ in reply.header_list] == [
        "Content-Length",
        "Date",
        "Server",
        "X-CORRELATION-ID",
    ]
    dispatcher = a_dispatcher()
    dispatcher.secret_of = lambda _: "x"
    talk = Talk(dispatcher)
    reply = only(talk.send(asked))
    assert json.loads(reply.body)["error"]["code"] == "UnsupportedApiVersion"
    assert [name for name, _ in reply.header_list] == [
        "Content-Type",
        "Date",
        "Server",
        "Transfer-Encoding",
        "X-CORRELATION-ID",
    ]
    assert (reply.headers["Server"], len(reply.headers["X-CORRELATION-ID"])) == ("Kestrel", 36)
    assert reply.headers["Date"] == "Sun, 22 Nov 2026 19:54:46 GMT"
    assert not talk.is_closed


def test_old_client_of_app_service_gets_no_chunk() -> None:
    dispatcher = a_dispatcher()
    dispatcher.secret_of = lambda _: "x"
    asked = b"GET /msi/token HTTP/1.0\r\nX-IDENTITY-HEADER: x\r\n\r\n"
    reply = only(Talk(dispatcher).send(asked))
    assert reply.header_list[0] == ("Content-Length", str(len(reply.body)))
    assert "Transfer-Encoding" not in reply.headers


def test_throttled_request_has_the_recorded_phrase() -> None:
    talk = Talk(a_dispatcher(allowances=limited()))
    data = b"".join(talk.send(GET) for _ in range(6))
    assert b"HTTP/1.1 429  \r\n" in data


def test_head_is_answered_by_the_front() -> None:
    talk = Talk(a_dispatcher())
    assert talk.send(request(INSTANCE, "HEAD")) == (
        b"HTTP/1.1 400 Bad Request\r\n"
        b"Content-Length: 323\r\n"
        b"Content-Type: text/xml; charset=utf-8\r\n"
        b"Server: Microsoft-IIS/10.0\r\n"
        b"Date: Sun, 22 Nov 2026 19:54:46 GMT\r\n\r\n"
    )
    assert talk.ask("/", "HEAD").headers["Content-Length"] == "323"
    assert not talk.is_closed
