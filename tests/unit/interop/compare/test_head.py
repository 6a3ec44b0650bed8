"""Differences of two heads."""

import pytest

from openimds.interop.compare.difference import ABSENT, AnswerDifference, DifferenceKind
from openimds.interop.compare.head import head
from tests.support.transcripts import GUID, an_answer, lines

OTHER = GUID.replace("b", "c")


def found(ours: list[str], theirs: list[str]) -> list[AnswerDifference]:
    return list(head(an_answer("{}", headers=ours), an_answer("{}", headers=theirs)))


def test_values_that_always_differ_are_no_difference() -> None:
    theirs = [
        "Content-Type: application/json; charset=utf-8",
        "Server: IMDS/150.870.65.476",
        f"x-ms-request-id: {OTHER}",
        "Date: Sun, 08 Feb 2026 11:04:47 GMT",
        "Content-Length: 2",
    ]
    assert found(lines(2), theirs) == []


@pytest.mark.parametrize(
    "line,ours,theirs",
    [
        ("Content-Type: application/json", "application/json; charset=utf-8", "application/json"),
        ("Server: Microsoft-IIS/10.0", "IMDS/150.870.65.1854", "Microsoft-IIS/10.0"),
        ("x-ms-request-id: 7", GUID, "7"),
        ("Date: today", "Sat, 07 Feb 2026 11:04:46 GMT", "today"),
        ("Content-Length: 3", "2", "3"),
    ],
)
def test_value_of_another_form_is_a_difference(line: str, ours: str, theirs: str) -> None:
    name = line.partition(":")[0]
    changed = [line if one.startswith(f"{name}:") else one for one in lines(2)]
    assert found(lines(2), changed) == [AnswerDifference(DifferenceKind.HEADER, name, ours, theirs)]


def test_header_of_one_side_is_a_difference() -> None:
    more = [*lines(2), "ETag: x"]
    assert found(more, lines(2)) == [AnswerDifference(DifferenceKind.HEADER, "ETag", "x", ABSENT)]
    assert found(lines(2), more) == [AnswerDifference(DifferenceKind.HEADER, "ETag", ABSENT, "x")]


def test_order_and_spelling_are_one_difference() -> None:
    for theirs in (["B: 1", "A: 1"], ["a: 1", "B: 1"], ["A: 1", "B: 1", "A: 2"]):
        (one,) = found(["A: 1", "B: 1"], theirs)
        assert (one.kind, one.left) == (DifferenceKind.HEADER_ORDER, "A, B")
        assert one.right == ", ".join(line[0] for line in theirs)


def test_header_of_one_side_does_not_count_for_the_order() -> None:
    (one,) = found(["A: 1", "B: 1", "C: 1"], ["A: 1", "C: 1"])
    assert (one.kind, one.subject) == (DifferenceKind.HEADER, "B")


def test_placeholder_equals_any_value() -> None:
    assert found(["X-Odd: secret"], ["X-Odd: redacted"]) == []


def test_length_in_an_answer_to_head_is_not_compared() -> None:
    ours, theirs = (an_answer("", headers=[f"Content-Length: {n}"]) for n in (7, 8))
    assert list(head(ours, theirs, "HEAD")) == []
    assert list(head(ours, theirs)) == [
        AnswerDifference(DifferenceKind.HEADER, "Content-Length", "7", "8")
    ]
    odd = an_answer("", headers=["Content-Length: x"])
    assert list(head(ours, ours, "HEAD")) == []
    assert list(head(ours, odd, "HEAD")) == [
        AnswerDifference(DifferenceKind.HEADER, "Content-Length", "7", "x")
    ]
