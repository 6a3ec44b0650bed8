"""The parser of HTTP answers, fed piece by piece."""

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
def test_line_headers_and_body_keep_their_bytes(data: bytes) -> None:
    message = whole(data)
    assert message.line == b"HTTP/1.1 200 OK"
    assert message.headers[:2] == (b"Content-Type:  text/plain", b"x-Odd:\xff")
    assert message.body == b"hello"


@given(st.sampled_from([LENGTH, CHUNKED + b"\r\n"]), st.lists(st.integers(1, 9)))
def test_message_is_parsed_from_pieces_of_any_size(data: bytes, sizes: list[int]) -> None:
    message, at = Message("GET"), 0
    for size in (*sizes, len(data)):
        is_whole = message.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
        assert not is_whole
    assert is_whole
    assert message.body == b"hello"


def test_message_without_length_ends_with_the_connection() -> None:
    message = Message("GET")
    assert not message.feed(HEAD + b"\r\nhel")
    assert not message.feed(b"lo")
    message.end()
    assert message.body == b"hello"


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"])
def test_status_204_and_304_have_no_body(line: bytes) -> None:
    assert whole(line + b"\r\nContent-Length: 5\r\n\r\n").body == b""


def test_answer_to_head_has_a_length_and_no_body() -> None:
    message = whole(HEAD + b"Content-Length: 5\r\n\r\n", "HEAD")
    assert (message.body, message.value(b"content-length")) == (b"", b"5")
    assert message.value(b"allow") == b""


def test_informational_head_is_skipped() -> None:
    message = Message("GET")
    assert not message.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert message.feed(LENGTH)
    assert whole(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH).body == b"hello"


@pytest.mark.parametrize(
    "data,message",
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
def test_malformed_message_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MessageError) as caught:
        Message("GET").feed(data)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "data,text",
    [
        (b"", "the connection ended after nothing"),
        (b"HTTP/1.1 200", "the connection ended after only b'HTTP/1.1 200'"),
        (LENGTH[:-2], "the connection ended after 3 bytes of 5 bytes"),
        (CHUNKED, "the connection ended after 22 bytes of chunks without an end"),
        (CHUNKED[:-5], "the connection ended after 17 bytes of chunks without an end"),
    ],
)
def test_truncated_message_is_refused(data: bytes, text: str) -> None:
    message = Message("GET")
    assert not message.feed(data)
    with pytest.raises(MessageError) as caught:
        message.end()
    assert str(caught.value) == text
