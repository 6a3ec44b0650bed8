"""Every golden case, replayed over the data plane; and the golden files, made anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from openimds.protocol.pending import Pending, PendingDocument, Result, Signature
from openimds.vm.from_capture import parse_capture
from tests.golden import make
from tests.support.talk import IdleProvider, Talk, a_dispatcher, an_index

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_bytes())
HEAD = parse_capture(json.loads((HERE / "head.json").read_bytes()), "head")


class SigningProvider(IdleProvider):
    """Has a cached signature for every attested document; other tests verify signatures."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        if isinstance(need, PendingDocument):
            return Signature("MII=", now_s + 60)
        return super().cached(need, now_s)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case_is_answered_as_the_evidence_has_it(case: dict[str, Any]) -> None:
    dispatcher = a_dispatcher(an_index(HEAD.vm), provider=SigningProvider())
    got = Talk(dispatcher).ask_raw(case["target"], case["method"], case["headers"])
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
    moved = {key: count.requests for key, count in dispatcher.counts.items() if count.requests}
    assert [(key.status, n) for key, n in moved.items()] == [(case["status"], 1)]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_second_answer_equals_the_first(case: dict[str, Any]) -> None:
    talk = Talk(a_dispatcher(an_index(HEAD.vm), provider=SigningProvider()))
    first = talk.ask_raw(case["target"], case["method"], case["headers"])
    second = talk.ask_raw(case["target"], case["method"], case["headers"])
    assert (second.status, second.body) == (first.status, first.body)


def test_head_document_has_only_members_with_a_row() -> None:
    assert HEAD.set_aside == ()


def test_golden_files_are_as_the_tables_make_them() -> None:
    texts = make.files()
    assert {path for path in texts if path.read_bytes() != texts[path].encode()} == set()
    assert {*(HERE / "instance").iterdir(), HERE / "cases.json", HERE / "head.json"} == set(texts)
