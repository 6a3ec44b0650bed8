"""A question as a row, and functions that make rows."""

from collections.abc import Mapping

from msgspec import Struct

from openimds.facts.facts import REFUSAL, Fact, fact, refusal_name
from openimds.facts.refusals import refusal_row
from openimds.interop.transcript.exchange import RecordedRequest

GENERAL, OF_EVENTS = "general", "events"
"""Names of lists of api-versions; a question may be asked at each version of one list."""
METADATA = (("Metadata", "true"),)
INSTANCE, DOCUMENT = "/metadata/instance", "/metadata/attested/document"
BALANCER, EVENTS, ROOT = "/metadata/loadbalancer", "/metadata/scheduledevents", "/metadata"
V = "api-version=2021-02-01"
"""A question that is asked once uses a version that every region has known for long."""


class Option(Struct, frozen=True):
    """A switch for optional questions; `without` names the omission where it is off."""

    flag: str
    help: str
    without: str
    default: bool = False


OPTIONS: dict[str, Option] = {
    "attested": Option(
        "--attested", "Ask for attested documents.", "attested documents", default=True
    ),
    "extended": Option(
        "--extended", "Ask with extended=true, too.", "instance documents with extended=true"
    ),
    "events": Option(
        "--events",
        "Ask for scheduled events, which Azure switches on for a day by that.",
        "scheduled events, which the first request switches on for a day",
    ),
}


class Question(Struct, frozen=True):
    """One question.

    Attributes:
        key: its name in transcripts.
        why: the subject of the question, for the page of questions.
        about: the fact that the answer settles.
        request: its target may hold `{version}`, an api-version of `each`, and `{newest}`.
        each: the list of api-versions that it is asked at, one after the other; empty: once.
        option: the key of the option that has to be on.
        most_s: seconds that the whole answer may take.
    """

    key: str
    why: str
    about: Fact
    request: RecordedRequest
    each: str = ""
    option: str = ""
    most_s: float = 10


def ask(
    why: str,
    about: Fact,
    targets: Mapping[str, str],
    headers: tuple[tuple[str, str], ...] = METADATA,
    method: str = "GET",
) -> list[Question]:
    """Return questions that differ only in key and target; `targets` has targets by key."""
    return [
        Question(key, why, about, RecordedRequest(method, target, headers), option=_option(target))
        for key, target in targets.items()
    ]


def refused(key: str, category: str = "general") -> Fact:
    """Return the fact of a refusal."""
    return fact(REFUSAL, refusal_name(refusal_row(key, category)))


def _option(target: str) -> str:
    by_path = {DOCUMENT: "attested", EVENTS: "events"}
    return next((option for path, option in by_path.items() if target.startswith(path)), "")
