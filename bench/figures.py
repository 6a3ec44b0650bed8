"""Figures: the median and the range of rounds, and tables of them."""

import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from msgspec import Struct


class Spread(Struct, frozen=True):
    """The median, the lowest and the highest of a number of rounds."""

    median: float
    low: float
    high: float
    rounds: int


class Measure(Struct, frozen=True):
    """A column: its heading and its number of decimals."""

    heading: str
    decimals: int


MEASURES: dict[str, Measure] = {
    "cpu_us": Measure("CPU µs a request", 1),
    "times_cached": Measure("times cached GET", 2),
    "times_changed": Measure("times the document", 2),
    "times_instance": Measure("times instance GET", 2),
    "times_without_faults": Measure("times without faults", 3),
    "times_small_fleet": Measure("times small fleet", 2),
    "made_per_cpu_s": Measure("made per CPU s", 0),
    "times_openssl": Measure("times openssl speed", 2),
    "requests_per_s": Measure("requests/s", 0),
    "cpu_times_nginx": Measure("CPU, times nginx", 2),
    "cpu_times_deferred": Measure("CPU, times nginx deferred", 2),
    "cpu_times_go": Measure("CPU, times Go", 2),
    "busy": Measure("core used", 2),
    "others": Measure("others' share", 2),
    "times_success": Measure("CPU, times success", 2),
    "ready_s": Measure("ready after s", 3),
    "cpu_s": Measure("CPU s", 3),
    "memory_mb": Measure("resident MB", 1),
    "requested_mb": Measure("after 1,000 requests", 1),
    "peak_mb": Measure("peak MB", 1),
    "file_mb": Measure("file MB", 1),
    "connections": Measure("connections", 0),
    "each_kb": Measure("KB each", 1),
    "each_mb": Measure("MB each", 3),
    "p50_us": Measure("p50 µs", 0),
    "p99_us": Measure("p99 µs", 0),
    "p50_ms": Measure("p50 ms", 2),
    "p95_ms": Measure("p95 ms", 2),
    "p99_ms": Measure("p99 ms", 2),
    "idle_p99_ms": Measure("idle p99 ms", 2),
    "p99_times_idle": Measure("p99, times idle", 2),
    "changes_per_s": Measure("changes/s", 0),
    "failed": Measure("failed share", 3),
    "cores": Measure("server's cores", 3),
    "cores_beyond_idle": Measure("beyond idle", 3),
    "sent_per_s": Measure("sent/s", 0),
    "made_per_s": Measure("made/s", 0),
    "refused": Measure("load's refused share", 3),
    "last_s": Measure("last answer after s", 2),
    "done_s": Measure("done or seen after s", 2),
    "longest_ms": Measure("longest wait ms", 1),
    "list_s": Measure("whole list s", 2),
    "declared_ms": Measure("acknowledged after ms", 1),
    "seen_ms": Measure("all saw it after ms", 1),
    "vms_again": Measure("VMs sent again", 0),
    "prototype_ms": Measure("prototype ms", 0),
    "prototype_s": Measure("prototype s", 1),
}
"""Every measure by its key in the results; KB are 1,000 bytes, MB 1,000,000."""

Row = dict[str, Spread]


class Table(Struct, frozen=True):
    """Figures by subject and measure."""

    title: str
    subject: str
    rows: dict[str, Row]

    def measures(self) -> list[str]:
        """Return the measures of all rows, in the order of `MEASURES`."""
        return [key for key in MEASURES if any(key in row for row in self.rows.values())]


class Plan(Struct, frozen=True):
    """The length of a run; a quick one shows that everything works, with rough figures."""

    is_quick: bool = False

    def rounds(self, full: int) -> int:
        """Return the number of rounds, where a full run makes `full`."""
        return min(full, 2) if self.is_quick else full

    def seconds(self, full: float) -> float:
        """Return the seconds of a round, where a full run takes `full`."""
        return min(full, 1.0) if self.is_quick else full


Bench = Callable[[Plan], dict[str, Table]]
"""A bench: it measures and returns tables by key."""


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of the rounds."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    return Spread(_short(median(ordered)), _short(low), _short(high), len(ordered))


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Return the ratio of the medians, with the range of the ratios round by round."""
    pairs = sorted(a / b for a, b in zip(over, under, strict=True))
    middle = median(over) / median(under)
    return Spread(_short(middle), _short(pairs[0]), _short(pairs[-1]), len(pairs))


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that the given percentage of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def progress(text: str) -> None:
    """Print the running measurement on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _short(value: float) -> float:
    """Drop meaningless digits, so that files differ only where figures do."""
    return float(f"{value:.4g}")
