"""Events that come by themselves: every so often, or at random with a seed.

A plan is a pure function of time: what it brings in an interval does not depend on what was asked
before or on how the time is cut, so nothing has to be remembered over a restart but the plan, and
the same plan brings the same events everywhere.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice, takewhile
from math import floor, log

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.events import ANY
from openimds.parameters import describe
from openimds.protocol.events.event import MOST_S, Declaration, check

LEAST_S = 1
"""Events that come faster than once a second are a flood, not a plan."""

_GAPS_PER_WINDOW = 16
_NO_ID = "00000000-0000-0000-0000-000000000000"


class RecurringEvent(Struct, frozen=True):
    """Declarations that repeat from `first_s` on, at most `count` of them; 0 is without end.

    Either `every_s` is the time between two of them, or `mean_s` is the mean time, and each moment
    is as likely as any other: a Poisson process that `seed` fixes. The other members are those of
    a declaration.
    """

    event_type: str
    vms: tuple[str, ...]
    first_s: float
    every_s: float = 0
    mean_s: float = 0
    seed: str = ""
    count: int = 0
    notice_s: float | None = None
    duration_s: int | None = None
    life_s: float | None = None
    description: str | None = None
    source: str | None = None
    needs: str = ANY


def check_plan(plan: RecurringEvent) -> None:
    """Check that a plan can be followed, and that what it declares can be an event.

    Raises:
        ConfigError: it cannot; the text says which part, and what would be right.
    """
    if bool(plan.every_s) == bool(plan.mean_s):
        seen = "both every_s and mean_s" if plan.every_s else "neither every_s nor mean_s"
        raise ConfigError("plan", seen, "one of the two")
    for where, span_s in (("every_s", plan.every_s), ("mean_s", plan.mean_s)):
        if span_s and not LEAST_S <= span_s <= MOST_S:
            raise ConfigError(where, describe(span_s), f"seconds from {LEAST_S} to {MOST_S}")
    if plan.count < 0:
        raise ConfigError("count", describe(plan.count), "a number of events, or 0 for no end")
    check(declaration(plan, _NO_ID, "", plan.vms))


def declaration(
    plan: RecurringEvent,
    event_id: str,
    scope: str,
    concerned: tuple[str, ...],
    resources: tuple[str, ...] = (),
) -> Declaration:
    """Return what a plan declares each time, for those of its VMs that are in one scope."""
    return Declaration(
        event_id=event_id,
        event_type=plan.event_type,
        scope=scope,
        concerned=concerned,
        resources=resources,
        notice_s=plan.notice_s,
        duration_s=plan.duration_s,
        life_s=plan.life_s,
        description=plan.description,
        source=plan.source,
        needs=plan.needs,
    )


def occurrences(plan: RecurringEvent, from_s: float, until_s: float) -> Iterator[float]:
    """Yield the times of a plan from `from_s` on and before `until_s`, in order."""
    # A plan that ends is counted from its first event; an endless one is entered where it is asked.
    times = _times(plan, plan.first_s if plan.count else from_s)
    counted = islice(times, plan.count or None)
    return (at_s for at_s in takewhile(lambda at_s: at_s < until_s, counted) if at_s >= from_s)


def _times(plan: RecurringEvent, from_s: float) -> Iterator[float]:
    """Yield the times of an endless plan, beginning not later than with the first at `from_s`."""
    width_s = plan.every_s or plan.mean_s * _GAPS_PER_WINDOW
    # One window earlier, for a time at the very end of it that is rounded to the start of the next.
    window = max(0, floor((from_s - plan.first_s) / width_s) - 1)
    while True:
        # By multiplication, so that a window's edges do not depend on where the walk began.
        start_s = plan.first_s + window * width_s
        if plan.every_s:
            yield start_s
        else:
            yield from _random_times(plan, window, start_s)
        window += 1


def _random_times(plan: RecurringEvent, window: int, start_s: float) -> Iterator[float]:
    """Yield the times in one window.

    The gaps of a Poisson process have no memory, so that each window may begin anew.
    """
    at_s, length_s, gap = 0.0, plan.mean_s * _GAPS_PER_WINDOW, 0
    while (at_s := at_s - plan.mean_s * log(_chance(plan.seed, window, gap))) < length_s:
        yield start_s + at_s
        gap += 1


def _chance(seed: str, window: int, gap: int) -> float:
    """Return a number above 0 and at most 1 that these three always have."""
    # Not `random`: its numbers may change with the release of Python.
    text = f"openimds\0plan\0{seed}\0{window}\0{gap}"
    digest = sha256(text.encode(errors="surrogatepass")).digest()
    return (int.from_bytes(digest[:6]) + 1) / 2**48
