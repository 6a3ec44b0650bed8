"""The page of the server itself: ready or not, and every metric with its meaning.

Its values are those of /readyz and /metrics, in the order of the rows of the metrics: a new metric
is here by itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from openimds.admin.metrics import FINDINGS, METRICS, MetricKind, MetricRow, Samples
from openimds.admin.page.page_row import BY_NAME, PageCall, PageProblemError, PageRow
from openimds.admin.page.wording import duration, moment, number, size

MOST_SERIES = 12
"""Series of one metric that are shown singly."""
_TIMESTAMPS, _EXPIRY = ("_timestamp_seconds", "_start_time_seconds"), "_expiry_timestamp_seconds"
_OF_A_HOST = "host"


class MetricView(Struct, frozen=True):
    """A metric: its meaning, and its series, each a value after its labels."""

    name: str
    meaning: str
    remedy: str
    series: list[tuple[str, str]]
    has_expired: bool


async def health_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    services = call.services
    readiness, fault = None, None
    try:
        readiness = await call.read("get_readiness")
    except PageProblemError as error:
        fault = error.problem
    samples = {
        **await services.metrics.samples(),
        FINDINGS: await services.recording.findings(),
    }
    views = [*_views(samples, services.fleet_service.utc())]
    return {
        "readiness": readiness,
        "fault": fault,
        "states": [view for row, view in views if row.kind is MetricKind.GAUGE],
        "counts": [view for row, view in views if row.kind is MetricKind.COUNTER],
    }


def _views(samples: Mapping[str, Samples], now_s: float) -> Iterator[tuple[MetricRow, MetricView]]:
    for row in METRICS.values():
        # The page of the hosts has what is known of each.
        if row.name in samples and row.labels != (_OF_A_HOST,):
            yield row, _view(row, samples[row.name], now_s)


def _view(row: MetricRow, samples: Samples, now_s: float) -> MetricView:
    by_labels: list[tuple[Any, float]] = (
        [*samples.items()] if isinstance(samples, Mapping) else [("", samples)]
    )
    values = [(_label(labels), _text(row, value, now_s)) for labels, value in by_labels]
    if len(values) > MOST_SERIES:
        total = sum(value for _, value in by_labels)
        values = [(f"{len(values)} series", number(total))]
    is_expiry = row.name.endswith(_EXPIRY)
    has_expired = is_expiry and any(value <= now_s for _, value in by_labels)
    return MetricView(row.exposed_name, row.help, row.remedy, values, has_expired)


def _label(labels: str | tuple[str, ...]) -> str:
    return labels if isinstance(labels, str) else " ".join(labels)


def _text(row: MetricRow, value: float, now_s: float) -> str:
    if row.name.endswith(_TIMESTAMPS):
        if not value:
            return "never"
        left_s = value - now_s
        distance = f"in {duration(left_s)}" if left_s > 0 else f"{duration(-left_s)} ago"
        return f"{moment(value)} ({distance})"
    if row.unit == "seconds":
        return duration(value)
    return size(value) if row.unit == "bytes" else number(value)


PAGE = PageRow(
    path="/health",
    title="Health",
    template="health.html",
    values=health_values,
    role=BY_NAME["get_metrics"].role,
    live=("health",),
)
