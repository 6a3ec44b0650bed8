"""What is asked, and what never is."""

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
    left_out,
    newest_of,
    plan,
    said_versions,
    versions_of,
)
from openimds.interop.capture.question import OPTIONS
from openimds.protocol.request import query
from tests.support.transcripts import (
    a_document,
    a_transcript,
    an_answer,
    an_exchange,
    compact,
)

EVERYTHING = plan(all_versions(()), OPTIONS)


def test_the_door_has_what_others_need() -> None:
    assert capture.__all__ == [
        "CaptureClient",
        "CaptureError",
        "PlannedQuestion",
        "Throttle",
        "plan",
        "survey",
    ]


@pytest.mark.parametrize("asked", EVERYTHING, ids=lambda one: f"{one.question}-{one.version}")
def test_nobody_asks_for_a_token_or_approves_an_event(asked: capture.PlannedQuestion) -> None:
    found = query(asked.request.method, asked.request.target.encode())
    assert found.category.key in {"general", "loadbalancer"}
    is_events = "scheduledevents" in asked.request.target.lower()
    assert asked.request.method == "GET" or not is_events
    assert not {"%", "\r", "\n", " "} & set(asked.request.target.replace("%3F", ""))


def test_a_request_is_asked_once() -> None:
    assert len({one.request for one in EVERYTHING}) == len(EVERYTHING)
    assert len({row.key for row in QUESTIONS}) == len(QUESTIONS)


NOT_ASKED = {
    # Nobody can bring it about, or nobody should.
    "unknown_caller",
    "updating",
    "throttled",
    "unavailable",
    # Only a POST about events is refused so.
    "malformed_events",
}


@pytest.mark.parametrize("category", ["", "loadbalancer"])
def test_every_refusal_that_is_a_guess_of_ours_is_asked_about(category: str) -> None:
    about = {row.about for row in QUESTIONS}
    guesses = [
        row
        for row in REFUSALS
        if row.category == category and row.evidence.mark in (Mark.CHOSEN, Mark.INFERRED)
    ]
    missing = [row for row in guesses if fact(REFUSAL, refusal_name(row)) not in about]
    assert {row.key for row in missing} <= NOT_ASKED
    assert len(guesses) - len(missing) > 4


def test_every_rule_of_requests_is_asked_about() -> None:
    assert {*FACTS[RULE]} <= {row.about for row in QUESTIONS}


def test_the_versions_are_asked_for_first() -> None:
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
def test_without_its_option_a_thing_is_not_touched(option: str, path: str) -> None:
    asked = plan(["2021-02-01"], OPTIONS.keys() - {option})
    assert [one.request.target for one in asked if path in one.request.target] == []
    assert [one for one in EVERYTHING if path in one.request.target]
    assert any(OPTIONS[option].flag in what for what in left_out(OPTIONS.keys() - {option}))


def test_it_says_that_tokens_are_never_asked_for() -> None:
    assert left_out(OPTIONS) == (
        "tokens and everything else below /metadata/identity, which is never asked for",
    )


def test_the_newest_version_is_asked_at_its_questions() -> None:
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
def test_versions_are_taken_from_a_list_of_them_alone(body: str, versions: tuple[str]) -> None:
    assert said_versions(an_exchange("/metadata/versions", an_answer(body))) == versions
    assert said_versions(an_exchange("/metadata/versions", failure="hung")) == ()


def test_no_server_can_make_it_ask_without_end() -> None:
    many = compact({"apiVersions": [f"{year}-01-01" for year in range(1000, 9000)]})
    assert len(said_versions(an_exchange("/metadata/versions", an_answer(many)))) == 500
    assert said_versions(an_exchange("/metadata/versions", an_answer(b"\xff"))) == ()


def test_all_versions_are_the_known_ones_and_those_that_are_said() -> None:
    known = tuple(row.name for row in GENERAL)
    assert all_versions(("2099-01-01", NEWEST)) == (*known, "2099-01-01")


def test_a_transcript_tells_the_versions_that_it_was_made_at() -> None:
    refused = an_answer("no", 400)
    held = a_transcript(
        a_document("2021-02-01", {}),
        a_document("2017-08-01", {}, question="of another release"),
        an_exchange("/metadata/instance?api-version=2099-01-01", refused, "instance", "2099-01-01"),
        an_exchange("/metadata/instance?api-version=latest", refused, "worded-version"),
        an_exchange("/metadata/instance?api-version=x%26y", an_answer("{}"), "odd"),
        an_exchange("/metadata?api-version=2023-07-01", refused, "root-newest"),
    )
    assert versions_of(held) == ("2017-08-01", "2021-02-01", "2099-01-01")
    assert newest_of(held) == "2023-07-01"
    assert newest_of(a_transcript()) == NEWEST
    odd = an_exchange("/metadata?api-version=x%26y", refused, "root-newest")
    assert newest_of(a_transcript(odd)) == NEWEST
