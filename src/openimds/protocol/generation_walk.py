"""A walk through the generations of certificates by the server's clock, as a rehearsal.

Azure replaced its issuers region by region: for weeks some regions had certificates of one
generation and some of the next. So each step of a walk has an overlap, in which every region moves
at a time of its own.
"""

from hashlib import sha256

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.generations import GENERATIONS, NEWEST
from openimds.parameters import DURATION, LARGEST, Parameter

_DAY_S = 86_400
SHORTEST_S, LONGEST_S = 60, 3650 * _DAY_S
"""The bounds of the time between two steps."""
_OVERLAP_SHARE = 4
_YEARS = tuple(GENERATIONS)
WALK: tuple[Parameter, ...] = (
    Parameter(
        "every_s",
        float,
        "Time from one generation to the next; default: a day.",
        _DAY_S,
        minimum=SHORTEST_S,
        maximum=LONGEST_S,
        metavar=DURATION,
    ),
    Parameter(
        "overlap_s",
        float,
        "Time in which the regions move one after the other; default: a quarter of --every.",
        minimum=0,
        maximum=LONGEST_S,
        metavar=DURATION,
    ),
    Parameter(
        "first",
        str,
        "The first generation, which begins at once.",
        _YEARS[0],
        choices=_YEARS,
        metavar="YEAR",
    ),
    Parameter("last", str, "The last generation.", NEWEST, choices=_YEARS, metavar="YEAR"),
)
"""The members of a request for a walk."""


class GenerationWalk(Struct, frozen=True):
    """A walk; times in seconds since 1970, and in seconds. `done` counts the taken steps."""

    generations: tuple[str, ...]
    begun_s: float
    every_s: float
    overlap_s: float
    done: int = 1

    @property
    def generation(self) -> str:
        """The generation of the last step taken."""
        return self.generations[self.done - 1]

    def begins_s(self, place: int) -> float:
        """Return the time at which a step is due; the first one has place 0."""
        return self.begun_s + place * self.every_s

    def overlap_ends_s(self, place: int) -> float:
        """Return the time of the last region's move; the first step moves all at once."""
        return self.begins_s(place) + (self.overlap_s if place else 0)

    def due(self, now_s: float) -> int:
        """Return the number of due steps; a clock set back takes none back."""
        passed = (min(max(now_s, self.begun_s), LARGEST) - self.begun_s) // self.every_s
        return max(self.done, min(len(self.generations), 1 + int(passed)))

    def has_moved(self, region: str, now_s: float) -> bool:
        """Tell whether a region has the generation of the last step taken."""
        share = int.from_bytes(sha256(region.lower().encode()).digest()[:4]) / (1 << 32)
        moves_s = self.begins_s(self.done - 1) + share * self.overlap_s
        return self.done == 1 or now_s >= moves_s


def plan(
    now_s: float, every_s: float, first: str, last: str, overlap_s: float | None = None
) -> GenerationWalk:
    """Return a walk that begins now.

    Raises:
        ConfigError: the last generation is before the first, or the overlap too long.
    """
    generations = _YEARS[_YEARS.index(first) : _YEARS.index(last) + 1]
    if not generations:
        raise ConfigError("last", f'"{last}"', f'"{first}" or a later generation')
    overlap_s = every_s / _OVERLAP_SHARE if overlap_s is None else overlap_s
    if overlap_s > every_s:
        seen = f"the number {overlap_s:g}"
        raise ConfigError("overlap_s", seen, f"at most every_s, which is {every_s:g}")
    return GenerationWalk(generations, now_s, every_s, overlap_s)
