"""The transcript file: its form, and the values that are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.interop import transcript
from openimds.interop.transcript import looks_like_transcript, read
from openimds.interop.transcript.exchange import RecordedRequest, recorded_response
from tests.support.transcripts import a_document, a_transcript, an_answer, an_exchange
from tests.unit.vm.refused import Refused, refused

HELD = a_transcript(
    a_document("2021-02-01", {"compute": {}}),
    an_exchange("/metadata", None, failure="connection refused"),
)


def plain() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(HELD.to_bytes())
    return value


def test_room_exports_its_public_names() -> None:
    assert transcript.__all__ == [
        "CapturedVm",
        "Exchange",
        "RecordedRequest",
        "RecordedResponse",
        "Transcript",
        "captured_vm",
        "looks_like_transcript",
        "read",
        "redact",
    ]


def test_written_transcript_is_read_again() -> None:
    assert read(plain()) == HELD
    assert HELD.to_bytes().endswith(b"}\n")


def test_missing_values_are_not_written() -> None:
    first, second = plain()["exchanges"]
    assert [*first] == ["question", "version", "request", "answer"]
    assert [*first["request"]] == ["method", "target", "headers"]
    assert [*second] == ["question", "version", "request", "failure"]


@given(st.binary(), st.binary().filter(lambda one: b"\n" not in one))
def test_every_byte_of_an_answer_is_kept(body: bytes, header: bytes) -> None:
    response = recorded_response(b"HTTP/1.1 200 OK", (header,), body)
    transcript = a_transcript(an_exchange("/", response))
    (one,) = read(json.loads(transcript.to_bytes())).exchanges
    assert one.answer is not None
    assert one.answer.octets == body
    assert [line.encode("latin-1") for line in one.answer.headers] == [header]


def test_headers_are_split_in_their_order() -> None:
    response = an_answer(headers=["B: 1", "a:2 ", "no colon", "B:\t3: 4"])
    assert response.fields == (("B", "1"), ("a", "2"), ("no colon", ""), ("B", "3: 4"))


@pytest.mark.parametrize(
    "request_,shown",
    [
        (RecordedRequest("GET", "/a", (("Metadata", "true"),)), "GET /a"),
        (RecordedRequest("HEAD", "/a"), "HEAD /a (no headers)"),
        (RecordedRequest("GET", "/a", (("A", "b"), ("C", ""))), "GET /a (A: b, C: )"),
        (RecordedRequest("GET", "/a", (("Metadata", "true"),), has_host=False), "GET /a (no Host)"),
    ],
)
def test_request_is_shown_with_unusual_headers(request_: RecordedRequest, shown: str) -> None:
    assert str(request_) == shown


@pytest.mark.parametrize("value", [None, [], {"format": 1}, {"exchanges": []}, {"compute": {}}])
def test_other_values_do_not_look_like_a_transcript(value: object) -> None:
    assert not looks_like_transcript(value)
    assert refused(read, value).expected == "a file of openimds capture"


def _with(*path: str | int, value: object) -> dict[str, Any]:
    whole = plain()
    node: Any = whole
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    "value,expected",
    [
        (
            _with("format", value=2),
            Refused(
                "format",
                "the number 2",
                "1, the one that this release knows",
                "Read it with the release that wrote it, or capture anew",
            ),
        ),
        (_with("url", value=1), Refused("url", "int", "str")),
        (
            _with("exchanges", 0, "answer", "line", value=None),
            Refused("exchanges[0].answer.line", "null", "str"),
        ),
        (
            {"format": 1, "exchanges": []},
            Refused(
                "top level",
                "Object missing required field `madeBy`",
                "a file of openimds capture",
            ),
        ),
        (
            _with("exchanges", 0, "answer", "line", value="SIP/2.0 200 OK"),
            Refused(
                "exchanges[0].answer.line",
                'the string "SIP/2.0 200 OK"',
                "a status line such as HTTP/1.1 200 OK",
            ),
        ),
        (
            _with("exchanges", 1, "turnedAway", value={"line": ""}),
            Refused(
                "exchanges[1].turnedAway.line",
                'the string ""',
                "a status line such as HTTP/1.1 200 OK",
            ),
        ),
        (
            _with("exchanges", 0, "answer", "bodyBase64", value="%"),
            Refused("exchanges[0].answer.bodyBase64", 'the string "%"', "base64"),
        ),
        (
            _with("exchanges", 0, "answer", "bodyBase64", value="é"),
            Refused("exchanges[0].answer.bodyBase64", 'the string "é"', "base64"),
        ),
    ],
    ids=lambda one: one.where if isinstance(one, Refused) else "",
)
def test_malformed_transcript_is_refused_with_its_path(value: object, expected: Refused) -> None:
    assert looks_like_transcript(value)
    assert refused(read, value) == expected
