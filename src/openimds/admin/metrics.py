"""The exposition of the metrics: Prometheus' text format, or that of OpenMetrics.

The rows are in `admin.metric_rows`; `server.metrics_source` reads their values, for each scrape and
not before.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from openimds.admin.metric_rows.control import CONTROL_ROWS, FINDINGS
from openimds.admin.metric_rows.followers import FOLLOWER_ROWS
from openimds.admin.metric_rows.guests import GUEST_ROWS
from openimds.admin.metric_rows.hosts import CONTROL_LEADS, FLEET_ROWS
from openimds.admin.metric_rows.processes import PROCESS_ROWS
from openimds.admin.metric_rows.row import MetricKind, MetricRow

__all__ = ["CONTROL_LEADS", "FINDINGS", "METRICS", "METRICS_OF_HOSTS", "MetricKind", "MetricRow"]

MEDIA_OF_METRICS = "text/plain; version=0.0.4; charset=utf-8"
MEDIA_OF_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SUM = "sum"

METRICS_OF_HOSTS = frozenset(row.name for row in FLEET_ROWS)
"""Exposed by a control of many hosts alone, for the hosts that have joined."""
METRICS_OF_FOLLOWERS = frozenset(row.name for row in FOLLOWER_ROWS)
"""Exposed by a host of a fleet of hosts alone."""
METRICS: dict[str, MetricRow] = {
    row.name: row
    for row in (*GUEST_ROWS, *CONTROL_ROWS, *PROCESS_ROWS, *FLEET_ROWS, *FOLLOWER_ROWS)
}

Samples: TypeAlias = float | Mapping[str, float] | Mapping[tuple[str, ...], float]
"""One value, values by the label, or values by the labels in their order.

Those of a histogram have one label more: the upper bound of a bucket, whose value is cumulative, or
`sum`.
"""


class MetricsSource(Protocol):
    """The parts of a server that count."""

    async def samples(self) -> Mapping[str, Samples]:
        """Return values by the name of a row; a missing one is not exposed."""
        ...


class Exposition(NamedTuple):
    """The text of all metrics, and its media type."""

    body: bytes
    media: str


class _MetricsCollector(Collector):
    def __init__(self, samples: Mapping[str, Samples]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has samples, in the order of the rows."""
        for row in METRICS.values():
            if row.name in self._samples:
                yield _family(row, self._samples[row.name])


def _family(row: MetricRow, samples: Samples) -> Metric:
    if row.kind is MetricKind.HISTOGRAM:
        return _histogram(row, samples)
    make = CounterMetricFamily if row.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = make(row.name, row.documentation, labels=row.labels)
    by_labels = samples.items() if isinstance(samples, Mapping) else [((), samples)]
    for labels, value in by_labels:
        family.add_metric((labels,) if isinstance(labels, str) else labels, value)
    return family


def _histogram(row: MetricRow, samples: Samples) -> Metric:
    family = HistogramMetricFamily(row.name, row.documentation, labels=row.labels)
    assert isinstance(samples, Mapping)
    series: dict[tuple[str, ...], dict[str, float]] = {}
    for labels, value in samples.items():
        *of_series, bound = (labels,) if isinstance(labels, str) else labels
        series.setdefault(tuple(of_series), {})[bound] = value
    for of_one, values in series.items():
        sum_value = values.pop(_SUM)
        family.add_metric(of_one, [*values.items()], sum_value)
    return family


def _registry(samples: Mapping[str, Samples]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector(samples))
    return registry


def exposition(samples: Mapping[str, Samples]) -> bytes:
    """Return metrics in Prometheus' text format; `samples` are by the name of a row."""
    return generate_latest(_registry(samples))


def exposition_for(samples: Mapping[str, Samples], accept: str) -> Exposition:
    """Return metrics in the format of an Accept header; Prometheus asks for OpenMetrics."""
    if "application/openmetrics-text" not in accept:
        return Exposition(exposition(samples), MEDIA_OF_METRICS)
    body: bytes = openmetrics.generate_latest(_registry(samples))  # type: ignore[no-untyped-call]
    return Exposition(body, MEDIA_OF_OPENMETRICS)
