"""Recurring events: at fixed intervals, or at random with a seed.

The times of a recurring event are a pure function of time: those in an interval depend neither on
earlier calls nor on how time is cut into intervals. So a restart needs only the recurring event
itself, and equal ones come at equal times everywhere.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice, takewhile
from math import floor, log

from openimds.errors import ConfigError
from openimds.parameters import Parameter, describe, read_fields
from openimds.protocol.events.request import MOST_S, SHARED, EventRequest, fields_of

LEAST_S = 1
"""The shortest interval: events that come faster than once a second are a flood."""
MOST_LINES = 1000
"""The most lines of a scenario."""

_GAPS_PER_WINDOW = 16


class RecurringEvent(EventRequest, frozen=True, kw_only=True):
    """A request that repeats from `first_s` on, at most `count` times; 0 is without end.

    Either `every_s` is the interval, or `mean_s` is the mean interval of a Poisson process that
    `seed` fixes: each moment is as likely as any other. The other of the two is 0.
    """

    first_s: float
    every_s: float = 0
    mean_s: float = 0
    seed: str = ""
    count: int = 0


SCENARIO: tuple[Parameter, ...] = (
    *SHARED,
    Parameter(
        "at_s", float, "Seconds from the begin of the scenario.", 0.0, minimum=0, maximum=MOST_S
    ),
    Parameter("notice_s", float, "Notice before NotBefore, in seconds.", minimum=0, maximum=MOST_S),
    Parameter("every_s", float, "Seconds between two events.", minimum=LEAST_S, maximum=MOST_S),
    Parameter("mean_s", float, "Mean seconds between two events.", minimum=LEAST_S, maximum=MOST_S),
    Parameter("seed", str, "The seed of random times."),
    Parameter("count", int, "The number of events; 0 is without end.", minimum=0),
)
"""The members of a line of a scenario."""


def read_lines(value: object, where: str = "events") -> tuple[RecurringEvent, ...]:
    """Read the lines of a scenario; their times count from its beginning.

    Raises:
        ConfigError: with the path of the mistake, such as `events[0].type`.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_LINES:
        raise ConfigError(where, describe(value), f"a list of at most {MOST_LINES} events")
    return tuple(_line(line, f"{where}[{place}]") for place, line in enumerate(value))


def _line(value: object, where: str) -> RecurringEvent:
    members = read_fields(SCENARIO, value, where)
    intervals = {"every_s", "mean_s"} & members.keys()
    if len(intervals) > 1:
        raise ConfigError(where, "both every_s and mean_s", "one of the two")
    if not intervals:
        members |= {"every_s": LEAST_S, "count": 1}
    return RecurringEvent(**fields_of(members))


def occurrences(recurring: RecurringEvent, from_s: float, until_s: float) -> Iterator[float]:
    """Yield the times of a recurring event from `from_s` on and before `until_s`, in order."""
    # With a count the times are counted from the first; an endless series is entered at `from_s`.
    times = _times(recurring, recurring.first_s if recurring.count else from_s)
    counted = islice(times, recurring.count or None)
    return (at_s for at_s in takewhile(lambda at_s: at_s < until_s, counted) if at_s >= from_s)


def _times(recurring: RecurringEvent, from_s: float) -> Iterator[float]:
    """Yield endless times, beginning not later than with the first at `from_s`."""
    width_s = recurring.every_s or recurring.mean_s * _GAPS_PER_WINDOW
    # One window earlier, for a time at the very end of it that is rounded to the start of the next.
    window = max(0, floor((from_s - recurring.first_s) / width_s) - 1)
    while True:
        # By multiplication, so that a window's edges do not depend on where the walk began.
        start_s = recurring.first_s + window * width_s
        if recurring.every_s:
            yield start_s
        else:
            yield from _random_times(recurring, window, start_s)
        window += 1


def _random_times(recurring: RecurringEvent, window: int, start_s: float) -> Iterator[float]:
    """Yield the times in one window.

    The gaps of a Poisson process have no memory, so that each window may begin anew.
    """
    at_s, length_s, gap = 0.0, recurring.mean_s * _GAPS_PER_WINDOW, 0
    while (at_s := at_s - recurring.mean_s * log(_chance(recurring.seed, window, gap))) < length_s:
        yield start_s + at_s
        gap += 1


def _chance(seed: str, window: int, gap: int) -> float:
    """Return a number above 0 and at most 1, always the same for these three."""
    # Not `random`: its numbers may change with the release of Python.
    text = f"openimds\0plan\0{seed}\0{window}\0{gap}"
    digest = sha256(text.encode(errors="surrogatepass")).digest()
    return (int.from_bytes(digest[:6]) + 1) / 2**48
