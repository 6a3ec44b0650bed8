"""A transcript without whatever tells whose VM it was."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec.json
from msgspec import structs

from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.redaction import Redaction
from openimds.facts.refusals import REFUSALS
from openimds.interop.transcript.exchange import Exchange, RecordedResponse
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.json_scan import Node, Steps, scan
from openimds.interop.transcript.location import (
    INSTANCE,
    ROOT,
    Location,
    field_path,
    locate,
    written,
)
from openimds.interop.transcript.placeholders import GUID, REDACTED, Pairs, Placeholders
from openimds.interop.transcript.sensitivity import HEADERS, REDACTIONS
from openimds.vm.schema_tree import newest_tree, nodes
from openimds.vm.tags import join

_GOOD = range(200, 300)
_SHORTEST = 6
"""Shorter values are not looked for where they do not belong: they are parts of words."""
_NAME = re.compile(r"\w{1,64}/?\n?", re.ASCII)
"""A line of a listing."""
_NO_SECRET = ("true", "false")
_KNOWN_HOSTS = ("169.254.169.254", "127.0.0.1", "::1", "localhost")
_DROPPED = "signatures and whatever could not be read, which --redact drops"


def redact(held: Transcript) -> Transcript:
    """Return a transcript with stand-ins for ids, names, keys, addresses, user data and tags.

    The same value has the same stand-in wherever it stands, and the same transcript always the
    same stand-ins. What no row knows is replaced, too.
    """
    made = _stand_ins(held)
    bare = [_bare(one, made) for one in held.exchanges]
    sweep = _sweeper(made)
    return structs.replace(
        held,
        url=held.url if urlsplit(held.url).hostname in _KNOWN_HOSTS else "http://redacted.invalid",
        is_redacted=True,
        left_out=(*held.left_out, _DROPPED),
        exchanges=tuple(_swept(one, was, made, sweep) for one, was in bare),
    )


def _stand_ins(held: Transcript) -> Placeholders:
    """Look at all that stands in a transcript, so that no stand-in is a value of it."""
    taken: set[str] = set()
    tag_lists: dict[str, Pairs] = {}
    for text in _texts(held):
        found = _nodes(text)
        values = [node.value for node in found] if found else [text]
        for value in values:
            if isinstance(value, str):
                taken |= {value.lower(), *re.split(r"[/;:]", value.lower())}
        tag_lists |= _tag_lists(text) if found else {}
    return Placeholders(taken, tag_lists)


def _texts(held: Transcript) -> Iterator[str]:
    for one in held.exchanges:
        if one.answer:
            yield one.answer.octets.decode(errors="replace")
            yield one.answer.signed


def _nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes of a JSON text, none if it is not JSON."""
    try:
        return scan(text).nodes
    except (ValueError, RecursionError):
        return ()


def _tag_lists(text: str) -> dict[str, Pairs]:
    """Return what the string of tags in a document stands for, by its list."""
    found: dict[str, Pairs] = {}
    for value in _objects(msgspec.json.decode(text)):
        listed = value.get("tagsList")
        try:
            pairs = [(str(one["name"]), str(one["value"])) for one in listed or ()]
        except (KeyError, TypeError):
            continue
        if pairs:
            found[join(pairs)] = pairs
    return found


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, dict):
        yield value
    children: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for one in children if isinstance(value, dict | list) else ():
        yield from _objects(one)


def _bare(one: Exchange, made: Placeholders) -> tuple[Exchange, RecordedResponse | None]:
    """Return an exchange with stand-ins in a good body, and the answer that it had."""
    said = one.answer
    if said is None or said.status not in _GOOD:
        return one, said
    where = locate(one.request.target)
    body = _body(said.octets.decode(errors="replace"), where, made)
    signed = _replaced(said.signed, where, ("signed",), made)
    bare = structs.replace(said, body=body, body_base64="", signed=signed)
    return structs.replace(one, answer=bare), said


