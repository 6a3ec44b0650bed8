"""What two bodies do not share: their shape, or on request what they say."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from openimds.interop.compare.difference import ABSENT, AnswerDifference, DifferenceKind
from openimds.interop.transcript.exchange import RecordedResponse
from openimds.interop.transcript.json_scan import Node, Scan, Steps, scan
from openimds.interop.transcript.location import ATTESTED, VERSIONS, Location, written

_OK = range(200, 300)
_STAMPS = frozenset({"signature", "createdOn", "expiresOn", "nonce"})
"""Members whose values are others in every answer."""
_MOST_NAMES = 4
_BLANKS = {True: "blanks between the tokens", False: "compact"}
_LINE_END = {True: "a line end at the end", False: "none at the end"}


class BodyContext(Struct, frozen=True):
    """How two bodies are looked at: what they are part of, and whether their values count."""

    where: Location
    with_values: bool


class _Seen(Struct):
    """What stands at one place: in a shape, the elements of an array are one place."""

    kinds: set[str]
    names: tuple[str, ...]
    text: str


def body(
    left: RecordedResponse, right: RecordedResponse, look: BodyContext
) -> Iterator[AnswerDifference]:
    """Yield what is different in the bodies of two answers with one status."""
    ours, theirs = left.octets, right.octets
    if ours == theirs and left.signed == right.signed:
        return
    if left.status not in _OK:
        yield AnswerDifference(DifferenceKind.BODY, "", _text(ours), _text(theirs))
    elif look.where.is_text:
        yield from _texts(_text(ours), _text(theirs), look)
    else:
        yield from _documents(left, right, look)


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")


def _documents(
    left: RecordedResponse, right: RecordedResponse, look: BodyContext
) -> Iterator[AnswerDifference]:
    ours, theirs = _scan(_text(left.octets)), _scan(_text(right.octets))
    texts = _text(left.octets), _text(right.octets)
    if ours is None or theirs is None:
        yield AnswerDifference(
            DifferenceKind.BODY, "", _told(texts[0], ours, look), _told(texts[1], theirs, look)
        )
        return
    if ours.has_blanks != theirs.has_blanks:
        yield AnswerDifference(
            DifferenceKind.SPACING, "", _BLANKS[ours.has_blanks], _BLANKS[theirs.has_blanks]
        )
    if look.where.document == VERSIONS:
        yield from _lists(ours, theirs)
    else:
        yield from _shapes(ours, theirs, texts, look, _way(look.where))
    if left.signed or right.signed:
        yield from _payloads(left.signed, right.signed, look)


def _way(where: Location) -> Steps:
    return tuple(0 if isinstance(step, int) else step for step in where.steps)


def _payloads(left: str, right: str, look: BodyContext) -> Iterator[AnswerDifference]:
    """Compare what two attested documents sign."""
    ours, theirs = _scan(left), _scan(right)
    if ours is None or theirs is None:
        yield AnswerDifference(
            DifferenceKind.BODY, "signed", _told(left, ours, look), _told(right, theirs, look)
        )
        return
    yield from _shapes(ours, theirs, (left, right), look, ("signed",))


def _told(text: str, seen: Scan | None, look: BodyContext) -> str:
    """Return what is told of a document as a whole: where values do not count, none of them."""
    if look.with_values or not text:
        return text or ABSENT
    return "JSON" if seen else f"{len(text)} characters that are no JSON"


def _scan(text: str) -> Scan | None:
    try:
        return scan(text)
    except (ValueError, RecursionError):
        return None


def _shapes(
    left: Scan, right: Scan, texts: tuple[str, str], look: BodyContext, way: Steps
) -> Iterator[AnswerDifference]:
    ours = _seen(left.nodes, texts[0], exact=look.with_values)
    theirs = _seen(right.nodes, texts[1], exact=look.with_values)
    for steps in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(steps), theirs.get(steps)
        place = written((*way, *steps), is_shape=not look.with_values)
        if one is None or other is None:
            if _belongs(steps, theirs if one else ours, exact=look.with_values):
                yield AnswerDifference(
                    DifferenceKind.FIELD, place, _kinds(one), _kinds(other), (*way, *steps)
                )
            continue
        for kind, said, said_there in _unlike(one, other, is_valued=_is_valued(steps, look)):
            yield AnswerDifference(kind, place, said, said_there, (*way, *steps))


def _unlike(
    one: _Seen, other: _Seen, *, is_valued: bool
) -> Iterator[tuple[DifferenceKind, str, str]]:
    if one.kinds != other.kinds:
        yield DifferenceKind.TYPE, _kinds(one), _kinds(other)
        return
    if orders := _orders(one.names, other.names):
        yield DifferenceKind.MEMBER_ORDER, *orders
    if is_valued and one.text != other.text:
        yield DifferenceKind.VALUE, one.text, other.text


def _seen(nodes: Sequence[Node], text: str, *, exact: bool) -> dict[Steps, _Seen]:
    found: dict[Steps, _Seen] = {}
    for node in nodes:
        steps = node.steps if exact else _generic(node.steps)
        is_leaf = node.kind not in ("object", "array")
        said = text[node.start : node.end] if is_leaf else ""
        held = found.setdefault(steps, _Seen(set(), node.names, said))
        held.kinds.add(node.kind)
    return found


def _generic(steps: Steps) -> Steps:
    return tuple(0 if isinstance(step, int) else step for step in steps)


def _belongs(steps: Steps, others: dict[Steps, _Seen], *, exact: bool) -> bool:
    """Tell whether the other side could have what it lacks: it has what is above it."""
    above = others.get(steps[:-1])
    if above is None:
        return False
    if isinstance(steps[-1], int):
        return exact and "array" in above.kinds
    return "object" in above.kinds


def _kinds(seen: _Seen | None) -> str:
    return " or ".join(sorted(seen.kinds)) if seen else ABSENT


def _is_valued(steps: Steps, look: BodyContext) -> bool:
    if look.where.document == ATTESTED and steps == ("encoding",):
        return True
    return look.with_values and not _STAMPS.intersection(steps[-1:])


def _orders(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, str] | None:
    """Return how two orders go on from where they part, of the names that both have."""
    common = set(ours).intersection(theirs)
    one = [name for name in ours if name in common]
    other = [name for name in theirs if name in common]
    if one == other:
        return None
    pairs = enumerate(zip(one, other, strict=False))
    start = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
    part = slice(start, start + _MOST_NAMES)
    return ", ".join(one[part]), ", ".join(other[part])


def _lists(left: Scan, right: Scan) -> Iterator[AnswerDifference]:
    """Compare the api-versions that two servers name: here the values are the facts."""
    ours, theirs = _strings(left), _strings(right)
    for name in dict.fromkeys((*ours, *theirs)):
        if name not in ours:
            yield AnswerDifference(DifferenceKind.API_VERSION, name, ABSENT, "there")
        elif name not in theirs:
            yield AnswerDifference(DifferenceKind.API_VERSION, name, "there", ABSENT)
    if orders := _orders(ours, theirs):
        yield AnswerDifference(DifferenceKind.MEMBER_ORDER, "apiVersions", *orders)


def _strings(seen: Scan) -> list[str]:
    return [str(node.value) for node in seen.nodes if node.kind == "string"]


def _texts(left: str, right: str, look: BodyContext) -> Iterator[AnswerDifference]:
    """Compare leaves and listings."""
    ends = left.endswith("\n"), right.endswith("\n")
    if ends[0] != ends[1]:
        yield AnswerDifference(DifferenceKind.SPACING, "", _LINE_END[ends[0]], _LINE_END[ends[1]])
    if not look.where.is_listing:
        if look.with_values and left.rstrip("\n") != right.rstrip("\n"):
            place = written(look.where.steps, is_shape=False)
            yield AnswerDifference(DifferenceKind.VALUE, place, left, right, look.where.steps)
        return
    ours, theirs = _listed(left, look), _listed(right, look)
    for name in dict.fromkeys((*ours, *theirs)):
        sides = ours.get(name, ABSENT), theirs.get(name, ABSENT)
        kind = DifferenceKind.FIELD if ABSENT in sides else DifferenceKind.TYPE
        # How many elements there are is the VM's own matter.
        if sides[0] != sides[1] and (kind is DifferenceKind.TYPE or name != _ELEMENT):
            steps = (*_way(look.where), 0 if name == _ELEMENT else name)
            yield AnswerDifference(kind, written(steps), *sides, steps)
    if orders := _orders([*ours], [*theirs]):
        yield AnswerDifference(DifferenceKind.MEMBER_ORDER, written(_way(look.where)), *orders)


_ELEMENT = "[]"


def _listed(text: str, look: BodyContext) -> dict[str, str]:
    """Return what a listing says is below, by name; the elements of an array are one."""
    found = {}
    for line in text.splitlines():
        name = line.removesuffix("/")
        known = _ELEMENT if name.isdecimal() and not look.with_values else name
        found[known] = "with a slash" if line.endswith("/") else "without a slash"
    return found
