"""The values of the metrics, read from the parts of a running server."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from openimds.credentials.worker import Worker
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.latency import CLASSES, latency_class
from openimds.dataplane.recording.recorder import Recorder
from openimds.dataplane.shares import ConnectionTable
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.facts.events import EventStatus
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoreError
from openimds.protocol.durations import Durations, labelled

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples

_PATIENCE_S = 1.0
"""The longest wait of a scrape for a store that does not answer."""


class SigningParts(Struct, frozen=True):
    """The thread that signs, and the ends of what it signs with."""

    worker: Worker
    certificate_ends: Callable[[], Mapping[str, float]]
    key_ends: Callable[[], Mapping[tuple[str, ...], float]]

    def samples(self) -> "dict[str, Samples]":
        """Return the values at this moment by the name of the metric."""
        worker = self.worker
        return {
            "openimds_signing_duration_seconds": worker.durations.samples(),
            "openimds_signing_waiting": worker.waiting,
            "openimds_signing_refused": worker.refused,
            "openimds_signing_joined": worker.shared,
            "openimds_certificate_expiry_timestamp_seconds": {**self.certificate_ends()},
            "openimds_token_key_expiry_timestamp_seconds": {**self.key_ends()},
        }


class HostMetrics:
    """Reads the values that the host role counts, one line a metric."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a host that count
        self,
        dispatcher: Dispatcher,
        recorder: Recorder,
        played: Mapping[str, int],
        loop_lag_s: Callable[[], float],
        accept_pauses: Callable[[], int],
        listener_failures: Callable[[], int],
        certificates_replaced: Mapping[tuple[str, ...], int],
        clock_steps: Mapping[str, int],
        control_restarts: Callable[[], int],
        signing: SigningParts,
    ) -> None:
        """Read from these parts.

        `played` counts injected faults by effect, `certificates_replaced` by part and cause,
        `clock_steps` by direction.
        """
        self._signing = signing
        self._dispatcher, self._recorder, self._played = dispatcher, recorder, played
        self._loop_lag_s, self._accept_pauses = loop_lag_s, accept_pauses
        self._listener_failures = listener_failures
        self._certificates_replaced, self._clock_steps = certificates_replaced, clock_steps
        self._control_restarts = control_restarts

    def samples(self) -> "dict[str, Samples]":
        """Return the values at this moment by the name of the metric."""
        dispatcher, index = self._dispatcher, self._dispatcher.fleet_index
        return {
            "openimds_requests": self._requests_by_status(),
            "openimds_refusals": self._refusals_by_reason(),
            "openimds_throttled": dispatcher.throttled,
            "openimds_request_duration_seconds": self._durations_by_class(),
            **_of_fairness(dispatcher.connections),
            "openimds_faults_played": self._played,
            "openimds_unknown_callers": dispatcher.unknown_requests,
            "openimds_connections_refused": dispatcher.connections.refused,
            "openimds_connections_evicted": dispatcher.connections.evicted,
            "openimds_accept_pauses": self._accept_pauses(),
            "openimds_listener_failures": self._listener_failures(),
            "openimds_control_restarts": self._control_restarts(),
            "openimds_requests_recorded": self._recorder.last_number,
            "openimds_certificates_replaced": {**self._certificates_replaced},
            "openimds_clock_steps": {**self._clock_steps},
            "openimds_vms": len(index.by_name),
            "openimds_connections": len(dispatcher.connections),
            "openimds_connections_limit": dispatcher.connections.most,
            "openimds_loop_lag_seconds": self._loop_lag_s(),
            "openimds_cache_bytes": index.response_cache.size_bytes,
            "openimds_cache_vms": len(index.response_cache),
            "openimds_requests_held": self._recorder.record_count,
            "openimds_requests_held_bytes": self._recorder.size_bytes,
            "openimds_cache_limit_bytes": index.response_cache.max_bytes,
            "openimds_cache_evictions": index.response_cache.evictions,
            **self._signing.samples(),
        }

    def _durations_by_class(self) -> Mapping[tuple[str, ...], float]:
        by_class = {name: Durations() for name in CLASSES}
        for key, count in self._dispatcher.counts.items():
            by_class[latency_class(key.endpoint)].add(count)
        samples: dict[tuple[str, ...], float] = {}
        for name, durations in by_class.items():
            samples |= labelled(name, durations=durations)
        return samples

    def _requests_by_status(self) -> Mapping[tuple[str, ...], float]:
        counts: Counter[tuple[str, ...]] = Counter()
        for key, count in self._dispatcher.counts.items():
            counts[key.endpoint, str(key.status)] += count.requests
        return counts

    def _refusals_by_reason(self) -> Mapping[str, float]:
        counts: Counter[str] = Counter()
        for key, count in self._dispatcher.counts.items():
            if key.reason:
                counts[key.reason] += count.requests
        return counts


