"""The planned questions, and the requests that are never planned."""

import pytest

from openimds.facts.evidence import Mark
from openimds.facts.facts import FACTS, REFUSAL, RULE, fact, refusal_name
from openimds.facts.refusals import REFUSALS
from openimds.facts.versions import GENERAL, NEWEST, SCHEDULED_EVENTS
from openimds.interop import capture
from openimds.interop.capture.plan import (
    FIRST,
    QUESTIONS,
    all_versions,
    named_versions,
    newest_of,
    omissions,
    plan,
    versions_of,
)
from openimds.interop.capture.question import OPTIONS
from openimds.protocol.request import parse_query
from tests.support.transcripts import (
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
)

EVERYTHING = plan(all_versions(()), OPTIONS)


def test_room_exports_its_public_names() -> None:
    assert capture.__all__ == [
        "CaptureClient",
        "CaptureError",
        "PlannedQuestion",
        "Throttle",
        "ask_all",
        "plan",
    ]


@pytest.mark.parametrize("asked", EVERYTHING, ids=lambda one: f"{one.question}-{one.version}")
def test_no_question_asks_for_a_token_or_approves(asked: capture.PlannedQuestion) -> None:
    found = parse_query(asked.request.method, asked.request.target.encode())
    assert found.category.key in {"general", "loadbalancer"}
    is_events = "scheduledevents" in asked.request.target.lower()
    assert asked.request.method == "GET" or not is_events
    assert not {"%", "\r", "\n", " "} & set(asked.request.target.replace("%3F", ""))


def test_each_request_is_planned_once() -> None:
    assert len({one.request for one in EVERYTHING}) == len(EVERYTHING)
    assert len({row.key for row in QUESTIONS}) == len(QUESTIONS)


NOT_ASKED = {
    # No request can cause it, or none should.
    "rebound",
    "unknown_caller",
    "updating",
    "throttled",
    "unavailable",
    # Only a POST about events can cause it.
    "malformed_events",
    # Only a confidential VM can cause them.
    "collateral_unfit",
    "report_unfit",
}


@pytest.mark.parametrize("category", ["", "loadbalancer"])
def test_every_assumed_refusal_has_a_question(category: str) -> None:
    about = {row.about for row in QUESTIONS}
    guesses = [
        row
        for row in REFUSALS
        if row.category == category and row.evidence.mark in (Mark.CHOSEN, Mark.INFERRED)
    ]
    missing = [row for row in guesses if fact(REFUSAL, refusal_name(row)) not in about]
    assert {row.key for row in missing} <= NOT_ASKED
    assert len(guesses) - len(missing) > 3


def test_every_rule_of_requests_has_a_question() -> None:
    assert {*FACTS[RULE]} <= {row.about for row in QUESTIONS}


def test_first_question_is_for_the_versions() -> None:
    assert EVERYTHING[0] == FIRST


def test_documents_are_asked_for_at_every_version() -> None:
    for key in ("instance", "extended", "attested", "balancer"):
        asked = [one for one in EVERYTHING if one.question == key]
        assert [one.version for one in asked] == [row.name for row in GENERAL]
        assert all(f"api-version={one.version}" in one.request.target for one in asked)
    of_events = [one for one in EVERYTHING if one.question == "events"]
    assert [one.version for one in of_events] == [row.name for row in SCHEDULED_EVENTS]
    assert {one.most_s for one in of_events} == {130}


@pytest.mark.parametrize(
    "option,path",
    [
        ("attested", "/metadata/attested/document"),
        ("events", "/metadata/scheduledevents"),
        ("extended", "extended=true"),
    ],
)
def test_endpoint_is_not_asked_without_its_option(option: str, path: str) -> None:
    asked = plan(["2021-02-01"], OPTIONS.keys() - {option})
    assert [one.request.target for one in asked if path in one.request.target] == []
    assert [one for one in EVERYTHING if path in one.request.target]
    assert any(OPTIONS[option].flag in phrase for phrase in omissions(OPTIONS.keys() - {option}))


def test_omissions_always_name_the_tokens() -> None:
    assert omissions(OPTIONS) == (
        "tokens and everything else below /metadata/identity, which is never asked for",
    )


def test_newest_version_replaces_its_placeholder() -> None:
    asked = plan(["2017-03-01"], (), "2021-05-01")
    (root,) = [one for one in asked if one.question == "root-newest"]
    assert root.request.target == "/metadata?api-version=2021-05-01"
    assert not [one for one in asked if "{" in one.request.target]


@pytest.mark.parametrize(
    "body,versions",
    [
        (
            '{"apiVersions":["2017-03-01","2099-01-01-preview"]}',
            ("2017-03-01", "2099-01-01-preview"),
        ),
        ('{"apiVersions":["2017-03-01","2017-03-01"]}', ("2017-03-01",)),
        ('{"apiVersions":[1,"x&y","../..","2017-03-01 "]}', ()),
        ('{"apiVersions":"2017-03-01"}', ()),
        ('{"other":[]}', ()),
        ("[]", ()),
        ("<html>", ()),
        ("[" * 20_000, ()),
    ],
)
def test_versions_are_read_from_a_list_of_dates(body: str, versions: tuple[str]) -> None:
    assert named_versions(an_exchange("/metadata/versions", an_answer(body))) == versions
    assert named_versions(an_exchange("/metadata/versions", failure="hung")) == ()


def test_number_of_named_versions_is_bounded() -> None:
    many = compact({"apiVersions": [f"{year}-01-01" for year in range(1000, 9000)]})
    assert len(named_versions(an_exchange("/metadata/versions", an_answer(many)))) == 500
    assert named_versions(an_exchange("/metadata/versions", an_answer(b"\xff"))) == ()


def test_all_versions_are_the_known_and_the_named_ones() -> None:
    known = tuple(row.name for row in GENERAL)
    assert all_versions(("2099-01-01", NEWEST)) == (*known, "2099-01-01")


def test_versions_of_a_transcript_come_from_its_questions() -> None:
    refused = an_answer("no", 400)
    transcript = a_transcript(
        a_document("2021-02-01", {}),
        a_document("2017-08-01", {}, question="of another release"),
        an_exchange("/metadata/instance?api-version=2099-01-01", refused, "instance", "2099-01-01"),
        an_exchange("/metadata/instance?api-version=latest", refused, "worded-version"),
        an_exchange("/metadata/instance?api-version=x%26y", an_answer("{}"), "odd"),
        an_exchange("/metadata?api-version=2023-07-01", refused, "root-newest"),
    )
    assert versions_of(transcript) == ("2017-08-01", "2021-02-01", "2099-01-01")
    assert newest_of(transcript) == "2023-07-01"
    assert newest_of(a_transcript()) == NEWEST
    odd = an_exchange("/metadata?api-version=x%26y", refused, "root-newest")
    assert newest_of(a_transcript(odd)) == NEWEST
