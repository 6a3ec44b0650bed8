"""The counts of operators' requests, by the operation and not by the raw path."""

from openimds.protocol.durations import Durations, labelled

OTHER = "none"
"""The route and the method of a request that fits no operation."""
_DENIED = {421: "host", 401: "token", 403: "role"}
"""The reason of a denial by its status."""


class RequestCounts:
    """Requests to the admin API, their statuses, their durations and the denials.

    Routes are those of the rows, so the number of series is bounded by them.
    """

    def __init__(self) -> None:
        """Start without a request."""
        self._requests: dict[tuple[str, ...], float] = {}
        self._denied: dict[str, float] = {}
        self._durations: dict[tuple[str, str], Durations] = {}

    def note(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Count a request, whose answer began after so many seconds."""
        key = (route, method, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        if reason := _DENIED.get(status):
            self._denied[reason] = self._denied.get(reason, 0) + 1
        self._durations.setdefault((route, method), Durations()).note(duration_s)

    def samples(self) -> dict[str, dict[str, float] | dict[tuple[str, ...], float]]:
        """Return the values by the name of a metric."""
        durations: dict[tuple[str, ...], float] = {}
        for (route, method), one in [*self._durations.items()]:
            durations |= labelled(route, method, durations=one)
        return {
            "openimds_admin_requests": {**self._requests},
            "openimds_admin_request_duration_seconds": durations,
            "openimds_admin_denied": {**self._denied},
        }
