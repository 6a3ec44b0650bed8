"""Differences of two bodies: their shape, and on request their values."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from openimds.interop.compare.difference import ABSENT, AnswerDifference, DifferenceKind
from openimds.interop.transcript.exchange import RecordedResponse
from openimds.interop.transcript.json_scan import Node, Scan, Steps, scan
from openimds.interop.transcript.location import ATTESTED, VERSIONS, Location, written

_OK = range(200, 300)
_ALWAYS_NEW = frozenset({"signature", "createdOn", "expiresOn", "nonce"})
"""Members whose values differ in every answer."""
_MOST_NAMES = 4
_BLANKS = {True: "blanks between the tokens", False: "compact"}
_LINE_END = {True: "a line end at the end", False: "none at the end"}


class BodyContext(Struct, frozen=True):
    """The location of two bodies, and whether their values are compared."""

    where: Location
    with_values: bool


class _PathValue(Struct):
    """The value at one path; in a shape, array elements share a path."""

    kinds: set[str]
    names: tuple[str, ...]
    text: str


def body(
    left: RecordedResponse, right: RecordedResponse, context: BodyContext
) -> Iterator[AnswerDifference]:
    """Yield the differences in the bodies of two answers with the same status."""
    if left.octets == right.octets and left.signed == right.signed:
        return
    one, other = _text(left.octets), _text(right.octets)
    if left.status not in _OK:
        yield AnswerDifference(DifferenceKind.BODY, "", one, other)
    elif context.where.is_text:
        yield from _texts(one, other, context)
    else:
        yield from _documents(left, right, context)


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")


def _documents(
    left: RecordedResponse, right: RecordedResponse, context: BodyContext
) -> Iterator[AnswerDifference]:
    texts = _text(left.octets), _text(right.octets)
    one, other = _scan(texts[0]), _scan(texts[1])
    if one is None or other is None:
        summaries = _summary(texts[0], one, context), _summary(texts[1], other, context)
        yield AnswerDifference(DifferenceKind.BODY, "", *summaries)
        return
    if one.has_blanks != other.has_blanks:
        yield AnswerDifference(
            DifferenceKind.SPACING, "", _BLANKS[one.has_blanks], _BLANKS[other.has_blanks]
        )
    if context.where.document == VERSIONS:
        yield from _version_lists(one, other)
    else:
        yield from _shapes(one, other, texts, context, _generic(context.where.steps))
    if left.signed or right.signed:
        yield from _payloads(left.signed, right.signed, context)


def _payloads(left: str, right: str, context: BodyContext) -> Iterator[AnswerDifference]:
    """Compare the signed payloads of two attested documents."""
    one, other = _scan(left), _scan(right)
    if one is None or other is None:
        summaries = _summary(left, one, context), _summary(right, other, context)
        yield AnswerDifference(DifferenceKind.BODY, "signed", *summaries)
        return
    yield from _shapes(one, other, (left, right), context, ("signed",))


def _summary(text: str, scanned: Scan | None, context: BodyContext) -> str:
    """Return a document as text, or without values only its form."""
    if context.with_values or not text:
        return text or ABSENT
    return "JSON" if scanned else f"{len(text)} characters that are not JSON"


def _scan(text: str) -> Scan | None:
    try:
        return scan(text)
    except (ValueError, RecursionError):
        return None


def _shapes(
    left: Scan, right: Scan, texts: tuple[str, str], context: BodyContext, above: Steps
) -> Iterator[AnswerDifference]:
    lefts = _path_values(left.nodes, texts[0], exact=context.with_values)
    rights = _path_values(right.nodes, texts[1], exact=context.with_values)
    for steps in dict.fromkeys((*lefts, *rights)):
        one, other = lefts.get(steps), rights.get(steps)
        path = written((*above, *steps), is_shape=not context.with_values)
        if one is None or other is None:
            if _could_have(steps, rights if one else lefts, exact=context.with_values):
                yield AnswerDifference(
                    DifferenceKind.FIELD, path, _kinds(one), _kinds(other), (*above, *steps)
                )
            continue
        for kind, left_text, right_text in _unlike(
            one, other, has_value=_has_value(steps, context)
        ):
            yield AnswerDifference(kind, path, left_text, right_text, (*above, *steps))


def _unlike(
    one: _PathValue, other: _PathValue, *, has_value: bool
) -> Iterator[tuple[DifferenceKind, str, str]]:
    if one.kinds != other.kinds:
        yield DifferenceKind.TYPE, _kinds(one), _kinds(other)
        return
    if orders := _orders(one.names, other.names):
        yield DifferenceKind.MEMBER_ORDER, *orders
    if has_value and one.text != other.text:
        yield DifferenceKind.VALUE, one.text, other.text


def _path_values(nodes: Sequence[Node], text: str, *, exact: bool) -> dict[Steps, _PathValue]:
    by_path: dict[Steps, _PathValue] = {}
    for node in nodes:
        steps = node.steps if exact else _generic(node.steps)
        is_leaf = node.kind not in ("object", "array")
        leaf = text[node.start : node.end] if is_leaf else ""
        found = by_path.setdefault(steps, _PathValue(set(), node.names, leaf))
        found.kinds.add(node.kind)
    return by_path


def _generic(steps: Steps) -> Steps:
    """Return steps with 0 for each index, so that array elements share a path."""
    return tuple(0 if isinstance(step, int) else step for step in steps)


def _could_have(steps: Steps, others: dict[Steps, _PathValue], *, exact: bool) -> bool:
    """Tell whether the other side could have the missing value: it has the parent."""
    parent = others.get(steps[:-1])
    if parent is None:
        return False
    if isinstance(steps[-1], int):
        return exact and "array" in parent.kinds
    return "object" in parent.kinds


def _kinds(found: _PathValue | None) -> str:
    return " or ".join(sorted(found.kinds)) if found else ABSENT


def _has_value(steps: Steps, context: BodyContext) -> bool:
    """Tell whether the value at a path is compared."""
    if context.where.document == ATTESTED and steps == ("encoding",):
        return True
    return context.with_values and not _ALWAYS_NEW.intersection(steps[-1:])


def _orders(left: Sequence[str], right: Sequence[str]) -> tuple[str, str] | None:
    """Return the common names of both sides from where their order parts."""
    common = set(left).intersection(right)
    one = [name for name in left if name in common]
    other = [name for name in right if name in common]
    if one == other:
        return None
    pairs = enumerate(zip(one, other, strict=False))
    start = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
    part = slice(start, start + _MOST_NAMES)
    return ", ".join(one[part]), ", ".join(other[part])


def _version_lists(left: Scan, right: Scan) -> Iterator[AnswerDifference]:
    """Compare the api-versions that two servers name; these values are facts."""
    one, other = _strings(left), _strings(right)
    for name in dict.fromkeys((*one, *other)):
        if name not in one:
            yield AnswerDifference(DifferenceKind.API_VERSION, name, ABSENT, "there")
        elif name not in other:
            yield AnswerDifference(DifferenceKind.API_VERSION, name, "there", ABSENT)
    if orders := _orders(one, other):
        yield AnswerDifference(DifferenceKind.MEMBER_ORDER, "apiVersions", *orders)


def _strings(scanned: Scan) -> list[str]:
    return [str(node.value) for node in scanned.nodes if node.kind == "string"]


def _texts(left: str, right: str, context: BodyContext) -> Iterator[AnswerDifference]:
    """Compare leaves or listings as text."""
    ends = left.endswith("\n"), right.endswith("\n")
    if ends[0] != ends[1]:
        yield AnswerDifference(DifferenceKind.SPACING, "", _LINE_END[ends[0]], _LINE_END[ends[1]])
    if context.where.is_listing:
        yield from _listings(left, right, context)
    elif context.with_values and left.rstrip("\n") != right.rstrip("\n"):
        steps = context.where.steps
        path = written(steps, is_shape=False)
        yield AnswerDifference(DifferenceKind.VALUE, path, left, right, steps)


def _listings(left: str, right: str, context: BodyContext) -> Iterator[AnswerDifference]:
    lefts, rights = _listed(left, context), _listed(right, context)
    above = _generic(context.where.steps)
    for name in dict.fromkeys((*lefts, *rights)):
        sides = lefts.get(name, ABSENT), rights.get(name, ABSENT)
        kind = DifferenceKind.FIELD if ABSENT in sides else DifferenceKind.TYPE
        # The number of elements belongs to the VM.
        if sides[0] != sides[1] and (kind is DifferenceKind.TYPE or name != _ELEMENT):
            steps = (*above, 0 if name == _ELEMENT else name)
            yield AnswerDifference(kind, written(steps), *sides, steps)
    if orders := _orders([*lefts], [*rights]):
        yield AnswerDifference(DifferenceKind.MEMBER_ORDER, written(above), *orders)


_ELEMENT = "[]"


def _listed(text: str, context: BodyContext) -> dict[str, str]:
    """Return the lines of a listing by name; array elements are one line."""
    lines = {}
    for line in text.splitlines():
        name = line.removesuffix("/")
        key = _ELEMENT if name.isdecimal() and not context.with_values else name
        lines[key] = "with a slash" if line.endswith("/") else "without a slash"
    return lines
