"""The bytes of prepared responses, and the stamps in them."""

from openimds.dataplane.response_bytes import (
    CountKey,
    PreparedResponse,
    RequestCount,
    ResponseStamps,
)
from openimds.protocol.response import Response

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