def _body(text: str, where: Location, made: Placeholders) -> str:
    """Return a good body with stand-ins; what is no document is looked at by where it stands."""
    is_document = any(node.kind in ("object", "array") for node in _nodes(text)[:1])
    if is_document or not where.is_text or where.document not in (INSTANCE, ROOT):
        return _replaced(text, where, where.steps, made)
    if where.is_listing:
        return "".join(
            line if _NAME.fullmatch(line) else REDACTED for line in text.splitlines(keepends=True)
        )
    bare = text.removesuffix("\n")
    return made.of(_sort(where, where.steps), bare) + text[len(bare) :]


def _sort(where: Location, steps: Steps) -> Redaction:
    """Return what stands at a place in a document."""
    document = where.document
    if document == ROOT and steps[:1] == (INSTANCE,):
        document, steps = INSTANCE, steps[1:]
    path = field_path(steps) if document == INSTANCE else written(steps)
    return REDACTIONS.get(document, {}).get(path, Redaction.OTHER)


def _replaced(text: str, where: Location, way: Steps, made: Placeholders) -> str:
    """Return a JSON text with stand-ins, every other byte as it was; what is none is dropped.

    `way` leads from the document to what the text is of it.
    """
    found = _nodes(text)
    if not found:
        return REDACTED if text else ""
    pieces, at = [], 0
    for node in found:
        stand_in = _token(node, _sort(where, (*way, *node.steps)), made)
        if stand_in:
            pieces += [text[at : node.start], stand_in]
            at = node.end
    return "".join([*pieces, text[at:]])


def _token(node: Node, sort: Redaction, made: Placeholders) -> str:
    """Return what stands in for a leaf, as JSON; empty where it stays."""
    if sort is Redaction.KEPT or node.value in _NO_SECRET:
        return ""
    if isinstance(node.value, str):
        return msgspec.json.encode(made.of(sort, node.value)).decode()
    return "0" if node.kind == "number" else ""


@cache
def _words() -> frozenset[str]:
    """Return the words of refusals and of fields: a VM that is called so gives nothing away."""
    texts = (
        *(row.body for row in REFUSALS),
        *(row.path for row in ENDPOINTS),
        *(node.path for node in nodes(newest_tree())),
    )
    return frozenset(re.findall(r"[a-z0-9]+", " ".join(texts).lower()))


def _sweeper(made: Placeholders) -> Callable[[str], str]:
    """Return what replaces values that stand where they do not belong."""
    known = {
        value: stand_in
        for (_, value), stand_in in made.made.items()
        if len(value) >= _SHORTEST and value not in _words()
    }
    if not known:
        return str
    longest_first = sorted(known, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    return lambda text: pattern.sub(lambda found: known.get(found[0].lower(), REDACTED), text)


def _swept(
    one: Exchange, was: RecordedResponse | None, made: Placeholders, sweep: Callable[[str], str]
) -> Exchange:
    said, away = one.answer, one.turned_away
    return structs.replace(
        one,
        answer=_clean(said, was, made, sweep) if said and was else None,
        failure=sweep(one.failure),
        turned_away=_clean(away, away, made, sweep) if away else None,
    )


def _clean(
    said: RecordedResponse, was: RecordedResponse, made: Placeholders, sweep: Callable[[str], str]
) -> RecordedResponse:
    """Return an answer with its headers redacted, and with its body, too, if that is a refusal."""
    body = said.body
    if said is was:
        body = REDACTED if said.body_base64 else sweep(said.body)
    clean = structs.replace(said, body=body, body_base64="")
    headers = tuple(_header(line, was, clean, made, sweep) for line in said.headers)
    return structs.replace(clean, headers=headers)


def _header(
    line: str,
    was: RecordedResponse,
    now: RecordedResponse,
    made: Placeholders,
    sweep: Callable[[str], str],
) -> str:
    """Return the line of a header with its value replaced, and its blanks as they were."""
    name, colon, rest = line.partition(":")
    value = rest.strip()
    if not value:
        return line
    before, _, after = rest.partition(value)
    if name.lower() == "content-length" and value == str(len(was.octets)):
        shown = str(len(now.octets))
    elif name.lower() in HEADERS:
        shown = sweep(value)
    else:
        shown = made.of(Redaction.GUID, value) if GUID.fullmatch(value) else REDACTED
    return f"{name}{colon}{before}{shown}{after}"
