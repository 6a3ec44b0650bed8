"""A value for each row of the metrics, read from the parts of a server."""

import asyncio
from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import pytest

from openimds.admin.metrics import FINDINGS, METRICS, Samples, exposition
from openimds.dataplane.dispatcher import Bounds
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.fleet.quarantine import QuarantinedVm
from openimds.fleet.service import FleetService
from openimds.fleet.store.sqlite import MemoryStore
from openimds.server.metrics_source import HostMetrics, ServerMetrics
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index

VERSIONS = "/metadata/versions"
FLEET = a_fleet(
    a={"reach": {"address": ["10.0.0.1"]}},
    b={"reach": {"address": ["10.0.0.2"]}},
)


def samples_after_three_requests(hook: Any) -> dict[str, Samples]:
    async def read() -> dict[str, Samples]:
        bounds = Bounds(connections=2)
        dispatcher, recorder = a_dispatcher(an_index(*FLEET), bounds=bounds), Recorder(10)
        dispatcher.set_observer(recorder)
        caller = Talk(dispatcher, ("10.0.0.1", 5))
        caller.ask(VERSIONS)
        caller.ask(VERSIONS)
        caller.ask("/metadata/instance/compute/name?api-version=2021-02-01")
        for port in (6, 7):
            Talk(dispatcher, ("10.0.0.1", port))
        dispatcher.fleet_index.quarantine["c"] = QuarantinedVm("c", "a reason")
        fleet_service = FleetService(MemoryStore(), dispatcher.fleet_index, lambda: 0.0, Mock())
        events_service = EventsService(fleet_service, Clock(lambda: 0.0), print)
        replaced: dict[tuple[str, ...], int] = {("intermediate", "rehearsal"): 4}
        counts = {"cut": 1}, lambda: 0.25, lambda: 7, lambda: 3, replaced, {"back": 1}, lambda: 1
        host = HostMetrics(dispatcher, recorder, *counts)

        async def of_host() -> dict[str, Samples]:
            return host.samples()

        logs = {"changes": 5}
        source = ServerMetrics(of_host, fleet_service, events_service, hook, logs, {"wrong": 3})
        try:
            return await source.samples()
        finally:
            fleet_service.close()

    return asyncio.run(read())


def moved(samples: Samples) -> dict[Any, float]:
    """Return the series that have counted something."""
    assert isinstance(samples, Mapping)
    return {labels: value for labels, value in samples.items() if value}


def test_every_row_is_read_but_findings() -> None:
    samples = samples_after_three_requests(Mock(delivered=1, failed=2, skipped=3))
    assert samples.keys() == METRICS.keys() - {FINDINGS}
    assert samples["openimds_event_hook_failures"] == 2
    assert samples["openimds_requests_recorded"] == 3
    assert samples["openimds_loop_lag_seconds"] == 0.25
    assert moved(samples["openimds_certificates_replaced"]) == {("intermediate", "rehearsal"): 4}
    assert samples["openimds_admin_token_failures"] == {"wrong": 3}
    assert samples["openimds_clock_steps"] == {"back": 1}
    assert samples["openimds_history_pruned"] == {"changes": 5}
    assert (samples["openimds_vms"], samples["openimds_vms_quarantined"]) == (2, 1)


def test_bound_on_connections_and_its_victims_are_read() -> None:
    samples = samples_after_three_requests(None)
    assert samples["openimds_connections"] == samples["openimds_connections_limit"] == 2
    assert samples["openimds_connections_evicted"] == 1
    assert samples["openimds_accept_pauses"] == 7
    assert samples["openimds_listener_failures"] == 3


def test_requests_and_refusals_are_summed_by_their_labels() -> None:
    samples = samples_after_three_requests(None)
    assert moved(samples["openimds_requests"]) == {("versions", "200"): 2, ("instance", "400"): 1}
    assert moved(samples["openimds_refusals"]) == {"leaf_needs_text": 1}


@pytest.mark.parametrize("hook", [None, Mock(delivered=1, failed=2, skipped=3)])
def test_hook_metrics_are_exposed_only_with_a_hook(hook: Any) -> None:
    text = exposition(samples_after_three_requests(hook)).decode()
    assert ("openimds_event_hook_failures_total 2.0\n" in text) is (hook is not None)
