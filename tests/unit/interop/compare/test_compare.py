"""The comparison of two transcripts, request by request."""

from typing import Any

import pytest
from msgspec import structs

from openimds.facts.facts import fact
from openimds.interop import compare as comparison
from openimds.interop.compare import Comparison, DifferenceKind, compare
from openimds.interop.compare.difference import At
from openimds.interop.transcript.exchange import Exchange
from tests.support.transcripts import a_document, a_transcript, an_answer, an_exchange, compact

ABOUT = fact("Endpoints", "/metadata")
VERSIONS = ("2017-03-01", "2021-02-01", "2025-11-15")


def held(ours: list[Exchange], theirs: list[Exchange], *, values: bool = False) -> Comparison:
    facts = {"root": ABOUT}
    return compare(a_transcript(*ours), a_transcript(*theirs), facts, with_values=values)


def one(response: Any = None, target: str = "/metadata", **more: Any) -> list[Exchange]:
    return [an_exchange(target, response, "root", **more)]


def test_room_exports_its_public_names() -> None:
    assert comparison.__all__ == ["Comparison", "Difference", "DifferenceKind", "compare"]


def test_same_difference_at_many_versions_is_one() -> None:
    ours = [a_document(version, {"compute": {"vmId": "a"}}) for version in VERSIONS]
    theirs = [a_document(version, {"compute": {}}) for version in VERSIONS]
    got = held(ours, theirs)
    assert got.compared == 3
    (found,) = got.differences
    assert (found.kind, found.subject, found.left, found.right) == (
        DifferenceKind.FIELD,
        "compute.vmId",
        "string",
        "not there",
    )
    assert found.about == fact("Fields", "compute.vmId, since 2017-03-01")
    assert found.found == tuple(
        At("instance", version, ours[n].request) for n, version in enumerate(VERSIONS)
    )


def test_transcript_equals_itself() -> None:
    ours = [a_document(version, {"compute": {"vmId": "a"}}) for version in VERSIONS]
    assert held(ours, ours, values=True) == Comparison(3, (), (), ())


def test_requests_of_one_side_are_listed() -> None:
    ours, theirs = one(an_answer()), one(an_answer(), "/metadata/versions")
    got = held(ours, theirs)
    assert got == Comparison(0, (), (ours[0].request,), (theirs[0].request,))


def test_question_of_either_side_gives_the_fact() -> None:
    ours, theirs = one(an_answer("a", 404)), [an_exchange("/metadata", an_answer("b", 404))]
    for pair in ((ours, theirs), (theirs, ours)):
        (found,) = held(*pair).differences
        assert (found.kind, found.about) == (DifferenceKind.BODY, ABOUT)


def test_missing_answer_of_one_side_is_a_difference() -> None:
    failed = one(failure="connection refused")
    assert held(failed, one(failure="hung")).differences == ()
    (found,) = held(one(an_answer("{}")), failed).differences
    assert (found.kind, found.left, found.right) == (
        DifferenceKind.ANSWER,
        "HTTP/1.1 200 OK",
        "not there: connection refused",
    )


@pytest.mark.parametrize("version", ["", "2021-02-01"])
def test_another_status_is_the_only_difference_shown(version: str) -> None:
    refusal = an_answer("no 2021-02-01", 400, headers=[])
    (found,) = held(
        one(an_answer("{}"), version=version), one(refusal, version=version)
    ).differences
    shown = "no {version}" if version else "no 2021-02-01"
    assert (found.kind, found.left) == (DifferenceKind.STATUS, "HTTP/1.1 200 OK")
    assert found.right == f"HTTP/1.1 400 Bad Request {shown}"


def test_refusals_that_name_the_version_are_one_difference() -> None:
    ours: list[Exchange] = []
    theirs: list[Exchange] = []
    for version in VERSIONS:
        target = f"/metadata/loadbalancer?api-version={version}"
        for side, words in ((ours, "is not"), (theirs, "is")):
            response = an_answer(f"{version} {words} allowed", 400, headers=[])
            side.append(an_exchange(target, response, "balancer", version))
    (found,) = held(ours, theirs).differences
    assert (found.left, found.right) == ("{version} is not allowed", "{version} is allowed")
    assert len(found.found) == 3


def test_another_reason_phrase_does_not_end_it() -> None:
    theirs = structs.replace(an_answer("{}"), line="HTTP/1.0 200 Fine", headers=())
    kinds = [found.kind for found in held(one(an_answer("{}")), one(theirs)).differences]
    assert kinds == [DifferenceKind.STATUS, *[DifferenceKind.HEADER] * 5]


def test_values_are_compared_on_request() -> None:
    ours, theirs = one(an_answer(compact({"a": 1}))), one(an_answer(compact({"a": 2})))
    assert held(ours, theirs).differences == ()
    (found,) = held(ours, theirs, values=True).differences
    assert (found.kind, found.left, found.right) == (DifferenceKind.VALUE, "1", "2")
