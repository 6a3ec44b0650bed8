"""The numbers of a running server, put together for its metrics."""

from collections.abc import Callable, Mapping

from openimds.dataplane.dispatcher import Plane
from openimds.dataplane.recording.recorder import Recorder
from openimds.events.service import Agenda
from openimds.events.webhook import Hook
from openimds.facts.events import Status
from openimds.fleet.service import Desk


class Numbers:
    """What the metrics read."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server that count
        self,
        plane: Plane,
        desk: Desk,
        agenda: Agenda,
        hook: Hook | None,
        recorder: Recorder,
        played: Mapping[str, int],
        loop_lag_s: Callable[[], float],
    ) -> None:
        """Read from the parts of a server."""
        self._plane, self._desk, self._agenda, self._hook = plane, desk, agenda, hook
        self._recorder, self._loop_lag_s, self._played = recorder, loop_lag_s, played

    def requests(self) -> dict[tuple[str, int, str], int]:
        """Return requests by endpoint, status and reason."""
        counts = self._plane.counts
        return {
            (key.endpoint, key.status, key.reason): count.requests for key, count in counts.items()
        }

    def throttled(self) -> dict[str, int]:
        """Return how often each limiter class said no."""
        return self._plane.throttled

    def moves(self) -> dict[str, int]:
        """Return what happened to scheduled events, by what moved them."""
        return self._agenda.ledger.moves

    def faults(self) -> Mapping[str, int]:
        """Return how often each fault was played, by its effect."""
        return self._played

    def gauges(self) -> dict[str, float]:
        """Return what stands where now."""
        plane, desk = self._plane, self._desk
        return {
            "openimds_vms": len(plane.picture.by_name),
            "openimds_connections": len(plane.connections),
            "openimds_loop_lag_seconds": self._loop_lag_s(),
            "openimds_store_revision": desk.revision,
            "openimds_store_age_seconds": desk.age_s(),
            "openimds_cache_bytes": plane.picture.shelf.held_bytes,
            "openimds_cache_vms": len(plane.picture.shelf),
            "openimds_events_scheduled": self._agenda.counts()[Status.SCHEDULED],
            "openimds_events_started": self._agenda.counts()[Status.STARTED],
            "openimds_requests_held": self._recorder.held,
            "openimds_requests_held_bytes": self._recorder.held_bytes,
        }

    def counters(self) -> dict[str, float]:
        """Return what has happened so far."""
        plane = self._plane
        counted: dict[str, float] = {
            "openimds_unknown_callers": sum(plane.strangers.values()),
            "openimds_connections_refused": plane.connections.turned_away,
            "openimds_requests_recorded": self._recorder.noted,
        }
        if hook := self._hook:
            counted["openimds_event_hook_told"] = hook.told
            counted["openimds_event_hook_failures"] = hook.failed
            counted["openimds_event_hook_left_out"] = hook.left_out
        return counted
