"""What goes out of a reply, in which pieces and when."""

from math import inf
from typing import Any

import pytest

from openimds.protocol.faults.delivery import Script, script
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.input import read
from openimds.protocol.faults.matching import noise

HEAD = b"HTTP/1.1 200 OK\r\nServer: IMDS/1\r\nContent-Length: 12\r\n\r\n"
SAID = HEAD + b"twelve bytes"


def played(said: bytes = SAID, **effect: Any) -> Script:
    (plan,) = read(effect)
    return script(Fault(plan, "a", 3), said)


@pytest.mark.parametrize(
    "effect", [{"effect": "status", "status": 410}, {"effect": "no-identity"}, {"effect": "delay"}]
)
def test_what_is_only_late_is_whole(effect: dict[str, Any]) -> None:
    assert played(**effect, delay_s=2.5) == Script((SAID,), 2.5)


def test_a_trickle_brings_all_of_it_piece_by_piece() -> None:
    made = played(effect="trickle", bytes=10, pause_s=0.5, delay_s=1)
    assert (b"".join(made.pieces), made.first_s, made.pause_s) == (SAID, 1, 0.5)
    assert {len(one) for one in made.pieces[:-1]} == {10}
    assert 0 < len(made.pieces[-1]) <= 10


@pytest.mark.parametrize(
    "keep, left", [(0, b""), (5, b"twelv"), (12, b"twelve byte"), (99, b"twelve byte")]
)
def test_a_cut_keeps_the_head_and_never_all_of_the_body(keep: int, left: bytes) -> None:
    assert played(effect="cut", keep_bytes=keep).pieces == (HEAD + left,)


def test_of_a_head_alone_nothing_can_be_cut() -> None:
    assert played(HEAD, effect="cut", keep_bytes=5).pieces == (HEAD,)


@pytest.mark.parametrize("by, length", [(10, b"22"), (-5, b"7"), (-99, b"0")])
def test_a_wrong_length_stands_before_the_whole_body(by: int, length: bytes) -> None:
    made = played(effect="wrong-length", by_bytes=by)
    assert made == Script((SAID.replace(b"Length: 12", b"Length: " + length),))


def test_a_body_that_speaks_of_its_length_is_left_alone() -> None:
    said = HEAD + b"\r\nContent-Length: 12"
    (piece,) = played(said, effect="wrong-length", by_bytes=1).pieces
    assert piece == said.replace(b"Length: 12", b"Length: 13", 1)


@pytest.mark.parametrize("said, rest_s", [({}, inf), ({"hang_s": 3}, 3)])
def test_a_hang_says_nothing_and_may_have_an_end(said: dict[str, float], rest_s: float) -> None:
    assert played(b"", effect="hang", **said, delay_s=1) == Script((), 1, rest_s=rest_s)


def test_a_reset_says_nothing() -> None:
    assert played(b"", effect="reset", delay_s=1) == Script((), 1, resets=True)
    assert played(b"", effect="refused") == Script((), resets=True)


def test_garbage_is_that_of_the_plan_the_vm_and_the_number() -> None:
    (plan,) = read({"effect": "garbage", "bytes": 7})
    assert played(b"", effect="garbage", bytes=7) == Script((noise(plan, "a", 3, 7),))
