"""Every golden case, replayed over the data plane; and the makers of the goldens themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

from openimds.model.capture import capture
from tests.golden import make
from tests.support.talk import Talk, a_picture, a_plane

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_bytes())
NOT_SERVED_YET = {"attested", "attested-nonce", "events-2017", "events-2020"}
"""Cases of endpoints that this release answers with 404, as the README says."""
SERVED = [case for case in CASES if case["name"] not in NOT_SERVED_YET]
HEAD = capture(json.loads((HERE / "head.json").read_bytes()), "head")


@pytest.mark.parametrize("case", SERVED, ids=[case["name"] for case in SERVED])
def test_the_plane_says_what_the_evidence_says(case: dict[str, Any]) -> None:
    plane = a_plane(a_picture(HEAD.vm))
    got = Talk(plane).ask_raw(case["target"], case["method"], case["headers"])
    assert got.status == case["status"], got.body
    if case["content_type"]:
        assert got.headers["Content-Type"] == case["content_type"]
    if case["body"] is not None:
        assert got.body.decode() == case["body"]
    if "body_of" in case:
        assert got.body == (HERE / case["body_of"]).read_bytes()
    for name, value in case.get("json_has", {}).items():
        assert json.loads(got.body)[name] == value
    for name, value in case.get("has_headers", {}).items():
        assert name in got.headers
        assert value in (None, got.headers[name])
    assert not set(case.get("lacks_headers", ())) & set(got.headers)
    moved = {key: count.requests for key, count in plane.counts.items() if count.requests}
    assert [(key.status, n) for key, n in moved.items()] == [(case["status"], 1)]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_second_answer_is_the_first_again(case: dict[str, Any]) -> None:
    talk = Talk(a_plane(a_picture(HEAD.vm)))
    first = talk.ask_raw(case["target"], case["method"], case["headers"])
    second = talk.ask_raw(case["target"], case["method"], case["headers"])
    assert (second.status, second.body) == (first.status, first.body)


def test_the_head_document_has_no_member_that_no_row_knows() -> None:
    assert HEAD.set_aside == ()


@pytest.mark.parametrize("name", sorted(NOT_SERVED_YET))
def test_what_is_not_served_yet_is_not_found(name: str) -> None:
    case = next(case for case in CASES if case["name"] == name)
    got = Talk(a_plane()).ask_raw(case["target"], case["method"], case["headers"])
    assert (got.status, got.body) == (404, b'{ "error": "Not found" }')


def test_the_golden_files_are_those_that_the_tables_make() -> None:
    made = make.files()
    assert {path for path in made if path.read_bytes() != made[path].encode()} == set()
    assert {*(HERE / "instance").iterdir(), HERE / "cases.json"} == set(made)
