"""The questions at the api-versions that are wanted, in the order in which they are asked."""

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
from openimds.interop.transcript.location import INSTANCE, place

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
"""What may stand in a target as an api-version."""
_DATED = re.compile(r"\d{4}-\d\d-\d\d[a-z.-]{0,20}", re.ASCII)
_MOST_VERSIONS = 500
ONCE = ("",)
ALWAYS_LEFT_OUT = "tokens and everything else below /metadata/identity, which is never asked for"


class PlannedQuestion(Struct, frozen=True):
    """A question as it is asked; `version` is empty where it is asked once."""

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
    """Return what is asked, the versions first.

    Args:
        versions: the general api-versions that are asked at.
        options: keys of `OPTIONS` that are wanted.
        newest: at which api-version it is asked what is asked once at the newest.
    """
    of_events = [row.name for row in SCHEDULED_EVENTS]
    asked: list[PlannedQuestion] = []
    for row in QUESTIONS:
        if row.option and row.option not in options:
            continue
        each = {GENERAL: versions, OF_EVENTS: of_events}.get(row.each, ONCE)
        asked += [_asked(row, version, newest) for version in each]
    return tuple(asked)


def all_versions(said: Iterable[str]) -> tuple[str, ...]:
    """Return the api-versions that a server says and those that are known here, oldest first."""
    return tuple(sorted({*said, *(row.name for row in KNOWN)}))


def said_versions(exchange: Exchange) -> tuple[str, ...]:
    """Return the api-versions that an answer of `/metadata/versions` names, none if it is none."""
    try:
        body = msgspec.json.decode(exchange.answer.octets if exchange.answer else b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    named = body.get("apiVersions") if isinstance(body, dict) else ()
    texts = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    return tuple(dict.fromkeys(filter(_DATED.fullmatch, texts)))[:_MOST_VERSIONS]


def versions_of(held: Transcript) -> tuple[str, ...]:
    """Return the api-versions that a transcript was made at, oldest first."""
    each = {row.key for row in QUESTIONS if row.each == GENERAL}
    said = {one.version for one in held.exchanges if one.question in each}
    for one in held.exchanges:
        where = place(one.request.target)
        if where.document == INSTANCE and one.answer and one.answer.status == HTTPStatus.OK:
            said.add(where.version)
    return tuple(sorted(filter(VERSION.fullmatch, said)))


def newest_of(held: Transcript) -> str:
    """Return the api-version that a transcript took for the newest."""
    for one in held.exchanges:
        if one.question in _AT_NEWEST and VERSION.fullmatch(
            found := place(one.request.target).version
        ):
            return found
    return NEWEST


def left_out(options: Collection[str]) -> tuple[str, ...]:
    """Return what is not asked for, as a person is told."""
    without = [f"{row.without} ({row.flag})" for key, row in OPTIONS.items() if key not in options]
    return (ALWAYS_LEFT_OUT, *without)


def _asked(row: Question, version: str, newest: str) -> PlannedQuestion:
    target = row.request.target.replace("{version}", version).replace("{newest}", newest)
    request = structs.replace(row.request, target=target)
    return PlannedQuestion(row.key, version, request, row.most_s)
