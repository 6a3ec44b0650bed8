"""The numbers of a running server, put together for its metrics."""

from collections.abc import Callable, Mapping

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.service import EventsService
from openimds.events.webhook import Webhook
from openimds.facts.events import EventStatus
from openimds.fleet.service import FleetService


class ServerMetrics:
    """What the metrics read."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server that count
        self,
        dispatcher: Dispatcher,
        fleet_service: FleetService,
        events_service: EventsService,
        hook: Webhook | None,
        recorder: Recorder,
        played: Mapping[str, int],
        loop_lag_s: Callable[[], float],
    ) -> None:
        """Read from the parts of a server."""
        self._dispatcher, self._fleet_service, self._events_service, self._hook = (
            dispatcher,
            fleet_service,
            events_service,
            hook,
        )
        self._recorder, self._loop_lag_s, self._played = recorder, loop_lag_s, played

    def requests(self) -> dict[tuple[str, int, str], int]:
        """Return requests by endpoint, status and reason."""
        counts = self._dispatcher.counts
        return {
            (key.endpoint, key.status, key.reason): count.requests for key, count in counts.items()
        }

    def throttled(self) -> dict[str, int]:
        """Return how often each limiter class said no."""
        return self._dispatcher.throttled

    def moves(self) -> dict[str, int]:
        """Return what happened to scheduled events, by what moved them."""
        return self._events_service.event_writer.moves

    def faults(self) -> Mapping[str, int]:
        """Return how often each fault was played, by its effect."""
        return self._played

    def gauges(self) -> dict[str, float]:
        """Return what stands where now."""
        dispatcher, fleet_service = self._dispatcher, self._fleet_service
        return {
            "openimds_vms": len(dispatcher.fleet_index.by_name),
            "openimds_connections": len(dispatcher.connections),
            "openimds_loop_lag_seconds": self._loop_lag_s(),
            "openimds_store_revision": fleet_service.revision,
            "openimds_store_age_seconds": fleet_service.age_s(),
            "openimds_cache_bytes": dispatcher.fleet_index.response_cache.held_bytes,
            "openimds_cache_vms": len(dispatcher.fleet_index.response_cache),
            "openimds_events_scheduled": self._events_service.counts()[EventStatus.SCHEDULED],
            "openimds_events_started": self._events_service.counts()[EventStatus.STARTED],
            "openimds_requests_held": self._recorder.held,
            "openimds_requests_held_bytes": self._recorder.held_bytes,
        }

    def counters(self) -> dict[str, float]:
        """Return what has happened so far."""
        dispatcher = self._dispatcher
        counted: dict[str, float] = {
            "openimds_unknown_callers": sum(dispatcher.unknown_callers.values()),
            "openimds_connections_refused": dispatcher.connections.turned_away,
            "openimds_requests_recorded": self._recorder.noted,
        }
        if hook := self._hook:
            counted["openimds_event_hook_told"] = hook.told
            counted["openimds_event_hook_failures"] = hook.failed
            counted["openimds_event_hook_left_out"] = hook.left_out
        return counted
