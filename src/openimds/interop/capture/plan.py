"""The plan of a capture: questions at the wanted api-versions, in the order of asking."""

import re
from collections.abc import Collection, Iterable, Sequence
from http import HTTPStatus

import msgspec.json
from msgspec import Struct, structs

from openimds.facts.versions import GENERAL as KNOWN
from openimds.facts.versions import NEWEST, SCHEDULED_EVENTS
from openimds.interop.capture import misuse_questions, questions
from openimds.interop.capture.question import GENERAL, OF_EVENTS, OPTIONS, Question
from openimds.interop.transcript.exchange import Exchange, RecordedRequest
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.location import INSTANCE, locate

QUESTIONS: tuple[Question, ...] = (
    questions.VERSIONS,
    *questions.DOCUMENTS,
    *questions.PARTS,
    *questions.LENIENCY,
    *misuse_questions.HEADERS,
    *misuse_questions.PARAMETERS,
    *misuse_questions.PATHS,
    *misuse_questions.VERBS,
    *misuse_questions.OF_BALANCER,
    *misuse_questions.ORDER,
)
BY_KEY: dict[str, Question] = {row.key: row for row in QUESTIONS}
_AT_NEWEST = frozenset(row.key for row in QUESTIONS if "{newest}" in row.request.target)
VERSION = re.compile(r"[A-Za-z0-9.-]{1,32}")
"""The api-versions that may stand in a target."""
_DATED = re.compile(r"\d{4}-\d\d-\d\d[a-z.-]{0,20}", re.ASCII)
_MOST_VERSIONS = 500
ONCE = ("",)
ALWAYS_OMITTED = "tokens and everything else below /metadata/identity, which is never asked for"


class PlannedQuestion(Struct, frozen=True):
    """A question at one api-version; `version` is empty where it is asked once."""

    question: str
    version: str
    request: RecordedRequest
    most_s: float


FIRST = PlannedQuestion(
    questions.VERSIONS.key, "", questions.VERSIONS.request, questions.VERSIONS.most_s
)


def plan(
    versions: Sequence[str], options: Collection[str], newest: str = NEWEST
) -> tuple[PlannedQuestion, ...]:
    """Return the planned questions, the question for the versions first.

    Args:
        versions: the general api-versions to ask at.
        options: keys of `OPTIONS` that are on.
        newest: the api-version of questions that are asked once, at the newest.
    """
    of_events = [row.name for row in SCHEDULED_EVENTS]
    planned: list[PlannedQuestion] = []
    for row in QUESTIONS:
        if row.option and row.option not in options:
            continue
        each = {GENERAL: versions, OF_EVENTS: of_events}.get(row.each, ONCE)
        planned += [_planned(row, version, newest) for version in each]
    return tuple(planned)


def all_versions(named: Iterable[str]) -> tuple[str, ...]:
    """Return the api-versions that a server names and those known here, oldest first."""
    return tuple(sorted({*named, *(row.name for row in KNOWN)}))


def named_versions(exchange: Exchange) -> tuple[str, ...]:
    """Return the api-versions that an answer of `/metadata/versions` names, else nothing."""
    try:
        body = msgspec.json.decode(exchange.answer.octets if exchange.answer else b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    items = body.get("apiVersions") if isinstance(body, dict) else ()
    texts = [item for item in items if isinstance(item, str)] if isinstance(items, list) else []
    return tuple(dict.fromkeys(filter(_DATED.fullmatch, texts)))[:_MOST_VERSIONS]


def versions_of(transcript: Transcript) -> tuple[str, ...]:
    """Return the api-versions that a transcript was made at, oldest first."""
    each = {row.key for row in QUESTIONS if row.each == GENERAL}
    versions = {exchange.version for exchange in transcript.exchanges if exchange.question in each}
    for exchange in transcript.exchanges:
        where, response = locate(exchange.request.target), exchange.answer
        if where.document == INSTANCE and response and response.status == HTTPStatus.OK:
            versions.add(where.version)
    return tuple(sorted(filter(VERSION.fullmatch, versions)))


def newest_of(transcript: Transcript) -> str:
    """Return the api-version that a transcript took for the newest."""
    for exchange in transcript.exchanges:
        version = locate(exchange.request.target).version
        if exchange.question in _AT_NEWEST and VERSION.fullmatch(version):
            return version
    return NEWEST


def omissions(options: Collection[str]) -> tuple[str, ...]:
    """Return phrases for people: the questions that the options leave out."""
    without = [f"{row.without} ({row.flag})" for key, row in OPTIONS.items() if key not in options]
    return (ALWAYS_OMITTED, *without)


def _planned(row: Question, version: str, newest: str) -> PlannedQuestion:
    target = row.request.target.replace("{version}", version).replace("{newest}", newest)
    request = structs.replace(row.request, target=target)
    return PlannedQuestion(row.key, version, request, row.most_s)
