"""What a difference is."""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.facts import Fact
from openimds.interop.transcript.exchange import RecordedRequest
from openimds.interop.transcript.json_scan import Steps

ABSENT = "not there"


class DifferenceKind(StrEnum):
    """What is different."""

    ANSWER = "answer"
    """One side gave none."""
    STATUS = "status"
    HEADER_ORDER = "header order"
    HEADER = "header"
    API_VERSION = "api-version"
    FIELD = "field"
    """One side has it."""
    TYPE = "type"
    MEMBER_ORDER = "member order"
    SPACING = "spacing"
    VALUE = "value"
    BODY = "body"


class AnswerDifference(Struct, frozen=True):
    """A difference between two answers; `steps` is the way to it in a document."""

    kind: DifferenceKind
    subject: str
    left: str
    right: str
    steps: Steps = ()


class At(Struct, frozen=True):
    """Where a difference was found."""

    question: str
    version: str
    request: RecordedRequest


class Difference(Struct, frozen=True):
    """One difference, everywhere that it was found; `about` is None where no row knows of it."""

    kind: DifferenceKind
    subject: str
    left: str
    right: str
    about: Fact | None
    found: tuple[At, ...]
