"""A value for each row of the metrics, read from the parts of a server."""

import asyncio
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, cast
from unittest.mock import Mock

import pytest

from openimds.admin.metrics import (
    FINDINGS,
    METRICS,
    METRICS_OF_FOLLOWERS,
    METRICS_OF_HOSTS,
    Samples,
    exposition,
)
from openimds.admin.request_counts import RequestCounts
from openimds.credentials.worker import Worker
from openimds.dataplane.bounds import Bounds
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.clock import Clock
from openimds.events.service import EventsService
from openimds.fleet.quarantine import QuarantinedVm
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Store, StoreError
from openimds.fleet.store.sqlite import MemoryStore
from openimds.server import metrics_source
from openimds.server.control_metrics import ControlFigures, control_samples
from openimds.server.metrics_source import HostMetrics, ServerMetrics, SigningParts
from openimds.server.process_metrics import build_samples, process_samples
from openimds.server.reload_record import ReloadRecord
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index

VERSIONS = "/metadata/versions"
FLEET = a_fleet(
    a={"reach": {"address": ["10.0.0.1"]}},
    b={"reach": {"address": ["10.0.0.2"]}},
)


class ControlStub:
    """A control whose fleet file had a bad edit."""

    loop_lag_s = 0.125
    pruner = Mock(pruned_s=100.0)

    def __init__(self, requests: RequestCounts) -> None:
        self.host = self.fleet_service = self.events_service = self.failed_tokens = Mock()
        self.webhook, self.request_counts = None, requests
        self.reloads = ReloadRecord(is_served=True, served_s=10.0)
        self.reloads.note_refused(20.0, is_retry=False)
        self.reloads.note_refused(25.0, is_retry=True)
        admin, public = Mock(), Mock()
        admin.samples.return_value = {
            "openimds_port_connections": {"admin": 2},
            "openimds_port_connections_limit": {"admin": 9},
            "openimds_port_connections_refused": {"admin": 1},
            "openimds_admin_certificate_expiry_timestamp_seconds": 7.0,
        }
        public.samples.return_value = {"openimds_port_connections": {"public": 3}}
        self.ports = (admin, public)


def samples_after_three_requests(hook: Any, store: Store | None = None) -> dict[str, Samples]:
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
        dispatcher.connections.sweep(dispatcher.now())
        dispatcher.fleet_index.quarantine["c"] = QuarantinedVm("c", "a reason")
        fleet_service = FleetService(
            store or MemoryStore(), dispatcher.fleet_index, lambda: 0.0, Mock()
        )
        events_service = EventsService(fleet_service, Clock(lambda: 0.0), print)
        replaced: dict[tuple[str, ...], int] = {("intermediate", "rehearsal"): 4}
        worker = Worker()
        signing = SigningParts(worker, lambda: {"root": 9.0}, lambda: {("kid-1", "sign"): 8.0})
        assert await worker.run("a", "key", lambda: 5) == 5
        host = HostMetrics(
            dispatcher,
            recorder,
            {"cut": 1},
            lambda: 0.25,
            lambda: 7,
            lambda: 3,
            replaced,
            {"back": 1},
            lambda: 1,
            signing,
        )

        async def of_host() -> dict[str, Samples]:
            return {**host.samples(), **build_samples(), **process_samples("both")}

        logs = {"changes": 5}
        requests = RequestCounts()
        requests.note("/v1/vms", "GET", 403, 0.25)
        source = ServerMetrics(
            of_host,
            fleet_service,
            events_service,
            hook,
            logs,
            {"wrong": 3},
            of_control=lambda: control_samples(cast("ControlFigures", ControlStub(requests))),
        )
        try:
            return await source.samples()
        finally:
            worker.close()
            fleet_service.close()

    return asyncio.run(read())


def test_control_figures_are_read() -> None:
    samples = samples_after_three_requests(None)
    assert samples["openimds_fleet_file_last_reload_successful"] == 0
    assert samples["openimds_fleet_file_last_reload_success_timestamp_seconds"] == 10
    assert samples["openimds_fleet_file_last_reload_failure_timestamp_seconds"] == 25
    assert samples["openimds_fleet_file_reloads"] == {"applied": 0, "refused": 1}
    assert samples["openimds_port_connections"] == {"admin": 2, "public": 3}
    assert samples["openimds_admin_requests"] == {("/v1/vms", "GET", "403"): 1}
    assert samples["openimds_admin_denied"] == {"role": 1}
    assert samples["openimds_history_pruned_timestamp_seconds"] == 100
    assert samples["openimds_control_loop_lag_seconds"] == 0.125


