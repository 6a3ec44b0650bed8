"""Redaction: a transcript without the values that identify its VM."""

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
"""Shorter values are not replaced in other places: they are also parts of words."""
_LISTED_NAME = re.compile(r"\w{1,64}/?\n?", re.ASCII)
_NO_SECRET = ("true", "false")
_KNOWN_HOSTS = ("169.254.169.254", "127.0.0.1", "::1", "localhost")
_DROPPED = "signatures and unreadable bodies, which --redact drops"

Sweep = Callable[[str], str]
"""Replaces, in any text, the values that have a placeholder."""


def redact(transcript: Transcript) -> Transcript:
    """Return a transcript with placeholders for all values that identify its VM.

    These are ids, names, keys, addresses, user data and tags. The same value has the same
    placeholder everywhere, and the same transcript always the same placeholders. A value at a path
    without a row is replaced, too.
    """
    placeholders = _placeholders(transcript)
    replaced = [_with_document(exchange, placeholders) for exchange in transcript.exchanges]
    sweep = _sweeper(placeholders)
    is_known = urlsplit(transcript.url).hostname in _KNOWN_HOSTS
    return structs.replace(
        transcript,
        url=transcript.url if is_known else "http://redacted.invalid",
        is_redacted=True,
        left_out=(*transcript.left_out, _DROPPED),
        exchanges=tuple(
            _swept(exchange, original, placeholders, sweep) for exchange, original in replaced
        ),
    )


def _placeholders(transcript: Transcript) -> Placeholders:
    """Collect the values of a transcript, so that no placeholder is one of them."""
    taken: set[str] = set()
    tag_lists: dict[str, Pairs] = {}
    for text in _texts(transcript):
        found = _nodes(text)
        values = [node.value for node in found] if found else [text]
        for value in values:
            if isinstance(value, str):
                taken |= {value.lower(), *re.split(r"[/;:]", value.lower())}
        tag_lists |= _tag_lists(text) if found else {}
    return Placeholders(taken, tag_lists)


def _texts(transcript: Transcript) -> Iterator[str]:
    for exchange in transcript.exchanges:
        if exchange.answer:
            yield exchange.answer.octets.decode(errors="replace")
            yield exchange.answer.signed


def _nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes of a JSON text, none if it is not JSON."""
    try:
        return scan(text).nodes
    except (ValueError, RecursionError):
        return ()


def _tag_lists(text: str) -> dict[str, Pairs]:
    """Return the tags in a document's `tagsList`, by the string of tags that joins them."""
    by_string: dict[str, Pairs] = {}
    for value in _objects(msgspec.json.decode(text)):
        listed = value.get("tagsList")
        try:
            pairs = [(str(tag["name"]), str(tag["value"])) for tag in listed or ()]
        except (KeyError, TypeError):
            continue
        if pairs:
            by_string[join(pairs)] = pairs
    return by_string


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        yield value
    children: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for child in children if isinstance(value, dict | list) else ():
        yield from _objects(child)


def _with_document(
    exchange: Exchange, placeholders: Placeholders
) -> tuple[Exchange, RecordedResponse | None]:
    """Return an exchange with placeholders in a good body, and its original answer."""
    response = exchange.answer
    if response is None or response.status not in _GOOD:
        return exchange, response
    where = locate(exchange.request.target)
    body = _body(response.octets.decode(errors="replace"), where, placeholders)
    signed = _replaced(response.signed, where, ("signed",), placeholders)
    replaced = structs.replace(response, body=body, body_base64="", signed=signed)
    return structs.replace(exchange, answer=replaced), response


def _body(text: str, where: Location, placeholders: Placeholders) -> str:
    """Return a good body with placeholders: a document, a listing, or a leaf."""
    is_document = any(node.kind in ("object", "array") for node in _nodes(text)[:1])
    if is_document or not where.is_text or where.document not in (INSTANCE, ROOT):
        return _replaced(text, where, where.steps, placeholders)
    if where.is_listing:
        return "".join(
            line if _LISTED_NAME.fullmatch(line) else REDACTED
            for line in text.splitlines(keepends=True)
        )
    leaf = text.removesuffix("\n")
    return placeholders.of(_redaction(where, where.steps), leaf) + text[len(leaf) :]


