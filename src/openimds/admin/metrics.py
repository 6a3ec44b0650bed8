"""The metrics as rows, and their exposition in Prometheus' text format.

A row gives the exposition, the page docs/know/metrics.md, and the check that no other page names a
metric that does not exist. A new metric is one row here and one line in `server.metrics_source`,
which reads its value. Values are read for each scrape, and not before.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector


class MetricKind(StrEnum):
    """The metric types of Prometheus that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"


class MetricRow(Struct, frozen=True):
    """One metric family. `name` is without the `_total` that a counter has in the exposition.

    `unit` is what one stands for: `seconds` and `bytes` are also the end of the name.
    """

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        """The name of the samples, as a query writes it."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name


_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE
FINDINGS = "openimds_findings"

_ROWS = (
    MetricRow(
        "openimds_requests",
        _COUNTER,
        "requests",
        "Requests of guests that were answered.",
        ("endpoint", "status"),
    ),
    MetricRow(
        "openimds_refusals", _COUNTER, "requests", "Refused requests by the reason.", ("reason",)
    ),
    MetricRow("openimds_throttled", _COUNTER, "requests", "Requests over a limit.", ("limit",)),
    MetricRow(
        "openimds_event_moves",
        _COUNTER,
        "transitions",
        "State transitions of scheduled events.",
        ("trigger",),
    ),
    MetricRow(
        "openimds_faults_played",
        _COUNTER,
        "requests",
        "Requests and connections that met an injected fault.",
        ("effect",),
    ),
    MetricRow(
        FINDINGS,
        _GAUGE,
        "requests",
        "Recorded requests that break a rule of the client checks.",
        ("rule",),
    ),
    MetricRow(
        "openimds_unknown_callers",
        _COUNTER,
        "requests",
        "Requests of unknown callers, from the first 1024 addresses.",
    ),
    MetricRow(
        "openimds_connections_refused",
        _COUNTER,
        "connections",
        "Connections that were closed at once because a bound was reached.",
    ),
    MetricRow(
        "openimds_connections_evicted",
        _COUNTER,
        "connections",
        "Connections that were closed for a newcomer because a bound was reached.",
    ),
    MetricRow(
        "openimds_accept_pauses",
        _COUNTER,
        "pauses",
        "Pauses of accepting for want of file descriptors or memory, on all ports.",
    ),
    MetricRow(
        "openimds_listener_failures",
        _COUNTER,
        "tries",
        "Failed tries to open a listener again, each of which is followed by another.",
    ),
    MetricRow(
        "openimds_control_restarts",
        _COUNTER,
        "starts",
        "Starts of control's process after it had ended; guests are served meanwhile.",
    ),
    MetricRow(
        "openimds_requests_recorded",
        _COUNTER,
        "requests",
        "Requests that were recorded or sent to a follower.",
    ),
    MetricRow(
        "openimds_admin_token_failures",
        _COUNTER,
        "requests",
        "Requests to the admin API without the right token: absent, malformed or wrong.",
        ("kind",),
    ),
    MetricRow(
        "openimds_certificates_replaced",
        _COUNTER,
        "replacements",
        "Certificates and token keys replaced without a command: by age, or by a rehearsal.",
        ("part", "cause"),
    ),
    MetricRow(
        "openimds_clock_steps",
        _COUNTER,
        "steps",
        "Steps of the wall clock by some seconds or more, also those of a machine that slept.",
        ("direction",),
    ),
    MetricRow(
        "openimds_history_pruned",
        _COUNTER,
        "rows",
        "Rows of the audit log (changes) and of the event log (events) that were pruned.",
        ("log",),
    ),
    MetricRow(
        "openimds_event_hook_told", _COUNTER, "log entries", "Log entries that the event hook took."
    ),
    MetricRow(
        "openimds_event_hook_failures",
        _COUNTER,
        "log entries",
        "Log entries that the event hook failed to take in every attempt.",
    ),
    MetricRow(
        "openimds_event_hook_left_out",
        _COUNTER,
        "log entries",
        "Log entries that were skipped because the event hook was too far behind.",
    ),
    MetricRow("openimds_vms", _GAUGE, "VMs", "VMs that are served."),
    MetricRow(
        "openimds_vms_quarantined",
        _GAUGE,
        "VMs",
        "Stored VMs that are not served, because their row cannot be taken.",
    ),
    MetricRow("openimds_connections", _GAUGE, "connections", "Open connections of guests."),
    MetricRow(
        "openimds_connections_limit",
        _GAUGE,
        "connections",
        "Bound on the open connections of guests: max_connections, or fewer if files are short.",
    ),
    MetricRow(
        "openimds_loop_lag_seconds",
        _GAUGE,
        "seconds",
        "Delay of the last tick of the event loop.",
    ),
    MetricRow("openimds_store_revision", _GAUGE, "revision", "Revision of the store."),
    MetricRow(
        "openimds_store_age_seconds",
        _GAUGE,
        "seconds",
        "Time since the store last answered without an error.",
    ),
    MetricRow("openimds_cache_bytes", _GAUGE, "bytes", "Size of the cached responses."),
    MetricRow("openimds_cache_vms", _GAUGE, "VMs", "VMs that have cached responses."),
    MetricRow(
        "openimds_events_scheduled", _GAUGE, "events", "Scheduled events that have not started."
    ),
    MetricRow("openimds_events_started", _GAUGE, "events", "Scheduled events that have started."),
    MetricRow("openimds_requests_held", _GAUGE, "requests", "Recorded requests in memory."),
    MetricRow("openimds_requests_held_bytes", _GAUGE, "bytes", "Size of the recorded requests."),
)
METRICS: dict[str, MetricRow] = {row.name: row for row in _ROWS}

Samples: TypeAlias = float | Mapping[str, float] | Mapping[tuple[str, ...], float]
"""One value, values by the label, or values by the labels in their order."""


class MetricsSource(Protocol):
    """The parts of a server that count."""

    async def samples(self) -> Mapping[str, Samples]:
        """Return values by the name of a row; a missing one is not exposed."""
        ...


class _MetricsCollector(Collector):
    def __init__(self, samples: Mapping[str, Samples]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has samples, in the order of the rows."""
        for row in METRICS.values():
            if row.name in self._samples:
                yield _family(row, self._samples[row.name])


def _family(row: MetricRow, samples: Samples) -> Metric:
    make = CounterMetricFamily if row.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = make(row.name, row.help, labels=row.labels)
    by_labels = samples.items() if isinstance(samples, Mapping) else [((), samples)]
    for labels, value in by_labels:
        family.add_metric((labels,) if isinstance(labels, str) else labels, value)
    return family


def exposition(samples: Mapping[str, Samples]) -> bytes:
    """Return metrics in Prometheus' text format; `samples` are by the name of a row."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector(samples))
    return generate_latest(registry)
