"""The row of one metric, and short functions that make one of each kind."""

from enum import StrEnum

from msgspec import Struct


class MetricKind(StrEnum):
    """The metric types of Prometheus that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricRow(Struct, frozen=True):
    """One metric family. `name` is without the `_total` that a counter has in the exposition.

    `unit` is what one stands for: `seconds` and `bytes` are also the end of the name. `remedy`
    tells what to do about a value that is wrong; it is empty where the number alone says nothing.
    """

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def exposed_name(self) -> str:
        """The name of the family as a query writes it; histograms have longer samples."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names of the samples, as a query writes them."""
        if self.kind is not MetricKind.HISTOGRAM:
            return (self.exposed_name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))

    @property
    def documentation(self) -> str:
        """The text of `# HELP`: the meaning, the unit, and the remedy."""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{self.help} Unit: {self.unit}.{remedy}"


def counter(name: str, unit: str, text: str, *labels: str, remedy: str = "") -> MetricRow:
    """Return the row of a number that only grows while the process runs."""
    return MetricRow(name, MetricKind.COUNTER, unit, text, labels, remedy)


def gauge(name: str, unit: str, text: str, *labels: str, remedy: str = "") -> MetricRow:
    """Return the row of a present value."""
    return MetricRow(name, MetricKind.GAUGE, unit, text, labels, remedy)


def histogram(name: str, unit: str, text: str, *labels: str, remedy: str = "") -> MetricRow:
    """Return the row of a distribution, in the buckets of `protocol.durations`."""
    return MetricRow(name, MetricKind.HISTOGRAM, unit, text, labels, remedy)
