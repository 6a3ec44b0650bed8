"""The requests that a fault hits: time window, matchers, chance."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from itertools import count

from openimds.facts.fault_parameters import HeaderMatch
from openimds.protocol.checks import lacks_header
from openimds.protocol.faults.fault import FaultSpec, affects, canonical_text
from openimds.protocol.faults.public_request import PublicRequest
from openimds.protocol.request import Query


def is_active(spec: FaultSpec, passed_s: float) -> bool:
    """Tell whether a fault is active that many seconds after it was set.

    The seconds are negative after the clock was set back; a fault without `from_s` is active even
    then.
    """
    has_begun = not spec.from_s or spec.from_s <= passed_s
    return has_begun and (spec.until_s is None or passed_s < spec.until_s)


def matches(spec: FaultSpec, query: Query) -> bool:
    """Tell whether a query matches a fault, for any VM."""
    if spec.method and query.method != spec.method:
        return False
    if spec.source and not query.is_secondary:
        return False
    wanted = spec.matched_header
    if wanted != HeaderMatch.ANY and lacks_header(query) != (wanted == HeaderMatch.ABSENT):
        return False
    if spec.endpoint:
        key = query.endpoint.key if query.endpoint else ""
        if spec.endpoint not in (key, query.category.key):
            return False
    return affects(spec.row, query) and (not spec.path or _is_below(query.path, spec.path))


def matches_public(spec: FaultSpec, request: PublicRequest) -> bool:
    """Tell whether a request at the public listener matches a fault."""
    return (
        spec.row.resource is request.resource
        and spec.method in ("", request.method)
        and spec.address in ("", request.address)
        and (not spec.path or _is_below(request.path, spec.path))
    )


def is_hit(spec: FaultSpec, vm: str, number: int) -> bool:
    """Tell whether a fault hits the `number`-th matching request (from 1) of a VM."""
    if spec.nth and number != spec.nth:
        return False
    place = number - spec.skip
    if place <= 0 or (spec.first and place > spec.first) or (spec.every and place % spec.every):
        return False
    return spec.probability is None or _chance(spec, vm, number) < spec.probability


def noise(spec: FaultSpec, vm: str, number: int, size: int) -> bytes:
    """Return bytes that are not HTTP, always the same for these arguments."""
    blocks: Iterator[bytes] = (_digest(spec, vm, number, f"noise {n}") for n in count())
    noise = b"\xff"  # No status line and no header begins with it.
    while len(noise) < size:
        noise += next(blocks)
    return noise[:size]


def _is_below(path: str, wanted: str) -> bool:
    lower, wanted = path.lower(), wanted.lower()
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(lower, wanted.replace("[", "[[]"))
    stem = wanted.rstrip("/")
    return lower == stem or lower.startswith(f"{stem}/")


def _chance(spec: FaultSpec, vm: str, number: int) -> float:
    """Return a number from 0 to below 1, always the same for these three."""
    return int.from_bytes(_digest(spec, vm, number, "chance")[:6]) / 2**48


def _digest(spec: FaultSpec, vm: str, number: int, purpose: str) -> bytes:
    # Not `random`: its numbers may change with the release of Python.
    text = f"openimds\0fault\0{spec.seed}\0{canonical_text(spec)}\0{vm}\0{number}\0{purpose}"
    return sha256(text.encode(errors="surrogatepass")).digest()
