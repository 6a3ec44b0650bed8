"""Numbers for Prometheus, read when somebody asks and not before."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector


class MetricsSource(Protocol):
    """What the data plane and the store have counted."""

    def requests(self) -> dict[tuple[str, int, str], int]:
        """Return requests by endpoint, status and reason of the refusal (empty: an answer)."""
        ...

    def throttled(self) -> dict[str, int]:
        """Return how often each limiter class said no."""
        ...

    def moves(self) -> dict[str, int]:
        """Return what happened to scheduled events, by what moved them."""
        ...

    def faults(self) -> Mapping[str, int]:
        """Return how often each fault was played, by its effect."""
        ...

    def gauges(self) -> dict[str, float]:
        """Return the values of `GAUGES` by name, at this moment."""
        ...

    def counters(self) -> dict[str, float]:
        """Return the values of `COUNTERS` by name."""
        ...


GAUGES = {
    "openimds_vms": "VMs that are served.",
    "openimds_connections": "Open connections of guests.",
    "openimds_loop_lag_seconds": "How late the last tick of the event loop was.",
    "openimds_store_revision": "Number of the last change in the store.",
    "openimds_store_age_seconds": "Time since the store was last found in order.",
    "openimds_cache_bytes": "Prepared replies that are held.",
    "openimds_cache_vms": "VMs with prepared replies.",
    "openimds_events_scheduled": "Scheduled events that have not started.",
    "openimds_events_started": "Scheduled events that have started.",
    "openimds_requests_held": "Recorded requests that are held.",
    "openimds_requests_held_bytes": "What they weigh.",
}
COUNTERS = {
    "openimds_unknown_callers": "Requests of callers who are no VM, by new addresses.",
    "openimds_connections_refused": "Connections over the bounds.",
    "openimds_event_hook_told": "Happenings that the event hook took.",
    "openimds_event_hook_failures": "Happenings that the event hook did not take.",
    "openimds_event_hook_left_out": "Happenings that were too many for the event hook.",
    "openimds_requests_recorded": "Requests that were recorded, or followed.",
}


class _MetricsCollector(Collector):
    def __init__(self, readings: MetricsSource, findings: Mapping[str, int]) -> None:
        self._readings, self._findings = readings, findings

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        requests = CounterMetricFamily(
            "openimds_requests", "Answers to guests.", labels=("endpoint", "status")
        )
        refusals = CounterMetricFamily(
            "openimds_refusals", "Refusals by their reason.", labels=("reason",)
        )
        by_status: dict[tuple[str, str], int] = {}
        by_reason: dict[str, int] = {}
        for (endpoint, status, reason), number in self._readings.requests().items():
            key = (endpoint, str(status))
            by_status[key] = by_status.get(key, 0) + number
            if reason:
                by_reason[reason] = by_reason.get(reason, 0) + number
        for labels, number in by_status.items():
            requests.add_metric(labels, number)
        for reason, number in by_reason.items():
            refusals.add_metric((reason,), number)
        yield from (requests, refusals)
        for name, about, label, counted in self._labelled():
            family = CounterMetricFamily(name, about, labels=(label,))
            for word, number in counted.items():
                family.add_metric((word,), number)
            yield family
        findings = GaugeMetricFamily(
            "openimds_findings", "Recorded requests that break a rule.", labels=("rule",)
        )
        for rule, number in self._findings.items():
            findings.add_metric((rule,), number)
        yield findings
        for name, value in self._readings.counters().items():
            yield CounterMetricFamily(name, COUNTERS[name], value=value)
        for name, value in self._readings.gauges().items():
            yield GaugeMetricFamily(name, GAUGES[name], value=value)

    def _labelled(self) -> Iterator[tuple[str, str, str, Mapping[str, int]]]:
        """Yield what is counted by one label: name, description, label, counts."""
        read = self._readings
        yield "openimds_throttled", "Requests over a limit.", "limit", read.throttled()
        yield "openimds_event_moves", "What happened to scheduled events.", "trigger", read.moves()
        yield "openimds_faults_played", "Faults that were played.", "effect", read.faults()


def exposition(readings: MetricsSource, findings: Mapping[str, int]) -> bytes:
    """Return the metrics in Prometheus' text format; `findings` are requests by broken rule."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector(readings, findings))
    return generate_latest(registry)
