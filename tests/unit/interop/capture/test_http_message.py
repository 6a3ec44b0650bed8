"""An answer from bytes as they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.interop.capture.http_message import Message, MessageError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type:  text/plain\r\nx-Odd:\xff\r\n"
LENGTH = HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n"


def whole(data: bytes, method: str = "GET") -> Message:
    message = Message(method)
    assert message.feed(data)
    return message


@pytest.mark.parametrize(
    "data", [LENGTH, LENGTH + b"more", CHUNKED + b"\r\n", CHUNKED + b"Trailer: x\r\n\r\n"]
)
def test_line_headers_and_body_are_kept_as_they_came(data: bytes) -> None:
    message = whole(data)
    assert message.line == b"HTTP/1.1 200 OK"
    assert message.headers[:2] == (b"Content-Type:  text/plain", b"x-Odd:\xff")
    assert message.body == b"hello"


@given(st.sampled_from([LENGTH, CHUNKED + b"\r\n"]), st.lists(st.integers(1, 9)))
def test_it_does_not_matter_how_the_bytes_come(data: bytes, sizes: list[int]) -> None:
    message, at = Message("GET"), 0
    for size in (*sizes, len(data)):
        is_whole = message.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
        assert not is_whole
    assert is_whole
    assert message.body == b"hello"


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    message = Message("GET")
    assert not message.feed(HEAD + b"\r\nhel")
    assert not message.feed(b"lo")
    message.end()
    assert message.body == b"hello"


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"])
def test_some_answers_have_no_body(line: bytes) -> None:
    assert whole(line + b"\r\nContent-Length: 5\r\n\r\n").body == b""


def test_the_answer_to_head_has_a_length_and_no_body() -> None:
    message = whole(HEAD + b"Content-Length: 5\r\n\r\n", "HEAD")
    assert (message.body, message.value(b"content-length")) == (b"", b"5")
    assert message.value(b"allow") == b""


def test_an_announcement_is_not_the_answer() -> None:
    message = Message("GET")
    assert not message.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert message.feed(LENGTH)
    assert whole(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH).body == b"hello"


@pytest.mark.parametrize(
    "data,said",
    [
        (b"SSH-2.0-x\r\n\r\n", "not HTTP: b'SSH-2.0-x'"),
        (b"HTTP/1.1 2 OK\r\n\r\n", "not HTTP: b'HTTP/1.1 2 OK'"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "headers of more than 65536 bytes"),
        (HEAD + b"Content-Length: -5\r\n\r\n", "Content-Length: b'-5'"),
        (
            HEAD + b"Content-Length: 9999999\r\n\r\n" + b"x" * (1 << 22) + b"x",
            "a body of more than",
        ),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", "a chunk of size b'-5'"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n\r\n", "a chunk of size b''"),
    ],
)
def test_bytes_that_are_no_answer_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(MessageError) as caught:
        Message("GET").feed(data)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "data,said",
    [
        (b"", "the connection ended after nothing"),
        (b"HTTP/1.1 200", "the connection ended after only b'HTTP/1.1 200'"),
        (LENGTH[:-2], "the connection ended after 3 bytes of 5 bytes"),
        (CHUNKED, "the connection ended after 22 bytes of chunks without an end"),
        (CHUNKED[:-5], "the connection ended after 17 bytes of chunks without an end"),
    ],
)
def test_half_an_answer_is_none(data: bytes, said: str) -> None:
    message = Message("GET")
    assert not message.feed(data)
    with pytest.raises(MessageError) as caught:
        message.end()
    assert str(caught.value) == said
