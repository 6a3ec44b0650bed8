"""The script of a response under each effect: pieces, pauses, end."""

from math import inf
from typing import Any

import pytest

from openimds.protocol.faults.delivery import Script, script
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import read_fault
from openimds.protocol.faults.matching import noise

HEAD = b"HTTP/1.1 200 OK\r\nServer: IMDS/1\r\nContent-Length: 12\r\n\r\n"
RESPONSE = HEAD + b"twelve bytes"


def scripted(response: bytes = RESPONSE, **effect: Any) -> Script:
    (spec,) = read_fault(effect)
    return script(Fault(spec, "a", 3), response)


@pytest.mark.parametrize(
    "effect", [{"effect": "status", "status": 410}, {"effect": "no-identity"}, {"effect": "delay"}]
)
def test_delay_alone_leaves_the_response_whole(effect: dict[str, Any]) -> None:
    assert scripted(**effect, delay_s=2.5) == Script((RESPONSE,), 2.5)


def test_trickle_sends_the_whole_response_in_pieces() -> None:
    result = scripted(effect="trickle", bytes=10, pause_s=0.5, delay_s=1)
    assert (b"".join(result.pieces), result.first_s, result.pause_s) == (RESPONSE, 1, 0.5)
    assert {len(piece) for piece in result.pieces[:-1]} == {10}
    assert 0 < len(result.pieces[-1]) <= 10


@pytest.mark.parametrize(
    "keep, left", [(0, b""), (5, b"twelv"), (12, b"twelve byte"), (99, b"twelve byte")]
)
def test_cut_keeps_the_head_and_never_the_whole_body(keep: int, left: bytes) -> None:
    assert scripted(effect="cut", keep_bytes=keep).pieces == (HEAD + left,)


@pytest.mark.parametrize(
    "members, resets", [({}, False), ({"ends_by": "close"}, False), ({"ends_by": "reset"}, True)]
)
def test_cut_ends_by_a_close_or_a_reset(members: dict[str, Any], resets: bool) -> None:
    assert scripted(effect="cut", **members).resets is resets


def test_cut_of_a_bare_head_keeps_it() -> None:
    assert scripted(HEAD, effect="cut", keep_bytes=5).pieces == (HEAD,)


@pytest.mark.parametrize("by, length", [(10, b"22"), (-5, b"7"), (-99, b"0")])
def test_wrong_length_precedes_the_whole_body(by: int, length: bytes) -> None:
    result = scripted(effect="wrong-length", by_bytes=by)
    assert result == Script((RESPONSE.replace(b"Length: 12", b"Length: " + length),))


def test_wrong_length_of_a_chunk_is_that_of_the_chunk() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + b"5\r\nhello\r\n0\r\n\r\n"
    plan = scripted(whole, effect="wrong-length", by_bytes=10)
    assert plan.pieces == (head + b"f\r\nhello\r\n0\r\n\r\n",)


def test_wrong_length_leaves_the_text_of_the_body() -> None:
    response = HEAD + b"\r\nContent-Length: 12"
    (piece,) = scripted(response, effect="wrong-length", by_bytes=1).pieces
    assert piece == response.replace(b"Length: 12", b"Length: 13", 1)


@pytest.mark.parametrize("effect, rest_s", [({}, inf), ({"hang_s": 3}, 3)])
def test_hang_sends_nothing_and_may_end(effect: dict[str, float], rest_s: float) -> None:
    assert scripted(b"", effect="hang", **effect, delay_s=1) == Script((), 1, rest_s=rest_s)


def test_reset_sends_nothing() -> None:
    assert scripted(b"", effect="reset", delay_s=1) == Script((), 1, resets=True)
    assert scripted(b"", effect="refused") == Script((), resets=True)


def test_garbage_is_the_noise_of_fault_vm_and_number() -> None:
    (spec,) = read_fault({"effect": "garbage", "bytes": 7})
    assert scripted(b"", effect="garbage", bytes=7) == Script((noise(spec, "a", 3, 7),))