def _redaction(where: Location, steps: Steps) -> Redaction:
    """Return the redaction of a path in a document."""
    document = where.document
    if document == ROOT and steps[:1] == (INSTANCE,):
        document, steps = INSTANCE, steps[1:]
    path = field_path(steps) if document == INSTANCE else written(steps)
    return REDACTIONS.get(document, {}).get(path, Redaction.OTHER)


def _replaced(text: str, where: Location, above: Steps, placeholders: Placeholders) -> str:
    """Return a JSON text with placeholders, all other bytes unchanged; drop other text.

    `above` are the steps from the top of the document to the text.
    """
    found = _nodes(text)
    if not found:
        return REDACTED if text else ""
    pieces, at = [], 0
    for node in found:
        token = _token(node, _redaction(where, (*above, *node.steps)), placeholders)
        if token:
            pieces += [text[at : node.start], token]
            at = node.end
    return "".join([*pieces, text[at:]])


def _token(node: Node, redaction: Redaction, placeholders: Placeholders) -> str:
    """Return the placeholder of a leaf as JSON; empty if its value stays."""
    if redaction is Redaction.KEPT or node.value in _NO_SECRET:
        return ""
    if isinstance(node.value, str):
        return msgspec.json.encode(placeholders.of(redaction, node.value)).decode()
    return "0" if node.kind == "number" else ""


@cache
def _words() -> frozenset[str]:
    """Return the words of refusals and field names, which identify no VM."""
    texts = (
        *(row.body for row in REFUSALS),
        *(row.path for row in ENDPOINTS),
        *(node.path for node in nodes(newest_tree())),
    )
    return frozenset(re.findall(r"[a-z0-9]+", " ".join(texts).lower()))


def _sweeper(placeholders: Placeholders) -> Sweep:
    """Return the function that replaces known values in refusals, headers and failures."""
    by_value = {
        value: placeholder
        for (_, value), placeholder in placeholders.by_value.items()
        if len(value) >= _SHORTEST and value not in _words()
    }
    if not by_value:
        return str
    longest_first = sorted(by_value, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    return lambda text: pattern.sub(lambda match: by_value.get(match[0].lower(), REDACTED), text)


def _swept(
    exchange: Exchange,
    original: RecordedResponse | None,
    placeholders: Placeholders,
    sweep: Sweep,
) -> Exchange:
    response, turned_away = exchange.answer, exchange.turned_away
    return structs.replace(
        exchange,
        answer=_clean(response, original, placeholders, sweep) if response and original else None,
        failure=sweep(exchange.failure),
        turned_away=(
            _clean(turned_away, turned_away, placeholders, sweep) if turned_away else None
        ),
    )


def _clean(
    response: RecordedResponse, original: RecordedResponse, placeholders: Placeholders, sweep: Sweep
) -> RecordedResponse:
    """Return an answer with redacted headers, and a refusal with a swept body."""
    body = response.body
    if response is original:
        body = REDACTED if response.body_base64 else sweep(response.body)
    clean = structs.replace(response, body=body, body_base64="")
    headers = tuple(
        _header(line, original, clean, placeholders, sweep) for line in response.headers
    )
    return structs.replace(clean, headers=headers)


def _header(
    line: str,
    before: RecordedResponse,
    after: RecordedResponse,
    placeholders: Placeholders,
    sweep: Sweep,
) -> str:
    """Return a header line with its value redacted and its blanks unchanged."""
    name, colon, rest = line.partition(":")
    value = rest.strip()
    if not value:
        return line
    leading, _, trailing = rest.partition(value)
    if name.lower() == "content-length" and value == str(len(before.octets)):
        redacted = str(len(after.octets))
    elif name.lower() in HEADERS:
        redacted = sweep(value)
    else:
        redacted = placeholders.of(Redaction.GUID, value) if GUID.fullmatch(value) else REDACTED
    return f"{name}{colon}{leading}{redacted}{trailing}"
