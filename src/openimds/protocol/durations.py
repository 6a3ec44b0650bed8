"""Durations: a histogram of seconds that costs a few additions for each value."""

from bisect import bisect_left

BOUNDS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""The upper bounds of the buckets; one more bucket has no bound."""
SHORTEST_S = BOUNDS_S[0]
SUM = "sum"
"""The label of the sum among those of the bounds."""
INFINITE = "+Inf"


class Durations:
    """The number of durations in each bucket, and their sum in seconds.

    `shortest` is the number in the first bucket: code that runs for each request adds to it, and to
    `sum_s`, without a call.
    """

    __slots__ = ("longer", "shortest", "sum_s")

    def __init__(self) -> None:
        """Start without a duration."""
        self.shortest = 0
        self.longer = [0] * len(BOUNDS_S)
        self.sum_s = 0.0

    def note(self, duration_s: float) -> None:
        """Count a duration."""
        self.sum_s += duration_s
        if duration_s <= SHORTEST_S:
            self.shortest += 1
        else:
            self.longer[bisect_left(BOUNDS_S, duration_s) - 1] += 1

    @property
    def count(self) -> int:
        """The number of durations."""
        return self.shortest + sum(self.longer)

    def add(self, other: "Durations") -> None:
        """Count the durations of another histogram, too."""
        self.shortest += other.shortest
        self.sum_s += other.sum_s
        self.longer = [a + b for a, b in zip(self.longer, other.longer, strict=True)]

    def samples(self) -> dict[str, float]:
        """Return the cumulative counts by the bound as text, and the sum."""
        total, samples = self.shortest, {str(SHORTEST_S): float(self.shortest)}
        for bound, count in zip((*BOUNDS_S[1:], INFINITE), self.longer, strict=True):
            total += count
            samples[str(bound)] = float(total)
        return {**samples, SUM: self.sum_s}


def labelled(*labels: str, durations: Durations) -> dict[tuple[str, ...], float]:
    """Return the samples of durations by these labels and the bound."""
    return {(*labels, bound): value for bound, value in durations.samples().items()}
