"""The types of differences."""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.facts import Fact
from openimds.interop.transcript.exchange import RecordedRequest
from openimds.interop.transcript.json_scan import Steps

ABSENT = "not there"


class DifferenceKind(StrEnum):
    """The part of an answer that differs."""

    ANSWER = "answer"
    """Only one side has an answer."""
    STATUS = "status"
    HEADER_ORDER = "header order"
    HEADER = "header"
    API_VERSION = "api-version"
    FIELD = "field"
    """Only one side has the field."""
    TYPE = "type"
    MEMBER_ORDER = "member order"
    SPACING = "spacing"
    VALUE = "value"
    BODY = "body"


class AnswerDifference(Struct, frozen=True):
    """A difference between two answers; `steps` lead to it in a document."""

    kind: DifferenceKind
    subject: str
    left: str
    right: str
    steps: Steps = ()


class At(Struct, frozen=True):
    """A request whose answers differ."""

    question: str
    version: str
    request: RecordedRequest


class Difference(Struct, frozen=True):
    """One difference with all its requests; `about` is None if it is about no fact."""

    kind: DifferenceKind
    subject: str
    left: str
    right: str
    about: Fact | None
    found: tuple[At, ...]
