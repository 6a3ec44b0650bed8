"""A real Prometheus scrapes a real server, for the rules and the dashboard."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openimds.admin.metrics import (
    METRICS,
    METRICS_OF_FOLLOWERS,
    METRICS_OF_HOSTS,
)
from scripts.monitoring import FOLDER, RULES, queries, rules
from tests.support.certificates import TestCa
from tests.support.waiting import until
from tests.system.process import Server, run, serving
from tests.system.prometheus import PROMETHEUS, shipped, watching

PROMTOOL = shutil.which("promtool")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not (PROMTOOL and PROMETHEUS), reason="prometheus is not installed: scripts/host-tools"
    ),
]
WITHIN_S = 60.0
FLEET = "vms: {web-1: {reach: {address: [127.0.0.1]}, identities: {system: true}}}\n"
REFUSED = "OpenIMDSFleetFileRefused"
BAD = "vms: {web-1: {compute: 5}}\n"
EMPTY = {
    **dict.fromkeys(METRICS_OF_HOSTS, "it is a server, not a fleet of hosts"),
    **dict.fromkeys(METRICS_OF_FOLLOWERS, "it follows no control"),
    "openimds_admin_certificate_expiry_timestamp_seconds": "its admin API has no certificate",
    "openimds_event_hook_waiting": "it has no event hook",
    "openimds_fleet_file_last_reload_failure_timestamp_seconds": "no edit was refused",
    "openimds_event_hook_failures": "as above",
    "openimds_event_hook_left_out": "as above",
    "openimds_event_hook_told": "as above",
    "openimds_event_moves": "no event was scheduled",
    "openimds_certificates_replaced": "no certificate was renewed",
    "openimds_history_pruned": "its history is young",
    "openimds_throttled": "no guest was over its limit",
    "openimds_faults_played": "no fault is set",
    "openimds_findings": "requests are not recorded",
}
"""Metrics of the server in these tests without a series, and the reason."""


def plain(server: Server) -> dict[str, Any]:
    """Return the configuration for the listener of a server."""
    config = shipped()
    (config["scrape_configs"], _) = ([one] for one in config["scrape_configs"])
    target = server.ready["metrics"].removeprefix("http://").removesuffix("/metrics")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    return config


def checked(*arguments: str) -> str:
    """Return the output of promtool, which must succeed."""
    got = subprocess.run(
        [PROMTOOL or "", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert got.returncode == 0, got.stdout + got.stderr
    return got.stdout


def test_rules_and_their_tests_pass_promtool() -> None:
    assert f"{len(rules())} rules found" in checked("check", "rules", str(RULES))
    assert "SUCCESS" in checked("test", "rules", str(FOLDER / "rules.test.yaml"))


def test_scrape_configuration_passes_promtool(tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yaml").read_text("utf-8")
    (tmp_path / "rules.yaml").write_text(RULES.read_text("utf-8"))
    for name in ("token", "ca.pem"):
        (tmp_path / name).write_text("of the operator")
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/etc/prometheus/openimds", str(tmp_path)))
    assert "SUCCESS" in checked("check", "config", str(config))


def ask_as_guest(server: Server) -> None:
    """Send requests of each kind, so that counters have series."""
    for target in (
        "/metadata/instance?api-version=2021-02-01",
        "/metadata/scheduledevents?api-version=2020-07-01",
        "/metadata/attested/document?api-version=2020-09-01",
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net",
        "/metadata/nothing",
    ):
        httpx2.get(f"{server.url}{target}", headers={"Metadata": "true"}, timeout=WITHIN_S)


def test_queries_of_dashboard_and_rules_have_data(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    options = ("--fleet", str(fleet), "--metrics", "127.0.0.1:0", "--public", "none")
    with serving(*options, "--state", str(tmp_path / "state"), cwd=tmp_path) as server:
        ask_as_guest(server)
        httpx2.get(f"{server.ready['admin']}/v1/vms", timeout=WITHIN_S)  # Without a token: denied.
        assert run("vm", "list", cwd=tmp_path, **server.variables).returncode == 0
        with watching(tmp_path, plain(server)) as prometheus:
            # Two scrapes after all was counted: a rate needs both.
            scraped = "count_over_time(openimds_build_info[1m]) > 2"
            until(lambda: bool(prometheus.query(scraped)), WITHIN_S)
            ask_as_guest(server)
            absent = {
                name
                for name, row in METRICS.items()
                for sample in row.sample_names
                if not prometheus.query(f"count({sample})")
            }
            assert absent == EMPTY.keys()
            alerts = {one["alert"]: one["expr"] for one in rules()}
            for name, text in {**queries(), **alerts}.items():
                query = text.replace("$instance", ".*").replace("$__rate_interval", "1m")
                found = prometheus.query(query)
                assert bool(found) or is_reasoned(query), f"{name}: {query}"
        assert server.stop()[0] == 0


def is_reasoned(query: str) -> bool:
    """Tell whether a query may be empty: it compares, or has a metric of `EMPTY`."""
    names = set(re.findall(r"openimds_[a-z_]+", query))
    empty = {sample for name in EMPTY for sample in METRICS[name].sample_names}
    return bool(re.search(r" (==|<|>) ", query)) or bool(names & empty)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_bad_edit_of_the_fleet_file_fires_until_it_is_mended(
    tmp_path: Path, processes: str
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    options = ("--fleet", str(fleet), "--metrics", "127.0.0.1:0", "--processes", processes)
    with (
        serving(*options, "--public", "none", cwd=tmp_path) as server,
        watching(tmp_path, plain(server)) as prometheus,
    ):
        until(lambda: bool(prometheus.query('up{job="openimds"} == 1')), WITHIN_S)
        fleet.write_text(BAD)
        until(lambda: REFUSED in prometheus.firing(), WITHIN_S)
        (series,) = prometheus.query("openimds_fleet_file_reloads_total{outcome='refused'}")
        assert series["value"][1] == "1"
        guest = httpx2.get(
            f"{server.url}/metadata/instance?api-version=2021-02-01",
            headers={"Metadata": "true"},
            timeout=WITHIN_S,
        )
        assert guest.json()["compute"]["name"] == "web-1"
        fleet.write_text(FLEET)
        until(lambda: REFUSED not in prometheus.firing(), WITHIN_S)
        assert "OpenIMDSDown" not in prometheus.firing()


def test_token_file_and_ca_let_prometheus_in(tmp_path: Path) -> None:
    ca = TestCa(tmp_path)
    certificate, key = ca.issue("server", "127.0.0.1")
    files = ("--admin-cert", str(certificate), "--admin-key", str(key), "--public", "none")
    with serving(*files, cwd=tmp_path) as server:
        config = shipped()
        (_, job) = config["scrape_configs"]
        job["authorization"]["credentials_file"] = server.ready["token_file"]
        job["tls_config"]["ca_file"] = str(ca.path)
        target = server.ready["admin"].removeprefix("https://")
        job["static_configs"] = [{"targets": [target]}]
        config["scrape_configs"] = [job]
        with watching(tmp_path, config) as prometheus:
            expiry = 'openimds_admin_certificate_expiry_timestamp_seconds{job="openimds"} > 0'
            until(lambda: bool(prometheus.query(expiry)), WITHIN_S)
