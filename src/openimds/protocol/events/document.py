"""The scheduled-events document of a scope, and the approvals that a VM sends.

Azure turns the feature on with the first request of a scope, shows an empty document for a while,
and turns it off after a day without a request. That hinders tests, so `ScopeActivity` is optional;
without it every scope is active. The document of an inactive scope is that of a scope before its
first event: empty, with the first incarnation. So an equal incarnation still means an equal
document.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

import msgspec.json
from msgspec import Meta, Struct, field

from openimds.errors import BAD_JSON
from openimds.facts.events import ACTIVATION, MEMBERS, OLD_PREFIX, RESOURCE_TYPE, TYPES, EventStatus
from openimds.protocol.events.event import Event

MOST_IDS = 100
LONGEST_ID = 64
"""No client sends more ids, or a longer one; an EventId has 36 letters."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def document(events: Iterable[Event], incarnation: int, version: str) -> bytes:
    """Return the document of a scope at an api-version, as on the wire."""
    types, members = _visible_types(version), _members(version)
    events_shown = [
        {name: read(event) for name, read in members.items()}
        for event in events
        if event.event_type in types
    ]
    return msgspec.json.encode({"DocumentIncarnation": incarnation, "Events": events_shown})


def http_date(at_s: float) -> str:
    """Return a time as in `Mon, 19 Sep 2016 18:29:47 GMT`, in any locale."""
    at = datetime.fromtimestamp(at_s, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT"


def _not_before(event: Event) -> str:
    return http_date(event.not_before_s) if event.status is EventStatus.SCHEDULED else ""


def _old_resources(event: Event) -> list[str]:
    return [OLD_PREFIX.text + name for name in event.resources]


_Read = Callable[[Event], object]

_READ: dict[str, _Read] = {
    "EventId": lambda event: event.event_id,
    "EventStatus": lambda event: event.status,
    "EventType": lambda event: event.event_type,
    "ResourceType": lambda _: RESOURCE_TYPE,
    "Resources": lambda event: event.resources,
    "NotBefore": _not_before,
    "Description": lambda event: event.description,
    "EventSource": lambda event: event.source,
    "DurationInSeconds": lambda event: event.duration_s,
}


@cache
def _visible_types(version: str) -> frozenset[str]:
    return frozenset(row.name for row in TYPES if row.since <= version)


@cache
def _members(version: str) -> dict[str, _Read]:
    members = {row.name: _READ[row.name] for row in MEMBERS if row.since <= version}
    if version < OLD_PREFIX.before:
        members["Resources"] = _old_resources
    return members


class _StartRequest(Struct):
    event_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)] = field(name="EventId")


class _Approval(Struct):
    """The body of an approval; other members, such as DocumentIncarnation, are ignored."""

    requests: Annotated[list[_StartRequest], Meta(min_length=1, max_length=MOST_IDS)] = field(
        name="StartRequests"
    )


_APPROVAL = msgspec.json.Decoder(_Approval)


def read_approval(body: bytes) -> tuple[str, ...] | None:
    """Return the event ids that a VM approves, or None if the body is malformed.

    The content type does not matter: curl sends approvals as a form (S5).
    """
    try:
        return tuple(request.event_id for request in _APPROVAL.decode(body).requests)
    except BAD_JSON:
        # Not JSON, not UTF-8, not of this shape; or nested so deeply that it is an attack.
        return None


class ScopeActivity:
    """The first and the last request of each scope, in seconds on any clock."""

    __slots__ = ("_delay_s", "_idle_s", "_times")

    def __init__(
        self, delay_s: float = ACTIVATION.delay_s, idle_s: float = ACTIVATION.idle_s
    ) -> None:
        """Show events `delay_s` after the first request; forget a scope idle for `idle_s`."""
        self._delay_s = delay_s
        self._idle_s = idle_s
        self._times: dict[str, tuple[float, float]] = {}

    def asks(self, scope: str, now_s: float) -> bool:
        """Note a request of a scope; tell whether its events are visible."""
        first_s, last_s = self._times.get(scope, (now_s, now_s))
        if now_s < last_s:
            first_s -= last_s - now_s  # The clock was set back, and its earlier times with it.
        elif now_s - last_s >= self._idle_s:
            first_s = now_s
        self._times[scope] = (first_s, now_s)
        return now_s - first_s >= self._delay_s

    def of(self, scope: str) -> tuple[float, float] | None:
        """Return the first and the last request of a scope, None if there was none."""
        return self._times.get(scope)

    def scopes(self) -> Iterable[str]:
        """Return the scopes that have asked."""
        return self._times.keys()

    def merge(self, scope: str, first_s: float, last_s: float) -> bool:
        """Take the requests of a scope on another host; tell whether they change anything."""
        own = self._times.get(scope)
        if own is None or last_s - own[1] >= self._idle_s:
            merged = first_s, last_s
        elif own[1] - last_s >= self._idle_s:
            merged = own
        else:
            merged = min(own[0], first_s), max(own[1], last_s)
        self._times[scope] = merged
        return merged != own

    def forget(self, scope: str) -> None:
        """Forget the requests of a scope without VMs here."""
        self._times.pop(scope, None)