def _of_fairness(connections: ConnectionTable) -> "dict[str, Samples]":
    busiest = connections.busiest
    return {
        "openimds_vm_requests": {name: one.requests for name, one in busiest.counted.items()},
        "openimds_vm_refused": {name: one.refused for name, one in busiest.counted.items()},
        "openimds_other_vms_requests": busiest.others.requests,
        "openimds_other_vms_refused": busiest.others.refused,
        "openimds_turns_parked": connections.parked,
        "openimds_turns_delayed": connections.delayed,
        "openimds_vms_penalised": connections.penalised,
    }


class ServerMetrics:
    """Reads a value for each row of `admin.metrics`, from host and control."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that count
        self,
        of_host: "Callable[[], Awaitable[Mapping[str, Samples]]]",
        fleet_service: FleetService,
        events_service: EventsService,
        hook: Webhook | None,
        pruned: Mapping[str, int],
        token_failures: Mapping[str, int],
        of_hosts: "Callable[[], Mapping[str, Samples]]" = dict,
        of_control: "Callable[[], Mapping[str, Samples]]" = dict,
    ) -> None:
        """Read from these parts.

        `of_host` reads the values of the host, `pruned` counts pruned rows by log,
        `token_failures` requests without the right token by kind. `of_hosts` reads those of a
        fleet of hosts, if there is one, `of_control` those of control's own process; that one is
        called in a thread.
        """
        self._of_hosts, self._of_control = of_hosts, of_control
        self._token_failures = token_failures
        self._of_host = of_host
        self._fleet_service, self._events_service, self._hook = fleet_service, events_service, hook
        self._pruned = pruned

    async def samples(self) -> "dict[str, Samples]":
        """Return the values at this moment by the name of the metric."""
        events = self._events_service.counts()
        is_degraded = await self._is_degraded()
        samples: dict[str, Samples] = {
            **await self._of_host(),
            "openimds_admin_token_failures": {**self._token_failures},
            "openimds_event_moves": self._events_service.event_writer.transition_counts,
            "openimds_vms_quarantined": len(self._fleet_service.fleet_index.quarantine),
            "openimds_degraded": is_degraded,
            "openimds_store_revision": self._fleet_service.revision,
            "openimds_history_pruned": {**self._pruned},
            "openimds_store_age_seconds": self._fleet_service.store_age_s(),
            "openimds_events_scheduled": events[EventStatus.SCHEDULED],
            "openimds_events_started": events[EventStatus.STARTED],
            **self._of_hosts(),
            **await asyncio.to_thread(self._of_control),
        }
        if hook := self._hook:
            samples |= {
                "openimds_event_hook_told": hook.delivered,
                "openimds_event_hook_failures": hook.failed,
                "openimds_event_hook_left_out": hook.skipped,
                "openimds_event_hook_waiting": hook.waiting,
            }
        return samples

    async def _is_degraded(self) -> bool:
        """Tell whether changes are refused, as readiness does; a scrape waits for a moment."""
        service = self._fleet_service
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return bool(await service.call_store(service.store.problem))
        except (StoreError, TimeoutError):
            return True
