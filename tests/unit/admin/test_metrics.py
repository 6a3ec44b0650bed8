"""The rows of the metrics, their exposition, and the pages that name them."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from openimds.admin.metrics import METRICS, MetricKind, MetricRow, exposition
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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_exposition_of_a_row_has_its_name_kind_and_labels(row: MetricRow) -> None:
    labels = tuple(f"{name}-1" for name in row.labels)
    text = exposition({row.name: {labels: 5.0} if labels else 5.0}).decode()
    (family,) = text_string_to_metric_families(text)
    assert (family.type, family.documentation) == (row.kind, row.help)
    (sample,) = family.samples
    assert (sample.name, sample.value) == (row.exposed_name, 5)
    assert sample.labels == dict(zip(row.labels, labels, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_metric_name_follows_the_conventions_of_prometheus(row: MetricRow) -> None:
    assert re.fullmatch(r"openimds(_[a-z]+)+", row.name)
    # The exposition adds it to counters; a gauge must not end with it.
    assert not row.name.endswith("_total")
    for unit in ("seconds", "bytes"):
        assert row.name.endswith(f"_{unit}") is (row.unit == unit)
    assert row.help.endswith(".")
    assert row.exposed_name.endswith("_total") is (row.kind is MetricKind.COUNTER)


def test_metric_without_a_sample_is_not_exposed() -> None:
    assert exposition({}) == b""


def test_pages_name_only_metrics_that_exist() -> None:
    exposed = {row.exposed_name for row in ROWS}
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\bopenimds_[a-z_]+", page.read_text("utf-8"))
    }
    assert {name for _, name in named} & exposed
    assert [one for one in sorted(named) if one[1] not in exposed] == []
