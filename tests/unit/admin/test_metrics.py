"""The rows of the metrics, their exposition, and the pages that name them."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from openimds.admin.metrics import (
    METRICS,
    METRICS_OF_HOSTS,
    MetricKind,
    MetricRow,
    Samples,
    exposition,
    exposition_for,
)
from openimds.protocol.durations import Durations, labelled
from tests.unit.admin.setup import AdminServer, with_server

ROOT = Path(__file__).parents[3]
ROWS = [*METRICS.values()]


def test_metrics_answer_is_prometheus_text(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        got = await server.api.get("/metrics")
        assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = list(text_string_to_metric_families(got.text))
        assert all(family.documentation for family in families)
        samples = {
            (one.name, *one.labels.values()): one.value
            for family in families
            for one in family.samples
        }
        assert samples == {
            ("openimds_requests_total", "/instance", "200"): 3,
            ("openimds_requests_total", "/instance", "400"): 2,
            ("openimds_requests_total", "/versions", "400"): 1,
            ("openimds_refusals_total", "no_metadata"): 3,
            ("openimds_unknown_callers_total",): 7,
            ("openimds_vms",): 2,
            ("openimds_store_age_seconds",): 0.5,
        }

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.kind is not MetricKind.HISTOGRAM], ids=lambda row: row.name
)
def test_exposition_of_a_row_has_its_name_kind_and_labels(row: MetricRow) -> None:
    labels = tuple(f"{name}-1" for name in row.labels)
    text = exposition({row.name: {labels: 5.0} if labels else 5.0}).decode()
    (family,) = text_string_to_metric_families(text)
    assert (family.type, family.documentation) == (row.kind, row.documentation)
    (sample,) = family.samples
    assert (sample.name, sample.value) == (row.exposed_name, 5)
    assert sample.labels == dict(zip(row.labels, labels, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_metric_name_follows_the_conventions_of_prometheus(row: MetricRow) -> None:
    assert re.fullmatch(r"openimds(_[a-z]+)+", row.name)
    assert row.name.endswith("_info") is (row.unit == "info")
    # The exposition adds it to counters; a gauge must not end with it.
    assert not row.name.endswith("_total")
    for unit in ("seconds", "bytes"):
        assert row.name.endswith(f"_{unit}") is (row.unit == unit)
    assert row.help.endswith(".")
    assert row.remedy.endswith(".") or not row.remedy
    assert f"Unit: {row.unit}." in row.documentation
    assert row.exposed_name.endswith("_total") is (row.kind is MetricKind.COUNTER)


def test_exposition_of_a_histogram_is_cumulative() -> None:
    durations = Durations()
    for duration_s in (0.00005, 0.0001, 0.3, 99.0):
        durations.note(duration_s)
    name = "openimds_admin_request_duration_seconds"
    samples: dict[str, Samples] = {name: labelled("/v1/vms", "GET", durations=durations)}
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        text = exposition_for(samples, accept).body.decode()
        series = 'route="/v1/vms"'
        assert f'{name}_bucket{{le="0.0001",method="GET",{series}}} 2.0\n' in text
        assert f'{name}_bucket{{le="0.5",method="GET",{series}}} 3.0\n' in text
        assert f'{name}_bucket{{le="+Inf",method="GET",{series}}} 4.0\n' in text
        assert f'{name}_count{{method="GET",{series}}} 4.0\n' in text
    (family,) = text_string_to_metric_families(exposition(samples).decode())
    assert family.type == "histogram"
    assert max(one.value for one in family.samples) == pytest.approx(99.30015)
    assert not METRICS_OF_HOSTS & {row.name for row in ROWS if row.kind is MetricKind.HISTOGRAM}


def test_prometheus_gets_openmetrics_if_it_asks(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        got = await server.api.get("/metrics", headers={"Accept": accept})
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert got.headers["content-type"] == kind
        assert got.text.endswith("\n# EOF\n")

    with_server(tmp_path, work)


def test_metric_without_a_sample_is_not_exposed() -> None:
    assert exposition({}) == b""


def test_pages_name_only_metrics_that_exist() -> None:
    exposed = {name for row in ROWS for name in (row.exposed_name, *row.sample_names)}
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\bopenimds_[a-z_]+", page.read_text("utf-8"))
    }
    assert {name for _, name in named} & exposed
    assert [one for one in sorted(named) if one[1] not in exposed] == []