def test_signing_is_timed_and_its_ends_are_read() -> None:
    samples = samples_after_three_requests(None)
    assert moved(samples["openimds_signing_duration_seconds"])["+Inf"] == 1
    assert samples["openimds_signing_waiting"] == 0
    assert samples["openimds_certificate_expiry_timestamp_seconds"] == {"root": 9}
    assert samples["openimds_token_key_expiry_timestamp_seconds"] == {("kid-1", "sign"): 8}


def moved(samples: Samples) -> dict[Any, float]:
    """Return the series that have counted something."""
    assert isinstance(samples, Mapping)
    return {labels: value for labels, value in samples.items() if value}


def test_every_row_is_read_but_findings() -> None:
    samples = samples_after_three_requests(Mock(delivered=1, failed=2, skipped=3, waiting=4))
    of_others = METRICS_OF_HOSTS | METRICS_OF_FOLLOWERS
    of_log = {"openimds_log_lines", "openimds_log_lines_lost"}
    assert samples.keys() == METRICS.keys() - {FINDINGS} - of_others - of_log
    assert samples["openimds_event_hook_failures"] == 2
    assert samples["openimds_requests_recorded"] == 3
    assert samples["openimds_loop_lag_seconds"] == 0.25
    assert moved(samples["openimds_certificates_replaced"]) == {("intermediate", "rehearsal"): 4}
    assert samples["openimds_admin_token_failures"] == {"wrong": 3}
    assert samples["openimds_clock_steps"] == {"back": 1}
    assert samples["openimds_history_pruned"] == {"changes": 5}
    assert (samples["openimds_vms"], samples["openimds_vms_quarantined"]) == (2, 1)


class BadStore(MemoryStore):
    """A store with a problem."""

    def __init__(self, problem: Callable[[], str]) -> None:
        super().__init__()
        self.problem = problem  # type: ignore[method-assign]


def test_refused_changes_are_degraded() -> None:
    def unreadable() -> str:
        raise StoreError("fleet.db: disk I/O error")

    stores = BadStore(lambda: ""), BadStore(lambda: "the disk is full"), BadStore(unreadable)
    seen = [samples_after_three_requests(None, store)["openimds_degraded"] for store in stores]
    assert seen == [False, True, True]
    assert "\nopenimds_degraded 1.0\n" in exposition({"openimds_degraded": True}).decode()


def test_store_that_does_not_answer_is_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_source, "_PATIENCE_S", 0.01)
    answers = Event()

    def hang() -> str:
        assert answers.wait(30)
        return ""

    async def read() -> object:
        fleet_service = FleetService(BadStore(hang), an_index(*FLEET), lambda: 0.0, Mock())
        events_service = EventsService(fleet_service, Clock(lambda: 0.0), print)

        async def of_host() -> dict[str, Samples]:
            return {}

        try:
            source = ServerMetrics(of_host, fleet_service, events_service, None, {}, {})
            return (await source.samples())["openimds_degraded"]
        finally:
            answers.set()
            fleet_service.close()

    assert asyncio.run(read()) is True


def test_bound_on_connections_and_its_victims_are_read() -> None:
    samples = samples_after_three_requests(None)
    assert samples["openimds_connections"] == samples["openimds_connections_limit"] == 2
    assert samples["openimds_connections_evicted"] == 1
    assert samples["openimds_accept_pauses"] == 7
    assert samples["openimds_listener_failures"] == 3


def test_durations_are_read_by_the_class_of_the_endpoint() -> None:
    durations = moved(samples_after_three_requests(None)["openimds_request_duration_seconds"])
    assert durations["metadata", "+Inf"] == 3
    assert ("identity", "+Inf") not in durations


def test_requests_of_the_busiest_vms_are_read() -> None:
    samples = samples_after_three_requests(None)
    assert samples["openimds_vm_requests"] == {"a": 3}
    assert samples["openimds_vm_refused"] == {"a": 0}
    assert samples["openimds_other_vms_requests"] == samples["openimds_vms_penalised"] == 0


def test_requests_and_refusals_are_summed_by_their_labels() -> None:
    samples = samples_after_three_requests(None)
    assert moved(samples["openimds_requests"]) == {("versions", "200"): 2, ("instance", "400"): 1}
    assert moved(samples["openimds_refusals"]) == {"leaf_needs_text": 1}


@pytest.mark.parametrize("hook", [None, Mock(delivered=1, failed=2, skipped=3, waiting=4)])
def test_hook_metrics_are_exposed_only_with_a_hook(hook: Any) -> None:
    text = exposition(samples_after_three_requests(hook)).decode()
    assert ("openimds_event_hook_failures_total 2.0\n" in text) is (hook is not None)
