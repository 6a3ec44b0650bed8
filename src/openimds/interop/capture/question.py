"""What a question is, and how rows of them are written."""

from collections.abc import Mapping

from msgspec import Struct

from openimds.facts.facts import REFUSAL, Fact, fact, refusal_name
from openimds.facts.refusals import refusal_row
from openimds.interop.transcript.exchange import RecordedRequest

GENERAL, OF_EVENTS = "general", "events"
"""The lists of api-versions that a question is asked at, each of them."""
METADATA = (("Metadata", "true"),)
INSTANCE, DOCUMENT = "/metadata/instance", "/metadata/attested/document"
BALANCER, EVENTS, ROOT = "/metadata/loadbalancer", "/metadata/scheduledevents", "/metadata"
V = "api-version=2021-02-01"
"""What is asked once is asked at a version that every region has known for long."""


class Option(Struct, frozen=True):
    """What has to be wanted for a question to be asked; `without` is said where it is not."""

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

    `each` is the list of api-versions that it is asked at, one after the other; empty: once. In the
    target, `{version}` is that api-version and `{newest}` the newest one. `option` is the key of
    what has to be wanted, `most_s` how long the whole answer may take.
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
    """Return questions that differ in key and target only."""
    return [
        Question(key, why, about, RecordedRequest(method, target, headers), option=_option(target))
        for key, target in targets.items()
    ]


def refused(key: str, category: str = "general") -> Fact:
    """Return the fact of a refusal."""
    return fact(REFUSAL, refusal_name(refusal_row(key, category)))


def _option(target: str) -> str:
    known = {DOCUMENT: "attested", EVENTS: "events"}
    return next((option for path, option in known.items() if target.startswith(path)), "")
