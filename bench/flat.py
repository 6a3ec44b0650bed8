"""The cost of a request in a large fleet beside that in a small one."""

import itertools
from random import Random

from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.fleets import address, evenly_spread, value
from bench.harness import GENEROUS, Caller, dispatcher, drive, drive_all
from bench.targets import INSTANCE, METADATA, request
from openimds.vm.fleet_file import parse_fleet

SMALL, LARGE = 1000, 100_000
AGAIN, CACHED, FIRST = (
    "one VM repeatedly",
    "1,000 VMs in turn, cached",
    "1,000 VMs in turn, first request",
)
_CALLERS = 1000
_CHUNK = request(INSTANCE, *METADATA)
_ROUNDS = 15
_REPEATS = 5000
_LAPS = 5

Pairs = list[tuple[float, float]]
"""CPU seconds a request in the smaller and in the larger fleet, round by round."""


class _Site:
    """A fleet with connections from some of its VMs."""

    def __init__(self, count: int) -> None:
        plane = dispatcher(list(parse_fleet(value(count)).vms.values()), GENEROUS)
        self.callers = [Caller(plane, address(n)) for n in evenly_spread(count, _CALLERS)]
        # Guests do not call in the order of memory, in which the processor would read ahead.
        Random(count).shuffle(self.callers)
        self._laps = itertools.count()
        drive_all(self.callers, _CHUNK)

    def again_s(self) -> float:
        """Return CPU seconds a request of one VM that repeats one request."""
        return drive(self.callers[-1], [_CHUNK] * _REPEATS) / _REPEATS

    def first_s(self) -> float:
        """Return CPU seconds a request of VMs with a new target."""
        target = f"{INSTANCE}&lap={next(self._laps)}"
        return drive_all(self.callers, request(target, *METADATA)) / len(self.callers)

    def cached_s(self) -> float:
        """Return CPU seconds a request of VMs that repeat their requests in turn."""
        laps = sum(drive_all(self.callers, _CHUNK) for _ in range(_LAPS))
        return laps / len(self.callers) / _LAPS


def measure(plan: Plan) -> dict[str, Table]:
    """Return CPU microseconds a request by the size of the fleet."""
    large_count = LARGE // 10 if plan.is_quick else LARGE
    progress(f"flat: fleets of 1, {SMALL:,} and {large_count:,} VMs")
    single, small, large = _Site(1), _Site(SMALL), _Site(large_count)
    again, first, cached = Pairs(), Pairs(), Pairs()
    for _ in range(plan.rounds(_ROUNDS)):
        again.append((single.again_s(), large.again_s()))
        first.append((small.first_s(), large.first_s()))
        cached.append((small.cached_s(), large.cached_s()))
    rows = {
        **_rows(AGAIN, (1, large_count), again),
        **_rows(CACHED, (SMALL, large_count), cached),
        **_rows(FIRST, (SMALL, large_count), first),
    }
    return {"flat": Table("One request in fleets of different sizes", "request", rows)}


def row(case: str, count: int) -> str:
    """Return the name of a row."""
    return f"{case}, fleet of {count:,}"


def _rows(case: str, counts: tuple[int, int], pairs: Pairs) -> dict[str, Row]:
    small, large = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return {
        row(case, counts[0]): {"cpu_us": spread(seconds * 1e6 for seconds in small)},
        row(case, counts[1]): {
            "cpu_us": spread(seconds * 1e6 for seconds in large),
            "times_small_fleet": ratio(large, small),
        },
    }
