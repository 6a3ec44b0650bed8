"""Two transcripts, request by request."""

from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from openimds.facts.facts import Fact
from openimds.interop.compare.attribution import about
from openimds.interop.compare.body import BodyContext, body
from openimds.interop.compare.difference import (
    ABSENT,
    AnswerDifference,
    At,
    Difference,
    DifferenceKind,
)
from openimds.interop.compare.head import head
from openimds.interop.transcript.exchange import Exchange, RecordedRequest
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.location import locate


class Comparison(Struct, frozen=True):
    """What was compared, and what came out; the requests of one side alone were not compared."""

    compared: int
    differences: tuple[Difference, ...]
    left_alone: tuple[RecordedRequest, ...]
    right_alone: tuple[RecordedRequest, ...]


def compare(
    left: Transcript, right: Transcript, questions: Mapping[str, Fact], *, with_values: bool
) -> Comparison:
    """Return what two transcripts do not share, in the order of the left one.

    `questions` says which fact a question settles, by its key.
    """
    ours = {one.request: one for one in left.exchanges}
    theirs = {one.request: one for one in right.exchanges}
    both = [request for request in ours if request in theirs]
    groups: dict[Difference, list[At]] = {}
    for request in both:
        one, other = ours[request], theirs[request]
        question = questions.get(one.question) or questions.get(other.question)
        where, at = locate(request.target), At(one.question, one.version, request)
        for found in _pair(one, other, with_values=with_values):
            group = Difference(
                found.kind,
                found.subject,
                _general(found.left, found, one.version),
                _general(found.right, found, one.version),
                about(found, where, one.version, question),
                (),
            )
            groups.setdefault(group, []).append(at)
    return Comparison(
        len(both),
        tuple(structs.replace(group, found=tuple(each)) for group, each in groups.items()),
        tuple(request for request in ours if request not in theirs),
        tuple(request for request in theirs if request not in ours),
    )


def _pair(left: Exchange, right: Exchange, *, with_values: bool) -> Iterator[AnswerDifference]:
    ours, theirs = left.answer, right.answer
    if ours is None or theirs is None:
        if ours or theirs:
            yield AnswerDifference(DifferenceKind.ANSWER, "", _short(left), _short(right))
        return
    if ours.line != theirs.line:
        yield AnswerDifference(DifferenceKind.STATUS, "", _short(left), _short(right))
    if ours.status == theirs.status:
        yield from head(ours, theirs, left.request.method)
        yield from body(ours, theirs, BodyContext(locate(left.request.target), with_values))


def _general(text: str, found: AnswerDifference, version: str) -> str:
    """Return a refusal without the api-version that was asked at, so that it is one everywhere."""
    is_refusal = version and found.kind in (DifferenceKind.STATUS, DifferenceKind.BODY)
    return text.replace(version, "{version}") if is_refusal else text


def _short(one: Exchange) -> str:
    """Return a status line, with the body where it is a refusal; or why there is none."""
    said = one.answer
    if said is None:
        return f"{ABSENT}: {one.failure}"
    if said.status < _REFUSALS:
        return said.line
    return f"{said.line} {said.octets.decode(errors='backslashreplace')}".strip()


_REFUSALS = 300
