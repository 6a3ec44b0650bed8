"""The comparison of two transcripts, request by request."""

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


class Comparison(Struct, frozen=True, rename="camel"):
    """The result: the number of compared requests, the differences, the requests of one side."""

    compared: int
    differences: tuple[Difference, ...]
    left_alone: tuple[RecordedRequest, ...]
    right_alone: tuple[RecordedRequest, ...]


def compare(
    left: Transcript, right: Transcript, questions: Mapping[str, Fact], *, with_values: bool
) -> Comparison:
    """Return the differences of two transcripts, in the order of the left one.

    Args:
        left: one transcript.
        right: the other; only requests that stand in both are compared.
        questions: the fact that each question settles, by its key.
        with_values: whether the values in documents are compared, too.
    """
    lefts = {exchange.request: exchange for exchange in left.exchanges}
    rights = {exchange.request: exchange for exchange in right.exchanges}
    both = [request for request in lefts if request in rights]
    groups: dict[Difference, list[At]] = {}
    for request in both:
        one, other = lefts[request], rights[request]
        question = questions.get(one.question) or questions.get(other.question)
        where, at = locate(request.target), At(one.question, one.version, request)
        for difference in _pair(one, other, with_values=with_values):
            group = Difference(
                difference.kind,
                difference.subject,
                _general(difference.left, difference, one.version),
                _general(difference.right, difference, one.version),
                about(difference, where, one.version, question),
                (),
            )
            groups.setdefault(group, []).append(at)
    return Comparison(
        len(both),
        tuple(structs.replace(group, found=tuple(each)) for group, each in groups.items()),
        tuple(request for request in lefts if request not in rights),
        tuple(request for request in rights if request not in lefts),
    )


def _pair(left: Exchange, right: Exchange, *, with_values: bool) -> Iterator[AnswerDifference]:
    one, other = left.answer, right.answer
    if one is None or other is None:
        if one or other:
            yield AnswerDifference(DifferenceKind.ANSWER, "", _short(left), _short(right))
        return
    if one.line != other.line:
        yield AnswerDifference(DifferenceKind.STATUS, "", _short(left), _short(right))
    if one.status == other.status:
        yield from head(one, other, left.request.method)
        yield from body(one, other, BodyContext(locate(left.request.target), with_values))


def _general(text: str, difference: AnswerDifference, version: str) -> str:
    """Replace the api-version in a refusal, so that it is one difference at all versions."""
    is_refusal = version and difference.kind in (DifferenceKind.STATUS, DifferenceKind.BODY)
    return text.replace(version, "{version}") if is_refusal else text


def _short(exchange: Exchange) -> str:
    """Return the status line with the body of a refusal, or the failure."""
    response = exchange.answer
    if response is None:
        return f"{ABSENT}: {exchange.failure}"
    if response.status < _REFUSALS:
        return response.line
    return f"{response.line} {response.octets.decode(errors='backslashreplace')}".strip()


_REFUSALS = 300
