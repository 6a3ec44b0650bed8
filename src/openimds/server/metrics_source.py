"""The values of the metrics, read from the parts of a running server."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.facts.events import EventStatus
from openimds.fleet.service import FleetService

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples


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
    ) -> None:
        """Read from these parts.

        `played` counts injected faults by effect, `certificates_replaced` by part and cause,
        `clock_steps` by direction.
        """
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
        }

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
    ) -> None:
        """Read from these parts.

        `of_host` reads the values of the host, `pruned` counts pruned rows by log,
        `token_failures` requests without the right token by kind.
        """
        self._token_failures = token_failures
        self._of_host = of_host
        self._fleet_service, self._events_service, self._hook = fleet_service, events_service, hook
        self._pruned = pruned

    async def samples(self) -> "dict[str, Samples]":
        """Return the values at this moment by the name of the metric."""
        events = self._events_service.counts()
        samples: dict[str, Samples] = {
            **await self._of_host(),
            "openimds_admin_token_failures": {**self._token_failures},
            "openimds_event_moves": self._events_service.event_writer.transition_counts,
            "openimds_vms_quarantined": len(self._fleet_service.fleet_index.quarantine),
            "openimds_store_revision": self._fleet_service.revision,
            "openimds_history_pruned": {**self._pruned},
            "openimds_store_age_seconds": self._fleet_service.store_age_s(),
            "openimds_events_scheduled": events[EventStatus.SCHEDULED],
            "openimds_events_started": events[EventStatus.STARTED],
        }
        if hook := self._hook:
            samples |= {
                "openimds_event_hook_told": hook.delivered,
                "openimds_event_hook_failures": hook.failed,
                "openimds_event_hook_left_out": hook.skipped,
            }
        return samples
