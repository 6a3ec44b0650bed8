"""Transcripts by hand, with responses as Azure writes them unless a test differs."""

import json
from typing import Any

from openimds.interop.transcript.exchange import (
    Exchange,
    RecordedRequest,
    RecordedResponse,
    recorded_response,
)
from openimds.interop.transcript.file import FORMAT, Transcript

METADATA = (("Metadata", "true"),)
GUID = "b41646f2-40fc-44bf-ac9a-8a3b5c23a41b"
JSON, TEXT = "application/json; charset=utf-8", "text/plain; charset=utf-8"
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(length: int, media: str = JSON) -> list[str]:
    """The headers of a response in the order of the recording of 2026-02-07."""
    return [
        f"Content-Type: {media}",
        "Server: IMDS/150.870.65.1854",
        f"x-ms-request-id: {GUID}",
        "Date: Sat, 07 Feb 2026 11:04:46 GMT",
        f"Content-Length: {length}",
    ]


def an_answer(
    body: str | bytes = "",
    status: int = 200,
    media: str = JSON,
    headers: list[str] | None = None,
    signed: str = "",
) -> RecordedResponse:
    octets = body.encode() if isinstance(body, str) else body
    header_lines = lines(len(octets), media) if headers is None else headers
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Odd')}".encode()
    return recorded_response(
        line, tuple(header.encode("latin-1") for header in header_lines), octets, signed
    )


def an_exchange(
    target: str,
    response: RecordedResponse | None = None,
    question: str = "",
    version: str = "",
    *,
    failure: str = "",
    method: str = "GET",
) -> Exchange:
    return Exchange(question, version, RecordedRequest(method, target, METADATA), response, failure)


def a_document(version: str, value: Any, question: str = "instance") -> Exchange:
    """The exchange for an instance document at a version."""
    target = f"/metadata/instance?api-version={version}"
    return an_exchange(target, an_answer(compact(value)), question, version)


def a_transcript(*exchanges: Exchange, is_redacted: bool = False) -> Transcript:
    return Transcript(
        format=FORMAT,
        made_by="by hand",
        url="http://169.254.169.254",
        began_at="2026-02-07T11:04:46Z",
        is_redacted=is_redacted,
        left_out=(),
        exchanges=exchanges,
    )
