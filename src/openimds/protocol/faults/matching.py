"""Whether a request goes wrong: what it has to fit, and the chance that it then has."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from itertools import count

from openimds.protocol.faults.fault import FaultSpec, text_of, touches
from openimds.protocol.request import Query


def is_time(plan: FaultSpec, passed_s: float) -> bool:
    """Tell whether a plan is on when so many seconds have passed since it was set.

    They are fewer than none where the clock was set back: what waits for no time is on even then.
    """
    has_begun = not plan.from_s or plan.from_s <= passed_s
    return has_begun and (plan.until_s is None or passed_s < plan.until_s)


def fits(plan: FaultSpec, asked: Query) -> bool:
    """Tell whether a request is one of those that a plan is about, whosever it is."""
    if plan.method and asked.method != plan.method:
        return False
    if plan.endpoint:
        key = asked.endpoint.key if asked.endpoint else ""
        if plan.endpoint not in (key, asked.category.key):
            return False
    return touches(plan.row, asked) and (not plan.path or _is_below(asked.path, plan.path))


def is_hit(plan: FaultSpec, vm: str, number: int) -> bool:
    """Tell whether the `number`-th request (from 1) of a VM that fits a plan goes wrong."""
    if plan.nth and number != plan.nth:
        return False
    place = number - plan.skip
    if place <= 0 or (plan.first and place > plan.first) or (plan.every and place % plan.every):
        return False
    return plan.probability is None or _chance(plan, vm, number) < plan.probability


def noise(plan: FaultSpec, vm: str, number: int, size: int) -> bytes:
    """Return bytes that are no HTTP; the same plan, VM and number always bring the same ones."""
    blocks: Iterator[bytes] = (_digest(plan, vm, number, f"noise {n}") for n in count())
    made = b"\xff"  # No status line and no header begins with it.
    while len(made) < size:
        made += next(blocks)
    return made[:size]


def _is_below(path: str, wanted: str) -> bool:
    lower, wanted = path.lower(), wanted.lower()
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(lower, wanted.replace("[", "[[]"))
    stem = wanted.rstrip("/")
    return lower == stem or lower.startswith(f"{stem}/")


def _chance(plan: FaultSpec, vm: str, number: int) -> float:
    """Return a number from 0 to below 1 that these three always have."""
    return int.from_bytes(_digest(plan, vm, number, "chance")[:6]) / 2**48


def _digest(plan: FaultSpec, vm: str, number: int, what: str) -> bytes:
    # Not `random`: its numbers may change with the release of Python.
    text = f"openimds\0fault\0{plan.seed}\0{text_of(plan)}\0{vm}\0{number}\0{what}"
    return sha256(text.encode(errors="surrogatepass")).digest()
